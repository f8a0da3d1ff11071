/* 64-bit ARM with NEON, and with dot products where the machine has them. Both multiply signed bytes, so 128 is
 * subtracted from the activations. */
#include "kernels.h"

#ifdef SQZ_ARM
#include <arm_neon.h>

#define SQZ_TARGET
#define OWN_LOOK_UP
#include "loops.h"

enum {
    LANES = 8,
    DEPTH = 4,
    CENTRE = 128,
    PACKS = 4, /* in a register of 16 bytes */
    CHAIN_DEPTH = 2,
    CHAIN_PACKS = 8,
    TOGETHER = 4, /* most positions whose sums in chains stay in registers */
    MOST_POSITIONS = SQZ_MOST_SUMS / (SQZ_CHAIN_VECTORS * LANES)
};

/* The next PACKS packs of a position. Packs after the end of its window are not used. */
SQZ_INLINE int8x16_t load_packs(const uint8_t *x)
{
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(x), vdupq_n_u8(CENTRE)));
}

/* Half of a pack (two activations), eight times. Lanes must be constants, even in a loop that is unrolled. */
SQZ_INLINE int8x16_t half_pack(int8x16_t packs, const uint32_t half)
{
    const int16x8_t x = vreinterpretq_s16_s8(packs);
    switch (half) {
    case 0: return vreinterpretq_s8_s16(vdupq_laneq_s16(x, 0));
    case 1: return vreinterpretq_s8_s16(vdupq_laneq_s16(x, 1));
    case 2: return vreinterpretq_s8_s16(vdupq_laneq_s16(x, 2));
    case 3: return vreinterpretq_s8_s16(vdupq_laneq_s16(x, 3));
    case 4: return vreinterpretq_s8_s16(vdupq_laneq_s16(x, 4));
    case 5: return vreinterpretq_s8_s16(vdupq_laneq_s16(x, 5));
    case 6: return vreinterpretq_s8_s16(vdupq_laneq_s16(x, 6));
    default: return vreinterpretq_s8_s16(vdupq_laneq_s16(x, 7));
    }
}

/* Adds the products of activations 0 and 2 of a pack, and those of 1 and 3, in 16 bits: 2 x 128 x 127 fits. */
SQZ_INLINE void tile(const sqz_tile *t, int32_t *sums, uint32_t first, const uint32_t vectors, const uint32_t positions)
{
    (void)first; /* 0: all vectors at once */
    int32x4_t low[8], high[8];
    const int32_t *initial = t->initial;
    const int8_t *w = t->weights;
    SQZ_EACH(v, vectors)
        SQZ_EACH(p, positions) {
            low[p * vectors + v] = vld1q_s32(initial + LANES * v);
            high[p * vectors + v] = vld1q_s32(initial + LANES * v + LANES / 2);
        }
    for (size_t row = 0; row < t->rows; row++) {
        const uint8_t *x = t->lines[row] + t->begin;
        for (size_t i = 0; i < t->packs; i += PACKS, x += PACKS * DEPTH) {
            int8x16_t packs[8];
            SQZ_EACH(p, positions) packs[p] = load_packs(x + p * t->stride);
            SQZ_EACH(g, PACKS) {
                if (g >= t->packs - i) break;
                SQZ_EACH(v, vectors) {
                    const int16x8x2_t halves = vld2q_s16((const int16_t *)(const void *)w);
                    const int8x16_t a = vreinterpretq_s8_s16(halves.val[0]), b = vreinterpretq_s8_s16(halves.val[1]);
                    SQZ_EACH(p, positions) {
                        const int8x16_t c = half_pack(packs[p], 2 * g), d = half_pack(packs[p], 2 * g + 1);
                        const int16x8_t lower = vmull_s8(vget_low_s8(a), vget_low_s8(c));
                        const int16x8_t upper = vmull_high_s8(a, c);
                        int32x4_t *const to_low = low + p * vectors + v, *const to_high = high + p * vectors + v;
                        *to_low = vpadalq_s16(*to_low, vmlal_s8(lower, vget_low_s8(b), vget_low_s8(d)));
                        *to_high = vpadalq_s16(*to_high, vmlal_high_s8(upper, b, d));
                    }
                    w += LANES * DEPTH;
                }
            }
        }
    }
    SQZ_EACH(p, positions)
        SQZ_EACH(v, vectors) {
            vst1q_s32(sums + LANES * (p * vectors + v), low[p * vectors + v]);
            vst1q_s32(sums + LANES * (p * vectors + v) + LANES / 2, high[p * vectors + v]);
        }
}

#define AT_ONCE SQZ_VECTORS
#define MULTIPLY multiply
#define TILE tile
#define REGISTERS 1
#define FITS(vectors, positions) (vectors * positions <= (vectors == 4 ? 8 : 6))
#include "tile.h"

/* The sums of some neighbouring positions, chain by chain. Each weight of a pack has a sum of its own in 16 bits. The
 * first chain of an output is added to its initial sum. */
SQZ_INLINE void by_chains(const sqz_tile *t, size_t begin, int32_t *sums, const uint32_t vectors,
                          const uint32_t positions)
{
    const int16x8_t zero = vdupq_n_s16(0);
    const uint8_t *const *line = t->lines, *x = *line + begin;
    const uint16_t *segment = t->segments;
    const int8_t *w = t->weights;
    const int32_t *from = t->initial;
    size_t from_step = 0;
    uint32_t now;
    int16x8_t low[2 * TOGETHER], high[2 * TOGETHER]; /* (positions, vectors): two sums for each output */
    SQZ_EACH(i, vectors * positions) low[i] = high[i] = zero;
    do {
        now = *segment++;
        for (uint32_t left = now / SQZ_SEGMENT_PACKS, some; left > 0; left -= some, x += CHAIN_DEPTH * some) {
            int8x16_t packs[TOGETHER];
            some = left < CHAIN_PACKS ? left : CHAIN_PACKS;
            SQZ_EACH(p, positions) packs[p] = load_packs(x + p * t->stride);
            SQZ_EACH(g, CHAIN_PACKS) {
                if (g >= some) break;
                SQZ_EACH(v, vectors) {
                    const int8x16_t weights = vld1q_s8(w);
                    w += LANES * CHAIN_DEPTH;
                    SQZ_EACH(p, positions) {
                        const int8x16_t pack = half_pack(packs[p], g);
                        int16x8_t *const to_low = low + p * vectors + v, *const to_high = high + p * vectors + v;
                        *to_low = vmlal_s8(*to_low, vget_low_s8(weights), vget_low_s8(pack));
                        *to_high = vmlal_high_s8(*to_high, weights, pack);
                    }
                }
            }
        }
        if ((now & SQZ_CHAIN_ENDS) != 0) {
            SQZ_EACH(p, positions)
                SQZ_EACH(v, vectors) {
                    const int32_t *const start = from + p * from_step + LANES * v;
                    int32_t *const to = sums + LANES * (p * vectors + v);
                    const int32x4_t first = vpadalq_s16(vld1q_s32(start), low[p * vectors + v]);
                    const int32x4_t second = vpadalq_s16(vld1q_s32(start + LANES / 2), high[p * vectors + v]);
                    vst1q_s32(to, first);
                    vst1q_s32(to + LANES / 2, second);
                    low[p * vectors + v] = high[p * vectors + v] = zero;
                }
            from = sums;
            from_step = LANES * vectors;
        }
        if ((now & SQZ_LINE_ENDS) != 0) x = *++line + begin;
    } while ((now & SQZ_TILE_ENDS) == 0);
}

#define CHAINS_OF(vectors) \
    switch (positions) { \
    case 1: by_chains(t, begin, sums, vectors, 1); break; \
    case 2: by_chains(t, begin, sums, vectors, 2); break; \
    case 3: by_chains(t, begin, sums, vectors, 3); break; \
    default: by_chains(t, begin, sums, vectors, TOGETHER); \
    }

static void multiply_chains(const sqz_tile *t, void *out)
{
    const uint32_t groups = (t->positions + TOGETHER - 1) / TOGETHER;
    for (uint32_t group = 0, first = 0, next; group < groups; group++, first = next) {
        next = t->positions * (group + 1) / groups;
        const uint32_t positions = next - first;
        const size_t begin = t->begin + first * t->stride;
        int32_t *const sums = (int32_t *)out + first * t->vectors * LANES;
        if (t->vectors == 1) {
            CHAINS_OF(1)
        } else {
            CHAINS_OF(2)
        }
    }
}

static void rescale(const sqz_rescale *r, const int32_t *sums, uint32_t positions, uint8_t *out, size_t step)
{
    const uint8x8_t least = vdup_n_u8((uint8_t)r->low), most = vdup_n_u8((uint8_t)r->high);
    for (uint32_t v = 0; v < r->vectors && v * LANES < r->outputs; v++) {
        const uint32_t left = r->outputs - v * LANES;
        const int32x4_t low_factor = vld1q_s32(r->multipliers + LANES * v);
        const int32x4_t high_factor = vld1q_s32(r->multipliers + LANES * v + LANES / 2);
        int64x2_t offsets[4];
        for (uint32_t i = 0; i < 2; i++) { /* from even and odd lanes back to the order of lanes */
            const int64x2_t even = vld1q_s64(r->offsets + LANES * v + 2 * i);
            const int64x2_t odd = vld1q_s64(r->offsets + LANES * v + LANES / 2 + 2 * i);
            offsets[2 * i] = vzip1q_s64(even, odd);
            offsets[2 * i + 1] = vzip2q_s64(even, odd);
        }
        for (uint32_t position = 0; position < positions; position++) {
            const int32_t *from = sums + (position * r->vectors + v) * LANES;
            const int32x4_t low = vld1q_s32(from), high = vld1q_s32(from + LANES / 2);
            const int64x2_t a = vmull_s32(vget_low_s32(low), vget_low_s32(low_factor));
            const int64x2_t b = vmull_high_s32(low, low_factor);
            const int64x2_t c = vmull_s32(vget_low_s32(high), vget_low_s32(high_factor));
            const int64x2_t d = vmull_high_s32(high, high_factor);
            const int32x4_t first = vaddhn_high_s64(vaddhn_s64(a, offsets[0]), b, offsets[1]);
            const int32x4_t second = vaddhn_high_s64(vaddhn_s64(c, offsets[2]), d, offsets[3]);
            const uint16x8_t level = vqmovun_high_s32(vqmovun_s32(first), second);
            const uint8x8_t bytes = vmin_u8(vmax_u8(vqmovn_u16(level), least), most);
            uint8_t *const to = out + position * step + v * LANES;
            if (left >= LANES)
                vst1_u8(to, bytes);
            else {
                uint8_t some[LANES];
                vst1_u8(some, bytes);
                for (uint32_t i = 0; i < left; i++) to[i] = some[i];
            }
        }
    }
}

/* Activations and weights are widened to 16 bits; products are added in 32 bits. */
SQZ_INLINE void depthwise_some(const sqz_tile *t, size_t begin, uint32_t o, int32_t *sums, const uint32_t positions)
{
    const int8_t *w = (const int8_t *)t->weights + o;
    const int32_t *initial = (const int32_t *)t->initial + o;
    const size_t width = t->vectors * LANES;
    int32x4_t low[4], high[4];
    SQZ_EACH(p, positions) {
        low[p] = vld1q_s32(initial);
        high[p] = vld1q_s32(initial + LANES / 2);
    }
    for (size_t row = 0; row < t->rows; row++, w += SQZ_CHUNK) {
        const int16x8_t weights = vmovl_s8(vld1_s8(w));
        SQZ_EACH(p, positions) {
            const int16x8_t x = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(t->lines[row] + begin + o + p * t->stride)));
            low[p] = vmlal_s16(low[p], vget_low_s16(x), vget_low_s16(weights));
            high[p] = vmlal_high_s16(high[p], x, weights);
        }
    }
    SQZ_EACH(p, positions) {
        vst1q_s32(sums + p * width + o, low[p]);
        vst1q_s32(sums + p * width + o + LANES / 2, high[p]);
    }
}

static void depthwise(const sqz_tile *t, int32_t *sums)
{
    const size_t width = t->vectors * LANES;
    for (uint32_t o = 0; o < width; o += LANES) {
        uint32_t p = 0;
        for (; p + 4 <= t->positions; p += 4) depthwise_some(t, t->begin + p * t->stride, o, sums + p * width, 4);
        for (; p < t->positions; p++) depthwise_some(t, t->begin + p * t->stride, o, sums + p * width, 1);
    }
}

/* Four tables of 64 entries: an index that is out of range leaves the result of the others. */
static void look_up(uint8_t *x, size_t n, size_t step, size_t count, const uint8_t *table)
{
    const uint8x16x4_t first = vld1q_u8_x4(table), second = vld1q_u8_x4(table + 64);
    const uint8x16x4_t third = vld1q_u8_x4(table + 128), fourth = vld1q_u8_x4(table + 192);
    for (; count > 0; count--, x += step) {
        size_t i = 0;
        for (; i + 16 <= n; i += 16) {
            const uint8x16_t at = vld1q_u8(x + i);
            uint8x16_t found = vqtbl4q_u8(first, at);
            found = vqtbx4q_u8(found, second, vsubq_u8(at, vdupq_n_u8(64)));
            found = vqtbx4q_u8(found, third, vsubq_u8(at, vdupq_n_u8(128)));
            vst1q_u8(x + i, vqtbx4q_u8(found, fourth, vsubq_u8(at, vdupq_n_u8(192))));
        }
        for (; i < n; i++) x[i] = table[x[i]];
    }
}

static const sqz_kernels with_chains = {
    .lanes = LANES,
    .depth = CHAIN_DEPTH,
    .bytes = 1,
    .centre = CENTRE,
    .positions = {0, MOST_POSITIONS, MOST_POSITIONS},
    .multiply = multiply_chains,
    .rescale = rescale,
    .widen = widen_to_bytes,
};

/* What the paths share. */
#define SHARED \
    .lanes = LANES, .bytes = 1, .rescale = rescale, .taps = 1, .depthwise = depthwise, .widen = widen_to_bytes, \
    .look_up = look_up, SQZ_PLAIN_LOOPS

const sqz_kernels sqz_neon = {
    .depth = DEPTH,
    .centre = CENTRE,
    .chains = &with_chains,
    .positions = {0, 6, 3, 2, 2},
    .multiply = multiply,
    SHARED,
};

#undef REGISTERS
#undef FITS
#define REGISTERS 2
#define FITS(vectors, positions) (vectors * positions <= 12)

#ifdef SQZ_ARM_DOT
#ifdef __ARM_FEATURE_DOTPROD
#define DOT_TARGET
#else
#define DOT_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

/* Four sums, one for each lane: each adds the products of pack `g` and the weights of its lane. */
DOT_TARGET SQZ_INLINE int32x4_t dot_products(int32x4_t sum, int8x16_t weights, int8x16_t packs, const uint32_t g)
{
    switch (g) {
    case 0: return vdotq_laneq_s32(sum, weights, packs, 0);
    case 1: return vdotq_laneq_s32(sum, weights, packs, 1);
    case 2: return vdotq_laneq_s32(sum, weights, packs, 2);
    default: return vdotq_laneq_s32(sum, weights, packs, 3);
    }
}

DOT_TARGET SQZ_INLINE void dot_tile(const sqz_tile *t, int32_t *sums, uint32_t first, const uint32_t halves,
                                    const uint32_t positions)
{
    (void)first; /* 0: all vectors at once */
    int32x4_t sum[24];
    const int32_t *initial = t->initial;
    const int8_t *w = t->weights;
    SQZ_EACH(h, halves)
        SQZ_EACH(p, positions) sum[p * halves + h] = vld1q_s32(initial + LANES / 2 * h);
    for (size_t row = 0; row < t->rows; row++) {
        const uint8_t *x = t->lines[row] + t->begin;
        for (size_t i = 0; i < t->packs; i += PACKS, x += PACKS * DEPTH) {
            int8x16_t packs[8];
            SQZ_EACH(p, positions) packs[p] = load_packs(x + p * t->stride);
            SQZ_EACH(g, PACKS) {
                if (g >= t->packs - i) break;
                SQZ_EACH(h, halves) {
                    const int8x16_t weights = vld1q_s8(w);
                    w += LANES / 2 * DEPTH;
                    SQZ_EACH(p, positions)
                        sum[p * halves + h] = dot_products(sum[p * halves + h], weights, packs[p], g);
                }
            }
        }
    }
    SQZ_EACH(p, positions)
        SQZ_EACH(h, halves) vst1q_s32(sums + LANES / 2 * (p * halves + h), sum[p * halves + h]);
}

#undef SQZ_TARGET
#define SQZ_TARGET DOT_TARGET
#define MULTIPLY multiply_dot
#define TILE dot_tile
#include "tile.h"
#undef SQZ_TARGET
#define SQZ_TARGET

const sqz_kernels sqz_neondot = {
    .depth = DEPTH,
    .centre = CENTRE,
    .positions = {0, 8, 6, 4, 3},
    .multiply = multiply_dot,
    SHARED,
};
#endif

#ifdef SQZ_ARM_MATRIX
#ifdef __ARM_FEATURE_MATMUL_INT8
#define MATRIX_TARGET
#else
#define MATRIX_TARGET __attribute__((target("arch=armv8.2-a+i8mm")))
#endif

enum { MATRIX_DEPTH = 8, PAIRS = 3 /* most pairs of positions whose sums stay in registers, with two vectors */ };

/* The sums of one or two vectors, from vector v on, at some pairs of positions. An instruction multiplies the packs of
 * two positions by the weights of two outputs: four sums of 8 products. `last`: whether the second position of the last
 * pair is none, and the first one is read twice. */
MATRIX_TARGET SQZ_INLINE void products_of_matrices(const sqz_tile *t, size_t begin, uint32_t v, int32_t *sums, int last,
                                                   const uint32_t vectors, const uint32_t pairs)
{
    const size_t width = t->vectors * LANES, second = last ? 0 : t->stride;
    const int8_t *w = (const int8_t *)t->weights + LANES * MATRIX_DEPTH * v;
    const int32_t *initial = (const int32_t *)t->initial + LANES * v;
    int32x4_t sum[24]; /* (vectors, 4 pairs of outputs, pairs of positions) */
    SQZ_EACH(i, 4 * vectors)
        SQZ_EACH(p, pairs) sum[i * pairs + p] = vdupq_n_s32(0);
    for (size_t row = 0; row < t->rows; row++) {
        const uint8_t *x = t->lines[row] + begin;
        for (size_t i = 0; i < t->packs; i++, x += MATRIX_DEPTH, w += width * MATRIX_DEPTH) {
            uint8x16_t packs[PAIRS];
            SQZ_EACH(p, pairs) {
                const uint8_t *from = x + 2 * p * t->stride;
                packs[p] = vcombine_u8(vld1_u8(from), vld1_u8(from + (p + 1 < pairs ? t->stride : second)));
            }
            SQZ_EACH(o, 4 * vectors) {
                const int8x16_t weights = vld1q_s8(w + 2 * MATRIX_DEPTH * o);
                SQZ_EACH(p, pairs) sum[o * pairs + p] = vusmmlaq_s32(sum[o * pairs + p], packs[p], weights);
            }
        }
    }
    SQZ_EACH(o, 2 * vectors) {
        const int32x4_t start = vld1q_s32(initial + 4 * o);
        SQZ_EACH(p, pairs) {
            const int64x2_t a = vreinterpretq_s64_s32(sum[2 * o * pairs + p]);
            const int64x2_t b = vreinterpretq_s64_s32(sum[(2 * o + 1) * pairs + p]);
            int32_t *to = sums + 2 * p * width + 4 * o;
            vst1q_s32(to, vaddq_s32(start, vreinterpretq_s32_s64(vzip1q_s64(a, b))));
            if (p + 1 == pairs && last) continue;
            vst1q_s32(to + width, vaddq_s32(start, vreinterpretq_s32_s64(vzip2q_s64(a, b))));
        }
    }
}

#define PAIRS_OF(vectors) \
    switch ((positions + 1) / 2) { \
    case 1: products_of_matrices(t, begin, v, to, last, vectors, 1); break; \
    case 2: products_of_matrices(t, begin, v, to, last, vectors, 2); break; \
    default: products_of_matrices(t, begin, v, to, last, vectors, PAIRS); \
    }

MATRIX_TARGET static void multiply_matrices(const sqz_tile *t, void *sums)
{
    for (uint32_t first = 0; first < t->positions; first += 2 * PAIRS) {
        const uint32_t left = t->positions - first, positions = left < 2 * PAIRS ? left : 2 * PAIRS;
        const size_t begin = t->begin + first * t->stride;
        const int last = positions % 2 > 0;
        for (uint32_t v = 0; v < t->vectors; v += 2) {
            int32_t *to = (int32_t *)sums + (first * t->vectors + v) * LANES;
            if (t->vectors - v > 1) {
                PAIRS_OF(2)
            } else {
                PAIRS_OF(1)
            }
        }
    }
}

const sqz_kernels sqz_neoni8mm = {
    .depth = MATRIX_DEPTH,
    .positions = {0, 4 * PAIRS, 4 * PAIRS, 4 * PAIRS, 4 * PAIRS},
    .multiply = multiply_matrices,
    SHARED,
};
#endif

#define FLOATS
#define VECTOR float32x4_t
#define LOAD(address) vld1q_f32(address)
#define STORE(address, vector) vst1q_f32(address, vector)
#define BROADCAST(x) vld1q_dup_f32((const float *)(const void *)(x))
#define ADD_PRODUCTS(sum, x, w) vfmaq_f32(sum, x, w)
#include "tile.h"

const sqz_kernels sqz_neon_floats = {
    .lanes = LANES, .depth = 1, .bytes = 4, .positions = {0, 8, 6, 4, 3}, .multiply = multiply_floats};
#endif
