/* The probability model and the range coder of level streams. docs/FORMAT.md defines both, with the same names.
 *
 * `squeezenet/sqz/levels_reference.py` does the same in Python, slowly and plainly; tests compare the streams. Decoding
 * and encoding are one function (`walk`), so that they cannot differ. */
#include "levels.h"

#include <string.h>

#include "range_coder.h"

enum {
    ONE = 1 << 14,   /* a density of 1, or the mean of signs that are all positive */
    DENSITIES = 33,  /* classes of densities */
    SIGNS = 64,      /* contexts of signs */
    LENGTHS = 20,    /* most bits of a magnitude after its leading 1 */
    NEIGHBOURS = 22, /* number of bit lengths that the mean magnitude of two neighbours can have */
    DIGITS = 16,     /* nodes of the binary tree of the four bits after the leading 1 of a magnitude */
    ZERO_AT = 0,
    SIGN_AT = ZERO_AT + 4 * DENSITIES,
    LENGTH_AT = SIGN_AT + SIGNS,
    DIGIT_AT = LENGTH_AT + NEIGHBOURS * LENGTHS,
    CONTEXTS = DIGIT_AT + (LENGTHS + 1) * DIGITS,
    FEATURES = 7,   /* of the prediction of a sign */
    POSITIONS = 64, /* kernel positions with factors of their own */
    STRIP = 8       /* cells (weights of one output) that are updated at once */
};
#define SURE 12u /* observations that an initial guess counts as */
#define LARGEST_FACTOR (1 << 19)

typedef struct {
    uint32_t context[CONTEXTS]; /* probability of a 1 in the upper 22 bits, observations in the lower 10 */
    int32_t factor[POSITIONS][FEATURES];
    uint16_t rate[SQZ_LARGEST_KERNEL + 2]; /* 2^16 / (n + 2) */
    uint8_t class[(ONE >> 5) + 1];         /* class of each density, in steps of 32 */
} model;

#if defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 7")
#else
#define UNROLL
#endif

static inline unsigned length(uint32_t value)
{
#if defined(__GNUC__)
    return value > 0 ? 32u - (unsigned)__builtin_clz(value) : 0;
#else
    unsigned bits = 0;
    for (; value > 0; value >>= 1) bits++;
    return bits;
#endif
}

/* Lower bound of the i-th class of densities, in steps of 32: 0 to 3, then four in each octave (4, 5, 6, 7, 8, 10). */
static uint32_t bound(uint32_t i)
{
    return i < 4 ? i : (4 + (i & 3)) << (i / 4 - 1);
}

static inline uint32_t magnitude(int32_t level)
{
    return level < 0 ? 0u - (uint32_t)level : (uint32_t)level;
}

static inline int32_t sign(int32_t level)
{
    return (level > 0) - (level < 0);
}

static void start(model *m)
{
    for (uint32_t i = 0; i < SQZ_LARGEST_KERNEL + 2; i++) m->rate[i] = (uint16_t)(65536 / (i + 2));
    for (size_t i = 0; i < CONTEXTS; i++) m->context[i] = CERTAIN / 2 << 10;
    for (uint32_t i = 0, found = 0; i <= ONE >> 5; i++) {
        if (i >= bound(found + 1)) found++;
        m->class[i] = (uint8_t)found;
    }
    for (uint32_t i = 0; i < DENSITIES; i++) {
        uint32_t guess = (bound(i) + bound(i + 1)) << 12;
        if (guess > CERTAIN - CERTAIN / 64) guess = CERTAIN - CERTAIN / 64;
        for (uint32_t j = 0; j < 4; j++) m->context[ZERO_AT + 4 * i + j] = guess << 10 | SURE;
    }
    for (uint32_t i = 0; i < SIGNS; i++)
        m->context[SIGN_AT + i] = (CERTAIN / 32 + i * (CERTAIN * 15 / 16 / SIGNS)) << 10 | SURE;
    for (uint32_t i = 0; i < (LENGTHS + 1) * DIGITS; i++)
        if (i % DIGITS > 1) m->context[DIGIT_AT + i] |= 16 * (length(i % DIGITS) - 1);
    for (size_t i = 0; i < POSITIONS; i++)
        for (size_t j = 0; j < FEATURES; j++) m->factor[i][j] = j > 0 ? -10000 : 0;
}

/* The same with branches, which cost nothing where the processor predicts the bit. */
INLINE int code_likely(coder *c, const uint16_t *rate, uint32_t *context, int bit, direction way)
{
    const uint32_t state = *context, ones = state >> 10, seen = state & 1023;
    const uint32_t step = (c->range >> 16) * chance(state), next = state + (seen < 1023);
    if (way == READ) bit = c->low < step;
    if (bit) {
        c->range = step;
        *context = next + ((uint32_t)((uint64_t)(CERTAIN - ones) * rate[seen] >> 16) << 10);
    } else {
        if (way == READ)
            c->low -= step;
        else
            forward(c, step);
        c->range -= step;
        *context = next - ((uint32_t)((uint64_t)ones * rate[seen] >> 16) << 10);
    }
    shift(c, way);
    return bit;
}

/* Code the sign of a level other than 0 (1: negative). A linear prediction with learned factors selects the context. */
INLINE uint32_t code_sign(coder *c, model *m, const int32_t *feature, size_t features, int32_t *factor, uint32_t bit,
                          direction way)
{
    int32_t sum = 0;
    UNROLL
    for (size_t i = 0; i < features; i++) sum += factor[i] * feature[i];
    const uint32_t forecast = sum < -(1 << 27) ? 0 : sum >= 1 << 27 ? SIGNS - 1 : (uint32_t)(sum + (1 << 27)) >> 22;
    const int32_t expected = (int32_t)chance(m->context[SIGN_AT + forecast]);
    bit = code(c, m->rate, m->context + SIGN_AT + forecast, bit, way);
    const int32_t error = (int32_t)(bit << 16) - expected;
    UNROLL
    for (size_t i = 0; i < features; i++) { /* 2^26 is added so that >> 13 rounds down below 0, too */
        const int32_t next = factor[i] + (int32_t)((uint32_t)(error * feature[i] + (1 << 26)) >> 13) - (1 << 13);
        factor[i] = next > LARGEST_FACTOR ? LARGEST_FACTOR : next < -LARGEST_FACTOR ? -LARGEST_FACTOR : next;
    }
    return bit;
}

/* Code a magnitude of at least 1: how many bits it has, then the bits after the first. */
INLINE uint32_t code_magnitude(coder *c, model *m, unsigned neighbours, uint32_t value, direction way)
{
    unsigned digits = 0, last = way == READ ? LENGTHS : length(value) - 1;
    uint32_t *lengths = m->context + LENGTH_AT + neighbours * LENGTHS, prefix = 1;
    while (digits < LENGTHS && code_likely(c, m->rate, lengths + digits, digits < last, way)) digits++;
    uint32_t *tree = m->context + DIGIT_AT + digits * DIGITS;
    unsigned left = digits;
    for (; left > 0 && prefix < DIGITS; left--)
        prefix = prefix << 1 | code(c, m->rate, tree + prefix, value >> (left - 1) & 1, way);
    for (; left > 0; left--) prefix = prefix << 1 | split(c, 32768, value >> (left - 1) & 1, way);
    return prefix;
}

/* Move `value` towards `target`, both at most ONE. In 16 bits: a vector register holds more of them. */
static inline uint16_t towards(uint16_t value, int16_t target, uint16_t rate)
{
    const int16_t up = (int16_t)(target - (int16_t)value), down = (int16_t)-up;
    const uint16_t distance = (uint16_t)(up > down ? up : down);
    const uint16_t moved = (uint16_t)((uint32_t)distance * rate >> 16);
    return (uint16_t)(value + (up < 0 ? -moved : moved));
}

/* Update the mean signs with the levels of one output. */
INLINE void learn_some_signs(uint16_t *restrict fast, uint16_t *restrict slow, const int32_t *restrict levels,
                             size_t cells, uint16_t fast_rate, uint16_t slow_rate)
{
    for (size_t i = 0; i < cells; i++) {
        const int16_t target = (int16_t)(ONE / 2 + (levels[i] > 0 ? ONE / 2 : 0) - (levels[i] < 0 ? ONE / 2 : 0));
        fast[i] = towards(fast[i], target, fast_rate);
        slow[i] = towards(slow[i], target, slow_rate);
    }
}

static void learn_signs(uint16_t *fast, uint16_t *slow, const int32_t *levels, size_t cells, uint16_t fast_rate,
                        uint16_t slow_rate)
{
    size_t i = 0;
    for (; i + STRIP <= cells; i += STRIP)
        learn_some_signs(fast + i, slow + i, levels + i, STRIP, fast_rate, slow_rate);
    learn_some_signs(fast + i, slow + i, levels + i, cells - i, fast_rate, slow_rate);
}

/* The same for the densities of inputs, where kernels have one position. */
INLINE void learn_some_densities(uint16_t *restrict column, const int32_t *restrict levels, size_t inputs,
                                 uint16_t rate)
{
    for (size_t i = 0; i < inputs; i++) column[i] = towards(column[i], levels[i] != 0 ? ONE : 0, rate);
}

static void learn_densities(uint16_t *column, const int32_t *levels, size_t inputs, uint16_t rate)
{
    size_t i = 0;
    for (; i + STRIP <= inputs; i += STRIP) learn_some_densities(column + i, levels + i, STRIP, rate);
    learn_some_densities(column + i, levels + i, inputs - i, rate);
}

/* Decode or encode all levels. Returns SQZ_OK or SQZ_TRUNCATED. `positions`: height * width, a constant if 1. */
INLINE int walk(coder *given_coder, model *m, const int32_t *given, int32_t *found, sqz_shape shape, size_t positions,
                direction way)
{
    const size_t inputs = shape.inputs, width = shape.width;
    uint16_t *fast = (uint16_t *)(m + 1), *slow = fast + inputs * positions, *column = slow + inputs * positions;
    const int32_t *levels = way == READ ? found : given;
    const uint16_t *rate = m->rate;
    uint64_t kept = 0, seen = 0;
    coder c = *given_coder; /* a copy can stay in registers */
    start(m);
    for (size_t i = 0; i < 2 * inputs * positions; i++) fast[i] = ONE / 2;
    for (size_t output = 0, at = 0; output < shape.outputs; output++) {
        uint32_t row = (uint32_t)((kept + 1) * ONE / (seen + 2)), row_seen = 7;
        const size_t column_seen = output < 64 ? output * positions + 3 : 64;
        const uint16_t column_rate = rate[column_seen < 64 ? column_seen : 64];
        for (size_t input = 0, cell = 0; input < inputs; input++) {
            uint32_t mean = output > 0 ? column[input] : row, kernel = 0;
            int32_t signs = 0;
            for (size_t k = 0, x = 0, y = 0; k < positions; k++, at++, cell++) {
                const int32_t left = x > 0 ? levels[at - 1] : 0, above = y > 0 ? levels[at - width] : 0;
                /* At most (4 + k) ONE x 65536 / (k + 4): fits 32 bits. */
                const uint32_t density = (2 * (mean + row) + kernel * ONE) * rate[k + 2] >> 16;
                const size_t class = 4u * m->class[density >> 5] + (k > 0 ? 1u + (left != 0) + (above != 0) : 0u);
                int32_t level = way == WRITE ? given[at] : 0;
                if (code_likely(&c, rate, m->context + ZERO_AT + class, level != 0, way)) {
                    int32_t feature[FEATURES];
                    const int32_t before = x > 0 && y > 0 ? levels[at - width - 1] : 0;
                    const int32_t after = y > 0 && x + 1 < width ? levels[at - width + 1] : 0;
                    feature[0] = 256;
                    feature[1] = (int32_t)(fast[cell] >> 5) - 256;
                    feature[2] = (int32_t)(slow[cell] >> 4) - 512;
                    feature[3] = 256 * sign(left);
                    feature[4] = 256 * sign(above);
                    feature[5] = 128 * (sign(before) + sign(after));
                    feature[6] = 256 * sign(signs);
                    int32_t *factor = m->factor[k < POSITIONS ? k : POSITIONS - 1];
                    const uint32_t negative = code_sign(&c, m, feature, positions > 1 ? 7 : 3, factor, level < 0, way);
                    const unsigned neighbours = length((magnitude(left) + magnitude(above)) >> 1);
                    const int32_t size = (int32_t)code_magnitude(&c, m, neighbours, magnitude(level), way);
                    level = (size ^ -(int32_t)negative) + (int32_t)negative;
                    kernel++;
                    signs += 1 - 2 * (int32_t)negative;
                    row += (ONE - row) * rate[row_seen] >> 16;
                    if (positions > 1) mean += (ONE - mean) * column_rate >> 16;
                } else {
                    row -= row * rate[row_seen] >> 16;
                    if (positions > 1) mean -= mean * column_rate >> 16;
                }
                if (way == READ) found[at] = level;
                if (row_seen < 128) row_seen++;
                if (++x == width) x = 0, y++;
            }
            if (way == READ && c.at > c.end + 3) return SQZ_TRUNCATED;
            if (positions > 1 || output == 0) column[input] = (uint16_t)mean;
            kept += kernel;
        }
        seen += (uint64_t)inputs * positions;
        const int32_t *coded = levels + output * inputs * positions;
        learn_signs(fast, slow, coded, inputs * positions, rate[output < 3 ? output : 3],
                    rate[output < 64 ? output : 64]);
        if (positions == 1) learn_densities(column, coded, inputs, column_rate);
    }
    *given_coder = c;
    return SQZ_OK;
}

size_t sqz_levels_memory(sqz_shape shape)
{
    return sizeof(model) + (size_t)shape.inputs * (4 * (size_t)shape.height * shape.width + 2);
}

static int fits(sqz_shape shape)
{
    return (uint64_t)shape.height * shape.width <= SQZ_LARGEST_KERNEL;
}

int sqz_levels_decode(const uint8_t *bytes, size_t size, int32_t *levels, sqz_shape shape, void *memory)
{
    const size_t total = (size_t)shape.outputs * shape.inputs * shape.height * shape.width;
    if (!fits(shape)) return SQZ_TOO_LARGE;
    if (size == 0) {
        memset(levels, 0, total * sizeof *levels);
        return SQZ_OK;
    }
    coder c = reader(bytes, size);
    const size_t positions = (size_t)shape.height * shape.width;
    const int status = positions == 1 ? walk(&c, memory, NULL, levels, shape, 1, READ)
                                      : walk(&c, memory, NULL, levels, shape, positions, READ);
    if (status != SQZ_OK) return status;
    return end_of_reading(&c);
}

SMALL int sqz_levels_encode(const int32_t *levels, sqz_shape shape, uint8_t *bytes, size_t *size, void *memory)
{
    const size_t total = (size_t)shape.outputs * shape.inputs * shape.height * shape.width;
    coder c = writer(bytes, *size);
    uint32_t largest = 0;
    if (!fits(shape)) return SQZ_TOO_LARGE;
    for (size_t i = 0; i < total; i++)
        if (magnitude(levels[i]) > largest) largest = magnitude(levels[i]);
    if (largest > SQZ_LARGEST_LEVEL) return SQZ_TOO_LARGE;
    if (largest > 0) {
        walk(&c, memory, levels, NULL, shape, (size_t)shape.height * shape.width, WRITE);
        end_of_writing(&c);
    }
    if (bytes != NULL && c.at > *size) return SQZ_NO_ROOM;
    *size = c.at;
    return SQZ_OK;
}
