/* x86 with AVX2. A sum of two products of bytes could saturate in 16 bits (vpmaddubsw), so bytes are widened to 16
 * bits. */
#include "kernels.h"

#ifdef SQZ_X86
#include <immintrin.h>

#define SQZ_TARGET __attribute__((target("avx2,fma")))
#include "loops.h"

enum { LANES = 8, DEPTH = 2 };

/* One or two vectors of a tile at once are as fast as all four, with a fraction of the code. */
#define REGISTERS 1
#define AT_ONCE 2
#define FITS(vectors, positions) (vectors <= 2 && vectors * positions <= 12)

#define LOAD_BYTES(address) _mm256_loadu_si256((const __m256i *)(const void *)(address))
#define STORE_BYTES(address, vector) _mm256_storeu_si256((__m256i *)(void *)(address), vector)

#define MULTIPLY multiply
#define WEIGHT int16_t
#define VECTOR __m256i
#define LOAD(address) LOAD_BYTES(address)
#define STORE(address, vector) STORE_BYTES(address, vector)
#define BROADCAST(x) _mm256_set1_epi32(four_bytes(x))
#define ADD_PRODUCTS(sum, x, w) _mm256_add_epi32(sum, _mm256_madd_epi16(x, w))
#include "tile.h"

SQZ_TARGET static void rescale(const sqz_rescale *r, const int32_t *sums, uint32_t positions, uint8_t *out, size_t step)
{
    const __m256i low = _mm256_set1_epi32(r->low), high = _mm256_set1_epi32(r->high);
    for (uint32_t v = 0; v < r->vectors && v * LANES < r->outputs; v++) {
        const uint32_t left = r->outputs - v * LANES;
        const __m256i m = _mm256_loadu_si256((const __m256i *)(const void *)(r->multipliers + LANES * v));
        const __m256i n = _mm256_srli_epi64(m, 32);
        const __m256i *offsets = (const __m256i *)(const void *)(r->offsets + LANES * v);
        const __m256i even_offset = _mm256_loadu_si256(offsets), odd_offset = _mm256_loadu_si256(offsets + 1);
        for (uint32_t position = 0; position < positions; position++) {
            const int32_t *from = sums + (position * r->vectors + v) * LANES;
            uint8_t *to = out + position * step + v * LANES;
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

/* Both taps of a channel, 16 bits each, become one lane: (taps, 16 channels) -> (2 vectors, 8 lanes, taps). */
SQZ_TARGET SQZ_INLINE void depthwise_some(const sqz_tile *t, size_t begin, const int16_t *w, const int32_t *initial,
                                          int32_t *sums, const uint32_t positions)
{
    const size_t width = t->vectors * LANES;
    __m256i low[4], high[4];
    SQZ_EACH(p, positions) low[p] = high[p] = _mm256_setzero_si256();
    for (size_t row = 0; row < t->rows; row += DEPTH, w += DEPTH * SQZ_CHUNK) {
        const __m256i first = LOAD_BYTES(w), second = LOAD_BYTES(w + 2 * LANES);
        SQZ_EACH(p, positions) {
            const __m256i a = LOAD_BYTES(t->lines[row] + begin + p * t->stride);
            const __m256i b = LOAD_BYTES(t->lines[row + 1] + begin + p * t->stride);
            low[p] = _mm256_add_epi32(low[p], _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), first));
            high[p] = _mm256_add_epi32(high[p], _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), second));
        }
    }
    SQZ_EACH(p, positions) { /* back to the order of channels */
        const __m256i first = _mm256_permute2x128_si256(low[p], high[p], 0x20);
        const __m256i second = _mm256_permute2x128_si256(low[p], high[p], 0x31);
        STORE_BYTES(sums + p * width, _mm256_add_epi32(first, LOAD_BYTES(initial)));
        STORE_BYTES(sums + p * width + LANES, _mm256_add_epi32(second, LOAD_BYTES(initial + LANES)));
    }
}

SQZ_TARGET static void depthwise(const sqz_tile *t, int32_t *sums)
{
    for (uint32_t o = 0; o < t->vectors * LANES; o += 2 * LANES) {
        const int16_t *w = (const int16_t *)t->weights + o * DEPTH;
        const int32_t *initial = (const int32_t *)t->initial + o;
        const size_t begin = t->begin + o * sizeof *w, width = t->vectors * LANES;
        uint32_t p = 0;
        for (; p + 4 <= t->positions; p += 4)
            depthwise_some(t, begin + p * t->stride, w, initial, sums + p * width + o, 4);
        for (; p < t->positions; p++) depthwise_some(t, begin + p * t->stride, w, initial, sums + p * width + o, 1);
    }
}

const sqz_kernels sqz_avx2 = {
    .lanes = LANES,
    .depth = DEPTH,
    .bytes = 2,
    .positions = {0, 8, 6, 6, 6},
    .multiply = multiply,
    .rescale = rescale,
    .taps = DEPTH,
    .depthwise = depthwise,
    .widen = widen,
    .look_up = look_up,
    SQZ_PLAIN_LOOPS,
};

#define FLOATS
#define VECTOR __m256
#define LOAD(address) _mm256_loadu_ps(address)
#define STORE(address, vector) _mm256_storeu_ps(address, vector)
#define BROADCAST(x) _mm256_set1_ps(one_float(x))
#define ADD_PRODUCTS(sum, x, w) _mm256_fmadd_ps(x, w, sum)
#include "tile.h"

const sqz_kernels sqz_avx2_floats = {
    .lanes = LANES, .depth = 1, .bytes = 4, .positions = {0, 8, 6, 6, 6}, .multiply = multiply_floats};
#endif
