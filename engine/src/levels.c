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
    SIZE_AT = SIGN_AT + SIGNS,       /* for each number of bits n after the leading 1: */
    OF_A_SIZE = NEIGHBOURS + DIGITS, /* whether there are more than n; the tree of the first four of n bits */
    WEIGHT_LENGTHS = 7,              /* weights of integer networks are below 2^7 */
    FEATURES = 7,                    /* of the prediction of a sign */
    POSITIONS = 64,                  /* kernel positions with factors of their own */
    STRIP = 8                        /* cells (weights of one output) that are updated at once */
};
#define SURE 12u /* observations that an initial guess counts as */
#define LARGEST_FACTOR (1 << 19)

/* The state between two outputs. What the pointers point to lies after it. */
typedef struct {
    coder c;
    sqz_shape shape;
    uint32_t output;  /* the next one */
    unsigned lengths; /* most bits of a magnitude after its leading 1: LENGTHS, or WEIGHT_LENGTHS to save memory */
    uint64_t kept;
    uint32_t *context;     /* probability of a 1 in the upper 22 bits, observations in the lower 10 */
    int32_t *factor;       /* (positions, FEATURES), for at most POSITIONS positions */
    uint16_t *fast, *slow; /* mean signs of each input and position */
    uint16_t *column;      /* densities of inputs */
} model;

/* 2^16 / (n + 2) */

#define R1(n) 65536 / ((n) + 2),
#define R4(n) R1(n) R1(n + 1) R1(n + 2) R1(n + 3)
#define R16(n) R4(n) R4(n + 4) R4(n + 8) R4(n + 12)
#define R64(n) R16(n) R16(n + 16) R16(n + 32) R16(n + 48)
#define R256(n) R64(n) R64(n + 64) R64(n + 128) R64(n + 192)
static const uint16_t rate[SQZ_LARGEST_KERNEL + 2] = {R256(0) R256(256) R256(512) R256(768) R1(1024) R1(1025)};

/* The class of each density, in steps of 32: 0 to 3, then four in each octave. Class i begins at bound(i). */
#define T1(i) i,
#define T2(i) T1(i) T1(i)
#define T4(i) T2(i) T2(i)
#define T8(i) T4(i) T4(i)
#define T16(i) T8(i) T8(i)
#define T32(i) T16(i) T16(i)
#define T64(i) T32(i) T32(i)
#define OCTAVE(T, i) T(i) T(i + 1) T(i + 2) T(i + 3)
static const uint8_t class_of[(ONE >> 5) + 1] = {OCTAVE(T1, 0) OCTAVE(T1, 4) OCTAVE(T2, 8) OCTAVE(T4, 12) OCTAVE(T8, 16)
                                                     OCTAVE(T16, 20) OCTAVE(T32, 24) OCTAVE(T64, 28) T1(32)};

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

static size_t context_count(unsigned lengths)
{
    return SIZE_AT + ((size_t)lengths + 1) * OF_A_SIZE;
}

static size_t kernel_positions(sqz_shape shape)
{
    return (size_t)shape.height * shape.width;
}

static size_t factor_count(sqz_shape shape)
{
    return FEATURES * (kernel_positions(shape) < POSITIONS ? kernel_positions(shape) : POSITIONS);
}

static size_t memory_of(sqz_shape shape, unsigned lengths)
{
    return sizeof(model) + (context_count(lengths) + factor_count(shape)) * sizeof(uint32_t) +
           shape.inputs * (2 * kernel_positions(shape) + 1) * sizeof(uint16_t);
}

/* The state before the first output. */
static model *start(void *memory, coder c, sqz_shape shape, unsigned lengths)
{
    model *m = memory;
    const size_t cells = shape.inputs * kernel_positions(shape), factors = factor_count(shape);
    m->c = c;
    m->shape = shape;
    m->output = 0;
    m->lengths = lengths;
    m->kept = 0;
    m->context = (uint32_t *)(void *)(m + 1);
    m->factor = (int32_t *)(void *)(m->context + context_count(lengths));
    m->fast = (uint16_t *)(void *)(m->factor + factors);
    m->slow = m->fast + cells;
    m->column = m->slow + cells;
    for (size_t i = 0; i < context_count(lengths); i++) m->context[i] = CERTAIN / 2 << 10;
    for (uint32_t i = 0; i < DENSITIES; i++) {
        uint32_t guess = (bound(i) + bound(i + 1)) << 12;
        if (guess > CERTAIN - CERTAIN / 64) guess = CERTAIN - CERTAIN / 64;
        for (uint32_t j = 0; j < 4; j++) m->context[ZERO_AT + 4 * i + j] = guess << 10 | SURE;
    }
    for (uint32_t i = 0; i < SIGNS; i++)
        m->context[SIGN_AT + i] = (CERTAIN / 32 + i * (CERTAIN * 15 / 16 / SIGNS)) << 10 | SURE;
    for (uint32_t n = 0; n <= lengths; n++)
        for (uint32_t i = 2; i < DIGITS; i++)
            m->context[SIZE_AT + n * OF_A_SIZE + NEIGHBOURS + i] |= 16 * (length(i) - 1);
    for (size_t i = 0; i < factors; i++) m->factor[i] = i % FEATURES > 0 ? -10000 : 0;
    for (size_t i = 0; i < 2 * cells; i++) m->fast[i] = ONE / 2;
    return m;
}

/* The same with branches, which cost nothing where the processor predicts the bit. */
INLINE int code_likely(coder *c, uint32_t *context, int bit, direction way)
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
    bit = code(c, rate, m->context + SIGN_AT + forecast, bit, way);
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
    uint32_t *size = m->context + SIZE_AT, prefix = 1;
    for (; digits < m->lengths && code_likely(c, size + neighbours, digits < last, way); digits++) size += OF_A_SIZE;
    uint32_t *tree = size + NEIGHBOURS;
    unsigned left = digits;
    for (; left > 0 && prefix < DIGITS; left--)
        prefix = prefix << 1 | code(c, rate, tree + prefix, value >> (left - 1) & 1, way);
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

/* Decode or encode the levels of the next outputs. Returns SQZ_OK or SQZ_TRUNCATED. `positions`: height * width, a
 * constant if 1. */
INLINE int walk(model *m, const int32_t *given, int32_t *found, uint32_t outputs, size_t positions, direction way)
{
    const size_t inputs = m->shape.inputs, width = m->shape.width;
    uint16_t *fast = m->fast, *slow = m->slow, *column = m->column;
    const int32_t *levels = way == READ ? found : given;
    uint64_t kept = m->kept;
    coder c = m->c; /* a copy can stay in registers */
    const uint32_t first = m->output;
    for (size_t output = first, at = 0; output < first + outputs; output++) {
        const uint64_t seen = (uint64_t)output * inputs * positions;
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
                const size_t class = 4u * class_of[density >> 5] + (k > 0 ? 1u + (left != 0) + (above != 0) : 0u);
                int32_t level = way == WRITE ? given[at] : 0;
                if (code_likely(&c, m->context + ZERO_AT + class, level != 0, way)) {
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
                    int32_t *factor = m->factor + FEATURES * (k < POSITIONS ? k : POSITIONS - 1);
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
        const int32_t *coded = levels + (output - first) * inputs * positions;
        learn_signs(fast, slow, coded, inputs * positions, rate[output < 3 ? output : 3],
                    rate[output < 64 ? output : 64]);
        if (positions == 1) learn_densities(column, coded, inputs, column_rate);
    }
    m->c = c;
    m->kept = kept;
    m->output += outputs;
    return SQZ_OK;
}

/* Encode the next outputs. One function for all callers: the loop is large. */
SMALL static void encode(model *m, const int32_t *levels, uint32_t outputs)
{
    walk(m, levels, NULL, outputs, kernel_positions(m->shape), WRITE);
}

size_t sqz_levels_memory(sqz_shape shape)
{
    return memory_of(shape, LENGTHS);
}

size_t sqz_levels_small_memory(sqz_shape shape)
{
    return memory_of(shape, WEIGHT_LENGTHS);
}

static int fits(sqz_shape shape)
{
    return (uint64_t)shape.height * shape.width <= SQZ_LARGEST_KERNEL;
}

void sqz_levels_open(const uint8_t *bytes, size_t size, sqz_shape shape, void *memory)
{
    start(memory, reader(bytes, size), shape, WEIGHT_LENGTHS);
}

int sqz_levels_next(int32_t *levels, uint32_t outputs, void *memory)
{
    model *m = memory;
    const size_t positions = kernel_positions(m->shape);
    if (m->c.end == 0) {
        memset(levels, 0, outputs * m->shape.inputs * positions * sizeof *levels);
        return SQZ_OK;
    }
#ifndef __OPTIMIZE_SIZE__ /* a second copy of the loop, in which the number of positions is a constant */
    if (positions == 1) return walk(m, NULL, levels, outputs, 1, READ);
#endif
    return walk(m, NULL, levels, outputs, positions, READ);
}

int sqz_levels_decode(const uint8_t *bytes, size_t size, int32_t *levels, sqz_shape shape, void *memory)
{
    if (!fits(shape)) return SQZ_TOO_LARGE;
    const model *m = start(memory, reader(bytes, size), shape, LENGTHS);
    const int status = sqz_levels_next(levels, shape.outputs, memory);
    return status != SQZ_OK || size == 0 ? status : end_of_reading(&m->c);
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
        model *m = start(memory, c, shape, LENGTHS);
        encode(m, levels, shape.outputs);
        c = m->c;
        end_of_writing(&c);
    }
    if (bytes != NULL && c.at > *size) return SQZ_NO_ROOM;
    *size = c.at;
    return SQZ_OK;
}

SMALL void sqz_levels_create(uint8_t *bytes, size_t room, sqz_shape shape, void *memory)
{
    start(memory, writer(bytes, room), shape, WEIGHT_LENGTHS);
}

SMALL int sqz_levels_put(const int32_t *levels, uint32_t outputs, void *memory, size_t *settled)
{
    model *m = memory;
    encode(m, levels, outputs);
    if (m->c.at > m->c.end) return SQZ_NO_ROOM;
    size_t count = m->c.at;
    while (count > 0 && m->c.out[count - 1] == 255) count--; /* a carry goes through these, */
    *settled = count > 0 ? count - 1 : 0;                    /* to the byte before them */
    return SQZ_OK;
}

SMALL void sqz_levels_take_away(size_t count, void *memory)
{
    coder *c = &((model *)memory)->c;
    memmove(c->out, c->out + count, c->at - count);
    c->at -= count;
}

SMALL int sqz_levels_close(void *memory, size_t *settled)
{
    coder *c = &((model *)memory)->c;
    *settled = end_of_writing(c);
    return *settled > c->end ? SQZ_NO_ROOM : SQZ_OK;
}
