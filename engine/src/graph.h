/* The graph of a file: operations, shapes, limits (docs/FORMAT.md, "Graph", "What a reader refuses"). */
#ifndef SQZ_GRAPH_H
#define SQZ_GRAPH_H

#include "cursor.h"
#include "network.h"

/* How many operations there are, and how many inputs they have together. */
int sqz_graph_count(sqz_cursor c, uint32_t *ops, uint32_t *inputs);

/* Fill `network->preparation`, `ops`, `values` and `inputs`, for which there is memory; check all but the scales. */
int sqz_graph_read(sqz_cursor c, size_t file_bytes, sqz_network *network);

/* Fill the scales of all values, and check them against each other. */
int sqz_graph_scales(sqz_cursor *c, sqz_network *network);

/* Lay out a network in memory, or count its bytes if `memory` is NULL (file.c). */
size_t sqz_lay_out(uint8_t *memory, uint32_t ops, uint32_t reads, sqz_network **network);

/* The CRC-32 of bytes; `crc` is that of the bytes before them (file.c). */
uint32_t sqz_crc32(uint32_t crc, const uint8_t *bytes, size_t size);

#endif
