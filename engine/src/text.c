/* Decompresses names and labels. In version 1 a text is a list of tokens. A token is a byte, or a match: a copy of bytes
 * that were written before. */
#include "text.h"

#include "huffman.h"
#include "budget.h"
#include "mixed_text.h"

enum { BYTES = 256, LEAST = 4, MOST = 67, TOKENS = BYTES + MOST - LEAST + 1 }; /* least and most bytes of a match */

size_t sqz_text_length(sqz_cursor *c, uint32_t version)
{
    const uint64_t most = SQZ_FREE_TEXT + SQZ_TEXT_A_BYTE * (uint64_t)(c->end - c->at);
    const uint32_t limit = version == 1 ? SQZ_MAX_TEXT : SQZ_MAX_MIXED_TEXT;
    return sqz_take_varint(c, most < limit ? (uint32_t)most : limit);
}

size_t sqz_text_memory(uint32_t version)
{
    return version == 1 ? 0 : sqz_mixed_text_memory();
}

/* Read a whole stream to check it. Returns how many of its symbols are at least `least`. */
static uint32_t count_symbols(sqz_cursor *c, sqz_symbols stream, uint32_t count, uint32_t least)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < count && c->status == SQZ_OK; i++) found += sqz_symbol(c, &stream) >= least;
    sqz_symbols_close(c, &stream);
    return found;
}

/* Append a match after `at` bytes of a text of `length`. Returns its size. */
static size_t copy(sqz_cursor *c, uint8_t *text, size_t at, size_t length, uint32_t token, size_t distance)
{
    const size_t size = token - BYTES + LEAST;
    if (c->status != SQZ_OK || distance > at || size > length - at) return (size_t)sqz_fail(c, SQZ_BAD_STREAM);
    for (size_t i = at; i < at + size; i++) text[i] = text[i - distance];
    return size;
}

static int unpack_tokens(sqz_cursor c, size_t length, uint8_t *text)
{
    uint16_t orders[3][TOKENS];
    uint8_t lengths[TOKENS];
    sqz_symbols tokens = {.order = orders[0]}, low = {.order = orders[1]}, high = {.order = orders[2]};
    const uint32_t count = sqz_take_varint(&c, (uint32_t)length);
    size_t at = 0;
    sqz_symbols_open(&c, &tokens, count, TOKENS, lengths);
    const uint32_t matches = c.status == SQZ_OK ? count_symbols(&c, tokens, count, BYTES) : 0;
    sqz_symbols_open(&c, &low, matches, BYTES, lengths);
    if (c.status == SQZ_OK) count_symbols(&c, low, matches, 0);
    sqz_symbols_open(&c, &high, matches, BYTES, lengths);
    if (c.status == SQZ_OK) count_symbols(&c, high, matches, 0);
    for (uint32_t i = 0; i < count && c.status == SQZ_OK; i++) {
        const uint32_t token = sqz_symbol(&c, &tokens);
        if (token >= BYTES) {
            const size_t distance = sqz_symbol(&c, &low) + BYTES * (size_t)sqz_symbol(&c, &high) + 1;
            at += copy(&c, text, at, length, token, distance);
        } else if (at < length)
            text[at++] = (uint8_t)token;
        else
            sqz_fail(&c, SQZ_BAD_STREAM);
    }
    if (at != length) sqz_fail(&c, SQZ_BAD_STREAM);
    if (c.at != c.end) sqz_fail(&c, SQZ_TRAILING);
    return c.status;
}

int sqz_text_unpack(sqz_cursor c, uint32_t version, uint8_t *text, void *memory)
{
    const size_t length = sqz_text_length(&c, version);
    if (version == 1 || c.status != SQZ_OK) return unpack_tokens(c, length, text);
    const int status = sqz_mixed_text_decode(c.at, (size_t)(c.end - c.at), text, length, memory);
    return status == SQZ_OK ? SQZ_OK : SQZ_BAD_STREAM;
}
