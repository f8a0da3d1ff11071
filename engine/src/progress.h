/* Which rows of its input an operation needs, and which of them it will need again: for rows.c and its planner. */
#ifndef SQZ_PROGRESS_H
#define SQZ_PROGRESS_H

#include "rows.h"

static inline uint32_t sqz_limited(int64_t row, uint32_t most)
{
    return row < 0 ? 0 : row < (int64_t)most ? (uint32_t)row : most;
}

/* How many rows of a maximum pool without dilation are complete after `done` rows of its input, before the last one. */
static inline uint32_t sqz_pooled(const sqz_op *pool, uint32_t done)
{
    const uint32_t padded = done + pool->padding[0];
    return padded < pool->kernel[0] ? 0 : (padded - pool->kernel[0]) / pool->stride[0] + 1;
}

/* The end of the rows that an operation computes next, if it has computed the rows before `done`. */
static inline uint32_t sqz_next_end(const sqz_op *op, uint32_t done)
{
    return op->rows - done < op->least ? op->rows : done + op->least;
}

/* How many rows of its first input an operation needs for the rows before `end`. */
static inline uint32_t sqz_rows_needed(const sqz_network *network, const sqz_op *op, uint32_t end)
{
    const uint32_t height = sqz_source(network, op)->height;
    switch (op->kind) {
    case SQZ_CONVOLUTION:
    case SQZ_MAX_POOL:
    case SQZ_AVERAGE_POOL:
        return sqz_limited((int64_t)(end - 1) * op->stride[0] + (int64_t)(op->kernel[0] - 1) * op->dilation[0] + 1 -
                               op->padding[0],
                           height);
    case SQZ_ADAPTIVE_POOL: return (uint32_t)(((uint64_t)end * height + op->counts[0] - 1) / op->counts[0]);
    case SQZ_UPSAMPLE: return (end - 1) / op->counts[0] + 1;
    case SQZ_GLOBAL_AVERAGE: return op->mean > 0 ? end : height;
    case SQZ_LINEAR:
    case SQZ_FLATTEN: return height;
    default: return end;
    }
}

/* The first row of its first input that an operation needs after it has computed the rows before `done`. */
static inline uint32_t sqz_rows_kept(const sqz_network *network, const sqz_op *op, uint32_t done)
{
    const uint32_t height = sqz_source(network, op)->height;
    if (done == op->rows) return height;
    switch (op->kind) {
    case SQZ_CONVOLUTION:
    case SQZ_MAX_POOL:
    case SQZ_AVERAGE_POOL: return sqz_limited((int64_t)done * op->stride[0] - op->padding[0], height);
    case SQZ_ADAPTIVE_POOL: return (uint32_t)((uint64_t)done * height / op->counts[0]);
    case SQZ_UPSAMPLE: return done / op->counts[0];
    case SQZ_GLOBAL_AVERAGE: return op->mean > 0 ? done : 0;
    case SQZ_LINEAR:
    case SQZ_FLATTEN: return 0;
    default: return done;
    }
}

/* The last operation of the network whose next rows can be computed; NULL if there is none. `done`: how many rows of
 * the image have arrived, and then how many rows each operation has computed. */
const sqz_op *sqz_rows_next(const sqz_rows *rows, const uint32_t *done);

#endif
