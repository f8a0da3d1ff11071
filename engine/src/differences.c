/* How a delta codes levels (docs/FORMAT.md, "Deltas"). */
#include "differences.h"

#include <string.h>

#include "mixing.h"

enum {
    ONE = 1 << 14,    /* a density of 1, or the mean of signs that are all positive */
    MOST_LEVEL = 127, /* of a weight */
    FRESH = 6,        /* class of a magnitude where there is no old level */
    INPUTS = 6,       /* predictions of whether a level changes */
    MOST_WEIGHT = 1 << 20,
    AT_ROW = 63, /* the contexts of each prediction begin here */
    AT_COLUMN = AT_ROW + 165,
    AT_NEAR = AT_COLUMN + 165,
    AT_DENSITY = AT_NEAR + 40,
    AT_SIZE = AT_DENSITY + 320
};

static const uint32_t roots[8] = {32768, 35734, 38968, 42495, 46341, 50535, 55109, 60097}; /* 2^15 * 2^(i/8) */

static inline uint32_t magnitude(int32_t level)
{
    return level < 0 ? 0u - (uint32_t)level : (uint32_t)level;
}

static inline int32_t sign(int32_t level)
{
    return (level > 0) - (level < 0);
}

static inline uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline uint16_t towards(uint32_t value, uint32_t target, uint32_t rate)
{
    return (uint16_t)(target > value ? value + ((target - value) * rate >> 16)
                                     : value - ((value - target) * rate >> 16));
}

static unsigned bits_of(uint64_t value)
{
    unsigned bits = 0;
    for (; value > 0; value >>= 1) bits++;
    return bits;
}

static void fill(uint32_t *contexts, size_t count, uint32_t state)
{
    for (size_t i = 0; i < count; i++) contexts[i] = state;
}

static void fill_weights(int32_t *weights, size_t count, int32_t weight)
{
    for (size_t i = 0; i < count; i++) weights[i] = weight;
}

void sqz_differences_start(sqz_differences *m, int version)
{
    const uint32_t even = CERTAIN / 2 << 10;
    m->version = version;
    fill(m->changed, sizeof m->changed / sizeof *m->changed, CERTAIN / 16 << 10 | 3);
    fill(m->away, sizeof m->away / sizeof *m->away, even);
    fill(m->negative, sizeof m->negative / sizeof *m->negative, even);
    fill(&m->same_step, 1, even);
    fill(m->length[0], sizeof m->length / sizeof **m->length, even);
    fill(m->digit[0], sizeof m->digit / sizeof **m->digit, even);
    fill(m->sign, SQZ_NUMBERS, even);
    fill_weights(m->changed_weight[0], 25 * INPUTS, 98304 / (INPUTS * 2));
    fill_weights(m->away_weight[0], 8, 98304 / 2);
    fill_weights(m->negative_weight[0], 4, 98304 / 2);
    fill(m->length_of_move[0], SQZ_MOVES * SQZ_MOVE_BITS, even);
    fill(m->digit_of_move[0], SQZ_MOVES * SQZ_MOVE_BITS, even);
    fill_weights(m->move_weight[0], 10, 32768);
    for (uint32_t i = 0; i < 1026; i++) m->rate[i] = (uint16_t)(65536 / (i + 2));
    sqz_fill_stretched(m->stretched);
    for (uint32_t i = 0, found = 0; i <= ONE >> 5; i++) { /* classes as in level streams */
        const uint32_t next = found + 1, bound = next < 4 ? next : (4 + (next & 3)) << (next / 4 - 1);
        if (i >= bound) found++;
        m->class[i] = (uint8_t)found;
    }
}

/* Code a bit that `count` contexts predict. `second` may be NULL. The smaller `shift`, the faster the weights learn. */
INLINE uint32_t mix(sqz_differences *m, coder *c, uint32_t **context, size_t count, int32_t *first, int32_t *second,
                    unsigned shift, uint32_t bit, direction way)
{
    int32_t input[INPUTS];
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        input[i] = m->stretched[*context[i] >> 20];
        sum += (int64_t)(first[i] + (second != NULL ? second[i] : 0)) * input[i];
    }
    const uint32_t ones = sqz_squash(sum >> 16);
    bit = split(c, ones < 32 ? 32 : ones > 65504 ? 65504 : ones, bit, way);
    const int32_t error = (int32_t)(bit << 16) - (int32_t)ones;
    for (size_t i = 0; i < count; i++) {
        const int32_t step = (input[i] * error + (1 << (shift - 1))) >> shift;
        for (int32_t *weights = first; weights != NULL; weights = weights == first ? second : NULL) {
            const int32_t next = weights[i] + step;
            weights[i] = next > MOST_WEIGHT ? MOST_WEIGHT : next < -MOST_WEIGHT ? -MOST_WEIGHT : next;
        }
        learn(m->rate, context[i], bit);
    }
    return bit;
}

/* The same for two predictions, of bits that few levels have: not copied to where it is called. */
static uint32_t mix_two(sqz_differences *m, coder *c, uint32_t **context, int32_t *weights, unsigned shift,
                        uint32_t bit, direction way)
{
    return mix(m, c, context, 2, weights, NULL, shift, bit, way);
}

INLINE uint32_t natural(sqz_differences *m, coder *c, unsigned kind, uint32_t value, direction way)
{
    const uint32_t more = value + 1;
    uint32_t *lengths = m->length[kind], *digits = m->digit[kind], prefix = 1;
    unsigned last = way == READ ? 31 : bits_of(more) - 1, length = 0;
    while (code(c, m->rate, lengths + length, length < last, way))
        if (++length == 31) return UINT32_MAX; /* a reader only */
    for (unsigned left = length; left-- > 0;) {
        const uint32_t bit = way == READ ? 0 : more >> left & 1;
        prefix = prefix << 1 | (prefix < 4 && length < 16 ? code(c, m->rate, digits + 4 * length + prefix, bit, way)
                                                          : split(c, 32768, bit, way));
    }
    return prefix - 1;
}

uint32_t sqz_code_natural(sqz_differences *m, coder *c, unsigned kind, uint32_t value, direction way)
{
    return way == READ ? natural(m, c, kind, 0, READ) : natural(m, c, kind, value, WRITE);
}

int64_t sqz_code_whole(sqz_differences *m, coder *c, unsigned kind, int64_t value, direction way)
{
    const int64_t size = sqz_code_natural(m, c, kind, (uint32_t)(value < 0 ? -value : value), way);
    if (size == 0) return 0;
    return code(c, m->rate, m->sign + kind, value < 0, way) ? -size : size;
}

int64_t sqz_rescaled(int64_t value, int32_t rescaling, int32_t *part)
{
    const uint64_t size = (uint64_t)(value < 0 ? -value : value);
    const unsigned shift = (unsigned)(rescaling + 8 * 9) >> 3; /* 9 octaves more than there are */
    const uint64_t eighths = (size * roots[rescaling & 7] << shift) >> 21, whole = (eighths + 4) >> 3;
    *part = (int32_t)(eighths & 7);
    if (*part > 3) *part -= 8;
    return value < 0 ? -(int64_t)whole : (int64_t)whole;
}

size_t sqz_differences_memory(sqz_shape shape)
{
    return 2 * (size_t)shape.inputs * (2 + 2 * (size_t)shape.height * shape.width);
}

void sqz_differences_layer(sqz_differences *m, sqz_shape shape, void *memory)
{
    const size_t cells = (size_t)shape.inputs * shape.height * shape.width;
    uint16_t *column = memory, *dense = column + shape.inputs, *lean = dense + shape.inputs, *place = lean + cells;
    for (size_t i = 0; i < shape.inputs; i++) {
        column[i] = ONE / 16;
        dense[i] = ONE / 4;
    }
    for (size_t i = 0; i < cells; i++) {
        lean[i] = ONE / 2;
        place[i] = ONE / 16;
    }
    m->seen = m->differing = 0;
    m->move = m->moves = 0;
}

/* Code the distance of a level from its forecast, minus 1; more than 2 * MOST_LEVEL is wrong. `kind`: 0 for a forecast of
 * 0, 1 towards zero, 2 away from zero, 3 without a forecast. */
INLINE uint32_t code_move(sqz_differences *m, coder *c, uint32_t size, uint32_t kind, uint32_t value, direction way)
{
    const uint32_t mean = least(bits_of((m->move >> 6) + 1), 7) - 1, more = value + 1;
    const uint32_t by_kind = 7 * kind + mean, by_size = 4 * 7 + 7 * (kind == 3 ? 8 : bits_of(size)) + mean;
    const unsigned last = way == READ ? SQZ_MOVE_BITS : bits_of(more) - 1;
    unsigned length = 0;
    for (;;) {
        uint32_t *context[2] = {m->length_of_move[by_kind] + length, m->length_of_move[by_size] + length};
        if (!mix_two(m, c, context, m->move_weight[least(length, 3)], 14, length < last, way)) break;
        if (++length == SQZ_MOVE_BITS) return UINT32_MAX; /* a reader only */
    }
    uint32_t prefix = 1;
    for (unsigned left = length; left-- > 0;) {
        const uint32_t bit = way == READ ? 0 : more >> left & 1;
        uint32_t *context[2] = {m->digit_of_move[by_kind] + length, m->digit_of_move[by_size] + length};
        prefix = prefix << 1 |
                 (prefix == 1 ? mix_two(m, c, context, m->move_weight[4], 14, bit, way) : split(c, 32768, bit, way));
    }
    if (kind < 3) {
        m->move = towards(m->move, (prefix - 1) << 6, m->rate[m->moves]);
        if (m->moves < 14) m->moves++;
    }
    return prefix - 1;
}

/* Code a level that differs from its forecast. */
INLINE int32_t code_other(sqz_differences *m, coder *c, int32_t forecast, int32_t part, int fresh, uint32_t few,
                          uint32_t hint, uint32_t lean, int wide, uint32_t *last, int32_t level, direction way)
{
    const uint32_t size = magnitude(forecast);
    uint32_t *context[2], down, kind;
    if (size == 0) {
        context[0] = m->negative + hint;
        context[1] = m->negative + 27 + (lean >> 10);
        down = mix_two(m, c, context, m->negative_weight[wide], 16, level < 0, way);
        kind = fresh ? 10 : 1;
        if (m->version > 1) kind = fresh ? 3 : 0;
    } else {
        context[0] = m->away + 8 * least(size, 7) + (uint32_t)(part + 4);
        context[1] = m->away + 64 + 3 * few + *last;
        const uint32_t away =
            mix_two(m, c, context, m->away_weight[few], 16, (level > forecast) == (forecast > 0), way);
        *last = 1 + away;
        down = (forecast > 0) != (away == 1);
        kind = m->version > 1 ? 1 + away : 2 * least(size, 4) + away;
    }
    const uint32_t value = magnitude(level - forecast) - 1;
    const uint32_t moved =
        m->version > 1 ? code_move(m, c, size, kind, value, way) : natural(m, c, SQZ_SIZE + kind, value, way);
    if (moved >= 2 * MOST_LEVEL) return MOST_LEVEL + 1;
    return down ? forecast - 1 - (int32_t)moved : forecast + 1 + (int32_t)moved;
}

INLINE int code_output(sqz_differences *m, coder *c, sqz_shape shape, void *memory, uint32_t output,
                       const int32_t *before, int32_t rescaling, int32_t *levels, direction way)
{
    const uint32_t inputs = shape.inputs, width = shape.width, height = shape.height, places = width * height;
    const int fresh = before == NULL, wide = places > 1;
    const size_t cells = (size_t)inputs * places, seen = (size_t)output * places + 3;
    const uint32_t rate = m->rate[seen < 64 ? seen : 64], lean_rate = m->rate[output < 64 ? output : 64];
    const uint32_t place_rate = m->rate[output + 3 < 30 ? output + 3 : 30];
    uint16_t *column = memory, *dense = column + inputs, *lean = dense + inputs, *place = lean + cells;
    uint32_t row = (uint32_t)((m->differing * ONE + 2 * ONE) / (m->seen + 32)), row_seen = 7, last = 0;
    uint64_t kept = 0, differing = 0;
    for (size_t i = 0; i < cells && !fresh; i++) kept += before[i] != 0;
    kept = kept * 16 / cells;
    const uint32_t dense_row = kept < 7 ? (uint32_t)kept : 7;
    for (uint32_t i = 0; i < inputs; i++) {
        uint8_t flag[SQZ_LARGEST_KERNEL];
        const size_t start = (size_t)i * places;
        uint32_t count = 0;
        int32_t signs = 0;
        for (uint32_t k = 0, x = 0, y = 0; k < places; k++) {
            const size_t cell = start + k;
            int32_t part = 0, forecast = 0;
            uint32_t near = 0;
            if (!fresh) {
                forecast = rescaling == 0 ? before[cell] : (int32_t)sqz_rescaled(before[cell], rescaling, &part);
                forecast = forecast > MOST_LEVEL ? MOST_LEVEL : forecast < -MOST_LEVEL ? -MOST_LEVEL : forecast;
                if (wide) {
                    if (x > 0) near += magnitude(before[cell - 1]);
                    if (x + 1 < width) near += magnitude(before[cell + 1]);
                    if (y > 0) near += magnitude(before[cell - width]);
                    if (y + 1 < height) near += magnitude(before[cell + width]);
                } else
                    near = (i > 0 ? magnitude(before[i - 1]) : 0) + (i + 1 < inputs ? magnitude(before[i + 1]) : 0);
            }
            const uint32_t size = magnitude(forecast), some = fresh ? FRESH : least(size, 5);
            const uint32_t few = fresh ? 4 : least(size, 3), row_class = m->class[row >> 5];
            const uint32_t beside = (x > 0 ? flag[k - 1] : 0u) + (y > 0 ? flag[k - width] : 0u);
            uint32_t *context[INPUTS] = {
                m->changed + 9 * some + 3 * beside + least(count, 2),
                m->changed + AT_ROW + 5 * row_class + few,
                m->changed + AT_COLUMN + 5 * m->class[column[i] >> 5] + few,
                m->changed + AT_NEAR + 5 * least(near, 7) + few,
                m->changed + AT_DENSITY + few +
                    5 * (m->version > 1 ? m->class[place[cell] >> 5] : 8 * dense_row + least(dense[i] >> 10, 7)),
                m->changed + AT_SIZE + (fresh ? 16 : 17 * (uint32_t)(part + 4) + least(size, 15)),
            };
            int32_t level = way == WRITE ? levels[cell] : 0;
            const uint32_t differs =
                mix(m, c, context, INPUTS, m->changed_weight[2 * some + (uint32_t)wide],
                    m->changed_weight[14 + row_class / 3], m->version > 1 ? 17 : 16, level != forecast, way);
            flag[k] = (uint8_t)differs;
            if (differs) {
                const int32_t left = x > 0 ? sign(levels[cell - 1]) : 0, above = y > 0 ? sign(levels[cell - width]) : 0;
                const uint32_t hint = (uint32_t)(9 * left + 3 * above + sign(signs) + 13);
                level = code_other(m, c, forecast, part, fresh, few, hint, lean[cell], wide, &last, level, way);
                if (level > MOST_LEVEL || level < -MOST_LEVEL) return 0;
                count++;
            } else
                level = forecast;
            if (way == READ) levels[cell] = level;
            row = towards(row, differs * ONE, m->rate[row_seen]);
            if (row_seen < 128) row_seen++;
            if (!fresh) {
                column[i] = towards(column[i], differs * ONE, rate);
                dense[i] = towards(dense[i], before[cell] != 0 ? ONE : 0, rate);
                place[cell] = towards(place[cell], differs * ONE, place_rate);
            }
            signs += sign(level);
            lean[cell] = towards(lean[cell], (uint32_t)(ONE / 2 * (1 + sign(level))), lean_rate);
            if (++x == width) x = 0, y++;
        }
        if (way == READ && c->at > c->end + 3) return 1; /* the caller sees that the stream ended */
        differing += count;
    }
    if (!fresh) {
        m->seen += cells;
        m->differing += differing;
    }
    return 1;
}

INLINE int code_checked(sqz_differences *m, coder *c, sqz_shape shape, void *memory, uint32_t output,
                        const int32_t *before, int32_t rescaling, int32_t *levels, direction way)
{
    coder local = *c; /* a copy can stay in registers */
    if (before != NULL && (rescaling > SQZ_MOST_RESCALING_OF_LEVELS || rescaling < -SQZ_MOST_RESCALING_OF_LEVELS))
        before = NULL;
    const int done = code_output(m, &local, shape, memory, output, before, rescaling, levels, way);
    *c = local;
    return done;
}

int sqz_read_output(sqz_differences *m, coder *c, sqz_shape shape, void *memory, uint32_t output, const int32_t *before,
                    int32_t rescaling, int32_t *levels)
{
    return code_checked(m, c, shape, memory, output, before, rescaling, levels, READ);
}

SMALL int sqz_write_output(sqz_differences *m, coder *c, sqz_shape shape, void *memory, uint32_t output,
                           const int32_t *before, int32_t rescaling, int32_t *levels)
{
    return code_checked(m, c, shape, memory, output, before, rescaling, levels, WRITE);
}
