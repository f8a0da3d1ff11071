/* WebAssembly with vectors of 128 bits. No instruction adds products of bytes, so bytes are widened to 16 bits. */
#include "kernels.h"

#ifdef __wasm_simd128__
#include <wasm_simd128.h>

enum { LANES = 4, DEPTH = 2 };

#define SQZ_TARGET
#define LINE int16_t
#define LINE_WEIGHT int16_t
#include "loops.h"

#define REGISTERS 1
#define AT_ONCE SQZ_VECTORS
#define FITS(vectors, positions) (vectors * positions <= 12)

#define MULTIPLY multiply
#define WEIGHT int16_t
#define VECTOR v128_t
#define LOAD(address) wasm_v128_load(address)
#define STORE(address, vector) wasm_v128_store(address, vector)
#define BROADCAST(x) wasm_v128_load32_splat(x)
#define ADD_PRODUCTS(sum, x, w) wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(x, w))
#include "tile.h"

static void rescale(const sqz_rescale *r, const int32_t *sums, uint32_t positions, uint8_t *out, size_t step)
{
    const v128_t low = wasm_i32x4_splat(r->low), high = wasm_i32x4_splat(r->high);
    for (uint32_t v = 0; v * LANES < r->outputs; v++) {
        const uint32_t left = r->outputs - v * LANES;
        const v128_t factors = wasm_v128_load(r->multipliers + LANES * v);
        const v128_t even = wasm_v128_load(r->offsets + LANES * v);
        const v128_t odd = wasm_v128_load(r->offsets + LANES * v + LANES / 2);
        const v128_t first_offsets = wasm_i64x2_shuffle(even, odd, 0, 2);
        const v128_t second_offsets = wasm_i64x2_shuffle(even, odd, 1, 3);
        for (uint32_t position = 0; position < positions; position++) {
            const v128_t sum = wasm_v128_load(sums + (position * r->vectors + v) * LANES);
            const v128_t first = wasm_i64x2_add(wasm_i64x2_extmul_low_i32x4(sum, factors), first_offsets);
            const v128_t second = wasm_i64x2_add(wasm_i64x2_extmul_high_i32x4(sum, factors), second_offsets);
            v128_t level = wasm_i32x4_shuffle(first, second, 1, 3, 5, 7); /* the upper halves */
            level = wasm_i32x4_min(wasm_i32x4_max(level, low), high);
            const v128_t half = wasm_u16x8_narrow_i32x4(level, level);
            const uint32_t bytes = (uint32_t)wasm_i32x4_extract_lane(wasm_u8x16_narrow_i16x8(half, half), 0);
            memcpy(out + position * step + v * LANES, &bytes, left < LANES ? left : LANES);
        }
    }
}

static void widen(void *line, const uint8_t *x, size_t n)
{
    int16_t *to = line;
    for (size_t i = 0; i < n; i++) to[i] = x[i];
}

const sqz_kernels sqz_simd128 = {
    .lanes = LANES,
    .depth = DEPTH,
    .bytes = 2,
    .positions = {0, 8, 6, 4, 3},
    .multiply = multiply,
    .rescale = rescale,
    .taps = 1,
    .depthwise = depthwise,
    .widen = widen,
    .look_up = look_up,
    SQZ_PLAIN_LOOPS,
};

#define FLOATS
#define VECTOR v128_t
#define LOAD(address) wasm_v128_load(address)
#define STORE(address, vector) wasm_v128_store(address, vector)
#define BROADCAST(x) wasm_v128_load32_splat(x)
#define ADD_PRODUCTS(sum, x, w) wasm_f32x4_add(sum, wasm_f32x4_mul(x, w))
#include "tile.h"

const sqz_kernels sqz_simd128_floats = {
    .lanes = LANES, .depth = 1, .bytes = 4, .positions = {0, 8, 6, 4, 3}, .multiply = multiply_floats};
#endif
