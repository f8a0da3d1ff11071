/* One operation, whose work is split into parts: every part computes some positions or channels of the result. */
#ifndef SQZ_RUN_H
#define SQZ_RUN_H

#include "plan.h"

typedef struct {
    const sqz_network *network;
    const sqz_op *op;   /* NULL: the image is read into value 0 */
    const float *image; /* (channels, height, width) */
    uint8_t *values;    /* running memory: the values, */
    uint8_t *scratch;   /* then scratch memory of each part */
    unsigned parts;     /* of the team */
} sqz_task;

void sqz_packed_layer(const sqz_task *task, unsigned part);
void sqz_depthwise(const sqz_task *task, unsigned part);
void sqz_max_pool(const sqz_task *task, unsigned part);
void sqz_average_pool(const sqz_task *task, unsigned part);
void sqz_global_average(const sqz_task *task, unsigned part);
void sqz_add(const sqz_task *task, unsigned part);
void sqz_multiply(const sqz_task *task, unsigned part);
void sqz_look_up(const sqz_task *task, unsigned part);
void sqz_concatenate(const sqz_task *task, unsigned part);
void sqz_select(const sqz_task *task, unsigned part);

/* Apply a table to n channels, from `channel` on, of `count` positions of a value. */
static inline void sqz_look_up_positions(const sqz_task *task, const sqz_value *y, size_t channel, size_t n,
                                         size_t position, size_t count, const uint8_t *table)
{
    uint8_t *first = task->values + y->offset + position * y->pitch + channel;
    const int one_row = n == y->pitch;
    task->network->kernels->look_up(first, one_row ? n * count : n, y->pitch, one_row ? 1 : count, table);
}

/* The scratch memory of a part. */
static inline uint8_t *sqz_scratch(const sqz_task *task, unsigned part)
{
    return task->scratch + part * task->network->scratch_bytes;
}

/* The value that the operation makes. */
static inline const sqz_value *sqz_result(const sqz_task *task)
{
    return task->network->values + (task->op - task->network->ops) + 1;
}

#endif
