/* The inner loops of resizing for x86 with AVX2: pixels of 4 bytes, 3 planes. */
#include <string.h>

#include "kernels.h"
#include "resizer.h"

#ifdef SQZ_X86
#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define LOAD8(address) _mm_loadu_si128((const __m128i *)(const void *)(address))
#define LOAD16(address) _mm256_loadu_si256((const __m256i *)(const void *)(address))
#define BYTES8(address) _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(address)))

/* 16 pixels -> the bytes of one channel, as 16 bits. */
TARGET static inline void channel(__m256i a, __m256i b, int16_t *out)
{
    const __m256i mask = _mm256_set1_epi32(255);
    const __m256i packed = _mm256_packus_epi32(_mm256_and_si256(a, mask), _mm256_and_si256(b, mask));
    _mm256_storeu_si256((__m256i *)(void *)out, _mm256_permute4x64_epi64(packed, 0xd8));
}

TARGET static void separate(const sqz_resizer *r, const uint8_t *row, uint32_t width)
{
    int16_t *red = r->line, *green = red + r->room, *blue = green + r->room;
    uint32_t x = 0;
    for (; x + 16 <= width; x += 16) {
        const __m256i a = LOAD16(row + 4 * (size_t)x), b = LOAD16(row + 4 * (size_t)x + 32);
        channel(a, b, red + x);
        channel(_mm256_srli_epi32(a, 8), _mm256_srli_epi32(b, 8), green + x);
        channel(_mm256_srli_epi32(a, 16), _mm256_srli_epi32(b, 16), blue + x);
    }
    for (; x < width; x++) {
        red[x] = row[4 * (size_t)x];
        green[x] = row[4 * (size_t)x + 1];
        blue[x] = row[4 * (size_t)x + 2];
    }
}

/* The products of a window and its weights, summed to four numbers. The halves of the sums may wrap around; their
 * combination does not. */
TARGET static inline __m128i products(const int16_t *line, const int16_t *low, const int16_t *high, uint32_t count)
{
    __m256i fine = _mm256_setzero_si256(), coarse = fine;
    uint32_t i = 0;
    for (; i + 8 < count; i += 16) {
        const __m256i pixels = LOAD16(line + i);
        fine = _mm256_add_epi32(fine, _mm256_madd_epi16(pixels, LOAD16(low + i)));
        coarse = _mm256_add_epi32(coarse, _mm256_madd_epi16(pixels, LOAD16(high + i)));
    }
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(fine), _mm256_extracti128_si256(fine, 1));
    __m128i top = _mm_add_epi32(_mm256_castsi256_si128(coarse), _mm256_extracti128_si256(coarse, 1));
    if (i < count) {
        const __m128i pixels = LOAD8(line + i);
        sum = _mm_add_epi32(sum, _mm_madd_epi16(pixels, LOAD8(low + i)));
        top = _mm_add_epi32(top, _mm_madd_epi16(pixels, LOAD8(high + i)));
    }
    return _mm_add_epi32(sum, _mm_slli_epi32(top, SQZ_LOW_BITS));
}

TARGET static void resize_row(const sqz_resizer *r, uint8_t *row)
{
    const sqz_axis *a = &r->across;
    const __m128i half = _mm_set1_epi32(1 << (SQZ_WEIGHT_BITS - 1));
    for (uint32_t i = 0; i < a->size; i++, row += 3) {
        const int16_t *low = r->low + (size_t)i * a->most, *high = r->high + (size_t)i * a->most;
        const int16_t *line = r->line + a->start[i];
        const __m128i red = products(line, low, high, a->count[i]);
        const __m128i green = products(line + r->room, low, high, a->count[i]);
        const __m128i blue = products(line + 2 * (size_t)r->room, low, high, a->count[i]);
        __m128i sums = _mm_hadd_epi32(_mm_hadd_epi32(red, green), _mm_hadd_epi32(blue, blue));
        sums = _mm_srai_epi32(_mm_add_epi32(sums, half), SQZ_WEIGHT_BITS);
        sums = _mm_packs_epi32(sums, sums);
        const int pixel = _mm_cvtsi128_si32(_mm_packus_epi16(sums, sums));
        memcpy(row, &pixel, 3);
    }
}

/* The sums of 32 elements, as bytes in the order 0-3 8-11 16-19 24-27, then the others. */
TARGET static inline __m256i rounded(const __m256i sums[4])
{
    __m256i value[4];
    for (int v = 0; v < 4; v++) value[v] = _mm256_srai_epi32(sums[v], SQZ_WEIGHT_BITS);
    return _mm256_packus_epi16(_mm256_packs_epi32(value[0], value[1]), _mm256_packs_epi32(value[2], value[3]));
}

TARGET static void resize_columns(const sqz_resizer *r, uint32_t i)
{
    const sqz_axis *a = &r->down;
    const int32_t *weights = r->weights + (size_t)i * a->most;
    const uint32_t length = a->count[i], bytes = r->across.size * 3;
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    uint8_t *out = r->pixels + (size_t)i * bytes;
    uint32_t x = 0;
    for (; x + 32 <= bytes; x += 32) {
        __m256i sums[4];
        for (int v = 0; v < 4; v++) sums[v] = _mm256_set1_epi32(1 << (SQZ_WEIGHT_BITS - 1));
        for (uint32_t y = 0, at = a->start[i] % a->most; y < length; y++, at = at + 1 == a->most ? 0 : at + 1) {
            const uint8_t *row = r->rows + (size_t)at * bytes + x;
            const __m256i w = _mm256_set1_epi32(weights[y]);
            for (int v = 0; v < 4; v++) sums[v] = _mm256_add_epi32(sums[v], _mm256_mullo_epi32(BYTES8(row + 8 * v), w));
        }
        _mm256_storeu_si256((__m256i *)(void *)(out + x), _mm256_permutevar8x32_epi32(rounded(sums), order));
    }
    for (; x < bytes; x++) {
        int32_t sum = 1 << (SQZ_WEIGHT_BITS - 1);
        for (uint32_t y = 0; y < length; y++)
            sum += weights[y] * r->rows[(size_t)((a->start[i] + y) % a->most) * bytes + x];
        sum >>= SQZ_WEIGHT_BITS;
        out[x] = (uint8_t)(sum > 255 ? 255 : sum);
    }
}

const sqz_resizing sqz_resizing_avx2 = {separate, resize_row, resize_columns};
#endif
