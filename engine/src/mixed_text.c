/* Texts of version 2 (docs/FORMAT.md, "Mixed text"). Six contexts predict each bit, and learned weights mix their
 * predictions: the method of PAQ (M. Mahoney, "Adaptive weighing of context models for lossless data compression",
 * 2005). `squeezenet/sqz/mixed_text.py` does the same in Python, slowly and plainly; tests compare the streams. */
#include "mixed_text.h"

#include <string.h>

#include "mixing.h"
#include "range_coder.h"

#if defined(__GNUC__) && !defined(__wasm__) /* the engine of browsers is to be small */
#define UNROLL _Pragma("GCC unroll 6")
#else
#define UNROLL
#endif

enum {
    INPUTS = 6,       /* predictions of a bit: by three histories, by the node, by a byte and the node, by the match */
    HISTORIES = 3,    /* after one byte, two bytes, and the letters of a word */
    NODES = 256,      /* bits of a byte that were read, after a leading 1 */
    BYTE_BITS = 15,   /* of the number of pairs of a byte and a node */
    HASH_BITS = 17,   /* of the number of histories after two bytes, and after the letters of a word */
    RECENT_BITS = 12, /* of the number of places that a match can begin at */
    LEAST = 3,        /* bytes of a match when it is found */
    MOST = 15,        /* bytes of a match that are counted */
    MATCHES = 5,      /* classes of the length of a match */
    WEIGHT = 1 << 13, /* weight of a prediction at first; 2^16 is 1 */
    HISTORY_AT = 0,   /* of the contexts */
    NODE_AT = HISTORY_AT + HISTORIES * 256,
    BYTE_AT = NODE_AT + NODES,
    MATCH_AT = BYTE_AT + (1 << BYTE_BITS),
    CONTEXTS = MATCH_AT + MOST + 1,
    WEIGHTS = NODES + (HISTORIES + 1) * MATCHES /* sets of weights */
};

/* The model learns this text first: words that many files have. */
static const char primer[] =
    "features.3.squeeze\0features.3.expand1x1\0features.4.expand3x3\0classifier\0license\0made by\0squeezenet 0.1.0\0"
    "method\0squeeze\0name\0squeezenet1_0\0recipe\0method = \"squeeze\"\nmax_bytes = 350000\nthorough = true\n"
    "threads = 1\ndata = \"imagenet\"\nimages = \"0\"\nobjective = \"distill\"\n\n[learning]\nepochs = 4.0\n"
    "batch_size = 32\nlr = 0.001\n\n[pruning]\ndensity = 0.1\n\n[sharing]\nconv_bits = 4\nfc_bits = 4\n\n"
    "[augmentation]\nmirror = true\narea = 1.0\npad = 1\nrotate = 0.0\nzoom = 0.0\nlight = 0.0\nerase = 0\n\0source\0";

#define BEFORE (sizeof primer - 1)

typedef struct {
    uint32_t context[CONTEXTS]; /* probability of a 1 in the upper 22 bits, observations in the lower 10 */
    int32_t weight[WEIGHTS][INPUTS];
    uint32_t recent[1 << RECENT_BITS]; /* position after the newest occurrence of three bytes */
    uint16_t rate[1024];               /* 2^16 / (n + 2) */
    int16_t stretched[4096];           /* the inverse of `squash`, for a probability in units of 2^-12 */
    uint8_t after_byte[1 << BYTE_BITS], after_more[HISTORIES - 1][1 << HASH_BITS];
} model;

typedef struct {
    const uint8_t *text;      /* the primer stands before it */
    size_t at, match, length; /* position; position of the byte that the match promises; length of the match, or 0 */
    uint32_t last, word;      /* the last four bytes; a hash of the letters of the word so far */
} place;

static void start(model *m)
{
    memset(m, 0, sizeof *m);
    memset(m->after_byte, 1, sizeof m->after_byte);
    memset(m->after_more, 1, sizeof m->after_more);
    for (uint32_t i = 0; i < 1024; i++) m->rate[i] = (uint16_t)(65536 / (i + 2));
    for (size_t i = 0; i < CONTEXTS; i++) m->context[i] = CERTAIN / 2 << 10;
    for (size_t i = 0; i < WEIGHTS; i++)
        for (size_t j = 0; j < INPUTS; j++) m->weight[i][j] = WEIGHT;
    sqz_fill_stretched(m->stretched);
}

static uint32_t byte_at(const place *p, size_t at)
{
    return at < BEFORE ? (uint8_t)primer[at] : p->text[at - BEFORE];
}

/* The history of a node after the bytes that `bytes` stands for. Two may share one. */
static inline uint32_t history_of(uint32_t bytes, uint32_t node)
{
    const uint32_t hash = (bytes + 1) * UINT32_C(0x9E3779B1) + node * UINT32_C(0x85EBCA6B);
    return (hash ^ hash >> 16) * UINT32_C(0xC2B2AE35) >> (32 - HASH_BITS);
}

/* Code one byte. If there is no coder, only learn from it. */
INLINE uint32_t code_byte(coder *c, model *m, const place *p, uint32_t byte, direction way)
{
    const uint32_t promised = p->length > 0 ? byte_at(p, p->match) | 256 : 0;
    uint32_t node = 1;
    for (unsigned left = 8; left-- > 0;) {
        const uint32_t pair = (p->last << 8 | node) & ((1 << BYTE_BITS) - 1);
        uint8_t *history[HISTORIES] = {m->after_byte + pair, m->after_more[0] + history_of(p->last & 0xFFFF, node),
                                       m->after_more[1] + history_of(p->word, node)};
        uint32_t *context[INPUTS], known = 0;
        int32_t input[INPUTS];
        UNROLL
        for (size_t i = 0; i < HISTORIES; i++) {
            context[i] = m->context + HISTORY_AT + 256 * i + *history[i];
            known += *history[i] > 1;
        }
        const uint32_t matches = promised >> (left + 1) == node, expected = promised >> left & 1;
        context[3] = m->context + NODE_AT + node;
        context[4] = m->context + BYTE_AT + pair;
        context[5] = m->context + MATCH_AT + (matches ? p->length : 0);
        UNROLL
        for (size_t i = 0; i < INPUTS; i++) input[i] = m->stretched[*context[i] >> 20];
        input[5] = matches ? (expected ? input[5] : -input[5]) : 0;

        int32_t *first = m->weight[node];
        int32_t *second = m->weight[NODES + MATCHES * known + (matches ? 1 + p->length / 4 : 0)];
        int64_t sum = 0;
        UNROLL
        for (size_t i = 0; i < INPUTS; i++) sum += (int64_t)(first[i] + second[i]) * input[i];
        sum >>= 16;
        const uint32_t ones = sqz_squash(sum);
        uint32_t bit = byte >> left & 1;
        if (c != NULL) bit = split(c, ones < 32 ? 32 : ones > 65504 ? 65504 : ones, bit, way);

        const int32_t error = (int32_t)(bit << 16) - (int32_t)ones;
        UNROLL
        for (size_t i = 0; i < INPUTS; i++) {
            const int32_t step = (input[i] * error + 32768) >> 16;
            first[i] += step; /* in a text of 2^22 bytes at most, no weight reaches 2^28 */
            second[i] += step;
        }
        UNROLL
        for (size_t i = 0; i < 5; i++) learn(m->rate, context[i], bit);
        if (matches) learn(m->rate, context[5], bit == expected);
        UNROLL
        for (size_t i = 0; i < HISTORIES; i++) {
            const uint32_t longer = (uint32_t)*history[i] << 1 | bit;
            *history[i] = (uint8_t)(longer < 256 ? longer : (longer & 127) | 128);
        }
        node = node << 1 | bit;
    }
    return node & 255;
}

/* Find the newest earlier place with the same bytes as the end of the text so far. */
static void find_match(model *m, place *p)
{
    uint32_t *recent = m->recent + ((p->last & 0xFFFFFF) * UINT32_C(0x9E3779B1) >> (32 - RECENT_BITS));
    const size_t from = *recent;
    if (p->length == 0) {
        size_t length = 0;
        while (length < MOST && length < from && byte_at(p, from - 1 - length) == byte_at(p, p->at - 1 - length))
            length++;
        if (length >= LEAST) {
            p->length = length;
            p->match = from;
        }
    }
    *recent = (uint32_t)p->at;
}

/* Go on to the next byte. */
INLINE void advance(model *m, place *p, uint32_t byte)
{
    const uint32_t lower = byte >= 'A' && byte <= 'Z' ? byte + 32 : byte;
    const int letter = (lower >= 'a' && lower <= 'z') || lower > 127;
    if (p->length > 0 && byte_at(p, p->match) == byte) {
        p->match++;
        if (p->length < MOST) p->length++;
    } else
        p->length = 0;
    p->last = p->last << 8 | byte;
    p->word = letter ? (p->word + lower) * UINT32_C(0x2F0B4C47) : 0;
    p->at++;
    if (p->at >= LEAST) find_match(m, p);
}

/* Decode or encode a text. Returns SQZ_OK or SQZ_TRUNCATED. */
INLINE int walk(coder *c, model *m, const uint8_t *given, uint8_t *found, size_t length, direction way)
{
    place p = {way == READ ? found : given, 0, 0, 0, 0, 0};
    start(m);
    while (p.at < BEFORE + length) {
        const int learned = p.at < BEFORE; /* only */
        uint32_t byte = learned ? (uint8_t)primer[p.at] : way == WRITE ? given[p.at - BEFORE] : 0;
        byte = code_byte(learned ? NULL : c, m, &p, byte, way);
        if (way == READ && !learned) {
            if (c->at > c->end + 3) return SQZ_TRUNCATED;
            found[p.at - BEFORE] = (uint8_t)byte;
        }
        advance(m, &p, byte);
    }
    return SQZ_OK;
}

size_t sqz_mixed_text_memory(void)
{
    return sizeof(model);
}

int sqz_mixed_text_decode(const uint8_t *bytes, size_t size, uint8_t *text, size_t length, void *memory)
{
    coder c = reader(bytes, size);
    const int status = walk(&c, memory, NULL, text, length, READ);
    return status == SQZ_OK ? end_of_reading(&c) : status;
}

SMALL int sqz_mixed_text_encode(const uint8_t *text, size_t length, uint8_t *bytes, size_t *size, void *memory)
{
    coder c = writer(bytes, *size);
    walk(&c, memory, text, NULL, length, WRITE);
    const size_t needed = end_of_writing(&c);
    if (bytes != NULL && needed > *size) return SQZ_NO_ROOM;
    *size = needed;
    return SQZ_OK;
}
