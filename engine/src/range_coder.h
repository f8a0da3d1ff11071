/* The range coder and its contexts (docs/FORMAT.md, "Level streams"). Level streams and texts use them.
 *
 * Reading and writing are one function, so that they cannot differ. */
#ifndef SQZ_RANGE_CODER_H
#define SQZ_RANGE_CODER_H

#include <stddef.h>
#include <stdint.h>

#include "sqz.h" /* SQZ_OK, SQZ_TRUNCATED, SQZ_TRAILING */

#define CERTAIN (UINT32_C(1) << 22) /* a probability of 1 */

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define SMALL __attribute__((cold)) /* compiled to be small: no device encodes streams */
#else
#define INLINE static inline
#define SMALL
#endif

typedef struct {
    uint32_t low, range; /* the interval; while decoding, `low` is the code minus the start of the interval */
    size_t at, end;
    const uint8_t *in;
    uint8_t *out;
} coder;

typedef enum { READ, WRITE } direction;

INLINE void shift(coder *c, direction way)
{
    while (c->range < UINT32_C(1) << 24) {
        c->range <<= 8;
        if (way == READ)
            c->low = c->low << 8 | (c->at < c->end ? c->in[c->at] : 0u);
        else {
            if (c->out != NULL && c->at < c->end) c->out[c->at] = (uint8_t)(c->low >> 24);
            c->low <<= 8;
        }
        c->at++;
    }
}

static inline void forward(coder *c, uint32_t step)
{
    c->low += step;
    if (c->low < step && c->out != NULL) /* carry */
        for (size_t i = c->at < c->end ? c->at : c->end; i > 0 && ++c->out[i - 1] == 0;) i--;
}

/* Code one bit whose probability to be 1 is `ones` / 2^16. Masks instead of branches: for bits that a processor cannot
 * predict. */
INLINE uint32_t split(coder *c, uint32_t ones, uint32_t bit, direction way)
{
    const uint32_t step = (c->range >> 16) * ones, rest = c->range - step;
    if (way == READ) bit = c->low < step;
    const uint32_t one = 0u - bit;
    if (way == READ)
        c->low -= step & ~one;
    else if (!bit)
        forward(c, step);
    c->range = (step & one) | (rest & ~one);
    shift(c, way);
    return bit;
}

static inline uint32_t chance(uint32_t context)
{
    const uint32_t ones = context >> 16;
    if (ones - 32 <= 65504 - 32) return ones; /* nearly always: the branch is predicted */
    return ones < 32 ? 32 : 65504;
}

/* Update a context after a bit; by masks, like `split`. `rate`: 2^16 / (n + 2). */
INLINE void learn(const uint16_t *rate, uint32_t *context, uint32_t bit)
{
    const uint32_t state = *context, ones = state >> 10, seen = state & 1023;
    const uint32_t one = 0u - bit, distance = (ones & ~one) + ((CERTAIN - ones) & one);
    const uint32_t moved = (uint32_t)((uint64_t)distance * rate[seen] >> 16);
    *context = state + (((moved ^ ~one) - ~one) << 10) + (seen < 1023);
}

/* Code one bit in its context, and update the context. */
INLINE uint32_t code(coder *c, const uint16_t *rate, uint32_t *context, uint32_t bit, direction way)
{
    bit = split(c, chance(*context), bit, way);
    learn(rate, context, bit);
    return bit;
}

/* Begin to read `size` bytes. */
static inline coder reader(const uint8_t *bytes, size_t size)
{
    coder c = {0, UINT32_MAX, 0, size, bytes, NULL};
    for (; c.at < 4; c.at++) c.low = c.low << 8 | (c.at < size ? bytes[c.at] : 0u);
    return c;
}

/* Begin to write to `bytes`, which has room for `size`; if it is NULL, only count. */
static inline coder writer(uint8_t *bytes, size_t size)
{
    const coder c = {0, UINT32_MAX, 0, size, NULL, bytes};
    return c;
}

/* After the last bit: whether the reader has taken all bytes and the three zeros after them. */
static inline int end_of_reading(const coder *c)
{
    return c->at == c->end + 3 ? SQZ_OK : c->at > c->end + 3 ? SQZ_TRUNCATED : SQZ_TRAILING;
}

/* Write the last byte. Returns the bytes of the stream. */
static inline size_t end_of_writing(coder *c)
{
    forward(c, (0u - c->low) & 0xFFFFFF); /* to a multiple of 2^24, whose lower bytes need not be stored */
    if (c->out != NULL && c->at < c->end) c->out[c->at] = (uint8_t)(c->low >> 24);
    return ++c->at;
}

#endif
