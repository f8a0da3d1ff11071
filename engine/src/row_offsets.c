/* Planner of rows, 4: where everything lies in memory. Pieces that are never in use in the same step may overlap. */
#include <string.h>

#include "planner.h"

enum { ALIGNMENT = 8 }; /* of everything in memory, in bytes */

/* The bytes of all pieces: groups, then the scratch memory and the sums of each operation. */
static void measure_pieces(sqz_planner *p)
{
    for (uint32_t v = 0; v < p->value_count; v++) { /* what a layer passes to a mean or to a pool has no memory */
        p->values[v].ring = p->ring[p->group[v]];
        if (p->values[v].ring == 0) p->values[v].ring = p->values[v].height;
    }
    for (uint32_t g = 0; g < p->group_count; g++)
        p->pieces[g].bytes = sqz_padded(p->ring[g] * p->row_bytes[g], ALIGNMENT);
    for (uint32_t i = 0; i < p->op_count; i++) {
        const sqz_op *op = p->ops + i;
        size_t scratch = 0, sums = 0;
        if (sqz_is_layer(op)) {
            const sqz_layout layout = sqz_layout_of(&p->plan->network, op);
            scratch = sqz_block_memory(&p->plan->network, op, &layout);
        }
        if (op->mean > 0) sums = p->values[op->mean].channels * sizeof(int32_t);
        p->plan->infos[i].scratch = scratch;
        p->pieces[p->group_count + 2 * i].bytes = sqz_padded(scratch, ALIGNMENT);
        p->pieces[p->group_count + 2 * i + 1].bytes = sqz_padded(sums, ALIGNMENT);
    }
}

/* Which pieces are in use at the same time. */
static void find_conflicts(sqz_planner *p)
{
    const uint32_t n = p->piece_count, words = p->step_count / 64 + 1;
    for (uint32_t a = 0; a < n; a++)
        for (uint32_t b = 0; b < a; b++) {
            uint32_t w = 0;
            while (w < words && (p->pieces[a].used[w] & p->pieces[b].used[w]) == 0) w++;
            p->conflicts[(size_t)a * n + b] = p->conflicts[(size_t)b * n + a] = w < words;
        }
}

/* Give all pieces an offset, in the order of `order`: that of the first gap between the pieces that conflict with it.
 * Returns the bytes of all. */
static size_t first_fit(sqz_planner *p, const uint32_t *order)
{
    size_t used = 0;
    uint32_t count = 0; /* placed, in the order of their offsets */
    for (uint32_t i = 0; i < p->piece_count; i++) {
        const uint32_t n = order[i];
        sqz_piece *x = p->pieces + n;
        size_t at = 0;
        if (x->bytes == 0) continue;
        for (uint32_t j = 0; j < count; j++) {
            const sqz_piece *y = p->pieces + p->placed[j];
            if (!p->conflicts[(size_t)n * p->piece_count + p->placed[j]] || y->offset + y->bytes <= at) continue;
            if (y->offset >= at + x->bytes) break;
            at = y->offset + y->bytes;
        }
        x->offset = at;
        if (at + x->bytes > used) used = at + x->bytes;
        uint32_t where = count++;
        for (; where > 0 && p->pieces[p->placed[where - 1]].offset > at; where--)
            p->placed[where] = p->placed[where - 1];
        p->placed[where] = n;
    }
    return used;
}

/* Sort the pieces: the largest (kind 0) or the earliest (1) first, or those that are in use in most steps (2). */
static void sort_pieces(sqz_planner *p, int kind)
{
    for (uint32_t i = 0; i < p->piece_count; i++) {
        const sqz_piece *x = p->pieces + i;
        uint32_t where = i;
        for (; where > 0; where--) {
            const sqz_piece *y = p->pieces + p->order[where - 1];
            const int earlier = kind == 0   ? x->bytes > y->bytes
                                : kind == 1 ? x->first < y->first || (x->first == y->first && x->bytes > y->bytes)
                                            : x->steps > y->steps || (x->steps == y->steps && x->bytes > y->bytes);
            if (!earlier) break;
            p->order[where] = p->order[where - 1];
        }
        p->order[where] = i;
    }
}

/* Place all pieces; `tries`: how many changed orders are tried after the sorted ones. Returns the bytes of all. */
static size_t place_pieces(sqz_planner *p, uint32_t tries)
{
    const uint32_t n = p->piece_count;
    size_t best = SIZE_MAX;
    uint32_t random = 1;
    for (int kind = 0; kind < 3; kind++) {
        sort_pieces(p, kind);
        const size_t bytes = first_fit(p, p->order);
        if (bytes >= best) continue;
        best = bytes;
        memcpy(p->best_order, p->order, n * sizeof *p->order);
    }
    for (uint32_t i = 0; i < tries; i++) { /* move a piece to another place in the best order */
        memcpy(p->order, p->best_order, n * sizeof *p->order);
        random = random * 1664525 + 1013904223;
        const uint32_t a = (random >> 8) % n;
        random = random * 1664525 + 1013904223;
        const uint32_t b = (random >> 8) % n, moved = p->order[a];
        if (a < b)
            memmove(p->order + a, p->order + a + 1, (b - a) * sizeof *p->order);
        else
            memmove(p->order + b + 1, p->order + b, (a - b) * sizeof *p->order);
        p->order[b] = moved;
        const size_t bytes = first_fit(p, p->order);
        if (bytes > best) continue;
        best = bytes;
        memcpy(p->best_order, p->order, n * sizeof *p->order);
    }
    return first_fit(p, p->best_order);
}

static size_t counter_bytes(const sqz_planner *p)
{
    return sqz_padded((p->op_count + 1) * sizeof(uint32_t), ALIGNMENT);
}

size_t sqz_row_memory(sqz_planner *p, uint32_t tries)
{
    sqz_simulate_rows(p);
    measure_pieces(p);
    find_conflicts(p);
    return counter_bytes(p) + place_pieces(p, tries) + SQZ_SLACK;
}

void sqz_write_offsets(sqz_planner *p, size_t bytes)
{
    sqz_row_plan *plan = p->plan;
    const size_t start = counter_bytes(p);
    plan->rows.done = 0;
    plan->rows.bytes = bytes;
    plan->rows.reversed = p->from->preparation.channels == SQZ_BGR;
    for (uint32_t v = 0; v < p->value_count; v++)
        p->values[v].offset =
            start + p->pieces[p->group[v]].offset + (size_t)p->values[v].host_channel * p->values[v].bytes;
    for (uint32_t i = 0; i < p->op_count; i++) {
        p->ops[i].scratch = start + p->pieces[p->group_count + 2 * i].offset;
        p->ops[i].sums = start + p->pieces[p->group_count + 2 * i + 1].offset;
        plan->decoded += (uint64_t)plan->infos[i].decodes * plan->infos[i].weights;
    }
    plan->steps = p->step_count;
    plan->values_bytes = 0;
    for (uint32_t t = 0; t < p->step_count; t++) {
        size_t live = 0;
        for (uint32_t g = 0; g < p->group_count; g++)
            if (p->pieces[g].used[t / 64] >> t % 64 & 1) live += p->pieces[g].bytes;
        if (live > plan->values_bytes) plan->values_bytes = live;
    }
}
