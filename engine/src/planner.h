/* The planner of row_plan.h, in parts. row_plan.c calls them in this order:
 *
 *     row_graph.c     which operations and values are left of the graph
 *     row_weights.c   in which form the weights of each layer lie in flash
 *     row_timeline.c  when which rows are in memory
 *     row_offsets.c   where everything lies in memory
 *     row_search.c    the search for the best forms of the weights; it calls the three above again and again */
#ifndef SQZ_PLANNER_H
#define SQZ_PLANNER_H

#include "reference.h"
#include "row_plan.h"
#include "run.h"

enum {
    MOST_DECODES = 14,        /* of a layer for an image */
    PACKED = MOST_DECODES + 1 /* in place of a number of decodes: stored weights with 4 bits */
};

/* A piece of memory. Each group of values that lie in the memory of the same host has one. Each operation has two: its
 * scratch memory, and the sums of its mean. A step is a row of the image, or one start of an operation. */
typedef struct {
    size_t bytes, offset;
    uint32_t first, steps; /* the first step in which it is in use, and the number of steps in which it is */
    uint64_t *used;        /* one bit for each step */
} sqz_piece;

typedef struct {
    const sqz_network *from; /* the whole network, as on the host */
    sqz_row_plan *plan;      /* the result; the next five lie in it */
    sqz_op *ops;
    sqz_value *values;
    uint32_t *inputs, *waits;
    uint32_t op_count, value_count;

    /* Of each group of values: */
    uint32_t group_count;
    uint32_t *group;        /* of each value: the number of its group */
    uint32_t *reader_begin; /* its readers begin here in `readers`: */
    uint32_t *readers;      /* 2 * operation + (whether it reads the same rows again and again) */
    uint32_t *height;
    size_t *row_bytes;
    uint32_t *ring;        /* the most rows that are in memory at once */
    uint32_t *low, *top;   /* the rows from `low` to `top` - 1 exist and will be read */
    uint32_t *done;        /* the executor's counters: of the image, and of each operation */
    uint32_t *begin, *end; /* of each operation: its first and its last step */
    uint32_t step_count;

    size_t words; /* of the bits of a piece */
    sqz_piece *pieces;
    uint32_t piece_count;
    uint8_t *conflicts;                    /* (pieces, pieces): whether both are in use in the same step */
    uint32_t *order, *best_order, *placed; /* numbers of pieces */

    /* Of the weights of each operation: */
    const uint8_t **streams; /* the level stream in the file, */
    uint32_t *stream_bytes;  /* and its bytes; 0 if it cannot be decoded on the device, or is not worth it */
    size_t *stored_bytes;    /* if they are stored; */
    size_t *packed_bytes;    /* if they are packed; 0 if they cannot be, or if it is not worth it */
    size_t *initial_bytes;   /* of the sums that a layer with stored weights begins with */
    uint8_t *block;          /* room for the weights of a block */
} sqz_planner;

static inline size_t sqz_padded(size_t bytes, size_t alignment)
{
    return (bytes + alignment - 1) / alignment * alignment;
}

/* row_graph.c. `number` and `renamed`: room for one number of each value; `needed`: for one byte. */
void sqz_plan_graph(sqz_planner *p, uint32_t *number, uint32_t *renamed, uint8_t *needed);

/* Whether two layers make rows of the same group from the same input, like the expand layers of a Fire module. */
int sqz_are_peers(const sqz_planner *p, const sqz_op *op, const sqz_op *other);

/* row_weights.c: find the level streams in the file, and count the bytes of each form. */
void sqz_measure_weights(sqz_planner *p);

/* Let operation i decode its weights at most `choice` times for an image, or read stored weights (0), or packed ones
 * (PACKED). If it cannot, it reads stored ones. */
void sqz_place_weights(sqz_planner *p, uint32_t i, uint32_t choice);

/* The choice that `sqz_place_weights` was told, or the one that is equal to it. */
uint32_t sqz_choice_of(const sqz_planner *p, uint32_t i);

/* Lay out `weights` (NULL: only count). Returns its bytes. */
size_t sqz_lay_out_weights(sqz_planner *p, uint8_t *weights);

/* The same choice for all operations; for each the form of its weights that takes the least flash. */
void sqz_place_all(sqz_planner *p, uint32_t choice);
void sqz_place_smallest(sqz_planner *p);

/* Room for the largest block of packed weights, in bytes. */
size_t sqz_largest_block(const sqz_network *from);

/* row_timeline.c: run the executor on counters alone. */
void sqz_simulate_rows(sqz_planner *p);

/* row_offsets.c: the bytes of memory of the plan as it is now. `tries`: how many more orders of pieces are tried. */
size_t sqz_row_memory(sqz_planner *p, uint32_t tries);

/* Write the offsets into the tables. `bytes` is what `sqz_row_memory` returned. */
void sqz_write_offsets(sqz_planner *p, size_t bytes);

/* row_search.c: choose the places of weights. The arrays are room for one number of each operation. Returns SQZ_OK or
 * SQZ_NO_PLAN. */
int sqz_search_places(sqz_planner *p, size_t ram, size_t flash, uint32_t *best_places, uint32_t *places);

#endif
