/* Inner loops for processors with 32-bit registers and no vector instructions: Cortex-M3, RISC-V. One multiplication
 * computes the products of two positions, and weights that are 0 are skipped (docs/experiments.md, "Kernels for
 * microcontrollers"). */
#include "kernels.h"

#ifdef SQZ_WITHOUT_VECTORS
#define SQZ_TARGET
#define STRIP 1
enum {
    LANES = 8,
    DEPTH = 4,
    PAIRS = 7,   /* of positions: the most that a tile has */
    PIECE = 24,  /* most packs of a window that are put side by side at once, in 3 kB of the stack */
    TOGETHER = 4 /* channels of a depthwise convolution that are computed together */
};
#include "loops.h"

/* The sums of two positions lie in the two halves of a word, so one multiplication of words adds a product to both. The
 * lower half starts with HALF, so that it never becomes negative and changes the upper half. Both sums fit into their
 * halves as long as the magnitudes of the weights add up to at most MOST_WEIGHTS: 128 x 255 is below 2^15. Before they
 * add up to more, the halves are added to sums of 32 bits. */
enum { HALF = 1 << 15, MOST_WEIGHTS = 128 };

/* Where the sums of an output at all positions are: they are read from `from` on, and written to `to`. */
typedef struct {
    const int32_t *from;
    int32_t *to;
    size_t from_step, to_step; /* to the next position */
    uint32_t positions;
} target;

/* Add the halves of words to the sums of an output. From then on, sums are read where they are written. */
static void add_halves(target *t, const uint32_t *halves)
{
    const size_t from_step = t->from_step, to_step = t->to_step;
    const int32_t *from = t->from;
    int32_t *to = t->to;
    uint32_t left = t->positions;
    for (; left > 1; left -= 2, from += 2 * from_step, to += 2 * to_step, halves++) {
        to[0] = from[0] + (int32_t)(*halves & (2 * HALF - 1)) - HALF;
        to[to_step] = from[from_step] + ((int32_t)*halves >> 16);
    }
    if (left > 0) *to = *from + (int32_t)(*halves & (2 * HALF - 1)) - HALF;
    t->from = t->to;
    t->from_step = t->to_step;
}

/* Add the products of n packs to the sums of an output at pairs of positions. Weights that are 0 are skipped. x: the
 * activations, (packs, DEPTH, PAIRS) words; the weights of a pack lie `step` bytes apart. */
SQZ_INLINE void add_packs(const uint32_t *x, const int8_t *w, size_t step, size_t n, target *to, const uint32_t pairs)
{
    uint32_t sum[PAIRS], halves[PAIRS]; /* of the latter, the address is taken: only the former stays in registers */
    int32_t left = MOST_WEIGHTS;
    SQZ_EACH(i, pairs) sum[i] = HALF;
    for (; n > 0; n--, w += step, x += DEPTH * PAIRS) {
        uint32_t pack = (uint32_t)four_bytes((const uint8_t *)w);
        for (const uint32_t *row = x; pack > 0; pack >>= 8, row += PAIRS) {
            const int32_t weight = (int8_t)pack;
            if (weight == 0) continue;
            left -= weight < 0 ? -weight : weight;
            if (left < 0) {
                SQZ_EACH(i, pairs) halves[i] = sum[i], sum[i] = HALF;
                add_halves(to, halves);
                left = MOST_WEIGHTS - (weight < 0 ? -weight : weight);
            }
            SQZ_EACH(i, pairs) sum[i] += row[i] * (uint32_t)weight;
        }
    }
    SQZ_EACH(i, pairs) halves[i] = sum[i];
    add_halves(to, halves);
}

/* Put the activations of n packs at all positions side by side, from pack `first` on: (packs, DEPTH, PAIRS) words.
 * Words after the last position are not set: their sums are not used. */
static void transpose(uint32_t *to, const sqz_tile *t, uint32_t first, uint32_t n)
{
    uint32_t row = first / t->packs, pack = first - row * t->packs;
    for (uint32_t left = n; left > 0; row++, pack = 0) {
        const uint32_t rest = t->packs - pack, run = rest < left ? rest : left;
        const uint8_t *x = t->lines[row] + t->begin + DEPTH * pack;
        for (uint32_t p = 0; p < t->positions; p += 2, x += 2 * t->stride) {
            const size_t next = p + 1 < t->positions ? t->stride : 0;
            uint32_t *word = to + p / 2;
            for (uint32_t i = 0; i < DEPTH * run; i += DEPTH, word += DEPTH * PAIRS)
                SQZ_EACH(k, DEPTH) word[PAIRS * k] = x[i + k] | (uint32_t)x[i + k + next] << 16;
        }
        to += DEPTH * PAIRS * run;
        left -= run;
    }
}

static void multiply(const sqz_tile *t, void *out)
{
    const uint32_t width = t->vectors * LANES, packs = (uint32_t)(t->rows * t->packs);
    const uint32_t pieces = (packs + PIECE - 1) / PIECE, most = (packs + pieces - 1) / pieces;
    uint32_t x[PIECE * DEPTH * PAIRS];
    for (uint32_t first = 0; first < packs; first += most) {
        const uint32_t n = packs - first < most ? packs - first : most;
        const int8_t *w = (const int8_t *)t->weights + DEPTH * first * width;
        transpose(x, t, first, n);
        for (uint32_t o = 0; o < width; o++, w += DEPTH) {
            target to = {(const int32_t *)t->initial + o, (int32_t *)out + o, 0, width, t->positions};
            if (first > 0) to.from = to.to, to.from_step = width;
            if (t->positions > 8)
                add_packs(x, w, DEPTH * width, n, &to, PAIRS);
            else if (t->positions > 2)
                add_packs(x, w, DEPTH * width, n, &to, 4);
            else
                add_packs(x, w, DEPTH * width, n, &to, 1);
        }
    }
}

/* `low` and `high` lie within 0..255. The offsets of a vector have the order 0, 2, 4, 6, 1, 3, 5, 7. */
static void rescale(const sqz_rescale *r, const int32_t *sums, uint32_t positions, uint8_t *out, size_t step)
{
    const int32_t low = r->low, high = r->high;
    const uint32_t outputs = r->outputs;
    for (; positions > 0; positions--, sums += r->vectors * LANES, out += step) {
        const int32_t *multipliers = r->multipliers, *sum = sums;
        const int64_t *offsets = r->offsets;
        for (uint32_t o = 0; o < outputs; o += LANES, sum += LANES, multipliers += LANES, offsets += LANES) {
            uint8_t bytes[LANES];
            SQZ_EACH(i, LANES) {
                const int64_t offset = offsets[i / 2 + i % 2 * (LANES / 2)];
                const int32_t x = (int32_t)(((int64_t)sum[i] * multipliers[i] + offset) >> 32);
                bytes[i] = (uint8_t)(x < low ? low : x > high ? high : x);
            }
            if (outputs - o >= LANES)
                SQZ_EACH(i, LANES) out[o + i] = bytes[i];
            else
                for (uint32_t i = o; i < outputs; i++) out[i] = bytes[i - o];
        }
    }
}

static void depthwise(const sqz_tile *t, int32_t *sums)
{
    const uint32_t width = t->vectors * LANES;
    for (uint32_t p = 0; p < t->positions; p++)
        for (uint32_t c = 0; c < width; c += TOGETHER) {
            const size_t at = t->begin + p * t->stride + c;
            const uint8_t *const *line = t->lines;
            const int8_t *w = (const int8_t *)t->weights + c;
            int32_t sum[TOGETHER];
            SQZ_EACH(i, TOGETHER) sum[i] = ((const int32_t *)t->initial)[c + i];
            for (size_t left = t->rows; left > 0; left--, w += SQZ_CHUNK) {
                const uint8_t *x = *line++ + at;
                SQZ_EACH(i, TOGETHER) sum[i] += x[i] * w[i];
            }
            SQZ_EACH(i, TOGETHER) *sums++ = sum[i];
        }
}

const sqz_kernels sqz_small = {
    .lanes = LANES,
    .depth = DEPTH,
    .bytes = 1,
    .positions = {0, 2 * PAIRS, 2 * PAIRS, 2 * PAIRS, 2 * PAIRS},
    .multiply = multiply,
    .rescale = rescale,
    .taps = 1,
    .depthwise = depthwise,
    .widen = widen_to_bytes,
    .look_up = look_up,
    SQZ_PLAIN_LOOPS,
};
#endif
