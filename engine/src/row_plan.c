/* Plans how a network runs by rows (docs/adr/0030-rows.md): the memory of the planner, and the order of its parts. */
#include "row_plan.h"

#include <stdlib.h>
#include <string.h>

#include "planner.h"

enum { TRIES = 400 }; /* orders of pieces that are tried for the final plan */

/* Memory for `count` items of `each` bytes; counted in `used` alone if `memory` is NULL. */
static void *take(uint8_t *memory, size_t *used, size_t count, size_t each)
{
    void *taken = memory != NULL ? memory + *used : NULL;
    *used += sqz_padded(count * each, 16);
    return taken;
}

/* Reserve all arrays; returns the bytes. */
static size_t reserve(sqz_planner *p, uint8_t *memory, size_t wait_count)
{
    const sqz_network *from = p->from;
    const size_t n = from->op_count, most = 3 * n + 1;
    size_t used = 0;
    p->ops = take(memory, &used, n, sizeof *p->ops);
    p->values = take(memory, &used, n + 1, sizeof *p->values);
    p->inputs = take(memory, &used, from->input_count, sizeof *p->inputs);
    p->waits = take(memory, &used, wait_count, sizeof *p->waits);
    p->plan->infos = take(memory, &used, n, sizeof *p->plan->infos);
    p->group = take(memory, &used, n + 1, sizeof *p->group);
    p->readers = take(memory, &used, from->input_count, sizeof *p->readers);
    p->reader_begin = take(memory, &used, n + 2, sizeof *p->reader_begin);
    p->height = take(memory, &used, n + 1, sizeof *p->height);
    p->row_bytes = take(memory, &used, n + 1, sizeof *p->row_bytes);
    p->ring = take(memory, &used, n + 1, sizeof *p->ring);
    p->low = take(memory, &used, n + 1, sizeof *p->low);
    p->top = take(memory, &used, n + 1, sizeof *p->top);
    p->begin = take(memory, &used, n, sizeof *p->begin);
    p->end = take(memory, &used, n, sizeof *p->end);
    p->done = take(memory, &used, n + 1, sizeof *p->done);
    p->pieces = take(memory, &used, most, sizeof *p->pieces);
    uint64_t *bits = take(memory, &used, most * p->words, sizeof *bits);
    for (size_t i = 0; i < most && memory != NULL; i++) p->pieces[i].used = bits + i * p->words;
    p->conflicts = take(memory, &used, most * most, 1);
    p->order = take(memory, &used, most, sizeof *p->order);
    p->best_order = take(memory, &used, most, sizeof *p->best_order);
    p->placed = take(memory, &used, most, sizeof *p->placed);
    p->streams = take(memory, &used, n, sizeof *p->streams);
    p->stream_bytes = take(memory, &used, n, sizeof *p->stream_bytes);
    p->stored_bytes = take(memory, &used, n, sizeof *p->stored_bytes);
    p->initial_bytes = take(memory, &used, n, sizeof *p->initial_bytes);
    p->packed_bytes = take(memory, &used, n, sizeof *p->packed_bytes);
    p->block = take(memory, &used, sqz_largest_block(from), 1);
    return used;
}

/* What all weights take in the same form, before a search. Afterwards all are stored. */
static void measure_forms(sqz_planner *p)
{
    sqz_place_smallest(p);
    p->plan->least_weights = sqz_lay_out_weights(p, NULL);
    sqz_place_all(p, PACKED);
    p->plan->packed_bytes = sqz_row_memory(p, 0);
    p->plan->packed_weights = sqz_lay_out_weights(p, NULL);
    sqz_place_all(p, 0);
}

int sqz_geometry_is_possible(const sqz_kernels *k)
{
    int possible = k->lanes > 0 && k->depth > 0 && k->taps > 0 && (k->bytes == 1 || k->bytes == 2);
    possible = possible && k->lanes <= SQZ_CHUNK && k->taps <= SQZ_CHUNK && SQZ_CHUNK % (k->lanes * k->taps) == 0;
    possible = possible && k->depth <= SQZ_SLACK / k->bytes && (k->centre == 0 || k->centre == 128);
    for (uint32_t v = 1; v <= SQZ_VECTORS; v++)
        possible = possible && k->positions[v] > 0 && k->positions[v] <= SQZ_MOST_SUMS / (k->lanes * v);
    return possible;
}

int sqz_plan_rows(const sqz_network *network, size_t ram, size_t flash, sqz_row_plan *plan)
{
    sqz_planner p;
    const uint32_t n = network->op_count;
    memset(&p, 0, sizeof p);
    memset(plan, 0, sizeof *plan);
    p.from = network;
    p.plan = plan;
    size_t steps = network->values[0].height;
    for (uint32_t i = 0; i < n; i++) steps += network->ops[i].rows;
    p.words = steps / 64 + 1;
    const size_t wait_count = ((size_t)network->input_count + n) * (n + 1), bytes = reserve(&p, NULL, wait_count);
    plan->memory = calloc(1, bytes + 3 * (size_t)(n + 1) * sizeof(uint32_t) + n + 1);
    if (plan->memory == NULL) return SQZ_NO_MEMORY;
    reserve(&p, plan->memory, wait_count);
    uint32_t *number = (uint32_t *)(void *)((uint8_t *)plan->memory + bytes), *renamed = number + n + 1;
    sqz_plan_graph(&p, number, renamed, (uint8_t *)(renamed + 2 * (n + 1)));
    plan->network.kernels = network->kernels;
    plan->network.op_count = p.op_count;
    plan->network.ops = p.ops;
    plan->network.values = p.values;
    plan->network.inputs = p.inputs;
    plan->rows.network = &plan->network;
    plan->rows.waits = p.waits;
    plan->value_count = p.value_count;
    sqz_measure_weights(&p);
    measure_forms(&p);
    const int status = sqz_search_places(&p, ram, flash, number, renamed);
    if (status != SQZ_OK) return status;
    sqz_write_offsets(&p, sqz_row_memory(&p, TRIES));
    plan->weights_bytes = sqz_lay_out_weights(&p, NULL);
    plan->network.weights = calloc(plan->weights_bytes, 1);
    if (plan->network.weights == NULL) return SQZ_NO_MEMORY;
    sqz_lay_out_weights(&p, plan->network.weights);
    return SQZ_OK;
}

void sqz_free_rows(sqz_row_plan *plan)
{
    free(plan->network.weights);
    free(plan->memory);
}
