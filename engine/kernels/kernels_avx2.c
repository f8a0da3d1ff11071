/* x86 with AVX2. The instruction vpmaddubsw multiplies 32 bytes and adds the products in pairs, but saturates in 16
 * bits; so tiles are computed by chains (kernels.h). Where levels are too large for that, bytes are widened to 16 bits
 * first. */
#include "kernels.h"

#ifdef SQZ_X86
#include <immintrin.h>

#define SQZ_TARGET __attribute__((target("avx2,fma")))
#define OWN_MAXIMUM
#include "loops.h"

enum {
    LANES = 8,
    DEPTH = 2,
    CHAIN_DEPTH = 4,
    VNNI_DEPTH = 4,
    TOGETHER = 6, /* most positions whose sums in chains stay in registers */
    MOST_POSITIONS = SQZ_MOST_SUMS / (SQZ_CHAIN_VECTORS * LANES)
};

/* One or two vectors of a tile at once are as fast as all four, with a fraction of the code. */
#define REGISTERS 1
#define AT_ONCE 2
#define FITS(vectors, positions) (vectors <= 2 && positions <= 6)

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

/* The sums of some neighbouring positions, chain by chain. The first chain of an output is added to its initial sum. */
SQZ_TARGET SQZ_INLINE void by_chains(const sqz_tile *t, size_t begin, int32_t *sums, const uint32_t vectors,
                                     const uint32_t positions)
{
    const __m256i zero = _mm256_setzero_si256();
    const uint8_t *const *line = t->lines, *x = *line + begin;
    const uint16_t *segment = t->segments;
    const int8_t *w = t->weights;
    const int32_t *from = t->initial;
    size_t from_step = 0;
    uint32_t now;
    __m256i sum[2 * TOGETHER]; /* (positions, vectors) of 16 words: two for each output */
    SQZ_EACH(p, positions)
        SQZ_EACH(v, vectors) sum[p * vectors + v] = zero;
    do {
        now = *segment++;
        for (uint32_t n = now / SQZ_SEGMENT_PACKS; n > 0; n--, x += CHAIN_DEPTH, w += LANES * CHAIN_DEPTH * vectors) {
            __m256i weights[2];
            SQZ_EACH(v, vectors) weights[v] = LOAD_BYTES(w + LANES * CHAIN_DEPTH * v);
            SQZ_EACH(p, positions) {
                const __m256i pack = _mm256_set1_epi32(four_bytes(x + p * t->stride));
                SQZ_EACH(v, vectors) {
                    __m256i *const to = sum + p * vectors + v;
                    *to = _mm256_add_epi16(*to, _mm256_maddubs_epi16(pack, weights[v]));
                }
            }
        }
        if ((now & SQZ_CHAIN_ENDS) != 0) {
            const __m256i ones = _mm256_set1_epi16(1);
            SQZ_EACH(p, positions)
                SQZ_EACH(v, vectors) {
                    const __m256i wide = _mm256_madd_epi16(sum[p * vectors + v], ones);
                    STORE_BYTES(sums + LANES * (p * vectors + v),
                                _mm256_add_epi32(wide, LOAD_BYTES(from + p * from_step + LANES * v)));
                    sum[p * vectors + v] = zero;
                }
            from = sums;
            from_step = LANES * vectors;
        }
        if ((now & SQZ_PACK_AGAIN) != 0) x -= CHAIN_DEPTH;
        if ((now & SQZ_LINE_ENDS) != 0) x = *++line + begin;
    } while ((now & SQZ_TILE_ENDS) == 0);
}

#define CASES_OF(name) \
    switch (positions) { \
    case 1: name(1); break; \
    case 2: name(2); break; \
    case 3: name(3); break; \
    case 4: name(4); break; \
    case 5: name(5); break; \
    default: name(TOGETHER); \
    }
#define ONE_VECTOR(n) by_chains(t, begin, sums, 1, n)
#define TWO_VECTORS(n) by_chains(t, begin, sums, 2, n)

SQZ_TARGET static void multiply_chains(const sqz_tile *t, void *out)
{
    const uint32_t groups = (t->positions + TOGETHER - 1) / TOGETHER;
    for (size_t i = 0, n = t->ahead_step * t->rows * t->packs; i < n; i += 64) __builtin_prefetch(t->ahead + i);
    for (uint32_t group = 0, first = 0, next; group < groups; group++, first = next) {
        next = t->positions * (group + 1) / groups;
        const uint32_t positions = next - first;
        const size_t begin = t->begin + first * t->stride;
        int32_t *const sums = (int32_t *)out + first * t->vectors * LANES;
        if (t->vectors == 1) {
            CASES_OF(ONE_VECTOR)
        } else {
            CASES_OF(TWO_VECTORS)
        }
    }
}

/* (sum * factor + offset) >> 32 of 8 sums: the upper halves of 64-bit products. In each half of the register, the order
 * is that of lanes 0, 2, 1, 3. */
SQZ_TARGET SQZ_INLINE __m256i level_of(const int32_t *sums, __m256i even_factor, __m256i odd_factor,
                                       __m256i even_offset, __m256i odd_offset)
{
    const __m256i sum = LOAD_BYTES(sums);
    const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(sum, even_factor), even_offset);
    const __m256i odd = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(sum, 32), odd_factor), odd_offset);
    return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(even), _mm256_castsi256_ps(odd), 0xDD));
}

/* Two vectors at a time become 16 bytes. */
SQZ_TARGET static void rescale(const sqz_rescale *r, const int32_t *sums, uint32_t positions, uint8_t *out, size_t step)
{
    const __m128i order = _mm_setr_epi8(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15);
    const __m128i low = _mm_set1_epi8((char)r->low), high = _mm_set1_epi8((char)r->high);
    const uint32_t outputs = r->outputs, width = r->vectors * LANES;
    for (uint32_t o = 0; o < outputs; o += 2 * LANES) {
        const uint32_t left = outputs - o, other = o + LANES < width ? LANES : 0;
        const int32_t *from = sums + o, *multipliers = r->multipliers + o;
        const int64_t *offsets = r->offsets + o;
        const __m256i a = LOAD_BYTES(multipliers), b = LOAD_BYTES(multipliers + other);
        const __m256i odd_a = _mm256_srli_epi64(a, 32), odd_b = _mm256_srli_epi64(b, 32);
        const __m256i even_a_offset = LOAD_BYTES(offsets), odd_a_offset = LOAD_BYTES(offsets + LANES / 2);
        const __m256i even_b_offset = LOAD_BYTES(offsets + other);
        const __m256i odd_b_offset = LOAD_BYTES(offsets + other + LANES / 2);
        uint8_t *to = out + o;
        for (uint32_t position = 0; position < positions; position++, from += width, to += step) {
            const __m256i first = level_of(from, a, odd_a, even_a_offset, odd_a_offset);
            const __m256i second = level_of(from + other, b, odd_b, even_b_offset, odd_b_offset);
            const __m256i words = _mm256_packs_epi32(first, second);
            __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
            bytes = _mm_min_epu8(_mm_max_epu8(_mm_shuffle_epi8(bytes, order), low), high);
            if (left >= 2 * LANES)
                _mm_storeu_si128((__m128i *)(void *)to, bytes);
            else {
                uint8_t some[2 * LANES];
                _mm_storeu_si128((__m128i *)(void *)some, bytes);
                for (uint32_t i = 0; i < left; i++) to[i] = some[i];
            }
        }
    }
}

SQZ_TARGET static void maximum(uint8_t *out, const uint8_t *x, size_t n, size_t step, size_t count)
{
    for (size_t i = 0; i < n; i += STRIP) {
        const uint8_t *row = x + i;
        __m256i most = _mm256_setzero_si256();
        for (size_t r = 0; r < count; r++, row += step) most = _mm256_max_epu8(most, LOAD_BYTES(row));
        if (n - i >= STRIP)
            STORE_BYTES(out + i, most);
        else {
            uint8_t strip[STRIP];
            STORE_BYTES(strip, most);
            put_strip(out + i, strip, n - i);
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

static const sqz_kernels with_chains = {
    .lanes = LANES,
    .depth = CHAIN_DEPTH,
    .bytes = 1,
    .positions = {0, MOST_POSITIONS, MOST_POSITIONS},
    .multiply = multiply_chains,
    .rescale = rescale,
    .widen = widen_to_bytes,
};

const sqz_kernels sqz_avx2 = {
    .lanes = LANES,
    .depth = DEPTH,
    .bytes = 2,
    .chains = &with_chains,
    .positions = {0, 6, 6, 6, 6},
    .multiply = multiply,
    .rescale = rescale,
    .taps = DEPTH,
    .depthwise = depthwise,
    .widen = widen,
    .look_up = look_up,
    SQZ_PLAIN_LOOPS,
};

#ifdef SQZ_X86_VNNI
/* AVX-VNNI: 32 products of bytes at once, added up in groups of four in 32 bits. AVX-512 has the same instruction in
 * another encoding; tests use it on machines without AVX-VNNI. */
#undef SQZ_TARGET
#ifdef SQZ_VNNI_OF_AVX512
#define SQZ_TARGET __attribute__((target("avx2,fma,avx512vl,avx512vnni")))
#define ADD_FOUR(sum, x, w) _mm256_dpbusd_epi32(sum, x, w)
#else
#define SQZ_TARGET __attribute__((target("avx2,fma,avxvnni")))
#define ADD_FOUR(sum, x, w) _mm256_dpbusd_avx_epi32(sum, x, w)
#endif

#define MULTIPLY multiply_vnni
#define PACK VNNI_DEPTH
#define WEIGHT int8_t
#define VECTOR __m256i
#define LOAD(address) LOAD_BYTES(address)
#define STORE(address, vector) STORE_BYTES(address, vector)
#define BROADCAST(x) _mm256_set1_epi32(four_bytes(x))
#define ADD_PRODUCTS(sum, x, w) ADD_FOUR(sum, x, w)
#include "tile.h"

/* The four taps of a channel become one lane: (taps, 32 channels) -> (4 vectors, 8 lanes, taps). */
SQZ_TARGET SQZ_INLINE void depthwise_vnni_some(const sqz_tile *t, size_t begin, const int8_t *w, const int32_t *initial,
                                               int32_t *sums, const uint32_t positions)
{
    const size_t width = t->vectors * LANES;
    __m256i sum[2 * VNNI_DEPTH];
    SQZ_EACH(i, VNNI_DEPTH * positions) sum[i] = _mm256_setzero_si256();
    for (size_t row = 0; row < t->rows; row += VNNI_DEPTH, w += VNNI_DEPTH * SQZ_CHUNK)
        SQZ_EACH(p, positions) {
            __m256i x[VNNI_DEPTH];
            SQZ_EACH(i, VNNI_DEPTH) x[i] = LOAD_BYTES(t->lines[row + i] + begin + p * t->stride);
            const __m256i first = _mm256_unpacklo_epi8(x[0], x[1]), second = _mm256_unpacklo_epi8(x[2], x[3]);
            const __m256i third = _mm256_unpackhi_epi8(x[0], x[1]), fourth = _mm256_unpackhi_epi8(x[2], x[3]);
            __m256i *const to = sum + p * VNNI_DEPTH;
            to[0] = ADD_FOUR(to[0], _mm256_unpacklo_epi16(first, second), LOAD_BYTES(w));
            to[1] = ADD_FOUR(to[1], _mm256_unpackhi_epi16(first, second), LOAD_BYTES(w + 32));
            to[2] = ADD_FOUR(to[2], _mm256_unpacklo_epi16(third, fourth), LOAD_BYTES(w + 64));
            to[3] = ADD_FOUR(to[3], _mm256_unpackhi_epi16(third, fourth), LOAD_BYTES(w + 96));
        }
    SQZ_EACH(p, positions)
        SQZ_EACH(i, 2) { /* back to the order of channels */
            const __m256i *const from = sum + p * VNNI_DEPTH + 2 * i;
            const __m256i first = _mm256_permute2x128_si256(from[0], from[1], 0x20);
            const __m256i second = _mm256_permute2x128_si256(from[0], from[1], 0x31);
            const size_t at = i * LANES;
            STORE_BYTES(sums + p * width + at, _mm256_add_epi32(first, LOAD_BYTES(initial + at)));
            STORE_BYTES(sums + p * width + at + 2 * LANES,
                        _mm256_add_epi32(second, LOAD_BYTES(initial + at + 2 * LANES)));
        }
}

SQZ_TARGET static void depthwise_vnni(const sqz_tile *t, int32_t *sums)
{
    const size_t width = t->vectors * LANES;
    for (uint32_t o = 0; o < width; o += VNNI_DEPTH * LANES) {
        const int8_t *w = (const int8_t *)t->weights + o * VNNI_DEPTH;
        const int32_t *initial = (const int32_t *)t->initial + o;
        const size_t begin = t->begin + o;
        uint32_t p = 0;
        for (; p + 2 <= t->positions; p += 2)
            depthwise_vnni_some(t, begin + p * t->stride, w, initial, sums + p * width + o, 2);
        if (p < t->positions) depthwise_vnni_some(t, begin + p * t->stride, w, initial, sums + p * width + o, 1);
    }
}

const sqz_kernels sqz_avxvnni = {
    .lanes = LANES,
    .depth = VNNI_DEPTH,
    .bytes = 1,
    .positions = {0, 6, 6, 6, 6},
    .multiply = multiply_vnni,
    .rescale = rescale,
    .taps = VNNI_DEPTH,
    .depthwise = depthwise_vnni,
    .widen = widen_to_bytes,
    .look_up = look_up,
    SQZ_PLAIN_LOOPS,
};
#undef SQZ_TARGET
#define SQZ_TARGET __attribute__((target("avx2,fma")))
#endif

#define FLOATS
#define VECTOR __m256
#define LOAD(address) _mm256_loadu_ps(address)
#define STORE(address, vector) _mm256_storeu_ps(address, vector)
#define BROADCAST(x) _mm256_set1_ps(one_float(x))
#define ADD_PRODUCTS(sum, x, w) _mm256_fmadd_ps(x, w, sum)
#include "tile.h"

const sqz_kernels sqz_avx2_floats = {
    .lanes = LANES, .depth = 1, .bytes = 4, .positions = {0, 6, 6, 6, 6}, .multiply = multiply_floats};
#endif
