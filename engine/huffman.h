/* Symbol streams: one canonical Huffman code each (docs/FORMAT.md, "Symbol streams"). */
#ifndef SQZ_HUFFMAN_H
#define SQZ_HUFFMAN_H

#include "cursor.h"

enum { SQZ_ALPHABET = 65536, SQZ_LONGEST_CODE = 15 };

/* A stream that is being read. `order` is the caller's: as many entries as the alphabet has. */
typedef struct {
    uint16_t *order; /* symbols by (length, symbol) */
    const uint8_t *bytes;
    size_t at, bits;
    uint32_t counts[SQZ_LONGEST_CODE + 1]; /* of codes, by length */
    int single;                            /* one symbol alone, which has no codes */
} sqz_symbols;

/* Begin to read `count` symbols below `alphabet`. `lengths`: a byte for each of them to work in. */
void sqz_symbols_open(sqz_cursor *c, sqz_symbols *s, uint64_t count, uint32_t alphabet, uint8_t *lengths);

/* The next symbol; no more than were asked for. */
uint32_t sqz_symbol(sqz_cursor *c, sqz_symbols *s);

/* Check that the stream ends here. */
void sqz_symbols_close(sqz_cursor *c, const sqz_symbols *s);

#endif
