/* Plain loops that a compiler turns into vectors. Each path includes them once, with its own SQZ_TARGET.
 *
 * They go in strips of constant length, so that compilers make no code for other lengths. Activations may be read up to
 * SQZ_SLACK bytes past their end, and sums have room for a whole strip; the bytes of a strip go through a copy. */
#include <string.h>

/* SQZ_EACH: a loop that is unrolled completely. `count` is a constant where the loop is inlined, and at most 8: so the
 * arrays that the loop indexes can stay in registers. */
#ifdef __GNUC__
#define SQZ_INLINE __attribute__((always_inline)) static inline
#if defined(__clang__) && defined(__wasm__) /* Clang 14 unrolls before it inlines: it needs a constant end */
#define SQZ_EACH(i, count) _Pragma("unroll") for (uint32_t i = 0; i < 8; i++) if (i < (count))
#else
#define SQZ_EACH(i, count) _Pragma("GCC unroll 8") for (uint32_t i = 0; i < (count); i++)
#endif
#else
#define SQZ_INLINE static inline
#define SQZ_EACH(i, count) for (uint32_t i = 0; i < (count); i++)
#endif
#define GLUED(a, b) GLUED_NAMES(a, b)
#define GLUED_NAMES(a, b) a##b

#ifndef STRIP
#define STRIP 32 /* elements of a strip */
#endif
enum { MOST_ROWS = 257 }; /* the sum of so many bytes fits 16 bits */

/* The 4 bytes at x, as an integer or a float. */
static inline int32_t four_bytes(const uint8_t *x)
{
    int32_t bytes;
    memcpy(&bytes, x, sizeof bytes);
    return bytes;
}

static inline float one_float(const uint8_t *x)
{
    float one;
    memcpy(&one, x, sizeof one);
    return one;
}

/* `widen` of the paths that multiply bytes. */
static inline void widen_to_bytes(void *line, const uint8_t *x, size_t n)
{
    memcpy(line, x, n);
}

/* Store a strip at `out`, or only its first `left` bytes: in two pieces of a constant size, which may overlap. */
#if STRIP > 1
static inline void put_strip(uint8_t *out, const uint8_t *strip, size_t left)
{
    if (left >= STRIP)
        memcpy(out, strip, STRIP);
    else if (left >= STRIP / 2) {
        memcpy(out, strip, STRIP / 2);
        memcpy(out + left - STRIP / 2, strip + left - STRIP / 2, STRIP / 2);
    } else if (left >= STRIP / 4) {
        memcpy(out, strip, STRIP / 4);
        memcpy(out + left - STRIP / 4, strip + left - STRIP / 4, STRIP / 4);
    } else
        for (size_t i = 0; i < left; i++) out[i] = strip[i];
}
#else
#define put_strip(out, strip, left) (*(out) = *(strip))
#endif

#ifndef OWN_MAXIMUM
SQZ_TARGET static void maximum(uint8_t *restrict out, const uint8_t *restrict x, size_t n, size_t step, size_t count)
{
    for (size_t i = 0; i < n; i += STRIP) {
        uint8_t strip[STRIP] = {0};
        const uint8_t *row = x + i;
        for (size_t r = 0; r < count; r++, row += step)
            for (size_t j = 0; j < STRIP; j++) strip[j] = row[j] > strip[j] ? row[j] : strip[j];
        put_strip(out + i, strip, n - i);
    }
}
#endif

#ifndef OWN_ACCUMULATE
SQZ_TARGET static void accumulate(int32_t *restrict sums, const uint8_t *restrict x, size_t n, size_t step,
                                  size_t count)
{
    for (size_t i = 0; i < n; i += STRIP)
        for (size_t from = 0; from < count; from += MOST_ROWS) {
            const size_t rows = count - from < MOST_ROWS ? count - from : MOST_ROWS;
            const uint8_t *row = x + from * step + i;
            uint16_t part[STRIP] = {0};
            for (size_t r = 0; r < rows; r++, row += step)
                for (size_t j = 0; j < STRIP; j++) part[j] = (uint16_t)(part[j] + row[j]);
            for (size_t j = 0; j < STRIP; j++) sums[i + j] += part[j];
        }
}
#endif

#ifdef LINE /* LINE, LINE_WEIGHT: types of activations and weights, in a file without its own `depthwise` */
SQZ_TARGET static void depthwise(const sqz_tile *t, int32_t *sums)
{
    const int32_t *initial = t->initial;
    for (uint32_t p = 0; p < t->positions; p++)
        for (uint32_t o = 0; o < t->vectors * LANES; o += LANES, sums += LANES) {
            const LINE_WEIGHT *w = (const LINE_WEIGHT *)t->weights + o;
            memcpy(sums, initial + o, LANES * sizeof *sums);
            for (size_t row = 0; row < t->rows; row++, w += SQZ_CHUNK) {
                const LINE *x = (const LINE *)(const void *)(t->lines[row] + t->begin + p * t->stride) + o;
                for (uint32_t i = 0; i < LANES; i++) sums[i] += x[i] * w[i];
            }
        }
}
#endif

#ifndef OWN_ADD
SQZ_TARGET static void add(uint8_t *out, const uint8_t *a, const uint8_t *b, const int32_t fraction[2], int32_t offset,
                           size_t n)
{
    const int32_t first = fraction[0], second = fraction[1];
    for (size_t i = 0; i < n; i += STRIP) {
        uint8_t strip[STRIP];
        for (size_t j = 0; j < STRIP; j++) {
            const int32_t sum = (a[i + j] * first + b[i + j] * second + offset) >> 16, x = sum > 0 ? sum : 0;
            strip[j] = (uint8_t)(x < 255 ? x : 255);
        }
        put_strip(out + i, strip, n - i);
    }
}
#endif

SQZ_TARGET static void multiply_values(uint8_t *out, const uint8_t *a, const uint8_t *b, const sqz_product *p, size_t n)
{
    const sqz_product q = *p;
    for (size_t i = 0; i < n; i += STRIP) {
        uint8_t strip[STRIP];
        for (size_t j = 0; j < STRIP; j++) {
            const int32_t product = (a[i + j] - q.zero[0]) * (b[i + j] - q.zero[1]);
            const int32_t y = ((product * q.upper + ((product * q.lower + q.offset) >> 8)) >> q.shift) + q.zero[2];
            const int32_t x = y > 0 ? y : 0;
            strip[j] = (uint8_t)(x < 255 ? x : 255);
        }
        put_strip(out + i, strip, n - i);
    }
}

#ifndef OWN_INTERLEAVE
SQZ_TARGET SQZ_INLINE void interleave_some(uint8_t *restrict out, const uint8_t *restrict x, int64_t step,
                                           const uint32_t count, size_t n)
{
    const uint8_t *restrict y = x + step, *restrict z = count > 2 ? y + step : y;
    size_t i = 0;
    for (; i + STRIP <= n; i += STRIP, out += count * STRIP)
        for (size_t j = 0; j < STRIP; j++) {
            out[count * j] = x[i + j];
            out[count * j + 1] = y[i + j];
            if (count > 2) out[count * j + 2] = z[i + j];
        }
    for (; i < n; i++, out += count) {
        out[0] = x[i];
        out[1] = y[i];
        if (count > 2) out[2] = z[i];
    }
}

SQZ_TARGET static void interleave(uint8_t *out, const uint8_t *x, int64_t step, uint32_t count, size_t n)
{
    if (count == 2)
        interleave_some(out, x, step, 2, n);
    else
        interleave_some(out, x, step, 3, n);
}
#endif

#ifndef OWN_LOOK_UP
SQZ_TARGET static void look_up(uint8_t *x, size_t n, size_t step, size_t count, const uint8_t *table)
{
    for (; count > 0; count--, x += step)
        for (size_t i = 0; i < n; i++) x[i] = table[x[i]];
}
#endif

/* SQZ_NO_FLOATS: for programs without floating-point arithmetic, which get images as bytes. */
#ifdef SQZ_NO_FLOATS
#define SQZ_QUANTISE
#else
#define SQZ_QUANTISE , .quantise = quantise
/* After adding 1.5 x 2^23 a float has no bits left for a fraction: so it is rounded to nearest, halves to even. */
SQZ_TARGET static void quantise(uint8_t *restrict out, const float *restrict pixels, float factor, int32_t zero,
                                size_t n)
{
    const float shift = 12582912.0f, low = (float)-zero, high = (float)(255 - zero);
    for (size_t i = 0; i < n; i += STRIP) {
        uint8_t strip[STRIP];
        float last[STRIP] = {0};
        const float *from = pixels + i;
        if (n - i < STRIP) from = memcpy(last, from, (n - i) * sizeof *last);
        for (size_t j = 0; j < STRIP; j++) {
            float x = from[j] * factor;
            x = x > low ? x : low;
            x = x < high ? x : high;
            x += shift;
            strip[j] = (uint8_t)((int32_t)(x - shift) + zero);
        }
        put_strip(out + i, strip, n - i);
    }
}
#endif

/* The members of `sqz_kernels` that are made here. */
#define SQZ_PLAIN_LOOPS \
    .maximum = maximum, .accumulate = accumulate, .add = add, .multiply_values = multiply_values, \
    .interleave = interleave SQZ_QUANTISE
