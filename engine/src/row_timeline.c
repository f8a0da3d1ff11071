/* Planner of rows, 3: when which rows are in memory. The executor (rows.c) runs on counters alone; each start of an
 * operation, and each row of the image, is a step. */
#include <string.h>

#include "planner.h"
#include "progress.h"
#include "window.h"

/* The first row of a group that an operation will read again. */
static uint32_t lowest_row(const sqz_planner *p, uint32_t g)
{
    uint32_t lowest = p->reader_begin[g] < p->reader_begin[g + 1] ? p->height[g] : 0;
    for (uint32_t r = p->reader_begin[g]; r < p->reader_begin[g + 1]; r++) {
        const uint32_t i = p->readers[r] / 2, done = p->done[i + 1];
        uint32_t kept = sqz_rows_kept(&p->plan->network, p->ops + i, done);
        if (p->readers[r] % 2 > 0) kept = done < p->ops[i].rows ? 0 : p->height[g];
        if (kept < lowest) lowest = kept;
    }
    return lowest;
}

/* Note that a piece is in use in step `step`. */
static void use(sqz_planner *p, uint32_t n, uint32_t step)
{
    sqz_piece *x = p->pieces + n;
    const uint64_t bit = (uint64_t)1 << step % 64;
    if (x->steps == 0) x->first = step;
    x->steps += (x->used[step / 64] & bit) == 0;
    x->used[step / 64] |= bit;
}

/* The rows of the group of value v up to `end` are written. */
static void write_rows(sqz_planner *p, uint32_t v, uint32_t end)
{
    const uint32_t g = p->group[v];
    use(p, g, p->step_count);
    if (end > p->top[g]) p->top[g] = end;
    if (p->top[g] > p->low[g] && p->top[g] - p->low[g] > p->ring[g]) p->ring[g] = p->top[g] - p->low[g];
    if (p->ring[g] == 0) p->ring[g] = 1;
}

/* One step is over: the groups that have rows are in use in the next one, too. */
static void end_step(sqz_planner *p)
{
    p->step_count++;
    for (uint32_t g = 0; g < p->group_count; g++)
        if (p->top[g] > p->low[g]) use(p, g, p->step_count);
}

/* The rows of a maximum pool that have begun after `end` rows of its input. */
static uint32_t touched(const sqz_planner *p, const sqz_op *pool, uint32_t end)
{
    return sqz_windows_at(pool, p->values + pool->result, 0, end - 1).end;
}

void sqz_simulate_rows(sqz_planner *p)
{
    const uint32_t height = p->values[0].height;
    memset(p->done, 0, (p->op_count + 1) * sizeof *p->done);
    memset(p->ring, 0, p->group_count * sizeof *p->ring);
    memset(p->top, 0, p->group_count * sizeof *p->top);
    memset(p->low, 0, p->group_count * sizeof *p->low);
    memset(p->begin, 0xFF, p->op_count * sizeof *p->begin);
    p->piece_count = p->group_count + 2 * p->op_count;
    for (uint32_t n = 0; n < p->piece_count; n++) {
        p->pieces[n].first = p->pieces[n].steps = 0;
        memset(p->pieces[n].used, 0, p->words * sizeof(uint64_t));
    }
    p->step_count = 0;
    while (p->done[0] < height) {
        const sqz_op *op;
        write_rows(p, 0, p->done[0] + 1);
        p->done[0]++;
        end_step(p);
        while ((op = sqz_rows_next(&p->plan->rows, p->done)) != NULL) {
            const uint32_t i = (uint32_t)(op - p->ops), end = sqz_next_end(op, p->done[i + 1]);
            use(p, p->group_count + 2 * i, p->step_count);
            if (op->pool > 0)
                write_rows(p, p->ops[op->pool - 1].result, touched(p, p->ops + op->pool - 1, end));
            else if (op->mean == 0)
                write_rows(p, op->result, end);
            else if (end == op->rows)
                write_rows(p, op->mean, 1);
            p->done[i + 1] = end;
            for (uint32_t j = 0; j < op->inputs; j++) {
                const uint32_t g = p->group[p->inputs[op->first_input + j]];
                use(p, g, p->step_count);
                p->low[g] = lowest_row(p, g);
            }
            if (p->begin[i] == UINT32_MAX) p->begin[i] = p->step_count;
            p->end[i] = p->step_count;
            end_step(p);
        }
    }
    for (uint32_t i = 0; i < p->op_count; i++)
        for (uint32_t step = p->begin[i]; p->ops[i].mean > 0 && step <= p->end[i]; step++)
            use(p, p->group_count + 2 * i + 1, step);
}
