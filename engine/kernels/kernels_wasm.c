/* WebAssembly with vectors of 128 bits. No instruction adds products of bytes, so bytes are widened to 16 bits. */
#include "kernels.h"

#ifdef __wasm_simd128__
#include <wasm_simd128.h>

enum { LANES = 4, DEPTH = 2, TOGETHER = 4 /* most positions whose sums stay in registers */ };

#define SQZ_TARGET
#define LINE int16_t
#define OWN_INTERLEAVE
#define LINE_WEIGHT int16_t
#include "loops.h"

#define REGISTERS 1
#define AT_ONCE 2
#define FITS(vectors, positions) (vectors <= 2 && (positions == 1 || positions == TOGETHER))

#define MULTIPLY multiply
#define WEIGHT int16_t
#define VECTOR v128_t
#define LOAD(address) wasm_v128_load(address)
#define STORE(address, vector) wasm_v128_store(address, vector)
#define BROADCAST(x) wasm_v128_load32_splat(x)
#define ADD_PRODUCTS(sum, x, w) wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(x, w))
#include "tile.h"

/* Positions are computed in groups whose sums stay in registers. If the last group is not whole, it begins earlier: some
 * sums are computed twice. Fewer positions than a group has are computed one by one. */
static void multiply_groups(const sqz_tile *t, void *out, void (*multiply)(const sqz_tile *, void *))
{
    const uint32_t width = t->vectors * LANES, all = t->positions;
    sqz_tile part = *t;
    part.positions = all < TOGETHER ? 1 : TOGETHER;
    for (uint32_t done = 0; done < all; done += part.positions) {
        if (done + part.positions > all) done = all - part.positions;
        part.begin = t->begin + done * t->stride;
        multiply(&part, (uint8_t *)out + done * width * sizeof(int32_t));
    }
}

static void multiply_integers(const sqz_tile *t, void *sums)
{
    multiply_groups(t, sums, multiply);
}

/* The sums of one output of a tile in lists, at 8 x `vectors` positions. Returns the entries of the next output. */
SQZ_INLINE const sqz_entry *one_list(const sqz_entry *e, const int16_t *x, int32_t *sums, const uint32_t vectors)
{
    for (int last = 0; !last;) {
        const sqz_entry *end = e + 1 + e->place;
        v128_t chain[8];
        last = e->weight;
        SQZ_EACH(v, vectors) chain[v] = wasm_i64x2_const(0, 0);
        for (e++; e < end; e++) {
            const v128_t weight = wasm_v128_load16_splat(&e->weight);
            const int16_t *from = x + e->place;
            SQZ_EACH(v, vectors)
                chain[v] = wasm_i16x8_add(chain[v], wasm_i16x8_mul(wasm_v128_load(from + 8 * v), weight));
        }
        SQZ_EACH(v, vectors) {
            int32_t *to = sums + 8 * v;
            wasm_v128_store(to, wasm_i32x4_add(wasm_v128_load(to), wasm_i32x4_extend_low_i16x8(chain[v])));
            wasm_v128_store(to + 4, wasm_i32x4_add(wasm_v128_load(to + 4), wasm_i32x4_extend_high_i16x8(chain[v])));
        }
    }
    return e;
}

const sqz_entry *sqz_multiply_lists(const sqz_list_tile *t, int32_t *sums)
{
    const sqz_entry *entries = t->entries;
    const uint32_t end = (t->rows - 1) * t->pitch + t->columns;
    for (uint32_t o = 0; o < t->outputs; o++) {
        int32_t of[SQZ_LIST_POSITIONS + LANES], *to = sums + o;
        const v128_t initial = wasm_v128_load32_splat(t->initial + o);
        for (uint32_t p = 0; p < end; p += LANES) wasm_v128_store(of + p, initial);
        if (end <= 16)
            entries = one_list(entries, t->x, of, 2);
        else if (end <= 32)
            entries = one_list(entries, t->x, of, 4);
        else
            entries = one_list(entries, t->x, of, 7);
        for (uint32_t row = 0; row < end; row += t->pitch, to += t->columns * t->width)
            for (uint32_t p = 0; p < t->columns; p += LANES) { /* what is too much at the end is written over */
                const v128_t some = wasm_v128_load(of + row + p);
                wasm_v128_store32_lane(to + p * t->width, some, 0);
                wasm_v128_store32_lane(to + (p + 1) * t->width, some, 1);
                wasm_v128_store32_lane(to + (p + 2) * t->width, some, 2);
                wasm_v128_store32_lane(to + (p + 3) * t->width, some, 3);
            }
    }
    return entries;
}

void sqz_spread(int16_t *to, size_t step, const uint8_t *x, size_t n)
{
    for (; n >= 8; n -= 8, x += 8, to += 8 * step) {
        const v128_t some = wasm_u16x8_load8x8(x);
#define PUT(i) wasm_v128_store16_lane(to + (i) * step, some, i);
        PUT(0) PUT(1) PUT(2) PUT(3) PUT(4) PUT(5) PUT(6) PUT(7)
    }
    for (; n > 0; n--, to += step) *to = *x++;
}

/* (sum * factor + offset) >> 32 of 4 sums. */
SQZ_INLINE v128_t level_of(const int32_t *sums, v128_t factors, v128_t first_offsets, v128_t second_offsets)
{
    const v128_t sum = wasm_v128_load(sums);
    const v128_t first = wasm_i64x2_add(wasm_i64x2_extmul_low_i32x4(sum, factors), first_offsets);
    const v128_t second = wasm_i64x2_add(wasm_i64x2_extmul_high_i32x4(sum, factors), second_offsets);
    return wasm_i32x4_shuffle(first, second, 1, 3, 5, 7); /* the upper halves */
}

/* Two vectors at a time become 8 bytes. */
static void rescale(const sqz_rescale *r, const int32_t *sums, uint32_t positions, uint8_t *out, size_t step)
{
    const v128_t low = wasm_u8x16_splat((uint8_t)r->low), high = wasm_u8x16_splat((uint8_t)r->high);
    const uint32_t outputs = r->outputs, width = r->vectors * LANES;
    for (uint32_t o = 0; o < outputs; o += 2 * LANES) {
        const uint32_t left = outputs - o;
        const int32_t *from = sums + o;
        uint8_t *to = out + o;
        v128_t factors[2], first_offsets[2], second_offsets[2];
        SQZ_EACH(i, 2) {
            const uint32_t at = o + i * LANES < width ? o + i * LANES : o;
            const v128_t even = wasm_v128_load(r->offsets + at), odd = wasm_v128_load(r->offsets + at + LANES / 2);
            factors[i] = wasm_v128_load(r->multipliers + at);
            first_offsets[i] = wasm_i64x2_shuffle(even, odd, 0, 2);
            second_offsets[i] = wasm_i64x2_shuffle(even, odd, 1, 3);
        }
        for (uint32_t position = 0; position < positions; position++, from += width, to += step) {
            const v128_t first = level_of(from, factors[0], first_offsets[0], second_offsets[0]);
            const v128_t second = level_of(from + LANES, factors[1], first_offsets[1], second_offsets[1]);
            const v128_t words = wasm_i16x8_narrow_i32x4(first, second);
            const v128_t bytes = wasm_u8x16_min(wasm_u8x16_max(wasm_u8x16_narrow_i16x8(words, words), low), high);
            if (left >= 2 * LANES)
                wasm_v128_store64_lane(to, bytes, 0);
            else {
                uint8_t some[16];
                wasm_v128_store(some, bytes);
                for (uint32_t i = 0; i < left; i++) to[i] = some[i];
            }
        }
    }
}

/* Once for each image: small. */
static void interleave(uint8_t *out, const uint8_t *x, int64_t step, uint32_t count, size_t n)
{
    for (uint32_t j = 0; j < count; j++)
        for (size_t i = 0; i < n; i++) out[count * i + j] = x[(size_t)step * j + i];
}

static void widen(void *line, const uint8_t *x, size_t n)
{
    int16_t *to = line;
    for (size_t i = 0; i < n; i += STRIP, x += STRIP, to += STRIP)
        SQZ_EACH(j, STRIP / 8) wasm_v128_store(to + 8 * j, wasm_u16x8_load8x8(x + 8 * j));
}

const sqz_kernels sqz_simd128 = {
    .lanes = LANES,
    .depth = DEPTH,
    .bytes = 2,
    .positions = {0, 32, 32, 32, 32},
    .multiply = multiply_integers,
    .rescale = rescale,
    .taps = 1,
    .depthwise = depthwise,
    .widen = widen,
    .look_up = look_up,
    SQZ_PLAIN_LOOPS,
};

#define FLOATS
#define VECTOR v128_t
#define LOAD(address) wasm_v128_load(address)
#define STORE(address, vector) wasm_v128_store(address, vector)
#define BROADCAST(x) wasm_v128_load32_splat(x)
#define ADD_PRODUCTS(sum, x, w) wasm_f32x4_add(sum, wasm_f32x4_mul(x, w))
#include "tile.h"

static void multiply_all_floats(const sqz_tile *t, void *sums)
{
    multiply_groups(t, sums, multiply_floats);
}

const sqz_kernels sqz_simd128_floats = {
    .lanes = LANES, .depth = 1, .bytes = 4, .positions = {0, 32, 32, 32, 32}, .multiply = multiply_all_floats};
#endif
