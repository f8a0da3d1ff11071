/* Compares the inner loops of every path of the machine with plain ones, on random tiles of all sizes and on extreme
 * values. Prints a line for each path, its name and the numbers in its `sqz_kernels`, or what differs. Arrays have the
 * room past their end that engine/kernels/kernels.h promises, and no more: bytes after it must stay as they were. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chains.h"

enum { MOST = 1 << 15, MARK = 0x5a, ROUNDS = 12 };

static uint32_t seed = 1;

/* A number from 0 to below - 1. */
static uint32_t number(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)seed * below >> 32);
}

static const char *doing = "";

static void fail(const char *what)
{
    printf("%s: %s differs\n", doing, what);
    exit(1);
}

static uint8_t inputs[MOST], out[MOST], expected[MOST];
static int8_t weights[MOST];
static int32_t sums[2 * SQZ_MOST_SUMS], right[2 * SQZ_MOST_SUMS], initial[SQZ_MOST_SUMS];

/* Random bytes; in some rounds only the least and the largest. In others, most weights are 0. */
static void fill(uint32_t round)
{
    const uint32_t kept = round % 4 == 3 ? 1 : 5; /* weights of 5 */
    for (size_t i = 0; i < MOST; i++) {
        inputs[i] = (uint8_t)(round % 3 == 0 ? 255 * number(2) : number(256));
        weights[i] = (int8_t)(round % 3 == 0 ? 127 - 254 * (int32_t)number(2) : (int32_t)number(255) - 127);
        if (round % 4 == 1 && round % 3 > 0) weights[i] = (int8_t)(weights[i] / 32);
        if (number(5) >= kept) weights[i] = 0;
    }
    for (size_t i = 0; i < SQZ_MOST_SUMS; i++) initial[i] = (int32_t)(number(1u << 20)) - (1 << 19);
}

/* Weight i of those that have `bytes` bytes each. */
static int32_t level(const void *w, size_t i, uint32_t bytes)
{
    return bytes == 2 ? ((const int16_t *)w)[i] : ((const int8_t *)w)[i];
}

/* Where a line begins that has so many elements: every other time, the last byte that may be read is the last one of the
 * array. */
static size_t start_of(size_t elements)
{
    return number(2) ? MOST - SQZ_SLACK - elements : number(999);
}

static void check_multiply(const sqz_kernels *k)
{
    static int16_t wide_line[MOST], wide_weights[MOST];
    for (uint32_t round = 0; round < ROUNDS; round++)
        for (uint32_t vectors = 1; vectors <= SQZ_VECTORS; vectors++)
            for (uint32_t positions = 1; positions <= k->positions[vectors]; positions++) {
                const uint32_t width = vectors * k->lanes, rows = 1 + number(4);
                const uint32_t most = MOST / (rows * width * k->depth);
                const size_t packs = 1 + number(most < 50 ? most : 50), stride = 1 + number(200), begin = number(99);
                const uint8_t *lines[4];
                const size_t used = begin + (positions - 1) * stride + packs * k->depth;
                const size_t count = rows * packs * width * k->depth;
                const int32_t *first = initial + SQZ_MOST_SUMS - width;
                size_t starts[4];
                fill(round);
                for (uint32_t row = 0; row < rows; row++) {
                    starts[row] = start_of(used);
                    lines[row] = inputs + starts[row];
                    if (k->bytes == 2) lines[row] = (const uint8_t *)(wide_line + starts[row]);
                }
                if (k->bytes == 2) {
                    k->widen(wide_line, inputs, MOST - SQZ_SLACK);
                    for (size_t i = 0; i < MOST; i++) wide_weights[i] = weights[i];
                }
                const void *w = k->bytes == 2 ? (const void *)(wide_weights + MOST - count) : weights + MOST - count;
                const sqz_tile t = {lines, rows,  begin * k->bytes, stride * k->bytes, packs,
                                    w,     first, vectors,          positions,         inputs,
                                    0,     NULL};
                for (uint32_t p = 0; p < positions; p++)
                    for (uint32_t o = 0; o < width; o++) {
                        int32_t sum = first[o];
                        for (uint32_t row = 0; row < rows; row++)
                            for (size_t i = 0; i < packs * k->depth; i++) {
                                const size_t at = ((row * packs + i / k->depth) * width + o) * k->depth + i % k->depth;
                                const int32_t x = inputs[starts[row] + begin + p * stride + i] - k->centre;
                                sum += x * level(w, at, k->bytes);
                            }
                        right[p * width + o] = sum;
                    }
                memset(sums, MARK, sizeof sums);
                k->multiply(&t, sums);
                memset(right + positions * width, MARK, sizeof right - positions * width * sizeof *right);
                if (memcmp(sums, right, sizeof sums) != 0) fail("multiply");
            }
}

/* A weight for chains. Some rounds reach the limits of a pair and of a chain exactly, or pass them by one. In some, a
 * few packs must be split. */
static int8_t chained(uint32_t round)
{
    const uint32_t kind = round % 6;
    const int8_t sign = number(2) ? 1 : -1;
    if (kind == 0) return (int8_t)(number(3) - 1);
    if (kind == 1) return (int8_t)(number(15) - 7);
    if (kind == 2) return (int8_t)(sign * (int8_t)(number(40) ? number(4) : 127));
    if (kind == 3) return 32; /* four pairs of a pack and the next one fill a chain */
    if (kind == 4) return (int8_t)(number(4) ? -16 : -17);
    return (int8_t)(number(30) ? 0 : sign * 127);
}

/* Products in chains. Inputs are 255 in some rounds, and 0 in others (signed: -128), so that sums reach
 * the limits of 16 bits. */
static void check_chains(const sqz_kernels *k)
{
    static uint16_t segments[MOST];
    static int8_t packed[MOST];
    uint32_t done = 0, again = 0;
    for (uint32_t round = 0; round < 4 * ROUNDS; round++)
        for (uint32_t vectors = 1; vectors <= SQZ_CHAIN_VECTORS; vectors++)
            for (uint32_t positions = 1; positions <= k->positions[vectors]; positions++) {
                const uint32_t width = vectors * k->lanes, rows = 1 + number(4);
                const size_t packs = 1 + number(30), stride = 1 + number(200), begin = number(99);
                const size_t bytes = (size_t)rows * packs * width * k->depth;
                const uint8_t *lines[4];
                sqz_layout layout;
                memset(&layout, 0, sizeof layout);
                layout.lines = rows;
                layout.packs = packs;
                fill(round);
                if (round % 4 < 2) memset(inputs, round % 4 == 0 ? 255 : 0, sizeof inputs);
                for (uint32_t row = 0; row < rows; row++)
                    lines[row] = inputs + start_of(begin + (positions - 1) * stride + packs * k->depth);
                for (size_t i = 0; i < bytes; i++) packed[i] = weights[i] = chained(round);
                if (!sqz_lay_out_chains(packed, k, &layout, width, segments)) continue;
                done++;
                for (const uint16_t *s = segments; (*s & SQZ_TILE_ENDS) == 0; s++) again += (*s & SQZ_PACK_AGAIN) > 0;
                const sqz_tile t = {lines,   rows,    begin,     stride, packs, packed,
                                    initial, vectors, positions, inputs, 0,     segments};
                for (uint32_t p = 0; p < positions; p++)
                    for (uint32_t o = 0; o < width; o++) {
                        int32_t sum = initial[o];
                        for (size_t i = 0; i < rows * packs * k->depth; i++) {
                            const size_t pack = i / k->depth, in = pack % packs * k->depth + i % k->depth;
                            const int32_t x = lines[pack / packs][begin + p * stride + in] - k->centre;
                            sum += x * weights[(pack * width + o) * k->depth + i % k->depth];
                        }
                        right[p * width + o] = sum;
                    }
                memset(sums, MARK, sizeof sums);
                k->multiply(&t, sums);
                memset(right + positions * width, MARK, sizeof right - positions * width * sizeof *right);
                if (memcmp(sums, right, sizeof sums) != 0) fail("multiply in chains");
            }
    if (done < 100 || (again < 100) != (k->centre > 0)) fail("number of chains");
}

/* Blocks have no more segments than there is room for, whichever packs are split. */
static void check_segments(const sqz_kernels *k)
{
    static uint16_t segments[MOST];
    static int8_t packed[MOST];
    for (size_t packs = 1; packs <= 64; packs++)
        for (size_t whole = 0; whole <= packs; whole++) {
            const size_t bytes = k->lanes * k->depth;
            sqz_layout layout;
            memset(&layout, 0, sizeof layout);
            layout.lines = 1;
            layout.packs = packs;
            for (size_t i = 0; i < packs * bytes; i++) packed[i] = i / bytes < whole ? 64 : 127; /* 127: it is split */
            memset(segments, MARK, sizeof segments);
            sqz_lay_out_chains(packed, k, &layout, k->lanes, segments);
            if (segments[sqz_most_packs(k, &layout)] != (MARK << 8 | MARK)) fail("room of segments");
        }
}

static void check_depthwise(const sqz_kernels *k)
{
    static int16_t wide_line[MOST], wide_weights[MOST];
    for (uint32_t round = 0; round < ROUNDS; round++)
        for (uint32_t vectors = k->taps; vectors * k->lanes <= SQZ_CHUNK; vectors += k->taps) {
            const uint32_t width = vectors * k->lanes, taps = 1 + number(30), positions = 1 + number(8);
            const uint32_t rows = (taps + k->taps - 1) / k->taps * k->taps;
            const size_t stride = 1 + number(200), begin = number(99);
            const uint8_t *lines[64];
            size_t starts[64];
            fill(round);
            for (uint32_t row = 0; row < rows; row++) {
                starts[row] = number(999);
                lines[row] = k->bytes == 2 ? (const uint8_t *)(wide_line + starts[row]) : inputs + starts[row];
            }
            memset(weights + taps / k->taps * k->taps * SQZ_CHUNK, 0, taps % k->taps > 0 ? SQZ_CHUNK * k->taps : 0);
            if (k->bytes == 2) {
                k->widen(wide_line, inputs, MOST - SQZ_SLACK);
                for (size_t i = 0; i < MOST; i++) wide_weights[i] = weights[i];
            }
            const void *w = k->bytes == 2 ? (const void *)wide_weights : (const void *)weights;
            const sqz_tile t = {
                lines, rows, begin * k->bytes, stride * k->bytes, 0, w, initial, vectors, positions, inputs, 0, NULL};
            for (uint32_t p = 0; p < positions; p++)
                for (uint32_t c = 0; c < width; c++) {
                    const uint32_t slot = sqz_slot(k, c), to = k->interleaved ? slot : c;
                    int32_t sum = initial[to];
                    for (uint32_t tap = 0; tap < rows; tap++) {
                        const size_t at = (tap / k->taps * SQZ_CHUNK + slot) * k->taps + tap % k->taps;
                        sum += inputs[starts[tap] + begin + p * stride + c] * level(w, at, k->bytes);
                    }
                    right[p * width + to] = sum;
                }
            memset(sums, MARK, sizeof sums);
            k->depthwise(&t, sums);
            memset(right + positions * width, MARK, sizeof right - positions * width * sizeof *right);
            memset(sums + positions * width, MARK, 31 * sizeof *sums);
            if (memcmp(sums, right, sizeof sums) != 0) fail("depthwise");
        }
}

static void check_rescale(const sqz_kernels *k)
{
    static int32_t multipliers[128];
    static int64_t offsets[128], ordered[128];
    for (uint32_t round = 0; round < 20 * ROUNDS; round++) {
        const uint32_t vectors = 1 + number(SQZ_VECTORS), width = vectors * k->lanes,
                       outputs = width - number(k->lanes);
        const uint32_t most = SQZ_MOST_SUMS / width, positions = 1 + number(most < 16 ? most : 16);
        const size_t step = outputs + number(9);
        const int32_t low = round % 2 ? 0 : (int32_t)number(128), high = round % 2 ? 255 : 128 + (int32_t)number(128);
        for (uint32_t o = 0; o < width; o++) {
            multipliers[o] = (int32_t)((32768 + number(27330)) << number(16));
            offsets[o] = ((int64_t)number(256) << 32) + ((int64_t)1 << 31) +
                         ((int64_t)number(1 << 22) - (1 << 21)) * ((int64_t)1 << number(29));
            ordered[o / k->lanes * k->lanes + o % k->lanes / 2 + o % 2 * (k->lanes / 2)] = offsets[o];
        }
        for (uint32_t i = 0; i < positions * width; i++) /* so that the largest multiplier gives some hundreds */
            sums[i] = (int32_t)(number(UINT32_MAX) - (1u << 31)) >> number(31);
        memset(out, MARK, sizeof out);
        memset(expected, MARK, sizeof expected);
        for (uint32_t p = 0; p < positions; p++)
            for (uint32_t o = 0; o < outputs; o++) {
                const int64_t x = ((int64_t)sums[p * width + o] * multipliers[o] + offsets[o]) >> 32;
                expected[p * step + o] = (uint8_t)(x < low ? low : x > high ? high : x);
            }
        const sqz_rescale r = {multipliers, ordered, vectors, outputs, low, high, 0};
        k->rescale(&r, sums, positions, out, step);
        if (memcmp(out, expected, sizeof out) != 0) fail("rescale");
    }
}

static int32_t limited(int32_t x)
{
    return x < 0 ? 0 : x > 255 ? 255 : x;
}

static void check_values(const sqz_kernels *k)
{
    uint8_t table[256];
    for (uint32_t round = 0; round < 20 * ROUNDS; round++) {
        const size_t n = 1 + number(150), count = 1 + number(round % 50 == 0 ? 300 : 9);
        const size_t step = n + number(9), most = (MOST - 512) / count, apart = step < most ? step : most;
        const uint8_t *a = inputs + number(99), *b = a + 7;
        fill(round);
        for (size_t i = 0; i < 256; i++) table[i] = (uint8_t)number(256);
        memset(out, MARK, sizeof out);
        memset(expected, MARK, sizeof expected);
        memcpy(sums, initial, sizeof initial);
        memcpy(right, initial, sizeof initial);
        for (size_t i = 0; i < n && i < apart; i++) {
            expected[i] = 0;
            for (size_t r = 0; r < count; r++) {
                const uint8_t x = a[i + r * apart];
                if (x > expected[i]) expected[i] = x;
                right[i] += x;
            }
        }
        const size_t used = n < apart ? n : apart;
        k->maximum(out, a, used, apart, count);
        if (memcmp(out, expected, sizeof out) != 0) fail("maximum");
        k->accumulate(sums, a, used, apart, count);
        if (memcmp(sums, right, used * sizeof *sums) != 0) fail("accumulate");
        const int32_t fraction[2] = {(int32_t)number(200000), (int32_t)number(200000)};
        const int32_t offset = 32768 - (int32_t)number(1 << 25);
        for (size_t i = 0; i < n; i++)
            expected[i] = (uint8_t)limited((a[i] * fraction[0] + b[i] * fraction[1] + offset) >> 16);
        k->add(out, a, b, fraction, offset, n);
        if (memcmp(out, expected, n) != 0) fail("add");
        const int32_t s = 8 + (int32_t)number(16), m = 32768 + (int32_t)number(27330);
        const sqz_product product = {
            {(int32_t)number(256), (int32_t)number(256), (int32_t)number(256)}, m >> 8, m & 255, 1 << (s - 1), s - 8};
        for (size_t i = 0; i < n; i++) {
            const int64_t x = (int64_t)(a[i] - product.zero[0]) * (b[i] - product.zero[1]) * m;
            const int64_t y = ((x + ((int64_t)1 << (s - 1))) >> s) + product.zero[2];
            expected[i] = (uint8_t)(y < 0 ? 0 : y > 255 ? 255 : y);
        }
        k->multiply_values(out, a, b, &product, n);
        if (memcmp(out, expected, n) != 0) fail("multiply_values");
        for (uint32_t parts = 2; parts <= 3; parts++) {
            for (size_t i = 0; i < n; i++)
                for (uint32_t j = 0; j < parts; j++) expected[parts * i + j] = a[i + apart * j];
            k->interleave(out, a, (int64_t)apart, parts, n);
            if (memcmp(out, expected, sizeof out) != 0) fail("interleave");
        }
        memcpy(out, inputs, sizeof out);
        memcpy(expected, inputs, sizeof out);
        for (size_t r = 0; r < count; r++)
            for (size_t i = 0; i < used; i++) expected[r * apart + i] = table[expected[r * apart + i]];
        k->look_up(out, used, apart, count, table);
        if (memcmp(out, expected, sizeof out) != 0) fail("look_up");
    }
}

int main(void)
{
    for (int path = SQZ_SCALAR; path < SQZ_PATHS; path++) {
        if (!sqz_has_path((sqz_path)path)) continue;
        const sqz_kernels *k = sqz_kernels_of((sqz_path)path, 0);
        doing = sqz_path_name((sqz_path)path);
        check_multiply(k);
        if (k->chains != NULL) {
            check_chains(k->chains);
            check_segments(k->chains);
        }
        check_depthwise(k);
        check_rescale(k);
        check_values(k);
        printf("%s %u %u %u %d %u %d", doing, (unsigned)k->lanes, (unsigned)k->depth, (unsigned)k->bytes,
               (int)k->centre, (unsigned)k->taps, k->interleaved);
        for (uint32_t vectors = 1; vectors <= SQZ_VECTORS; vectors++) printf(" %u", (unsigned)k->positions[vectors]);
        puts("");
    }
    return 0;
}
