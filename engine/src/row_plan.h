/* The planner of networks that run by rows (rows.h). It runs where the tables are made, not on the device, and it is
 * outside the core: it allocates memory. */
#ifndef SQZ_ROW_PLAN_H
#define SQZ_ROW_PLAN_H

#include "kernels.h"
#include "rows.h"

enum {
    SQZ_NO_MEMORY = 1, /* of this machine, to plan */
    SQZ_NO_PLAN        /* within the limits */
};

typedef enum { SQZ_NOWHERE, SQZ_STORED, SQZ_HALVED, SQZ_DECODED } sqz_weights_place;

/* What the plan says about an operation, beside its table. */
typedef struct {
    uint32_t op;             /* its number in the graph of the file */
    sqz_weights_place place; /* of its weights */
    size_t flash;            /* bytes of its weights, factors and tables */
    size_t scratch;          /* bytes of scratch memory */
    uint32_t decodes;        /* how often its level stream is decoded for an image */
    uint32_t weights;        /* number of its weights in the file */
} sqz_row_op;

typedef struct {
    sqz_rows rows;
    sqz_network network;
    uint32_t value_count, wait_count;
    sqz_row_op *infos;    /* of each operation */
    size_t weights_bytes; /* bytes at `network.weights` */
    size_t least_weights; /* what `weights_bytes` would be if each layer had the smallest form of its weights, */
    size_t packed_weights, packed_bytes;     /* and if all had packed ones; then also `rows.bytes` */
    size_t values_bytes;                     /* bytes of all values in the step in which they take the most */
    size_t stored, packed, streams, factors; /* bytes of flash */
    uint64_t decoded;                        /* weights that are decoded for an image */
    uint32_t steps;                          /* how many times an operation is started */
    void *memory;                            /* that everything above lies in */
} sqz_row_plan;

/* Whether the engine can work with the numbers of these kernels: whole vectors in a chunk of channels, no more sums of
 * a tile than fit, packs that do not reach too far beyond lines. */
int sqz_geometry_is_possible(const sqz_kernels *kernels);

/* Open a file (sqz_open) for the planner. `kernels` are those of the device; only their numbers are used, not their
 * functions, and they must be possible. Afterwards the weights must be loaded. */
int sqz_open_rows(const uint8_t *file, size_t bytes, const sqz_kernels *kernels, void *memory, sqz_network **network);

/* Plan an integer network that was opened by sqz_open_rows, and whose file is still in memory. `ram` is the largest
 * number of bytes of memory, `flash` the largest number of bytes of `weights`; 0 means no limit.
 *
 * With a limit of flash, the plan decodes as few weights as possible. Without this limit, the plan takes little
 * flash, but does not decode many weights to save one byte. Without a limit of RAM, the plan takes no more memory
 * than a plan with stored weights only, which takes the least. Returns SQZ_OK, SQZ_NO_MEMORY or SQZ_NO_PLAN. The
 * same machine always finds the same plan. */
int sqz_plan_rows(const sqz_network *network, size_t ram, size_t flash, sqz_row_plan *plan);
void sqz_free_rows(sqz_row_plan *plan);

#endif
