/* x86 with AVX-512 and its vector neural network instructions: 64 products of bytes, added up in fours, at once. */
#include "kernels.h"

#ifdef SQZ_X86
#include <immintrin.h>

#define SQZ_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#include "loops.h"

enum { LANES = 16, DEPTH = 4 };

SQZ_TARGET __attribute__((always_inline)) static inline void tile(const sqz_tile *t, int32_t *sums,
                                                                  const uint32_t vectors, const uint32_t places)
{
    __m512i sum[24], weights[SQZ_VECTORS];
    const int32_t *starts = t->starts;
    const int8_t *w = t->weights;
#pragma GCC unroll 4
    for (uint32_t v = 0; v < vectors; v++)
#pragma GCC unroll 16
        for (uint32_t p = 0; p < places; p++) sum[p * vectors + v] = _mm512_loadu_si512(starts + LANES * v);
    for (size_t row = 0; row < t->rows; row++) {
        const uint8_t *x = t->lines[row] + t->at;
        for (size_t i = 0; i < t->run; i++, x += DEPTH, w += LANES * DEPTH * vectors) {
#pragma GCC unroll 4
            for (uint32_t v = 0; v < vectors; v++) weights[v] = _mm512_loadu_si512(w + LANES * DEPTH * v);
#pragma GCC unroll 16
            for (uint32_t p = 0; p < places; p++) {
                int32_t four;
                memcpy(&four, x + p * t->step, sizeof four);
                const __m512i all = _mm512_set1_epi32(four);
#pragma GCC unroll 4
                for (uint32_t v = 0; v < vectors; v++)
                    sum[p * vectors + v] = _mm512_dpbusd_epi32(sum[p * vectors + v], all, weights[v]);
            }
        }
    }
#pragma GCC unroll 16
    for (uint32_t p = 0; p < places; p++)
#pragma GCC unroll 4
        for (uint32_t v = 0; v < vectors; v++)
            _mm512_storeu_si512(sums + LANES * (p * vectors + v), sum[p * vectors + v]);
}

/* clang-format off */
#define TILE(VECTORS, PLACES) case 32 * VECTORS + PLACES: tile(t, sums, VECTORS, PLACES); break;

SQZ_TARGET static void multiply(const sqz_tile *t, void *sums)
{
    switch (32 * t->vectors + t->places) {
    TILE(1, 1) TILE(1, 2) TILE(1, 3) TILE(1, 4) TILE(1, 5) TILE(1, 6) TILE(1, 7) TILE(1, 8)
    TILE(1, 9) TILE(1, 10) TILE(1, 11) TILE(1, 12) TILE(1, 13) TILE(1, 14) TILE(1, 15) TILE(1, 16)
    TILE(2, 1) TILE(2, 2) TILE(2, 3) TILE(2, 4) TILE(2, 5) TILE(2, 6)
    TILE(2, 7) TILE(2, 8) TILE(2, 9) TILE(2, 10) TILE(2, 11) TILE(2, 12)
    TILE(3, 1) TILE(3, 2) TILE(3, 3) TILE(3, 4) TILE(3, 5) TILE(3, 6) TILE(3, 7) TILE(3, 8)
    TILE(4, 1) TILE(4, 2) TILE(4, 3) TILE(4, 4) TILE(4, 5) TILE(4, 6)
    }
}
/* clang-format on */

SQZ_TARGET static void rescale(const sqz_rescale *r, const int32_t *sums, uint32_t places, uint8_t *out, size_t step)
{
    const __m512i low = _mm512_set1_epi32(r->low), high = _mm512_set1_epi32(r->high);
    for (uint32_t v = 0; v < r->vectors && v * LANES < r->outputs; v++) {
        const uint32_t left = r->outputs - v * LANES;
        const __mmask16 some = (__mmask16)(left < LANES ? (1u << left) - 1 : 0xFFFF);
        const __m512i m = _mm512_loadu_si512(r->multipliers + LANES * v), n = _mm512_srli_epi64(m, 32);
        const __m512i even_offset = _mm512_loadu_si512(r->offsets + LANES * v);
        const __m512i odd_offset = _mm512_loadu_si512(r->offsets + LANES * v + LANES / 2);
        for (uint32_t place = 0; place < places; place++) {
            const __m512i sum = _mm512_loadu_si512(sums + (place * r->vectors + v) * LANES);
            const __m512i even = _mm512_add_epi64(_mm512_mul_epi32(sum, m), even_offset);
            const __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(sum, 32), n), odd_offset);
            __m512i level = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
            level = _mm512_min_epi32(_mm512_max_epi32(level, low), high);
            _mm_mask_storeu_epi8(out + place * step + v * LANES, some, _mm512_cvtepi32_epi8(level));
        }
    }
}

SQZ_TARGET static void widen(void *line, const uint8_t *x, size_t n)
{
    memcpy(line, x, n);
}

const sqz_kernels sqz_avx512vnni = {
    LANES, DEPTH, 1, {0, 16, 12, 8, 6}, multiply, rescale, widen, maximum, total, weigh, add, enter,
};

/* The same for floats, in the order of the window: a sum does not depend on the tile in which it stands. */
SQZ_TARGET __attribute__((always_inline)) static inline void tile_floats(const sqz_tile *t, float *sums,
                                                                         const uint32_t vectors, const uint32_t places)
{
    __m512 sum[24], weights[SQZ_VECTORS];
    const float *starts = t->starts, *w = t->weights;
#pragma GCC unroll 4
    for (uint32_t v = 0; v < vectors; v++)
#pragma GCC unroll 12
        for (uint32_t p = 0; p < places; p++) sum[p * vectors + v] = _mm512_loadu_ps(starts + LANES * v);
    for (size_t row = 0; row < t->rows; row++) {
        const uint8_t *x = t->lines[row] + t->at;
        for (size_t i = 0; i < t->run; i++, x += sizeof(float), w += LANES * vectors) {
#pragma GCC unroll 4
            for (uint32_t v = 0; v < vectors; v++) weights[v] = _mm512_loadu_ps(w + LANES * v);
#pragma GCC unroll 12
            for (uint32_t p = 0; p < places; p++) {
                float one;
                memcpy(&one, x + p * t->step, sizeof one);
                const __m512 all = _mm512_set1_ps(one);
#pragma GCC unroll 4
                for (uint32_t v = 0; v < vectors; v++)
                    sum[p * vectors + v] = _mm512_fmadd_ps(all, weights[v], sum[p * vectors + v]);
            }
        }
    }
#pragma GCC unroll 12
    for (uint32_t p = 0; p < places; p++)
#pragma GCC unroll 4
        for (uint32_t v = 0; v < vectors; v++) _mm512_storeu_ps(sums + LANES * (p * vectors + v), sum[p * vectors + v]);
}

/* clang-format off */
#define TILE_FLOATS(VECTORS, PLACES) case 32 * VECTORS + PLACES: tile_floats(t, sums, VECTORS, PLACES); break;

SQZ_TARGET static void multiply_floats(const sqz_tile *t, void *sums)
{
    switch (32 * t->vectors + t->places) {
    TILE_FLOATS(1, 1) TILE_FLOATS(1, 2) TILE_FLOATS(1, 3) TILE_FLOATS(1, 4) TILE_FLOATS(1, 5) TILE_FLOATS(1, 6)
    TILE_FLOATS(1, 7) TILE_FLOATS(1, 8) TILE_FLOATS(1, 9) TILE_FLOATS(1, 10) TILE_FLOATS(1, 11) TILE_FLOATS(1, 12)
    TILE_FLOATS(2, 1) TILE_FLOATS(2, 2) TILE_FLOATS(2, 3) TILE_FLOATS(2, 4) TILE_FLOATS(2, 5) TILE_FLOATS(2, 6)
    TILE_FLOATS(2, 7) TILE_FLOATS(2, 8) TILE_FLOATS(2, 9) TILE_FLOATS(2, 10) TILE_FLOATS(2, 11) TILE_FLOATS(2, 12)
    TILE_FLOATS(3, 1) TILE_FLOATS(3, 2) TILE_FLOATS(3, 3) TILE_FLOATS(3, 4) TILE_FLOATS(3, 5) TILE_FLOATS(3, 6)
    TILE_FLOATS(3, 7) TILE_FLOATS(3, 8) TILE_FLOATS(4, 1) TILE_FLOATS(4, 2) TILE_FLOATS(4, 3) TILE_FLOATS(4, 4)
    TILE_FLOATS(4, 5) TILE_FLOATS(4, 6)
    }
}
/* clang-format on */

const sqz_kernels sqz_avx512_floats = {
    LANES, 1, 4, {0, 12, 12, 8, 6}, multiply_floats, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
};
#endif
