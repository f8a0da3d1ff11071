/* The inner loops of each instruction set (path). On integers all paths give the same results. */
#ifndef SQZ_KERNELS_H
#define SQZ_KERNELS_H

#include "network.h"

enum {
    SQZ_VECTORS = 4,     /* most vectors of outputs in a tile */
    SQZ_CHUNK = 64,      /* channels that depthwise convolutions and means work on at once: whole blocks */
    SQZ_MOST_SUMS = 512, /* most sums of a tile */
    SQZ_SLACK = 64       /* bytes past the end of values and lines that may be read; they are multiplied by 0 */
};

/* Sums on the stack begin with a line of the cache: vectors of 64 bytes would lie in two lines otherwise. */
#if defined(__x86_64__) && defined(__GNUC__)
#define SQZ_WHOLE_LINES __attribute__((aligned(64)))
#else
#define SQZ_WHOLE_LINES
#endif

/* A tile is the part of a convolution's result that is computed at once: some neighbouring positions of one row, and
 * some vectors of `lanes` outputs.
 *
 * The windows are read from `rows` lines of activations, one for each row of the kernel. In every line the window of
 * the first position begins `begin` bytes after the line's start, and the window of the next position `stride` bytes
 * later. A window of a line is `packs` packs long. A pack is `depth` neighbouring activations: one lane multiplies them
 * by `depth` weights and adds up the products. Weights are ordered (rows, packs, vectors, lanes, depth).
 *
 * With each pack, memory of later weights is requested: at `ahead` with the first one, `ahead_step` bytes further with
 * each next one. */
struct sqz_tile {
    const uint8_t *const *lines;
    size_t rows, begin, stride, packs;
    const void *weights;
    const void *initial; /* (vectors, lanes): the values that sums begin with */
    uint32_t vectors, positions;
    const uint8_t *ahead;
    size_t ahead_step;
    const uint16_t *segments; /* NULL: the weights are not in chains */
};

/* Chains: products of bytes are added in 16 bits, and the sums are widened to 32 bits only where they could overflow.
 *
 * The products of a pack are added in pairs: the sums of two pairs belong to an output. A chain is a run of packs in
 * which no sum of a pair can leave 16 bits, whatever the activations are: its positive weights add up to at most
 * SQZ_CHAIN_LEVELS, and so do the magnitudes of its negative ones (255 x 128 is below 2^15). A pack that is too large
 * for a chain is split: it is multiplied by half of each weight, and in the next chain by the rest.
 *
 * Where activations are signed (`centre`), a pack has two activations, and each weight has a sum of its own. The
 * magnitudes of its weights in a chain add up to at most SQZ_SIGNED_CHAIN_LEVELS (128 x 255 is below 2^15).
 *
 * The weights of such a block of outputs have segments: parts of a chain in one line. A segment is a number of packs,
 * times SQZ_SEGMENT_PACKS, and flags that say what happens after them. */
enum {
    SQZ_CHAIN_LEVELS = 128,
    SQZ_SIGNED_CHAIN_LEVELS = 255,
    SQZ_CHAIN_VECTORS = 2, /* most vectors of a block in chains */
    SQZ_CHAIN_ENDS = 1,
    SQZ_PACK_AGAIN = 2, /* the next pack has the same activations as the last one */
    SQZ_LINE_ENDS = 4,
    SQZ_TILE_ENDS = 8,
    SQZ_SEGMENT_PACKS = 16
};

/* Lists of the weights that are not 0 (lists.c): a layer with many zeros takes less time so. An output has some chains,
 * as above, but of single products. A chain is an entry that says how many weights it has, then an entry for each
 * weight. `place` says which activation is multiplied: its index from that of the first position on. */
typedef struct {
    uint16_t place; /* of the first entry of a chain: how many follow */
    int16_t weight; /* of the first entry of a chain: whether it is the last one of the output */
} sqz_entry;

/* A tile of such a layer: positions in rows of `columns`, and outputs. Activations have 16 bits; those of neighbouring
 * positions lie side by side, and those of the next row `pitch` further. Sums have the order (positions, width). */
typedef struct {
    const int16_t *x;
    const sqz_entry *entries; /* of the first output */
    const int32_t *initial;   /* (outputs): the values that sums begin with */
    uint32_t rows, columns, pitch, outputs, width;
} sqz_list_tile;

enum {
    SQZ_LIST_OUTPUTS = 8,   /* most outputs of such a tile, */
    SQZ_LIST_POSITIONS = 56 /* and most positions, those between two rows included */
};

/* Sums -> stored elements: (sum * multiplier + offset) >> 32 in 64 bits, limited to low..high. The offsets of a vector
 * lie in the order: those of the even lanes, then those of the odd lanes. */
typedef struct {
    const int32_t *multipliers;
    const int64_t *offsets;
    uint32_t vectors, outputs; /* vectors of sums for each position; how many outputs are written */
    int32_t low, high;
    int interleaved; /* whether multipliers, offsets and sums have the order of sqz_slot */
} sqz_rescale;

/* A product of two values, (x1 * x2 * m + 2^(s - 1)) >> s in docs/FORMAT.md. The factor m is split into its upper and
 * lower byte, so that 32 bits are enough: offset is 2^(s - 1), and shift is s - 8. */
typedef struct {
    int32_t zero[3]; /* zero points of both inputs and of the result */
    int32_t upper, lower, offset, shift;
} sqz_product;

typedef struct sqz_kernels {
    uint32_t lanes, depth; /* outputs of a vector; activations of a pack */
    uint32_t bytes;        /* of an activation and of a weight as they are multiplied */
    /* For layers in chains: the same lanes, centre and functions, but for `depth`, `bytes`, `multiply` and `widen`; NULL:
     * there are none. */
    const struct sqz_kernels *chains;
    int32_t centre;                      /* subtracted from every activation, where `multiply` needs signed bytes */
    uint32_t positions[SQZ_VECTORS + 1]; /* [v]: most positions of a tile with v vectors */

    uint32_t taps;   /* kernel positions that a lane multiplies at once in a depthwise convolution */
    int interleaved; /* whether depthwise sums have the order of sqz_slot; otherwise the order of channels */

    /* sums (positions, vectors x lanes) of a tile, int32_t or float */
    void (*multiply)(const sqz_tile *tile, void *sums);

    /* The others are for integer networks only. They may read up to 31 elements after the n activations and
     * weights. Of lines and sums only, they may write up to 31 elements after the end: there is room. */

    /* sums (positions, vectors x lanes) -> `outputs` bytes at each position, `step` bytes apart */
    void (*rescale)(const sqz_rescale *r, const int32_t *sums, uint32_t positions, uint8_t *out, size_t step);
    /* line[i] = x[i], in `bytes` bytes each */
    void (*widen)(void *line, const uint8_t *x, size_t n);
    /* out[i] = the largest x[i] of `count` rows that are `step` bytes apart */
    void (*maximum)(uint8_t *out, const uint8_t *x, size_t n, size_t step, size_t count);
    /* sums[i] += the sum of x[i] over `count` rows that are `step` bytes apart */
    void (*accumulate)(int32_t *sums, const uint8_t *x, size_t n, size_t step, size_t count);
    /* The same as `multiply` for a depthwise convolution. A line has one activation of each channel: the one at a
     * kernel position (tap). `vectors` is a multiple of `taps`. The weights have the order (rows / taps, SQZ_CHUNK
     * lanes, taps), where sqz_slot says which lane a channel has. */
    void (*depthwise)(const sqz_tile *tile, int32_t *sums);
    /* out[i] = limit((a[i] * fraction[0] + b[i] * fraction[1] + offset) >> 16) to 0..255; fits 32 bits. Here and in
     * `multiply_values`, out may be the same memory as a or b. */
    void (*add)(uint8_t *out, const uint8_t *a, const uint8_t *b, const int32_t fraction[2], int32_t offset, size_t n);
    /* out[i] = limit(the product of a[i] and b[i]) to 0..255 */
    void (*multiply_values)(uint8_t *out, const uint8_t *a, const uint8_t *b, const sqz_product *product, size_t n);
    /* x[i] = table[x[i]] for `count` rows of n bytes that are `step` bytes apart */
    void (*look_up)(uint8_t *x, size_t n, size_t step, size_t count, const uint8_t *table);
    /* out[count * i + j] = x[i + step * j], for i below n and j below count, which is 2 or 3 */
    void (*interleave)(uint8_t *out, const uint8_t *x, int64_t step, uint32_t count, size_t n);
    /* out[i] = limit(round(pixels[i] * factor) + zero) to 0..255; to nearest, halves to even */
    void (*quantise)(uint8_t *out, const float *pixels, float factor, int32_t zero, size_t n);
} sqz_kernels;

/* The lane for channel c of a depthwise convolution. The activations of `taps` kernel positions are interleaved in
 * parts of 16 bytes. So the first four channels of each part are in the first vector, the next four in the next one. */
static inline uint32_t sqz_slot(const sqz_kernels *k, uint32_t c)
{
    const uint32_t block = k->lanes * k->taps, in = c % block, part = 4 * k->taps;
    return k->taps == 1 ? c : c - in + in % part / 4 * k->lanes + in / part * 4 + in % 4;
}

#ifndef __wasm__ /* which has no path with chains, and is to be small */
#define SQZ_CHAINS 1
#endif

extern const sqz_kernels sqz_scalar, sqz_scalar_floats;
#if UINTPTR_MAX == UINT32_MAX && !defined(__wasm__) && !defined(__ARM_NEON) && !defined(__SSE2__)
#define SQZ_WITHOUT_VECTORS 1
extern const sqz_kernels sqz_small;
#endif
#if defined(__x86_64__) && defined(__GNUC__)
#define SQZ_X86 1
extern const sqz_kernels sqz_avx2, sqz_avx2_floats, sqz_avx512vnni, sqz_avx512vbmi, sqz_avx512_floats;
#if __GNUC__ >= 11 || __clang_major__ >= 12
#define SQZ_X86_VNNI 1
extern const sqz_kernels sqz_avxvnni;
#endif
#endif
#if defined(__AARCH64EL__) && defined(__ARM_NEON)
#define SQZ_ARM 1
extern const sqz_kernels sqz_neon, sqz_neon_floats;
/* Older compilers cannot compile one function for instructions that the rest of the file must not use. */
#if defined(__ARM_FEATURE_DOTPROD) || __GNUC__ >= 8 || __clang_major__ >= 17
#define SQZ_ARM_DOT 1
extern const sqz_kernels sqz_neondot;
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8) || __GNUC__ >= 10 || __clang_major__ >= 17
#define SQZ_ARM_MATRIX 1
extern const sqz_kernels sqz_neoni8mm;
#endif
#endif
#ifdef __wasm_simd128__
#define SQZ_LISTS 1
extern const sqz_kernels sqz_simd128, sqz_simd128_floats;
/* The sums of a tile of a layer in lists. Returns the entries of the outputs after it. */
const sqz_entry *sqz_multiply_lists(const sqz_list_tile *tile, int32_t *sums);
/* to[i * step] = x[i], for n numbers */
void sqz_spread(int16_t *to, size_t step, const uint8_t *x, size_t n);
#endif

#if defined(__ARM_FEATURE_DSP) && defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
#define SQZ_CORTEX_DSP 1
extern const sqz_kernels sqz_dsp;
#endif
#if defined(__ARM_FEATURE_MVE)
#define SQZ_CORTEX_MVE 1
extern const sqz_kernels sqz_mve;
#endif

/* NULL for the reference, and for a path that this machine does not have. */
const sqz_kernels *sqz_kernels_of(sqz_path path, int floats);

#endif
