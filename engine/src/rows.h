/* Runs an integer network row by row, in little memory: for microcontrollers (docs/adr/0030-rows.md).
 *
 *     sqz_rows_start(&rows, memory);
 *     for (uint32_t y = 0; y < height; y++) sqz_rows_push(&rows, memory, pixels of row y);
 *     sqz_rows_logits(&rows, memory, logits);
 *
 * The image arrives row by row. Of each value only the last `ring` rows are in memory: row r takes the place of row
 * r - ring (network.h). After each row of the image, every operation computes all rows whose inputs are complete.
 *
 * All tables are constant. The planner (row_plan.h) made them on another machine: `network` has the operations that are
 * needed, their values, and the functions that compute them. `network->weights` is one block of bytes with everything
 * that operations read: weights, factors, tables, level streams.
 *
 * With the macro SQZ_ROWS_ONLY the tables are smaller. A network then needs only rows.c, blocks.c, convolution.c,
 * pooling.c, reference.c, levels.c and one file of kernels.
 *
 * The functions allocate nothing, read and write no files, use no recursion and no floats, and keep all state in
 * `memory`. */
#ifndef SQZ_ROWS_H
#define SQZ_ROWS_H

#include "network.h"

#define SQZ_PEER (UINT32_C(1) << 31)

typedef struct {
    const sqz_network *network;
    const uint32_t *waits; /* for each operation, the operations that it waits for: their numbers plus 1; 0: the image.
                              SQZ_PEER is added for one that must have computed as many rows as this one. */
    size_t table;          /* bytes from `network->weights`: (channels, 256) byte of the image -> stored element */
    int reversed;          /* whether the first channel of the network is the last one of a pixel (BGR) */
    uint32_t logits;       /* number of the last value */
    size_t done;           /* bytes from the start of the memory to the counters of rows: op_count + 1 of uint32_t */
    size_t bytes;          /* of memory, counters and scratch memory included */
} sqz_rows;

/* Begin an image. `memory`: `rows->bytes` bytes, aligned to 8 bytes (16 if the kernels have vectors). It
 * need not be cleared, and it may be used for other purposes between two images. */
void sqz_rows_start(const sqz_rows *rows, void *memory);

/* The next row of the image, from top to bottom: (width, channels) bytes, in the order R G B. */
void sqz_rows_push(const sqz_rows *rows, void *memory, const uint8_t *pixels);

/* Write the logits, as integers; call this after the last row. Logit i is the real number logits[i] * 2^(exponent /
 * 8), where `exponent` is the scale exponent of the last value. */
void sqz_rows_logits(const sqz_rows *rows, const void *memory, int32_t *logits);

#endif
