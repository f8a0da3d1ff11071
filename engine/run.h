/* One operation as it is shared out: every part computes its own places of the result. */
#ifndef SQZ_RUN_H
#define SQZ_RUN_H

#include "plan.h"

typedef struct {
    const sqz_network *network;
    const sqz_op *op;
    const float *image;
    uint8_t *values, *scratch;
    unsigned parts;
} sqz_task;

void sqz_packed_layer(const sqz_task *task, unsigned part);
void sqz_depthwise(const sqz_task *task, unsigned part);
void sqz_max_pool(const sqz_task *task, unsigned part);
void sqz_average_pool(const sqz_task *task, unsigned part);
void sqz_global_average(const sqz_task *task, unsigned part);
void sqz_add(const sqz_task *task, unsigned part);

static inline uint8_t *sqz_scratch(const sqz_task *task, unsigned part)
{
    return task->scratch + part * task->network->scratch_bytes;
}

static inline const sqz_value *sqz_result(const sqz_task *task)
{
    return task->network->values + (task->op - task->network->ops) + 1;
}

#endif
