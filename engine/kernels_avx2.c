/* x86 with AVX2. Products of bytes could saturate in 16 bits (vpmaddubsw), so both factors are widened first. */
#include "kernels.h"

#ifdef SQZ_X86
#include <immintrin.h>

#define SQZ_TARGET __attribute__((target("avx2,fma")))
#include "loops.h"

enum { LANES = 8, DEPTH = 2 };

/* One or two of the tile's vectors, from `first` on: as fast as all of them at once, with a fraction of the code. */
SQZ_TARGET __attribute__((always_inline)) static inline void tile(const sqz_tile *t, int32_t *sums, uint32_t first,
                                                                  const uint32_t vectors, const uint32_t places)
{
    __m256i sum[12];
    const size_t width = LANES * t->vectors;
    const int32_t *starts = (const int32_t *)t->starts + LANES * first;
    const int16_t *w = (const int16_t *)t->weights + LANES * DEPTH * first;
#pragma GCC unroll 2
    for (uint32_t v = 0; v < vectors; v++)
#pragma GCC unroll 8
        for (uint32_t p = 0; p < places; p++)
            sum[p * vectors + v] = _mm256_loadu_si256((const __m256i *)(const void *)(starts + LANES * v));
    for (size_t row = 0; row < t->rows; row++) {
        const uint8_t *x = t->lines[row] + t->at;
        for (size_t i = 0; i < t->run; i++, x += 4, w += DEPTH * width) {
#pragma GCC unroll 8
            for (uint32_t p = 0; p < places; p++) {
                int32_t pair;
                memcpy(&pair, x + p * t->step, sizeof pair);
                const __m256i both = _mm256_set1_epi32(pair);
#pragma GCC unroll 2
                for (uint32_t v = 0; v < vectors; v++) {
                    const __m256i weights = _mm256_loadu_si256((const __m256i *)(const void *)(w + LANES * DEPTH * v));
                    const __m256i products = _mm256_madd_epi16(both, weights);
                    sum[p * vectors + v] = _mm256_add_epi32(sum[p * vectors + v], products);
                }
            }
        }
    }
    sums += LANES * first;
#pragma GCC unroll 8
    for (uint32_t p = 0; p < places; p++)
#pragma GCC unroll 2
        for (uint32_t v = 0; v < vectors; v++)
            _mm256_storeu_si256((__m256i *)(void *)(sums + p * width + LANES * v), sum[p * vectors + v]);
}

/* clang-format off */
#define TILE(VECTORS, PLACES) case 16 * VECTORS + PLACES: tile(t, sums, first, VECTORS, PLACES); break;

SQZ_TARGET static void multiply(const sqz_tile *t, void *sums)
{
    for (uint32_t first = 0; first < t->vectors; first += 2)
        switch (16u * (first + 1 < t->vectors ? 2 : 1) + t->places) {
        TILE(1, 1) TILE(1, 2) TILE(1, 3) TILE(1, 4) TILE(1, 5) TILE(1, 6) TILE(1, 7) TILE(1, 8)
        TILE(2, 1) TILE(2, 2) TILE(2, 3) TILE(2, 4) TILE(2, 5) TILE(2, 6)
        }
}
/* clang-format on */

SQZ_TARGET static void rescale(const sqz_rescale *r, const int32_t *sums, uint32_t places, uint8_t *out, size_t step)
{
    const __m256i low = _mm256_set1_epi32(r->low), high = _mm256_set1_epi32(r->high);
    for (uint32_t v = 0; v < r->vectors && v * LANES < r->outputs; v++) {
        const uint32_t left = r->outputs - v * LANES;
        const __m256i m = _mm256_loadu_si256((const __m256i *)(const void *)(r->multipliers + LANES * v));
        const __m256i n = _mm256_srli_epi64(m, 32);
        const __m256i *offsets = (const __m256i *)(const void *)(r->offsets + LANES * v);
        const __m256i even_offset = _mm256_loadu_si256(offsets), odd_offset = _mm256_loadu_si256(offsets + 1);
        for (uint32_t place = 0; place < places; place++) {
            const int32_t *from = sums + (place * r->vectors + v) * LANES;
            uint8_t *to = out + place * step + v * LANES;
            const __m256i sum = _mm256_loadu_si256((const __m256i *)(const void *)from);
            const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(sum, m), even_offset);
            const __m256i odd = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(sum, 32), n), odd_offset);
            __m256i level = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
            level = _mm256_min_epi32(_mm256_max_epi32(level, low), high);
            const __m128i half = _mm_packus_epi32(_mm256_castsi256_si128(level), _mm256_extracti128_si256(level, 1));
            const int64_t bytes = _mm_cvtsi128_si64(_mm_packus_epi16(half, half));
            memcpy(to, &bytes, left < LANES ? left : LANES);
        }
    }
}

SQZ_TARGET static void widen(void *line, const uint8_t *x, size_t n)
{
    __m256i *to = line;
    for (size_t i = 0; i < n; i += STRIP, x += STRIP, to += 2) {
        const __m128i *from = (const __m128i *)(const void *)x;
        _mm256_storeu_si256(to, _mm256_cvtepu8_epi16(_mm_loadu_si128(from)));
        _mm256_storeu_si256(to + 1, _mm256_cvtepu8_epi16(_mm_loadu_si128(from + 1)));
    }
}

const sqz_kernels sqz_avx2 = {
    LANES, DEPTH, 2, 0, {0, 8, 6, 6, 6}, multiply, rescale, widen, maximum, total, weigh, add, enter,
};

/* The same for floats, in the order of the window: a sum does not depend on the tile in which it stands. */
SQZ_TARGET __attribute__((always_inline)) static inline void tile_floats(const sqz_tile *t, float *sums, uint32_t first,
                                                                         const uint32_t vectors, const uint32_t places)
{
    __m256 sum[12], weights[2];
    const size_t width = LANES * t->vectors;
    const float *starts = (const float *)t->starts + LANES * first, *w = (const float *)t->weights + LANES * first;
#pragma GCC unroll 2
    for (uint32_t v = 0; v < vectors; v++)
#pragma GCC unroll 8
        for (uint32_t p = 0; p < places; p++) sum[p * vectors + v] = _mm256_loadu_ps(starts + LANES * v);
    for (size_t row = 0; row < t->rows; row++) {
        const uint8_t *x = t->lines[row] + t->at;
        for (size_t i = 0; i < t->run; i++, x += sizeof(float), w += width) {
#pragma GCC unroll 2
            for (uint32_t v = 0; v < vectors; v++) weights[v] = _mm256_loadu_ps(w + LANES * v);
#pragma GCC unroll 8
            for (uint32_t p = 0; p < places; p++) {
                float one;
                memcpy(&one, x + p * t->step, sizeof one);
                const __m256 all = _mm256_set1_ps(one);
#pragma GCC unroll 2
                for (uint32_t v = 0; v < vectors; v++)
                    sum[p * vectors + v] = _mm256_fmadd_ps(all, weights[v], sum[p * vectors + v]);
            }
        }
    }
    sums += LANES * first;
#pragma GCC unroll 8
    for (uint32_t p = 0; p < places; p++)
#pragma GCC unroll 2
        for (uint32_t v = 0; v < vectors; v++) _mm256_storeu_ps(sums + p * width + LANES * v, sum[p * vectors + v]);
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
        }
}
/* clang-format on */

const sqz_kernels sqz_avx2_floats = {
    LANES, 1, 4, 0, {0, 8, 6, 6, 6}, multiply_floats, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
};
#endif
