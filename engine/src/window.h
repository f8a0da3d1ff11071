/* Which elements of the input the windows of pools cover. */
#ifndef SQZ_WINDOW_H
#define SQZ_WINDOW_H

#include "network.h"

/* The rows (or columns) of the input that a window covers, without padding: `count` of them, from row `from` on, `step`
 * apart. A mean divides by `mean` along this side; if padding counts, it may be larger than `count`. */
typedef struct {
    size_t from, count, step, mean;
} sqz_span;

/* The number of multiples of `step` from 0 to n - 1, at most `most`. */
static inline int64_t sqz_steps_below(int64_t n, int64_t step, int64_t most)
{
    const int64_t count = n <= 0 ? 0 : (n - 1) / step + 1;
    return count < most ? count : most;
}

/* The window at `position` along a side (0: height, 1: width). */
static inline sqz_span sqz_span_of(const sqz_op *op, const sqz_value *x, int side, size_t position)
{
    const size_t size = side == 0 ? x->height : x->width;
    if (op->kind == SQZ_ADAPTIVE_POOL) {
        const uint64_t windows = op->counts[side], from = (uint64_t)position * size / windows;
        const size_t count = (size_t)((((uint64_t)position + 1) * size + windows - 1) / windows - from);
        const sqz_span s = {(size_t)from, count, 1, count};
        return s;
    }
    const int64_t step = op->dilation[side], kernel = op->kernel[side];
    const int64_t begin = (int64_t)position * op->stride[side] - op->padding[side], n = (int64_t)size;
    const int64_t first = sqz_steps_below(-begin, step, kernel);  /* elements of the window before the image, */
    const int64_t end = sqz_steps_below(n - begin, step, kernel); /* and before the end of the image */
    const int64_t padded = sqz_steps_below(n + op->padding[2 + side] - begin, step, kernel);
    const sqz_span s = {(size_t)(begin + first * step), (size_t)(end - first), (size_t)step,
                        (size_t)(op->counted ? padded : end - first)};
    return s;
}

/* The windows, from `from` to `end` - 1, of a pool without dilation that cover a row (or column) of its input. */
typedef struct {
    uint32_t from, end;
} sqz_windows;

static inline sqz_windows sqz_windows_at(const sqz_op *op, const sqz_value *y, int side, uint32_t position)
{
    const uint32_t padded = position + op->padding[side], size = side == 0 ? y->height : y->width;
    const uint32_t end = padded / op->stride[side] + 1;
    const sqz_windows w = {padded < op->kernel[side] ? 0 : (padded - op->kernel[side]) / op->stride[side] + 1,
                           end < size ? end : size};
    return w;
}

#endif
