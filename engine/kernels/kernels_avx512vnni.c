/* x86 with AVX-512 and its neural network instructions (VNNI): 64 products of bytes at once, added up in groups of
 * four. */
#include "kernels.h"

#ifdef SQZ_X86
#include <immintrin.h>

#define SQZ_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define OWN_MAXIMUM
#define OWN_ADD
#include "loops.h"

enum { LANES = 16, DEPTH = 4 };

/* One or two vectors of a tile at once are as fast as all four, with a fraction of the code. */
#define REGISTERS 1
#define AT_ONCE 2
#define FITS(vectors, positions) (vectors <= 2)

#define MULTIPLY multiply
#define WEIGHT int8_t
#define VECTOR __m512i
#define LOAD(address) _mm512_loadu_si512(address)
#define STORE(address, vector) _mm512_storeu_si512(address, vector)
#define BROADCAST(x) _mm512_set1_epi32(four_bytes(x))
#define ADD_PRODUCTS(sum, x, w) _mm512_dpbusd_epi32(sum, x, w)
#include "tile.h"

/* (sum * factor + offset) >> 32 of 16 sums: the upper halves of the 64-bit products of the even and of the odd
 * lanes. */
SQZ_TARGET SQZ_INLINE __m512i level_of(__m512i sum, __m512i even_factor, __m512i odd_factor, __m512i even_offset,
                                       __m512i odd_offset)
{
    const __m512i even = _mm512_add_epi64(_mm512_mul_epi32(sum, even_factor), even_offset);
    const __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(sum, 32), odd_factor), odd_offset);
    return _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
}

/* All vectors of a position become bytes at once. Packing works within quarters of a register; `order` sorts their
 * parts. */
SQZ_TARGET SQZ_INLINE void rescale_some(const sqz_rescale *r, const int32_t *sums, uint32_t positions, uint8_t *out,
                                        size_t step, const uint32_t vectors)
{
    const __m512i sorted = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i same = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i order = r->interleaved ? same : sorted; /* packing puts what sqz_slot has taken apart together */
    const __m512i low = _mm512_set1_epi8((char)r->low), high = _mm512_set1_epi8((char)r->high);
    const __mmask64 some = UINT64_MAX >> (64 - r->outputs);
    __m512i even_factor[SQZ_VECTORS], odd_factor[SQZ_VECTORS], even_offset[SQZ_VECTORS], odd_offset[SQZ_VECTORS];
    __m512i level[SQZ_VECTORS];
    SQZ_EACH(v, SQZ_VECTORS) {
        level[v] = _mm512_setzero_si512();
        if (v >= vectors) continue;
        even_factor[v] = _mm512_loadu_si512(r->multipliers + LANES * v);
        odd_factor[v] = _mm512_srli_epi64(even_factor[v], 32);
        even_offset[v] = _mm512_loadu_si512(r->offsets + LANES * v);
        odd_offset[v] = _mm512_loadu_si512(r->offsets + LANES * v + LANES / 2);
    }
    for (uint32_t position = 0; position < positions; position++, sums += LANES * vectors, out += step) {
        SQZ_EACH(v, vectors)
            level[v] = level_of(_mm512_loadu_si512(sums + LANES * v), even_factor[v], odd_factor[v], even_offset[v],
                                odd_offset[v]);
        const __m512i first = _mm512_packs_epi32(level[0], level[1]), second = _mm512_packs_epi32(level[2], level[3]);
        const __m512i bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(first, second));
        _mm512_mask_storeu_epi8(out, some, _mm512_min_epu8(_mm512_max_epu8(bytes, low), high));
    }
}

SQZ_TARGET static void rescale(const sqz_rescale *r, const int32_t *sums, uint32_t positions, uint8_t *out, size_t step)
{
    switch (r->vectors) {
    case 1: rescale_some(r, sums, positions, out, step, 1); break;
    case 2: rescale_some(r, sums, positions, out, step, 2); break;
    case 3: rescale_some(r, sums, positions, out, step, 3); break;
    default: rescale_some(r, sums, positions, out, step, 4);
    }
}

/* The four taps of a channel, one byte each, become one lane: (taps, 64 channels) -> (4 vectors, 16 lanes, taps). */
SQZ_TARGET SQZ_INLINE void depthwise_some(const sqz_tile *t, size_t begin, int32_t *sums, const uint32_t positions)
{
    const int8_t *w = t->weights;
    const int32_t *initial = t->initial;
    __m512i sum[4 * SQZ_VECTORS];
    SQZ_EACH(p, positions)
        SQZ_EACH(v, SQZ_VECTORS) sum[p * SQZ_VECTORS + v] = _mm512_loadu_si512(initial + LANES * v);
    for (size_t row = 0; row < t->rows; row += DEPTH, w += DEPTH * SQZ_CHUNK) {
        __m512i weights[SQZ_VECTORS];
        SQZ_EACH(v, SQZ_VECTORS) weights[v] = _mm512_loadu_si512(w + SQZ_CHUNK * v);
        SQZ_EACH(p, positions) {
            __m512i x[DEPTH];
            SQZ_EACH(i, DEPTH) x[i] = _mm512_loadu_si512(t->lines[row + i] + begin + p * t->stride);
            const __m512i first = _mm512_unpacklo_epi8(x[0], x[1]), second = _mm512_unpacklo_epi8(x[2], x[3]);
            const __m512i third = _mm512_unpackhi_epi8(x[0], x[1]), fourth = _mm512_unpackhi_epi8(x[2], x[3]);
            __m512i *const to = sum + p * SQZ_VECTORS;
            to[0] = _mm512_dpbusd_epi32(to[0], _mm512_unpacklo_epi16(first, second), weights[0]);
            to[1] = _mm512_dpbusd_epi32(to[1], _mm512_unpackhi_epi16(first, second), weights[1]);
            to[2] = _mm512_dpbusd_epi32(to[2], _mm512_unpacklo_epi16(third, fourth), weights[2]);
            to[3] = _mm512_dpbusd_epi32(to[3], _mm512_unpackhi_epi16(third, fourth), weights[3]);
        }
    }
    SQZ_EACH(p, positions)
        SQZ_EACH(v, SQZ_VECTORS) _mm512_storeu_si512(sums + p * SQZ_CHUNK + LANES * v, sum[p * SQZ_VECTORS + v]);
}

SQZ_TARGET static void depthwise(const sqz_tile *t, int32_t *sums)
{
    uint32_t p = 0;
    for (; p + 4 <= t->positions; p += 4) depthwise_some(t, t->begin + p * t->stride, sums + p * SQZ_CHUNK, 4);
    for (; p < t->positions; p++) depthwise_some(t, t->begin + p * t->stride, sums + p * SQZ_CHUNK, 1);
}

/* A mask of the bytes of a register that are left. */
static inline __mmask64 some_of(size_t left)
{
    return left < 64 ? UINT64_MAX >> (64 - left) : UINT64_MAX;
}

SQZ_TARGET static void maximum(uint8_t *out, const uint8_t *x, size_t n, size_t step, size_t count)
{
    for (size_t i = 0; i < n; i += 64) {
        const __mmask64 some = some_of(n - i);
        const uint8_t *row = x + i;
        __m512i most = _mm512_setzero_si512();
        for (size_t r = 0; r < count; r++, row += step)
            most = _mm512_max_epu8(most, _mm512_maskz_loadu_epi8(some, row));
        _mm512_mask_storeu_epi8(out + i, some, most);
    }
}

/* The sum of 16 pairs of words (a, b), each times its fraction, in 65,536ths. */
SQZ_TARGET SQZ_INLINE __m512i sum_of_pairs(__m512i pairs, __m512i lower, __m512i upper, __m512i offset)
{
    const __m512i sums = _mm512_dpwssd_epi32(offset, pairs, lower);
    return _mm512_srai_epi32(_mm512_add_epi32(sums, _mm512_slli_epi32(_mm512_madd_epi16(pairs, upper), 15)), 16);
}

/* A fraction, below 2^23, becomes two words: its lower 15 bits and the rest. Unpacking and packing work within quarters
 * of a register, so the bytes keep their order. */
SQZ_TARGET static void add(uint8_t *out, const uint8_t *a, const uint8_t *b, const int32_t fraction[2], int32_t offset,
                           size_t n)
{
    const __m512i lower = _mm512_set1_epi32((fraction[1] & 0x7fff) << 16 | (fraction[0] & 0x7fff));
    const __m512i upper = _mm512_set1_epi32(fraction[1] >> 15 << 16 | fraction[0] >> 15);
    const __m512i start = _mm512_set1_epi32(offset), zero = _mm512_setzero_si512();
    for (size_t i = 0; i < n; i += 64) {
        const __mmask64 some = some_of(n - i);
        const __m512i x = _mm512_maskz_loadu_epi8(some, a + i), y = _mm512_maskz_loadu_epi8(some, b + i);
        const __m512i first = _mm512_unpacklo_epi8(x, y), second = _mm512_unpackhi_epi8(x, y);
        const __m512i words = _mm512_packs_epi32(sum_of_pairs(_mm512_unpacklo_epi8(first, zero), lower, upper, start),
                                                 sum_of_pairs(_mm512_unpackhi_epi8(first, zero), lower, upper, start));
        const __m512i others =
            _mm512_packs_epi32(sum_of_pairs(_mm512_unpacklo_epi8(second, zero), lower, upper, start),
                               sum_of_pairs(_mm512_unpackhi_epi8(second, zero), lower, upper, start));
        _mm512_mask_storeu_epi8(out + i, some, _mm512_packus_epi16(words, others));
    }
}

/* With VBMI, two lookups of 128 entries each and a choice between them. */
__attribute__((target("avx512f,avx512bw,avx512vbmi"))) static void look_up_at_once(uint8_t *x, size_t n, size_t step,
                                                                                   size_t count, const uint8_t *table)
{
    const __m512i first = _mm512_loadu_si512(table), second = _mm512_loadu_si512(table + 64);
    const __m512i third = _mm512_loadu_si512(table + 128), fourth = _mm512_loadu_si512(table + 192);
    for (; count > 0; count--, x += step)
        for (size_t i = 0; i < n; i += 64) {
            const __mmask64 some = some_of(n - i);
            const __m512i at = _mm512_maskz_loadu_epi8(some, x + i);
            const __m512i low = _mm512_permutex2var_epi8(first, at, second);
            const __m512i high = _mm512_permutex2var_epi8(third, at, fourth);
            _mm512_mask_storeu_epi8(x + i, some, _mm512_mask_blend_epi8(_mm512_movepi8_mask(at), low, high));
        }
}

#define KERNELS \
    .lanes = LANES, .depth = DEPTH, .bytes = 1, .positions = {0, 8, 8, 8, 8}, .multiply = multiply, \
    .rescale = rescale, .taps = DEPTH, .interleaved = 1, .depthwise = depthwise, .widen = widen_to_bytes, \
    SQZ_PLAIN_LOOPS
const sqz_kernels sqz_avx512vnni = {KERNELS, .look_up = look_up};
const sqz_kernels sqz_avx512vbmi = {KERNELS, .look_up = look_up_at_once};

#define FLOATS
#define VECTOR __m512
#define LOAD(address) _mm512_loadu_ps(address)
#define STORE(address, vector) _mm512_storeu_ps(address, vector)
#define BROADCAST(x) _mm512_set1_ps(one_float(x))
#define ADD_PRODUCTS(sum, x, w) _mm512_fmadd_ps(x, w, sum)
#include "tile.h"

const sqz_kernels sqz_avx512_floats = {
    .lanes = LANES, .depth = 1, .bytes = 4, .positions = {0, 8, 8, 8, 8}, .multiply = multiply_floats};
#endif
