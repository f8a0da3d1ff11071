/* WebAssembly with vectors of 128 bits. It multiplies neither unsigned bytes with signed ones nor bytes at all without
 * widening, so both factors are widened first. */
#include "kernels.h"

#ifdef __wasm_simd128__
#include <wasm_simd128.h>

#define SQZ_TARGET
#include "loops.h"

#define INLINE __attribute__((always_inline)) static inline

enum { LANES = 4, DEPTH = 2 };

INLINE void tile(const sqz_tile *t, int32_t *sums, const uint32_t vectors, const uint32_t places)
{
    v128_t sum[12];
    const int32_t *starts = t->starts;
    const int16_t *w = t->weights;
    for (uint32_t v = 0; v < vectors; v++)
        for (uint32_t p = 0; p < places; p++) sum[p * vectors + v] = wasm_v128_load(starts + LANES * v);
    for (size_t row = 0; row < t->rows; row++) {
        const uint8_t *x = t->lines[row] + t->at;
        for (size_t i = 0; i < t->run; i++, x += 4, w += LANES * DEPTH * vectors)
            for (uint32_t p = 0; p < places; p++) {
                const v128_t both = wasm_v128_load32_splat(x + p * t->step);
                for (uint32_t v = 0; v < vectors; v++) {
                    const v128_t products = wasm_i32x4_dot_i16x8(both, wasm_v128_load(w + LANES * DEPTH * v));
                    sum[p * vectors + v] = wasm_i32x4_add(sum[p * vectors + v], products);
                }
            }
    }
    for (uint32_t i = 0; i < places * vectors; i++) wasm_v128_store(sums + LANES * i, sum[i]);
}

/* clang-format off */
#define TILE(VECTORS, PLACES) case 16 * VECTORS + PLACES: tile(t, sums, VECTORS, PLACES); break;

static void multiply(const sqz_tile *t, void *sums)
{
    switch (16 * t->vectors + t->places) {
    TILE(1, 1) TILE(1, 2) TILE(1, 3) TILE(1, 4) TILE(1, 5) TILE(1, 6) TILE(1, 7) TILE(1, 8)
    TILE(2, 1) TILE(2, 2) TILE(2, 3) TILE(2, 4) TILE(2, 5) TILE(2, 6)
    TILE(3, 1) TILE(3, 2) TILE(3, 3) TILE(3, 4)
    TILE(4, 1) TILE(4, 2) TILE(4, 3)
    }
}
/* clang-format on */

static void rescale(const sqz_rescale *r, const int32_t *sums, uint32_t places, uint8_t *out, size_t step)
{
    const v128_t low = wasm_i32x4_splat(r->low), high = wasm_i32x4_splat(r->high);
    for (uint32_t v = 0; v * LANES < r->outputs; v++) {
        const uint32_t left = r->outputs - v * LANES;
        const v128_t factors = wasm_v128_load(r->multipliers + LANES * v);
        const v128_t even = wasm_v128_load(r->offsets + LANES * v);
        const v128_t odd = wasm_v128_load(r->offsets + LANES * v + LANES / 2);
        const v128_t first_offsets = wasm_i64x2_shuffle(even, odd, 0, 2);
        const v128_t second_offsets = wasm_i64x2_shuffle(even, odd, 1, 3);
        for (uint32_t place = 0; place < places; place++) {
            const v128_t sum = wasm_v128_load(sums + (place * r->vectors + v) * LANES);
            const v128_t first = wasm_i64x2_add(wasm_i64x2_extmul_low_i32x4(sum, factors), first_offsets);
            const v128_t second = wasm_i64x2_add(wasm_i64x2_extmul_high_i32x4(sum, factors), second_offsets);
            v128_t level = wasm_i32x4_shuffle(first, second, 1, 3, 5, 7); /* the upper halves */
            level = wasm_i32x4_min(wasm_i32x4_max(level, low), high);
            const v128_t half = wasm_u16x8_narrow_i32x4(level, level);
            const uint32_t bytes = (uint32_t)wasm_i32x4_extract_lane(wasm_u8x16_narrow_i16x8(half, half), 0);
            memcpy(out + place * step + v * LANES, &bytes, left < LANES ? left : LANES);
        }
    }
}

static void widen(void *line, const uint8_t *x, size_t n)
{
    int16_t *to = line;
    for (size_t i = 0; i < n; i++) to[i] = x[i];
}

const sqz_kernels sqz_simd128 = {
    LANES, DEPTH, 2, 0, {0, 8, 6, 4, 3}, multiply, rescale, widen, maximum, total, weigh, add, enter,
};

/* The same for floats, in the order of the window: a sum does not depend on the tile in which it stands. */
INLINE void tile_floats(const sqz_tile *t, float *sums, const uint32_t vectors, const uint32_t places)
{
    v128_t sum[12];
    const float *starts = t->starts, *w = t->weights;
    for (uint32_t v = 0; v < vectors; v++)
        for (uint32_t p = 0; p < places; p++) sum[p * vectors + v] = wasm_v128_load(starts + LANES * v);
    for (size_t row = 0; row < t->rows; row++) {
        const uint8_t *x = t->lines[row] + t->at;
        for (size_t i = 0; i < t->run; i++, x += sizeof(float), w += LANES * vectors)
            for (uint32_t p = 0; p < places; p++) {
                const v128_t all = wasm_v128_load32_splat(x + p * t->step);
                for (uint32_t v = 0; v < vectors; v++) {
                    const v128_t products = wasm_f32x4_mul(all, wasm_v128_load(w + LANES * v));
                    sum[p * vectors + v] = wasm_f32x4_add(sum[p * vectors + v], products);
                }
            }
    }
    for (uint32_t i = 0; i < places * vectors; i++) wasm_v128_store(sums + LANES * i, sum[i]);
}

/* clang-format off */
#define TILE_FLOATS(VECTORS, PLACES) case 16 * VECTORS + PLACES: tile_floats(t, sums, VECTORS, PLACES); break;

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

const sqz_kernels sqz_simd128_floats = {
    LANES, 1, 4, 0, {0, 8, 6, 4, 3}, multiply_floats, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
};
#endif
