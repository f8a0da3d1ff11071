/* Runs an integer network by rows, in little memory: for microcontrollers (docs/adr/0030-rows.md).
 *
 *     sqz_rows_start(&rows, memory);
 *     for (uint32_t y = 0; y < height; y++) sqz_rows_push(&rows, memory, pixels of row y);
 *     sqz_rows_logits(&rows, memory, logits);
 *
 * The image arrives row by row. Of each value only some rows are in memory: row r lies where row r - ring lay before
 * (network.h). After each row of the image, every operation computes the rows that have become possible.
 *
 * All tables are constant and were made by the planner (row_plan.h), on another machine: `network` has the operations
 * that are left, their values, and the functions that compute them. `network->weights` is one block of bytes that holds
 * everything that operations read: weights, factors, tables, level streams.
 *
 * With the macro SQZ_ROWS_ONLY the tables are smaller; rows.c, blocks.c, convolution.c, pooling.c, reference.c, levels.c
 * and one file of kernels are all that a network needs then.
 *
 * No allocation, no input or output, no recursion, no floats, no state but in `memory`. */
#ifndef SQZ_ROWS_H
#define SQZ_ROWS_H

#include "network.h"

#define SQZ_PEER (UINT32_C(1) << 31)

typedef struct {
    const sqz_network *network;
    const uint32_t *waits; /* for all operations: numbers, plus 1, of the operations whose rows they need; 0: image.
                              SQZ_PEER is added to that of an operation that they must not be ahead of. */
    size_t table;          /* bytes from `network->weights`: (channels, 256) byte of the image -> stored element */
    int reversed;          /* whether the first channel of the network is the last one of a pixel (BGR) */
    uint32_t logits;       /* number of the last value */
    size_t done;           /* bytes from the start of the memory to the counters of rows: op_count + 1 of uint32_t */
    size_t bytes;          /* of memory, counters and scratch memory included */
} sqz_rows;

/* Begin an image. `memory`: `rows->bytes`, aligned to 8 bytes (SQZ_ALIGNMENT if the kernels have vectors). It need not be
 * cleared, and the same memory may be used for other things between images. */
void sqz_rows_start(const sqz_rows *rows, void *memory);

/* The next row of the image, from top to bottom: (width, channels) bytes, in the order R G B. */
void sqz_rows_push(const sqz_rows *rows, void *memory, const uint8_t *pixels);

/* After the last row: the logits as integers. Logit i is the real number logits[i] * 2^(exponent / 8), where `exponent`
 * is the scale exponent of the last value. */
void sqz_rows_logits(const sqz_rows *rows, const void *memory, int32_t *logits);

#endif
