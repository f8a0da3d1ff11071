/* Names and labels: tokens are bytes, or copies of what was written before. */
#include "text.h"

#include "huffman.h"

enum { BYTES = 256, LEAST = 4, MOST = 67, TOKENS = BYTES + MOST - LEAST + 1 };
enum { LONGEST_TEXT = 1 << 24, MOST_BYTES_A_BYTE = 1024 };

size_t sqz_text_length(sqz_cursor *c)
{
    const size_t left = (size_t)(c->end - c->at), most = LONGEST_TEXT / MOST_BYTES_A_BYTE;
    return sqz_take_varint(c, left < most ? (uint32_t)left * MOST_BYTES_A_BYTE : LONGEST_TEXT);
}

static uint32_t count_matches(sqz_cursor *c, sqz_symbols tokens, uint32_t count)
{
    uint32_t matches = 0;
    for (uint32_t i = 0; i < count && c->status == SQZ_OK; i++) matches += sqz_symbol(c, &tokens) >= BYTES;
    sqz_symbols_close(c, &tokens);
    return matches;
}

/* Append a match to the `at` bytes that were written, of `length`; returns its size. */
static size_t copy(sqz_cursor *c, uint8_t *text, size_t at, size_t length, uint32_t token, size_t distance)
{
    const size_t size = token - BYTES + LEAST;
    if (c->status != SQZ_OK || distance > at || size > length - at) return (size_t)sqz_fail(c, SQZ_BAD_STREAM);
    for (size_t i = at; i < at + size; i++) text[i] = text[i - distance];
    return size;
}

int sqz_text_unpack(sqz_cursor c, uint8_t *text)
{
    uint16_t orders[3][TOKENS];
    uint8_t lengths[TOKENS];
    sqz_symbols tokens = {.order = orders[0]}, low = {.order = orders[1]}, high = {.order = orders[2]};
    const size_t length = sqz_text_length(&c);
    const uint32_t count = sqz_take_varint(&c, (uint32_t)length);
    size_t at = 0;
    sqz_symbols_open(&c, &tokens, count, TOKENS, lengths);
    const uint32_t matches = c.status == SQZ_OK ? count_matches(&c, tokens, count) : 0;
    sqz_symbols_open(&c, &low, matches, BYTES, lengths);
    sqz_symbols_open(&c, &high, matches, BYTES, lengths);
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
    sqz_symbols_close(&c, &low);
    sqz_symbols_close(&c, &high);
    if (at != length) sqz_fail(&c, SQZ_BAD_STREAM);
    if (c.at != c.end) sqz_fail(&c, SQZ_TRAILING);
    return c.status;
}
