/* One operation, whose work is split into parts: every part computes some positions or channels of the result. */
#ifndef SQZ_RUN_H
#define SQZ_RUN_H

#include "plan.h"

struct sqz_task {
    const sqz_network *network;
    const sqz_op *op;   /* NULL: the image is read into value 0 */
    const float *image; /* (channels, height, width) */
    uint8_t *values;    /* running memory: the values, */
    uint8_t *scratch;   /* then scratch memory of each part */
    uint32_t from, to;  /* rows `from` to `to` - 1 (op->rows) are computed */
    unsigned parts;     /* of the team */
};

/* The weights of a block of outputs: weights, segments and initial sums as in `sqz_tile`; then multipliers and offsets as in
 * `sqz_rescale`, or one factor for each output. */
struct sqz_block {
    const uint8_t *weights;
    const uint16_t *segments;
    const void *initial;
    const int32_t *multipliers;
    const int64_t *offsets;
    size_t halves;             /* from an offset of the lower halves of 9-bit elements to that of the upper halves */
    const sqz_factor *factors; /* that of output o of the block is factors[(first + o) % op->out] */
    size_t first;
};

/* Where the results of a tile go. */
struct sqz_place {
    size_t channel;   /* its first output */
    uint32_t outputs; /* how many */
    size_t position;  /* its first position */
    uint32_t step;    /* positions of the result to the next position of the tile */
};

/* Kinds of work (sqz_op). */
void sqz_packed_layer(const sqz_task *task, unsigned part);
void sqz_mean_layer(const sqz_task *task, unsigned part); /* a packed layer, and the mean over its result */
void sqz_pool_layer(const sqz_task *task, unsigned part); /* a packed layer, and the maximum pool that reads it */
void sqz_depthwise(const sqz_task *task, unsigned part);
void sqz_max_pool(const sqz_task *task, unsigned part);
void sqz_max_pool_rows(const sqz_task *task, unsigned part);
void sqz_average_pool(const sqz_task *task, unsigned part);
void sqz_global_average(const sqz_task *task, unsigned part);
void sqz_add(const sqz_task *task, unsigned part);
void sqz_multiply(const sqz_task *task, unsigned part);
void sqz_look_up(const sqz_task *task, unsigned part);
void sqz_concatenate(const sqz_task *task, unsigned part);
void sqz_select(const sqz_task *task, unsigned part);
void sqz_plain(const sqz_task *task, unsigned part);        /* any operation of an integer network, in plain loops */
void sqz_plain_floats(const sqz_task *task, unsigned part); /* of a float network */

/* A block of outputs whose weights were loaded by sqz_load_weights. */
void sqz_block_loaded(const sqz_task *task, const sqz_layout *layout, uint32_t group, uint32_t first, uint32_t vectors,
                      sqz_block *block);

/* A block of outputs in rows.c: the weights lie in the weights of the network, or are unpacked from 4 bits or decoded to
 * scratch memory. The factors of outputs, 4 bytes each, are always written out in scratch memory. */
void sqz_block_stored(const sqz_task *task, const sqz_layout *layout, uint32_t group, uint32_t first, uint32_t vectors,
                      sqz_block *block);
void sqz_block_packed(const sqz_task *task, const sqz_layout *layout, uint32_t group, uint32_t first, uint32_t vectors,
                      sqz_block *block);
void sqz_block_decoded(const sqz_task *task, const sqz_layout *layout, uint32_t group, uint32_t first, uint32_t vectors,
                       sqz_block *block);
size_t sqz_block_memory(const sqz_network *network, const sqz_op *op, const sqz_layout *layout); /* scratch memory */

/* Sums of a tile -> stored elements at `out`; the elements of two neighbouring positions are `step` elements apart, and
 * the upper halves of 9-bit elements lie `upper` bytes after the lower ones. */
void sqz_store(const sqz_task *task, const int32_t *sums, const sqz_tile *tile, const sqz_block *block,
               const sqz_place *to, uint8_t *out, size_t step, size_t upper);

/* Sums of a tile -> elements of the result; of a mean over all positions of the result; of a maximum pool. */
void sqz_finish(const sqz_task *task, const void *sums, const sqz_tile *tile, const sqz_block *block,
                const sqz_place *to);
void sqz_finish_mean(const sqz_task *task, const void *sums, const sqz_tile *tile, const sqz_block *block,
                     const sqz_place *to);
void sqz_finish_pool(const sqz_task *task, const void *sums, const sqz_tile *tile, const sqz_block *block,
                     const sqz_place *to);
void sqz_finish_floats(const sqz_task *task, const void *sums, const sqz_tile *tile, const sqz_block *block,
                       const sqz_place *to);

/* Apply the table of the activation that a layer computes, if any, to `outputs` channels of some positions. */
void sqz_finish_positions(const sqz_task *task, size_t channel, size_t outputs, size_t from, size_t count);

/* The first channel of a value at a position. */
static inline uint8_t *sqz_at(const sqz_task *task, const sqz_value *v, size_t position)
{
    const size_t positions = (size_t)v->ring * v->width;
    return task->values + v->offset + (position < positions ? position : position % positions) * v->pitch * v->bytes;
}

/* How many positions, at most `most`, lie one after the other in memory from `position` on. */
static inline size_t sqz_contiguous(const sqz_value *v, size_t position, size_t most)
{
    const size_t positions = (size_t)v->ring * v->width;
    const size_t left = positions - (position < positions ? position : position % positions);
    return left < most ? left : most;
}

/* Apply a table to n channels, from `channel` on, of `count` contiguous positions of a value. */
static inline void sqz_look_up_positions(const sqz_task *task, const sqz_value *y, size_t channel, size_t n,
                                         size_t position, size_t count, const uint8_t *table)
{
    const int one_row = n == y->pitch;
    task->network->kernels->look_up(sqz_at(task, y, position) + channel, one_row ? n * count : n, y->pitch,
                                    one_row ? 1 : count, table);
}

/* The scratch memory of a part. */
static inline uint8_t *sqz_scratch(const sqz_task *task, unsigned part)
{
    return task->scratch + part * task->network->scratch_bytes;
}

/* The value that the operation makes. */
static inline const sqz_value *sqz_result(const sqz_task *task)
{
    return sqz_made(task->network, task->op);
}

/* Of the positions of the result that are computed, the first one of a part; that of part = parts is the end. */
static inline size_t sqz_first_position(const sqz_task *task, unsigned part)
{
    const size_t width = sqz_result(task)->width;
    return task->from * width + sqz_part_start((task->to - task->from) * width, part, task->parts);
}

/* The same with rows. */
static inline size_t sqz_first_row(const sqz_task *task, unsigned part)
{
    return task->from + sqz_part_start(task->to - task->from, part, task->parts);
}

#endif
