/* Reads symbol streams bit by bit: for a canonical code the number of codes of each length is enough. */
#include "huffman.h"

enum { MOST_ZEROS = 4 }; /* most zeros before the first 1 of a coded difference: lengths differ by 15 at most */

static uint32_t take_bit(sqz_cursor *c, sqz_symbols *s)
{
    if (s->at >= s->bits) return (uint32_t)sqz_fail(c, SQZ_BAD_STREAM);
    const uint32_t bit = s->bytes[s->at / 8] >> (7 - s->at % 8) & 1;
    s->at++;
    return bit;
}

/* A signed difference, in the exponential Golomb code. */
static int take_difference(sqz_cursor *c, sqz_symbols *s)
{
    unsigned zeros = 0, n = 1;
    while (c->status == SQZ_OK && take_bit(c, s) == 0)
        if (++zeros > MOST_ZEROS) return sqz_fail(c, SQZ_BAD_STREAM);
    for (; zeros > 0; zeros--) n = n << 1 | take_bit(c, s);
    return n % 2 == 0 ? (int)(n / 2) : -(int)(n / 2);
}

/* Make the canonical code from its lengths. The code must be complete, unless only one symbol occurs. */
static void make_code(sqz_cursor *c, sqz_symbols *s, const uint8_t *lengths, uint32_t size)
{
    uint32_t next[SQZ_LONGEST_CODE + 2] = {0}, used = 0, filled = 0;
    for (unsigned i = 0; i <= SQZ_LONGEST_CODE; i++) s->counts[i] = 0;
    for (uint32_t symbol = 0; symbol < size; symbol++) s->counts[lengths[symbol]]++;
    for (unsigned i = 1; i <= SQZ_LONGEST_CODE; i++) {
        next[i + 1] = next[i] + s->counts[i];
        used += s->counts[i];
        filled += s->counts[i] << (SQZ_LONGEST_CODE - i);
    }
    for (uint32_t symbol = 0; symbol < size; symbol++)
        if (lengths[symbol] > 0) s->order[next[lengths[symbol]]++] = (uint16_t)symbol;
    s->single = used == 1;
    if (s->single ? s->counts[1] != 1 : filled != 1u << SQZ_LONGEST_CODE) sqz_fail(c, SQZ_BAD_STREAM);
}

void sqz_symbols_open(sqz_cursor *c, sqz_symbols *s, uint64_t count, uint32_t alphabet, uint8_t *lengths)
{
    const uint32_t size = sqz_take_varint(c, alphabet < SQZ_ALPHABET ? alphabet : SQZ_ALPHABET);
    const size_t bytes = sqz_take_varint(c, INT32_MAX);
    int length = 0;
    s->bytes = sqz_take(c, bytes);
    s->bits = 8 * bytes;
    s->at = 0;
    s->single = 1;
    if (c->status != SQZ_OK) return;
    if (count == 0 || size == 0) {
        if (count > 0 || size > 0 || bytes > 0) sqz_fail(c, SQZ_BAD_STREAM);
        return;
    }
    if (size > s->bits) sqz_fail(c, SQZ_BAD_STREAM); /* every length takes at least a bit */
    for (uint32_t symbol = 0; symbol < size && c->status == SQZ_OK; symbol++) {
        length += take_difference(c, s);
        if (length < 0 || length > SQZ_LONGEST_CODE) sqz_fail(c, SQZ_BAD_STREAM);
        lengths[symbol] = (uint8_t)(length & SQZ_LONGEST_CODE);
    }
    if (c->status == SQZ_OK && length == 0) sqz_fail(c, SQZ_BAD_STREAM);
    if (c->status == SQZ_OK) make_code(c, s, lengths, size);
    if (c->status == SQZ_OK && !s->single && count > s->bits - s->at) sqz_fail(c, SQZ_BAD_STREAM);
}

uint32_t sqz_symbol(sqz_cursor *c, sqz_symbols *s)
{
    uint32_t code = 0, first = 0, index = 0;
    if (c->status != SQZ_OK) return 0;
    if (s->single) return s->order[0];
    for (unsigned length = 1; length <= SQZ_LONGEST_CODE; length++) {
        code |= take_bit(c, s);
        if (code < first + s->counts[length]) return s->order[index + code - first];
        index += s->counts[length];
        first = (first + s->counts[length]) << 1;
        code <<= 1;
    }
    return (uint32_t)sqz_fail(c, SQZ_BAD_STREAM);
}

void sqz_symbols_close(sqz_cursor *c, const sqz_symbols *s)
{
    if (c->status != SQZ_OK || s->at == s->bits) return;
    if (s->bits - s->at >= 8 || (s->bytes[s->at / 8] & 0xFF >> s->at % 8) != 0) sqz_fail(c, SQZ_BAD_STREAM);
}
