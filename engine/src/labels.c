/* Finds the labels in an unpacked text (docs/FORMAT.md, "Text"). */
#include "cursor.h"
#include "network.h"

enum { MOST_LABELS = 1 << 20, MOST_PAIRS = 256 };

/* Bytes of the UTF-8 sequence at `at`, or 0 if there is none. */
static size_t sequence(const uint8_t *at, const uint8_t *end)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t length = *at < 0x80 ? 1 : *at < 0xc2 ? 0 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : *at < 0xf5 ? 4 : 0;
    if (length < 2 || (size_t)(end - at) < length) return length == 1;
    uint32_t code = *at & (0x7fU >> length);
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (at[i] & 0x3fU);
    }
    const int surrogate = code >= 0xd800 && code < 0xe000;
    return code >= least[length] && code <= 0x10ffff && !surrogate ? length : 0;
}

int sqz_text_labels(const sqz_network *network, const uint8_t *text, size_t length, const char **labels)
{
    sqz_cursor c = {text, text + length, SQZ_OK};
    const uint32_t classes = sqz_classes(network), layers = sqz_layers(network);
    const uint32_t count = sqz_take_varint(&c, MOST_LABELS), pairs = sqz_take_varint(&c, MOST_PAIRS);
    if (c.status != SQZ_OK || (count != 0 && count != classes)) return SQZ_BAD_STREAM;
    for (uint32_t i = 0; i < classes; i++) labels[i] = NULL;
    const uint64_t promised = (uint64_t)layers + count + 2 * (uint64_t)pairs;
    uint64_t found = 0;
    const uint8_t *begin = c.at;
    for (const uint8_t *at = c.at; at < c.end;) {
        const size_t bytes = sequence(at, c.end);
        if (bytes == 0) return SQZ_BAD_STREAM;
        at += bytes;
        if (at[-1] != 0) continue;
        if (found >= layers && found - layers < count) labels[found - layers] = (const char *)begin;
        found++;
        begin = at;
    }
    return found == promised && begin == c.end ? SQZ_OK : SQZ_BAD_STREAM;
}
