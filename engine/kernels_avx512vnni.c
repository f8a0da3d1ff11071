/* x86 with AVX-512 and its vector neural network instructions: 64 products of bytes, added up in fours, at once. */
#include "kernels.h"

#ifdef SQZ_X86
#include <immintrin.h>

#define SQZ_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#include "loops.h"

enum { LANES = 16, DEPTH = 4 };

/* One or two of the tile's vectors, from `first` on: as fast as all of them at once, with a fraction of the code. */
SQZ_TARGET __attribute__((always_inline)) static inline void tile(const sqz_tile *t, int32_t *sums, uint32_t first,
                                                                  const uint32_t vectors, const uint32_t places)
{
    __m512i sum[16], weights[2];
    const size_t width = LANES * t->vectors;
    const int32_t *starts = (const int32_t *)t->starts + LANES * first;
    const int8_t *w = (const int8_t *)t->weights + LANES * DEPTH * first;
#pragma GCC unroll 2
    for (uint32_t v = 0; v < vectors; v++)
#pragma GCC unroll 8
        for (uint32_t p = 0; p < places; p++) sum[p * vectors + v] = _mm512_loadu_si512(starts + LANES * v);
    for (size_t row = 0; row < t->rows; row++) {
        const uint8_t *x = t->lines[row] + t->at;
        for (size_t i = 0; i < t->run; i++, x += DEPTH, w += DEPTH * width) {
#pragma GCC unroll 2
            for (uint32_t v = 0; v < vectors; v++) weights[v] = _mm512_loadu_si512(w + LANES * DEPTH * v);
#pragma GCC unroll 8
            for (uint32_t p = 0; p < places; p++) {
                int32_t four;
                memcpy(&four, x + p * t->step, sizeof four);
                const __m512i all = _mm512_set1_epi32(four);
#pragma GCC unroll 2
                for (uint32_t v = 0; v < vectors; v++)
                    sum[p * vectors + v] = _mm512_dpbusd_epi32(sum[p * vectors + v], all, weights[v]);
            }
        }
    }
    sums += LANES * first;
#pragma GCC unroll 8
    for (uint32_t p = 0; p < places; p++)
#pragma GCC unroll 2
        for (uint32_t v = 0; v < vectors; v++) _mm512_storeu_si512(sums + p * width + LANES * v, sum[p * vectors + v]);
}

/* clang-format off */
#define TILE(VECTORS, PLACES) case 16 * VECTORS + PLACES: tile(t, sums, first, VECTORS, PLACES); break;

SQZ_TARGET static void multiply(const sqz_tile *t, void *sums)
{
    for (uint32_t first = 0; first < t->vectors; first += 2)
        switch (16u * (first + 1 < t->vectors ? 2 : 1) + t->places) {
        TILE(1, 1) TILE(1, 2) TILE(1, 3) TILE(1, 4) TILE(1, 5) TILE(1, 6) TILE(1, 7) TILE(1, 8)
        TILE(2, 1) TILE(2, 2) TILE(2, 3) TILE(2, 4) TILE(2, 5) TILE(2, 6) TILE(2, 7) TILE(2, 8)
        }
}
/* clang-format on */

/* Levels of 16 sums, not yet cut off: the upper halves of the products of even lanes and of odd ones. */
SQZ_TARGET __attribute__((always_inline)) static inline __m512i level_of(__m512i sum, __m512i even_factor,
                                                                         __m512i odd_factor, __m512i even_offset,
                                                                         __m512i odd_offset)
{
    const __m512i even = _mm512_add_epi64(_mm512_mul_epi32(sum, even_factor), even_offset);
    const __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(sum, 32), odd_factor), odd_offset);
    return _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
}

/* All vectors of a place become bytes at once: packing works within quarters, whose parts are put in order after. */
SQZ_TARGET __attribute__((always_inline)) static inline void rescale_some(const sqz_rescale *r, const int32_t *sums,
                                                                          uint32_t places, uint8_t *out, size_t step,
                                                                          const uint32_t vectors)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i low = _mm512_set1_epi8((char)r->low), high = _mm512_set1_epi8((char)r->high);
    const __mmask64 some = UINT64_MAX >> (64 - r->outputs);
    __m512i even_factor[SQZ_VECTORS], odd_factor[SQZ_VECTORS], even_offset[SQZ_VECTORS], odd_offset[SQZ_VECTORS];
    __m512i level[SQZ_VECTORS];
#pragma GCC unroll 4
    for (uint32_t v = 0; v < SQZ_VECTORS; v++) {
        level[v] = _mm512_setzero_si512();
        if (v >= vectors) continue;
        even_factor[v] = _mm512_loadu_si512(r->multipliers + LANES * v);
        odd_factor[v] = _mm512_srli_epi64(even_factor[v], 32);
        even_offset[v] = _mm512_loadu_si512(r->offsets + LANES * v);
        odd_offset[v] = _mm512_loadu_si512(r->offsets + LANES * v + LANES / 2);
    }
    for (uint32_t place = 0; place < places; place++, sums += LANES * vectors, out += step) {
#pragma GCC unroll 4
        for (uint32_t v = 0; v < vectors; v++)
            level[v] = level_of(_mm512_loadu_si512(sums + LANES * v), even_factor[v], odd_factor[v], even_offset[v],
                                odd_offset[v]);
        const __m512i first = _mm512_packs_epi32(level[0], level[1]), second = _mm512_packs_epi32(level[2], level[3]);
        const __m512i bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(first, second));
        _mm512_mask_storeu_epi8(out, some, _mm512_min_epu8(_mm512_max_epu8(bytes, low), high));
    }
}

SQZ_TARGET static void rescale(const sqz_rescale *r, const int32_t *sums, uint32_t places, uint8_t *out, size_t step)
{
    switch (r->vectors) {
    case 1: rescale_some(r, sums, places, out, step, 1); break;
    case 2: rescale_some(r, sums, places, out, step, 2); break;
    case 3: rescale_some(r, sums, places, out, step, 3); break;
    default: rescale_some(r, sums, places, out, step, 4);
    }
}

SQZ_TARGET static void widen(void *line, const uint8_t *x, size_t n)
{
    memcpy(line, x, n);
}

const sqz_kernels sqz_avx512vnni = {
    LANES, DEPTH, 1, 0, {0, 8, 8, 8, 8}, multiply, rescale, widen, maximum, total, weigh, add, enter,
};

/* The same for floats, in the order of the window: a sum does not depend on the tile in which it stands. */
SQZ_TARGET __attribute__((always_inline)) static inline void tile_floats(const sqz_tile *t, float *sums, uint32_t first,
                                                                         const uint32_t vectors, const uint32_t places)
{
    __m512 sum[16], weights[2];
    const size_t width = LANES * t->vectors;
    const float *starts = (const float *)t->starts + LANES * first, *w = (const float *)t->weights + LANES * first;
#pragma GCC unroll 2
    for (uint32_t v = 0; v < vectors; v++)
#pragma GCC unroll 8
        for (uint32_t p = 0; p < places; p++) sum[p * vectors + v] = _mm512_loadu_ps(starts + LANES * v);
    for (size_t row = 0; row < t->rows; row++) {
        const uint8_t *x = t->lines[row] + t->at;
        for (size_t i = 0; i < t->run; i++, x += sizeof(float), w += width) {
#pragma GCC unroll 2
            for (uint32_t v = 0; v < vectors; v++) weights[v] = _mm512_loadu_ps(w + LANES * v);
#pragma GCC unroll 8
            for (uint32_t p = 0; p < places; p++) {
                float one;
                memcpy(&one, x + p * t->step, sizeof one);
                const __m512 all = _mm512_set1_ps(one);
#pragma GCC unroll 2
                for (uint32_t v = 0; v < vectors; v++)
                    sum[p * vectors + v] = _mm512_fmadd_ps(all, weights[v], sum[p * vectors + v]);
            }
        }
    }
    sums += LANES * first;
#pragma GCC unroll 8
    for (uint32_t p = 0; p < places; p++)
#pragma GCC unroll 2
        for (uint32_t v = 0; v < vectors; v++) _mm512_storeu_ps(sums + p * width + LANES * v, sum[p * vectors + v]);
}

/* clang-format off */
#define TILE_FLOATS(VECTORS, PLACES) case 16 * VECTORS + PLACES: tile_floats(t, sums, first, VECTORS, PLACES); break;

SQZ_TARGET static void multiply_floats(const sqz_tile *t, void *sums)
{
    for (uint32_t first = 0; first < t->vectors; first += 2)
        switch (16u * (first + 1 < t->vectors ? 2 : 1) + t->places) {
        TILE_FLOATS(1, 1) TILE_FLOATS(1, 2) TILE_FLOATS(1, 3) TILE_FLOATS(1, 4) TILE_FLOATS(1, 5) TILE_FLOATS(1, 6)
        TILE_FLOATS(1, 7) TILE_FLOATS(1, 8)
        TILE_FLOATS(2, 1) TILE_FLOATS(2, 2) TILE_FLOATS(2, 3) TILE_FLOATS(2, 4) TILE_FLOATS(2, 5) TILE_FLOATS(2, 6)
        TILE_FLOATS(2, 7) TILE_FLOATS(2, 8)
        }
}
/* clang-format on */

const sqz_kernels sqz_avx512_floats = {
    LANES, 1, 4, 0, {0, 8, 8, 8, 8}, multiply_floats, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
};
#endif
