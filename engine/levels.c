/* The model and the range coder of level streams; `levels.h` says how to call them.
 *
 * `squeezenet/sqz/levels_reference.py` is the same in Python, slow and easy to follow; tests hold both to the same
 * bytes. Reading and writing walk through the levels in one function, so that they cannot come to differ. */
#include "levels.h"

#include <string.h>

enum {
    ONE = 1 << 14, /* a density or a sign of 1 */
    DENSITIES = 33,
    SIGNS = 64,
    LENGTHS = 20,     /* flags of a magnitude's length: 2^20 has 21 bits */
    NEIGHBOURS = 22,  /* lengths that the mean magnitude of two neighbours may have */
    DIGITS = 16,      /* nodes of the tree of a magnitude's four digits after the first */
    ZERO_AT = 0,
    SIGN_AT = ZERO_AT + 4 * DENSITIES,
    LENGTH_AT = SIGN_AT + SIGNS,
    DIGIT_AT = LENGTH_AT + NEIGHBOURS * LENGTHS,
    CONTEXTS = DIGIT_AT + (LENGTHS + 1) * DIGITS,
    FEATURES = 7,
    PLACES = 64 /* places of a kernel that have factors of their own */
};
#define CERTAIN (UINT32_C(1) << 22) /* a probability of 1 */
#define SURE 12u                    /* observations that a first guess counts for */
#define LARGEST_FACTOR (1 << 19)

typedef struct {
    uint32_t context[CONTEXTS]; /* probability of a one in 22 bits, then observations in 10 */
    int32_t factor[PLACES][FEATURES];
    uint16_t rate[SQZ_LARGEST_KERNEL + 2]; /* 2^16 / (n + 2) */
    uint8_t class[(ONE >> 5) + 1];         /* of densities: 32 of them in a row are in one class */
} model;

typedef struct {
    uint32_t low, range; /* `low` is the code's distance from the interval's start where a stream is read */
    size_t at, end;
    const uint8_t *in;
    uint8_t *out;
} coder;

typedef enum { READ, WRITE } direction;

static inline unsigned length(uint32_t value)
{
    unsigned bits = 0;
    for (; value > 0; value >>= 1) bits++;
    return bits;
}

/* The `i`th of the bounds between densities: 0 to 4, then four to each power of two. */
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
    for (uint32_t i = 0, class = 0; i <= ONE >> 5; i++) {
        if (i >= bound(class + 1)) class++;
        m->class[i] = (uint8_t)class;
    }
    for (uint32_t i = 0; i < DENSITIES; i++) {
        uint32_t guess = (bound(i) + bound(i + 1)) << 12;
        if (guess > CERTAIN - CERTAIN / 64) guess = CERTAIN - CERTAIN / 64;
        for (uint32_t j = 0; j < 4; j++) m->context[ZERO_AT + 4 * i + j] = guess << 10 | SURE;
    }
    for (uint32_t i = 0; i < SIGNS; i++) m->context[SIGN_AT + i] = (CERTAIN / 32 + i * (CERTAIN * 15 / 16 / SIGNS)) << 10 | SURE;
    for (uint32_t i = 0; i < (LENGTHS + 1) * DIGITS; i++)
        if (i % DIGITS > 1) m->context[DIGIT_AT + i] |= 16 * (length(i % DIGITS) - 1);
    for (size_t i = 0; i < PLACES; i++)
        for (size_t j = 0; j < FEATURES; j++) m->factor[i][j] = j > 0 ? -10000 : 0;
}

static inline void shift(coder *c, direction way)
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

/* Read or write one bit whose probability to be a one is `ones` / 2^16. */
static inline int split(coder *c, uint32_t ones, int bit, direction way)
{
    uint32_t step = (c->range >> 16) * ones;
    if (way == READ) bit = c->low < step;
    if (bit)
        c->range = step;
    else {
        if (way == READ)
            c->low -= step;
        else
            forward(c, step);
        c->range -= step;
    }
    shift(c, way);
    return bit;
}

static inline uint32_t chance(uint32_t context)
{
    uint32_t ones = context >> 16;
    return ones < 32 ? 32 : ones > 65504 ? 65504 : ones;
}

/* Read or write one bit in its context, and learn from it. */
static inline int code(coder *c, model *m, size_t context, int bit, direction way)
{
    uint32_t state = m->context[context], ones = state >> 10, seen = state & 1023;
    bit = split(c, chance(state), bit, way);
    if (bit)
        ones += (uint32_t)((uint64_t)(CERTAIN - ones) * m->rate[seen] >> 16);
    else
        ones -= (uint32_t)((uint64_t)ones * m->rate[seen] >> 16);
    m->context[context] = ones << 10 | (seen < 1023 ? seen + 1 : seen);
    return bit;
}

static inline uint32_t towards(uint32_t value, uint32_t target, uint32_t rate)
{
    return target > value ? value + ((target - value) * rate >> 16) : value - ((value - target) * rate >> 16);
}

/* The sign of a level that is not 0: 1 if negative. A linear forecast, whose factors learn, chooses the context. */
static inline int code_sign(coder *c, model *m, const int32_t *feature, size_t features, int32_t *factor, int bit,
                            direction way)
{
    int32_t sum = 0;
    for (size_t i = 0; i < features; i++) sum += factor[i] * feature[i];
    uint32_t forecast = sum < -(1 << 27) ? 0 : sum >= 1 << 27 ? SIGNS - 1 : (uint32_t)(sum + (1 << 27)) >> 22;
    int32_t expected = (int32_t)chance(m->context[SIGN_AT + forecast]);
    bit = code(c, m, SIGN_AT + forecast, bit, way);
    int32_t error = (bit ? 65536 : 0) - expected;
    for (size_t i = 0; i < features; i++) { /* rounded down, by an addition that makes the shifted number positive */
        int32_t next = factor[i] + (int32_t)((uint32_t)(error * feature[i] + (1 << 26)) >> 13) - (1 << 13);
        factor[i] = next > LARGEST_FACTOR ? LARGEST_FACTOR : next < -LARGEST_FACTOR ? -LARGEST_FACTOR : next;
    }
    return bit;
}

/* A magnitude from 1: how many bits it has, then the bits after the first. */
static inline uint32_t code_magnitude(coder *c, model *m, unsigned neighbours, uint32_t value, direction way)
{
    unsigned digits = 0, last = way == READ ? LENGTHS : length(value) - 1;
    while (digits < LENGTHS && code(c, m, LENGTH_AT + neighbours * LENGTHS + digits, digits < last, way)) digits++;
    uint32_t prefix = 1;
    for (unsigned left = digits; left-- > 0;) {
        int bit = value >> left & 1;
        if (prefix < DIGITS)
            bit = code(c, m, DIGIT_AT + digits * DIGITS + prefix, bit, way);
        else
            bit = split(c, 32768, bit, way);
        prefix = prefix << 1 | (uint32_t)bit;
    }
    return prefix;
}

/* Read or write every level. Returns SQZ_OK or SQZ_TRUNCATED. */
static inline int walk(coder *c, model *m, const int32_t *given, int32_t *found, sqz_shape shape, direction way)
{
    const size_t inputs = shape.inputs, width = shape.width, places = (size_t)shape.height * width;
    uint16_t *fast = (uint16_t *)(m + 1), *slow = fast + inputs * places, *column = slow + inputs * places;
    const int32_t *levels = way == READ ? found : given;
    uint64_t kept = 0, seen = 0;
    start(m);
    for (size_t i = 0; i < 2 * inputs * places; i++) fast[i] = ONE / 2;
    for (size_t output = 0, at = 0; output < shape.outputs; output++) {
        uint32_t row = (uint32_t)((kept + 1) * ONE / (seen + 2)), row_seen = 7;
        const uint32_t fast_rate = m->rate[output < 3 ? output : 3], slow_rate = m->rate[output < 64 ? output : 64];
        const size_t column_seen = output < 64 ? output * places + 3 : 64;
        const uint32_t column_rate = m->rate[column_seen < 64 ? column_seen : 64];
        for (size_t input = 0, cell = 0; input < inputs; input++) {
            uint32_t mean = output > 0 ? column[input] : row, kernel = 0;
            int32_t signs = 0;
            for (size_t k = 0, x = 0, y = 0; k < places; k++, at++, cell++) {
                int32_t left = x > 0 ? levels[at - 1] : 0, above = y > 0 ? levels[at - width] : 0;
                uint32_t density = (uint32_t)((uint64_t)(2 * (mean + row) + kernel * ONE) * m->rate[k + 2] >> 16);
                size_t class = 4u * m->class[density >> 5] + (k > 0 ? 1u + (left != 0) + (above != 0) : 0u);
                int32_t level = way == WRITE ? given[at] : 0;
                int some = code(c, m, ZERO_AT + class, level != 0, way), negative = level < 0;
                if (some) {
                    int32_t feature[FEATURES];
                    int32_t before = x > 0 && y > 0 ? levels[at - width - 1] : 0;
                    int32_t after = y > 0 && x + 1 < width ? levels[at - width + 1] : 0;
                    feature[0] = 256;
                    feature[1] = (int32_t)(fast[cell] >> 5) - 256;
                    feature[2] = (int32_t)(slow[cell] >> 4) - 512;
                    feature[3] = 256 * sign(left);
                    feature[4] = 256 * sign(above);
                    feature[5] = 128 * (sign(before) + sign(after));
                    feature[6] = 256 * sign(signs);
                    int32_t *factor = m->factor[k < PLACES ? k : PLACES - 1];
                    negative = code_sign(c, m, feature, places > 1 ? 7 : 3, factor, negative, way);
                    unsigned neighbours = length((magnitude(left) + magnitude(above)) >> 1);
                    int32_t size = (int32_t)code_magnitude(c, m, neighbours, magnitude(level), way);
                    level = negative ? -size : size;
                    kernel++;
                    signs += negative ? -1 : 1;
                    kept++;
                }
                if (way == READ) {
                    if (c->at > c->end + 3) return SQZ_TRUNCATED;
                    found[at] = level;
                }
                row = towards(row, some ? ONE : 0, m->rate[row_seen]);
                if (row_seen < 128) row_seen++;
                mean = towards(mean, some ? ONE : 0, column_rate);
                uint32_t lean = some ? negative ? 0 : ONE : ONE / 2;
                fast[cell] = (uint16_t)towards(fast[cell], lean, fast_rate);
                slow[cell] = (uint16_t)towards(slow[cell], lean, slow_rate);
                if (++x == width) x = 0, y++;
            }
            column[input] = (uint16_t)mean;
        }
        seen += (uint64_t)inputs * places;
    }
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
    coder c = {0, UINT32_MAX, 0, size, bytes, NULL};
    if (!fits(shape)) return SQZ_TOO_LARGE;
    if (size == 0) {
        memset(levels, 0, total * sizeof *levels);
        return SQZ_OK;
    }
    for (; c.at < 4; c.at++) c.low = c.low << 8 | (c.at < size ? bytes[c.at] : 0u);
    int status = walk(&c, memory, NULL, levels, shape, READ);
    if (status != SQZ_OK) return status;
    return c.at == size + 3 ? SQZ_OK : c.at > size + 3 ? SQZ_TRUNCATED : SQZ_TRAILING;
}

int sqz_levels_encode(const int32_t *levels, sqz_shape shape, uint8_t *bytes, size_t *size, void *memory)
{
    const size_t total = (size_t)shape.outputs * shape.inputs * shape.height * shape.width;
    coder c = {0, UINT32_MAX, 0, *size, NULL, bytes};
    uint32_t largest = 0;
    if (!fits(shape)) return SQZ_TOO_LARGE;
    for (size_t i = 0; i < total; i++)
        if (magnitude(levels[i]) > largest) largest = magnitude(levels[i]);
    if (largest > SQZ_LARGEST_LEVEL) return SQZ_TOO_LARGE;
    if (largest > 0) {
        walk(&c, memory, levels, NULL, shape, WRITE);
        forward(&c, (0u - c.low) & 0xFFFFFF); /* to a multiple of 2^24, whose lower bytes need not be stored */
        if (bytes != NULL && c.at < c.end) bytes[c.at] = (uint8_t)(c.low >> 24);
        c.at++;
    }
    if (bytes != NULL && c.at > *size) return SQZ_NO_ROOM;
    *size = c.at;
    return SQZ_OK;
}
