/* 64-bit ARM with NEON, and with its dot products where the machine has them. Both multiply signed bytes, so they take
 * 128 from the activations. */
#include "kernels.h"

#ifdef SQZ_ARM
#include <arm_neon.h>

#define SQZ_TARGET
#include "loops.h"

#define INLINE __attribute__((always_inline)) static inline

enum { LANES = 8, DEPTH = 4, CENTRE = 128, GROUPS = 4 /* of activations in 16 bytes */ };

/* The next groups of a place; those after the end of its window are not used. */
INLINE int8x16_t load_groups(const uint8_t *x)
{
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(x), vdupq_n_u8(CENTRE)));
}

/* One half of a group, eight times over. Lanes have to be constants, even where the loop around is unrolled. */
INLINE int8x16_t half_group(int8x16_t groups, const uint32_t half)
{
    const int16x8_t x = vreinterpretq_s16_s8(groups);
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

/* Two products, of 128 x 127 at most, fit 16 bits: of inputs 0 and 2, of 1 and 3. */
INLINE void tile(const sqz_tile *t, int32_t *sums, const uint32_t vectors, const uint32_t places)
{
    int32x4_t low[8], high[8];
    const int32_t *starts = t->starts;
    const int8_t *w = t->weights;
#pragma GCC unroll 4
    for (uint32_t v = 0; v < vectors; v++)
#pragma GCC unroll 8
        for (uint32_t p = 0; p < places; p++) {
            low[p * vectors + v] = vld1q_s32(starts + LANES * v);
            high[p * vectors + v] = vld1q_s32(starts + LANES * v + LANES / 2);
        }
    for (size_t row = 0; row < t->rows; row++) {
        const uint8_t *x = t->lines[row] + t->at;
        for (size_t i = 0; i < t->run; i += GROUPS, x += GROUPS * DEPTH) {
            int8x16_t groups[8];
#pragma GCC unroll 8
            for (uint32_t p = 0; p < places; p++) groups[p] = load_groups(x + p * t->step);
#pragma GCC unroll 4
            for (uint32_t g = 0; g < GROUPS; g++) {
                if (g >= t->run - i) break;
#pragma GCC unroll 4
                for (uint32_t v = 0; v < vectors; v++, w += LANES * DEPTH) {
                    const int16x8x2_t halves = vld2q_s16((const int16_t *)(const void *)w);
                    const int8x16_t a = vreinterpretq_s8_s16(halves.val[0]), b = vreinterpretq_s8_s16(halves.val[1]);
#pragma GCC unroll 8
                    for (uint32_t p = 0; p < places; p++) {
                        const int8x16_t c = half_group(groups[p], 2 * g), d = half_group(groups[p], 2 * g + 1);
                        const int16x8_t first = vmull_s8(vget_low_s8(a), vget_low_s8(c));
                        const int16x8_t second = vmull_high_s8(a, c);
                        int32x4_t *const to_low = low + p * vectors + v, *const to_high = high + p * vectors + v;
                        *to_low = vpadalq_s16(*to_low, vmlal_s8(first, vget_low_s8(b), vget_low_s8(d)));
                        *to_high = vpadalq_s16(*to_high, vmlal_high_s8(second, b, d));
                    }
                }
            }
        }
    }
#pragma GCC unroll 8
    for (uint32_t p = 0; p < places; p++)
#pragma GCC unroll 4
        for (uint32_t v = 0; v < vectors; v++) {
            vst1q_s32(sums + LANES * (p * vectors + v), low[p * vectors + v]);
            vst1q_s32(sums + LANES * (p * vectors + v) + LANES / 2, high[p * vectors + v]);
        }
}

/* clang-format off */
#define TILE(VECTORS, PLACES) case 16 * VECTORS + PLACES: tile(t, sums, VECTORS, PLACES); break;

static void multiply(const sqz_tile *t, void *sums)
{
    switch (16 * t->vectors + t->places) {
    TILE(1, 1) TILE(1, 2) TILE(1, 3) TILE(1, 4) TILE(1, 5) TILE(1, 6)
    TILE(2, 1) TILE(2, 2) TILE(2, 3)
    TILE(3, 1) TILE(3, 2)
    TILE(4, 1) TILE(4, 2)
    }
}
/* clang-format on */

static void rescale(const sqz_rescale *r, const int32_t *sums, uint32_t places, uint8_t *out, size_t step)
{
    const uint8x8_t least = vdup_n_u8((uint8_t)r->low), most = vdup_n_u8((uint8_t)r->high);
    for (uint32_t v = 0; v < r->vectors && v * LANES < r->outputs; v++) {
        const uint32_t left = r->outputs - v * LANES;
        const int32x4_t low_factor = vld1q_s32(r->multipliers + LANES * v);
        const int32x4_t high_factor = vld1q_s32(r->multipliers + LANES * v + LANES / 2);
        int64x2_t offsets[4];
        for (uint32_t i = 0; i < 2; i++) { /* even and odd lanes in their order again */
            const int64x2_t even = vld1q_s64(r->offsets + LANES * v + 2 * i);
            const int64x2_t odd = vld1q_s64(r->offsets + LANES * v + LANES / 2 + 2 * i);
            offsets[2 * i] = vzip1q_s64(even, odd);
            offsets[2 * i + 1] = vzip2q_s64(even, odd);
        }
        for (uint32_t place = 0; place < places; place++) {
            const int32_t *from = sums + (place * r->vectors + v) * LANES;
            const int32x4_t low = vld1q_s32(from), high = vld1q_s32(from + LANES / 2);
            const int64x2_t a = vmull_s32(vget_low_s32(low), vget_low_s32(low_factor));
            const int64x2_t b = vmull_high_s32(low, low_factor);
            const int64x2_t c = vmull_s32(vget_low_s32(high), vget_low_s32(high_factor));
            const int64x2_t d = vmull_high_s32(high, high_factor);
            const int32x4_t first = vaddhn_high_s64(vaddhn_s64(a, offsets[0]), b, offsets[1]);
            const int32x4_t second = vaddhn_high_s64(vaddhn_s64(c, offsets[2]), d, offsets[3]);
            const uint16x8_t level = vqmovun_high_s32(vqmovun_s32(first), second);
            const uint8x8_t bytes = vmin_u8(vmax_u8(vqmovn_u16(level), least), most);
            memcpy(out + place * step + v * LANES, &bytes, left < LANES ? left : LANES);
        }
    }
}

static void widen(void *line, const uint8_t *x, size_t n)
{
    memcpy(line, x, n);
}

const sqz_kernels sqz_neon = {
    LANES, DEPTH, 1, CENTRE, {0, 6, 3, 2, 2}, multiply, rescale, widen, maximum, total, weigh, add, enter,
};

#ifdef SQZ_ARM_DOT
#ifdef __ARM_FEATURE_DOTPROD
#define DOT_TARGET
#else
#define DOT_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

/* Four sums, each of the products of group `g` and of one lane's weights. */
DOT_TARGET INLINE int32x4_t dot_products(int32x4_t sum, int8x16_t weights, int8x16_t groups, const uint32_t g)
{
    switch (g) {
    case 0: return vdotq_laneq_s32(sum, weights, groups, 0);
    case 1: return vdotq_laneq_s32(sum, weights, groups, 1);
    case 2: return vdotq_laneq_s32(sum, weights, groups, 2);
    default: return vdotq_laneq_s32(sum, weights, groups, 3);
    }
}

DOT_TARGET INLINE void dot_tile(const sqz_tile *t, int32_t *sums, const uint32_t halves, const uint32_t places)
{
    int32x4_t sum[24];
    const int32_t *starts = t->starts;
    const int8_t *w = t->weights;
#pragma GCC unroll 8
    for (uint32_t h = 0; h < halves; h++)
#pragma GCC unroll 8
        for (uint32_t p = 0; p < places; p++) sum[p * halves + h] = vld1q_s32(starts + LANES / 2 * h);
    for (size_t row = 0; row < t->rows; row++) {
        const uint8_t *x = t->lines[row] + t->at;
        for (size_t i = 0; i < t->run; i += GROUPS, x += GROUPS * DEPTH) {
            int8x16_t groups[8];
#pragma GCC unroll 8
            for (uint32_t p = 0; p < places; p++) groups[p] = load_groups(x + p * t->step);
#pragma GCC unroll 4
            for (uint32_t g = 0; g < GROUPS; g++) {
                if (g >= t->run - i) break;
#pragma GCC unroll 8
                for (uint32_t h = 0; h < halves; h++, w += LANES / 2 * DEPTH) {
                    const int8x16_t weights = vld1q_s8(w);
#pragma GCC unroll 8
                    for (uint32_t p = 0; p < places; p++)
                        sum[p * halves + h] = dot_products(sum[p * halves + h], weights, groups[p], g);
                }
            }
        }
    }
#pragma GCC unroll 24
    for (uint32_t i = 0; i < places * halves; i++) vst1q_s32(sums + LANES / 2 * i, sum[i]);
}

/* clang-format off */
#define DOT_TILE(VECTORS, PLACES) case 16 * VECTORS + PLACES: dot_tile(t, sums, 2 * VECTORS, PLACES); break;

DOT_TARGET static void multiply_dot(const sqz_tile *t, void *sums)
{
    switch (16 * t->vectors + t->places) {
    DOT_TILE(1, 1) DOT_TILE(1, 2) DOT_TILE(1, 3) DOT_TILE(1, 4) DOT_TILE(1, 5) DOT_TILE(1, 6) DOT_TILE(1, 7)
    DOT_TILE(1, 8) DOT_TILE(2, 1) DOT_TILE(2, 2) DOT_TILE(2, 3) DOT_TILE(2, 4) DOT_TILE(2, 5) DOT_TILE(2, 6)
    DOT_TILE(3, 1) DOT_TILE(3, 2) DOT_TILE(3, 3) DOT_TILE(3, 4) DOT_TILE(4, 1) DOT_TILE(4, 2) DOT_TILE(4, 3)
    }
}
/* clang-format on */

const sqz_kernels sqz_neondot = {
    LANES, DEPTH, 1, CENTRE, {0, 8, 6, 4, 3}, multiply_dot, rescale, widen, maximum, total, weigh, add, enter,
};
#endif

/* The same for floats, in the order of the window: a sum does not depend on the tile in which it stands. */
INLINE void tile_floats(const sqz_tile *t, float *sums, const uint32_t halves, const uint32_t places)
{
    float32x4_t sum[24];
    const float *starts = t->starts, *w = t->weights;
#pragma GCC unroll 8
    for (uint32_t h = 0; h < halves; h++)
#pragma GCC unroll 8
        for (uint32_t p = 0; p < places; p++) sum[p * halves + h] = vld1q_f32(starts + LANES / 2 * h);
    for (size_t row = 0; row < t->rows; row++) {
        const uint8_t *x = t->lines[row] + t->at;
        for (size_t i = 0; i < t->run; i++, x += sizeof(float)) {
            float32x4_t all[8];
#pragma GCC unroll 8
            for (uint32_t p = 0; p < places; p++) all[p] = vld1q_dup_f32((const float *)(const void *)(x + p * t->step));
#pragma GCC unroll 8
            for (uint32_t h = 0; h < halves; h++, w += LANES / 2) {
                const float32x4_t weights = vld1q_f32(w);
#pragma GCC unroll 8
                for (uint32_t p = 0; p < places; p++)
                    sum[p * halves + h] = vfmaq_f32(sum[p * halves + h], all[p], weights);
            }
        }
    }
#pragma GCC unroll 24
    for (uint32_t i = 0; i < places * halves; i++) vst1q_f32(sums + LANES / 2 * i, sum[i]);
}

/* clang-format off */
#define TILE_FLOATS(VECTORS, PLACES) case 16 * VECTORS + PLACES: tile_floats(t, sums, 2 * VECTORS, PLACES); break;

static void multiply_floats(const sqz_tile *t, void *sums)
{
    switch (16 * t->vectors + t->places) {
    TILE_FLOATS(1, 1) TILE_FLOATS(1, 2) TILE_FLOATS(1, 3) TILE_FLOATS(1, 4) TILE_FLOATS(1, 5) TILE_FLOATS(1, 6)
    TILE_FLOATS(1, 7) TILE_FLOATS(1, 8) TILE_FLOATS(2, 1) TILE_FLOATS(2, 2) TILE_FLOATS(2, 3) TILE_FLOATS(2, 4)
    TILE_FLOATS(2, 5) TILE_FLOATS(2, 6) TILE_FLOATS(3, 1) TILE_FLOATS(3, 2) TILE_FLOATS(3, 3) TILE_FLOATS(3, 4)
    TILE_FLOATS(4, 1) TILE_FLOATS(4, 2) TILE_FLOATS(4, 3)
    }
}
/* clang-format on */

const sqz_kernels sqz_neon_floats = {
    LANES, 1, 4, 0, {0, 8, 6, 4, 3}, multiply_floats, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
};
#endif
