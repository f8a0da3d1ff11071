/* Symbol streams: one canonical Huffman code each (docs/FORMAT.md, "Symbol streams"). */
#ifndef SQZ_HUFFMAN_H
#define SQZ_HUFFMAN_H

#include "cursor.h"

enum { SQZ_ALPHABET = 65536, SQZ_LONGEST_CODE = 15 };

/* A stream that is being read. The caller provides `order`, with an entry for every symbol of the alphabet. */
typedef struct {
    uint16_t *order; /* symbols by (length, symbol) */
    const uint8_t *bytes;
    size_t at, bits;                       /* the next bit; bits of the stream */
    uint32_t counts[SQZ_LONGEST_CODE + 1]; /* how many codes have each length */
    int single;                            /* only one symbol occurs: it takes no bits */
} sqz_symbols;

/* Begin a stream of `count` symbols below `alphabet`. `lengths`: working memory, a byte for every symbol. */
void sqz_symbols_open(sqz_cursor *c, sqz_symbols *s, uint64_t count, uint32_t alphabet, uint8_t *lengths);

/* The next symbol; call it `count` times at most. */
uint32_t sqz_symbol(sqz_cursor *c, sqz_symbols *s);

/* Check that the stream ends here. */
void sqz_symbols_close(sqz_cursor *c, const sqz_symbols *s);

#endif
