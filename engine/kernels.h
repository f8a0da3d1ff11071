/* What a processor is good at: the inner loops of a path, all to the same results. */
#ifndef SQZ_KERNELS_H
#define SQZ_KERNELS_H

#include "network.h"

enum {
    SQZ_VECTORS = 4, /* most vectors of outputs in a tile */
    SQZ_CHUNK = 64,  /* channels that depthwise convolutions and means work on at once: whole vectors */
    SQZ_MOST_SUMS = 512,
    SQZ_SLACK = 64 /* bytes that may be read past the end of values and lines, to be multiplied by 0 */
};

/* Some places of one row of a convolution's result, and some vectors of its outputs. Its windows are read from
 * `rows` lines of activations; in each, the window of the first place begins `at` bytes in, that of the next `step`
 * bytes later, and it is `run` groups of activations long. A group, `depth` activations, is multiplied and added up
 * at once. Weights: (rows, run, vectors, lanes, depth). */
typedef struct {
    const uint8_t *const *lines;
    size_t rows, at, step, run;
    const void *weights, *starts;
    uint32_t vectors, places;
} sqz_tile;

/* From sums to levels: (sum * multiplier + offset) >> 32 in 64 bits, within low to high. The offsets of a vector are
 * those of its even lanes, then those of its odd ones. */
typedef struct {
    const int32_t *multipliers;
    const int64_t *offsets;
    uint32_t vectors, outputs; /* of which outputs are written */
    int32_t low, high;
} sqz_rescale;

typedef struct sqz_kernels {
    uint32_t lanes, depth;
    uint32_t bytes; /* of an activation and of a weight, as they are multiplied: 2 where a product needs 16 bits */
    int32_t centre; /* what `multiply` takes from every activation, where it has to be signed */
    uint32_t places[SQZ_VECTORS + 1]; /* most places of a tile of so many vectors */

    /* sums (places, vectors x lanes) of a tile, beginning with its starts: int32_t, or float */
    void (*multiply)(const sqz_tile *tile, void *sums);

    /* What follows is for integer networks alone. Up to 31 elements past the n-th may be read of activations and
     * weights, and written in lines and sums, which have room for them; nowhere else. */
    void (*rescale)(const sqz_rescale *r, const int32_t *sums, uint32_t places, uint8_t *out, size_t step);
    /* n activations as they are multiplied */
    void (*widen)(void *line, const uint8_t *x, size_t n);
    /* largest of n neighbours in `count` rows */
    void (*maximum)(uint8_t *out, const uint8_t *x, size_t n, size_t step, size_t count);
    /* sums += x; sums += (x - zero) * weights */
    void (*total)(int32_t *sums, const uint8_t *x, size_t n);
    void (*weigh)(int32_t *sums, const uint8_t *x, const int8_t *weights, int32_t zero, size_t n);
    /* out = clip(round(a * fraction_a + b * fraction_b + offset)), where that fits 32 bits */
    void (*add)(uint8_t *out, const uint8_t *a, const uint8_t *b, const int32_t fraction[2], int32_t offset, size_t n);
    /* out = clip(pixel * factor) + zero, to nearest */
    void (*enter)(uint8_t *out, const float *pixels, float factor, int32_t zero, size_t n);
} sqz_kernels;

extern const sqz_kernels sqz_scalar, sqz_scalar_floats;
#if defined(__x86_64__) && defined(__GNUC__)
#define SQZ_X86 1
extern const sqz_kernels sqz_avx2, sqz_avx2_floats, sqz_avx512vnni, sqz_avx512_floats;
#endif
#if defined(__AARCH64EL__) && defined(__ARM_NEON)
#define SQZ_ARM 1
extern const sqz_kernels sqz_neon, sqz_neon_floats;
/* Older compilers cannot use instructions in one function that the others must do without. */
#if defined(__ARM_FEATURE_DOTPROD) || __GNUC__ >= 8 || __clang_major__ >= 17
#define SQZ_ARM_DOT 1
extern const sqz_kernels sqz_neondot;
#endif
#endif
#ifdef __wasm_simd128__
extern const sqz_kernels sqz_simd128, sqz_simd128_floats;
#endif

/* NULL for the reference, and for what this machine has not. */
const sqz_kernels *sqz_kernels_of(sqz_path path, int floats);

#endif
