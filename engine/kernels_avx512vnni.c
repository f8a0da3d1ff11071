/* x86 with AVX-512 and its neural network instructions (VNNI): 64 products of bytes at once, added up in groups of
 * four. */
#include "kernels.h"

#ifdef SQZ_X86
#include <immintrin.h>

#define SQZ_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
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
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
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

const sqz_kernels sqz_avx512vnni = {
    .lanes = LANES,
    .depth = DEPTH,
    .bytes = 1,
    .positions = {0, 8, 8, 8, 8},
    .multiply = multiply,
    .rescale = rescale,
    .widen = widen_to_bytes,
    SQZ_PLAIN_LOOPS,
};

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
