/* Machines with 32-bit registers and no instructions for vectors: Cortex-M3, RISC-V. Four outputs at two positions are
 * computed together: as many sums as stay in the registers of a Cortex-M3. */
#include "kernels.h"

#ifdef SQZ_WITHOUT_VECTORS
#define SQZ_TARGET
#define STRIP 1
#ifdef __GNUC__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE
#endif
enum { LANES = 4, DEPTH = 4, POSITIONS = 8 };
#include "loops.h"

/* The sums of a vector at one position or two. The first output of the vector is `o`. */
SQZ_INLINE void add_windows(const sqz_tile *t, uint32_t p, uint32_t o, int32_t *first, int32_t *second, const int two)
{
    const int32_t *initial = (const int32_t *)t->initial + o;
    const size_t step = DEPTH * LANES * t->vectors, next = t->stride, length = DEPTH * t->packs;
    const int8_t *w = (const int8_t *)t->weights + DEPTH * o;
    int32_t a0 = initial[0], a1 = initial[1], a2 = initial[2], a3 = initial[3];
    int32_t b0 = a0, b1 = a1, b2 = a2, b3 = a3;
    for (size_t row = 0; row < t->rows; row++) {
        const uint8_t *x = t->lines[row] + t->begin + p * next, *const end = x + length;
        for (; x < end; w += step)
            SQZ_EACH(k, DEPTH) {
                const int32_t a = x[0], b = two ? x[next] : 0;
                int32_t weight = w[k];
                x++;
                a0 += a * weight;
                if (two) b0 += b * weight;
                weight = w[DEPTH + k];
                a1 += a * weight;
                if (two) b1 += b * weight;
                weight = w[2 * DEPTH + k];
                a2 += a * weight;
                if (two) b2 += b * weight;
                weight = w[3 * DEPTH + k];
                a3 += a * weight;
                if (two) b3 += b * weight;
            }
    }
    first[0] = a0, first[1] = a1, first[2] = a2, first[3] = a3;
    if (two) second[0] = b0, second[1] = b1, second[2] = b2, second[3] = b3;
}

NOINLINE static void add_two(const sqz_tile *t, uint32_t p, uint32_t o, int32_t *first, int32_t *second)
{
    add_windows(t, p, o, first, second, 1);
}

NOINLINE static void add_one(const sqz_tile *t, uint32_t p, uint32_t o, int32_t *first)
{
    add_windows(t, p, o, first, first, 0);
}

static void multiply(const sqz_tile *t, void *out)
{
    const uint32_t width = t->vectors * LANES;
    for (uint32_t p = 0; p < t->positions; p += 2)
        for (uint32_t o = 0; o < width; o += LANES) {
            int32_t *const first = (int32_t *)out + p * width + o;
            if (p + 1 < t->positions)
                add_two(t, p, o, first, first + width);
            else
                add_one(t, p, o, first);
        }
}

/* `low` and `high` lie within 0..255. The offsets of a vector have the order 0, 2, 1, 3. */
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
                const int64_t offset = offsets[i / 2 + i % 2 * 2];
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
        for (uint32_t c = 0; c < width; c += LANES) {
            const size_t at = t->begin + p * t->stride + c;
            const uint8_t *const *line = t->lines;
            const int8_t *w = (const int8_t *)t->weights + c;
            int32_t sum[LANES];
            SQZ_EACH(i, LANES) sum[i] = ((const int32_t *)t->initial)[c + i];
            for (size_t left = t->rows; left > 0; left--, w += SQZ_CHUNK) {
                const uint8_t *x = *line++ + at;
                SQZ_EACH(i, LANES) sum[i] += x[i] * w[i];
            }
            SQZ_EACH(i, LANES) *sums++ = sum[i];
        }
}

const sqz_kernels sqz_small = {
    .lanes = LANES,
    .depth = DEPTH,
    .bytes = 1,
    .positions = {0, POSITIONS, POSITIONS, POSITIONS, POSITIONS},
    .multiply = multiply,
    .rescale = rescale,
    .taps = 1,
    .depthwise = depthwise,
    .widen = widen_to_bytes,
    .look_up = look_up,
    SQZ_PLAIN_LOOPS,
};
#endif
