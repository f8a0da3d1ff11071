/* Inner loops for Cortex-M55 and other processors with the vector extension MVE ("Helium"). Its instruction VMLADAVA
 * multiplies 16 pairs of signed bytes and adds all products to one general register. So 128 is subtracted from the
 * activations, which makes them signed bytes, and a pack has 16 of them. */
#include "kernels.h"

#ifdef SQZ_CORTEX_MVE
#include <arm_mve.h>

#define SQZ_TARGET
#define STRIP 1
#define OWN_MAXIMUM
#define OWN_ACCUMULATE
#define OWN_ADD
#define OWN_LOOK_UP
#include "loops.h"

enum {
    LANES = 8,
    DEPTH = 16,
    CENTRE = 128,
    POSITIONS = 8, /* most positions of a tile */
    PIECE = 16,    /* most packs that are copied at once: 2 kB of the stack */
    BLOCK = 4      /* outputs that are computed together, at two positions */
};

/* Add the products of n packs to the sums of BLOCK outputs at pairs of positions.
 *
 * x: the activations, (pairs, packs, 2 positions, DEPTH), up to `end`; the weights of a pack lie `step` bytes apart.
 * Sums are read from `from` on and written from `to` on; both move by a step from each position to the next. Only
 * even registers can hold such sums. The loop needs eight of them, and compilers do not use so many: so it is in
 * assembly. Argument i lies at [sp, #36 + 4 * i]. */
void sqz_mve_pairs(const uint8_t *x, const int8_t *w, size_t step, uint32_t n, const int32_t *from, size_t from_step,
                   int32_t *to, size_t to_step, const uint8_t *end);
__asm__(".syntax unified\n"
        ".pushsection .text.sqz_mve_pairs, \"ax\", %progbits\n"
        ".balign 4\n"
        ".thumb_func\n"
        ".type sqz_mve_pairs, %function\n"
        ".hidden sqz_mve_pairs\n"
        ".global sqz_mve_pairs\n"
        "sqz_mve_pairs:\n"
        "push {r0-r3}\n"
        "push {r4-r11, lr}\n"
        "mov r5, r0\n"
        "mov r9, r2\n"
        "1: ldrd r1, r3, [sp, #36 + 4 * 4]\n"
        "ldr r7, [sp, #36 + 4 * 1]\n"
        "ldr r11, [sp, #36 + 4 * 3]\n"
        "ldrd r0, r2, [r1]\n"
        "ldrd r4, r6, [r1, #8]\n"
        "add r1, r3\n"
        "ldrd r8, r10, [r1]\n"
        "ldrd r12, lr, [r1, #8]\n"
        "add r1, r3\n"
        "str r1, [sp, #36 + 4 * 4]\n"
        "2: vldrb.u8 q0, [r5], #16\n"
        "vldrb.u8 q1, [r5], #16\n"
        "vldrb.u8 q2, [r7]\n"
        "vmladava.s8 r0, q0, q2\n"
        "vmladava.s8 r8, q1, q2\n"
        "vldrb.u8 q3, [r7, #16]\n"
        "vmladava.s8 r2, q0, q3\n"
        "vmladava.s8 r10, q1, q3\n"
        "vldrb.u8 q2, [r7, #32]\n"
        "vmladava.s8 r4, q0, q2\n"
        "vmladava.s8 r12, q1, q2\n"
        "vldrb.u8 q3, [r7, #48]\n"
        "add r7, r9\n"
        "vmladava.s8 r6, q0, q3\n"
        "subs r11, #1\n"
        "vmladava.s8 lr, q1, q3\n"
        "bne 2b\n"
        "ldrd r1, r3, [sp, #36 + 4 * 6]\n"
        "ldr r7, [sp, #36 + 4 * 8]\n"
        "strd r0, r2, [r1]\n"
        "strd r4, r6, [r1, #8]\n"
        "add r1, r3\n"
        "strd r8, r10, [r1]\n"
        "strd r12, lr, [r1, #8]\n"
        "add r1, r3\n"
        "str r1, [sp, #36 + 4 * 6]\n"
        "cmp r5, r7\n"
        "bne 1b\n"
        "pop {r4-r11, lr}\n"
        "add sp, #16\n"
        "bx lr\n"
        ".popsection\n");

/* Copy n packs of the windows at all positions, from pack `first` on: (pairs, packs, 2 positions, DEPTH). An odd last
 * position makes a pair with itself. */
static void centre_windows(uint8_t *to, const sqz_tile *t, uint32_t first, uint32_t n)
{
    for (uint32_t p = 0; p < t->positions; p += 2) {
        const size_t next = p + 1 < t->positions ? t->stride : 0;
        uint32_t row = first / t->packs, pack = first - row * t->packs;
        for (uint32_t left = n; left > 0; row++, pack = 0) {
            const uint32_t rest = t->packs - pack, run = rest < left ? rest : left;
            const uint8_t *x = t->lines[row] + t->begin + p * t->stride + DEPTH * pack;
            for (uint32_t i = 0; i < run; i++, x += DEPTH, to += 2 * DEPTH) {
                vst1q_u8(to, vaddq_n_u8(vld1q_u8(x), CENTRE)); /* modulo 256: the same as x - 128 */
                vst1q_u8(to + DEPTH, vaddq_n_u8(vld1q_u8(x + next), CENTRE));
            }
            left -= run;
        }
    }
}

static void multiply(const sqz_tile *t, void *out)
{
    const uint32_t width = t->vectors * LANES, packs = t->rows * t->packs, even = t->positions & ~1u;
    const uint32_t pieces = (packs + PIECE - 1) / PIECE, most = (packs + pieces - 1) / pieces;
    const uint32_t step = DEPTH * width, sums_step = width * sizeof(int32_t);
    uint8_t x[POSITIONS * PIECE * DEPTH];
    for (uint32_t first = 0; first < packs; first += most) {
        const uint32_t n = packs - first < most ? packs - first : most;
        const int8_t *w = (const int8_t *)t->weights + first * step;
        const uint8_t *const end = x + even * n * DEPTH;
        const uint32_t from_step = first > 0 ? sums_step : 0;
        centre_windows(x, t, first, n);
        for (uint32_t o = 0; o < width; o += BLOCK, w += BLOCK * DEPTH) {
            const int32_t *from = (first > 0 ? (const int32_t *)out : (const int32_t *)t->initial) + o;
            int32_t *to = (int32_t *)out + o;
            if (even > 0) sqz_mve_pairs(x, w, step, n, from, from_step, to, sums_step, end);
            if (even < t->positions) {
                int32_t last[2 * BLOCK];
                if (first > 0) from += even * width;
                sqz_mve_pairs(end, w, step, n, from, 0, last, sizeof last / 2, end + 2 * n * DEPTH);
                memcpy(to + even * width, last, sizeof last / 2);
            }
        }
    }
}

/* (sum * multiplier + offset) >> 32. `lower` and `upper`: the halves of the offset. */
static inline int32x4_t rescaled(int32x4_t sums, int32x4_t multipliers, uint32x4_t lower, uint32x4_t upper)
{
    const uint32x4_t product = vreinterpretq_u32_s32(vmulq_s32(sums, multipliers));
    const uint32x4_t carry = vshrq_n_u32(vhaddq_u32(product, lower), 31); /* VHADD keeps the 33rd bit of the sum */
    const uint32x4_t high = vreinterpretq_u32_s32(vmulhq_s32(sums, multipliers));
    return vreinterpretq_s32_u32(vaddq_u32(vaddq_u32(high, upper), carry));
}

/* Offsets have the order of even and odd lanes, so sums and multipliers are loaded in this order. `low` and `high` lie
 * within 0..255. */
static void rescale(const sqz_rescale *r, const int32_t *sums, uint32_t positions, uint8_t *out, size_t step)
{
    const uint16x8_t low = vdupq_n_u16((uint16_t)r->low), high = vdupq_n_u16((uint16_t)r->high);
    for (uint32_t o = 0; o < r->outputs; o += LANES) {
        const uint32_t left = r->outputs - o;
        const int32x4x2_t multipliers = vld2q_s32(r->multipliers + o);
        const uint32_t *offsets = (const uint32_t *)(const void *)(r->offsets + o);
        const mve_pred16_t written = vctp16q(left);
        for (uint32_t position = 0; position < positions; position++) {
            const int32x4x2_t sum = vld2q_s32(sums + position * r->vectors * LANES + o);
            const uint32x4x2_t even = vld2q_u32(offsets), odd = vld2q_u32(offsets + LANES);
            uint16x8_t bytes =
                vqmovunbq_s32(vdupq_n_u16(0), rescaled(sum.val[0], multipliers.val[0], even.val[0], even.val[1]));
            bytes = vqmovuntq_s32(bytes, rescaled(sum.val[1], multipliers.val[1], odd.val[0], odd.val[1]));
            vstrbq_p_u16(out + position * step + o, vminq_u16(vmaxq_u16(bytes, low), high), written);
        }
    }
}

static inline int32x4_t four(const uint8_t *x)
{
    return vreinterpretq_s32_u32(vldrbq_u32(x));
}

static void depthwise(const sqz_tile *t, int32_t *sums)
{
    const uint32_t width = t->vectors * LANES;
    for (uint32_t p = 0; p < t->positions; p++, sums += width)
        for (uint32_t c = 0; c < width; c += 8) {
            const int8_t *w = (const int8_t *)t->weights + c;
            const size_t at = t->begin + p * t->stride + c;
            int32x4_t first = vld1q_s32((const int32_t *)t->initial + c);
            int32x4_t second = vld1q_s32((const int32_t *)t->initial + c + 4);
            const uint8_t *const *line = t->lines;
            for (size_t left = t->rows; left > 0; left--, w += SQZ_CHUNK) {
                const uint8_t *x = *line++ + at;
                first = vaddq_s32(first, vmulq_s32(four(x), vldrbq_s32(w)));
                second = vaddq_s32(second, vmulq_s32(four(x + 4), vldrbq_s32(w + 4)));
            }
            vst1q_s32(sums + c, first);
            vst1q_s32(sums + c + 4, second);
        }
}

static void maximum(uint8_t *out, const uint8_t *x, size_t n, size_t step, size_t count)
{
    for (size_t i = 0; i < n; i += 16) {
        const uint8_t *row = x + i;
        uint8x16_t most = vdupq_n_u8(0);
        for (size_t r = 0; r < count; r++, row += step) most = vmaxq_u8(most, vld1q_u8(row));
        vstrbq_p_u8(out + i, most, vctp8q(n - i));
    }
}

static void accumulate(int32_t *sums, const uint8_t *x, size_t n, size_t step, size_t count)
{
    for (size_t i = 0; i < n; i += 8)
        for (size_t from = 0; from < count; from += MOST_ROWS) {
            const size_t rows = count - from < MOST_ROWS ? count - from : MOST_ROWS;
            const uint8_t *row = x + from * step + i;
            uint16x8_t part = vdupq_n_u16(0);
            uint16_t parts[8];
            for (size_t r = 0; r < rows; r++, row += step) part = vaddq_u16(part, vldrbq_u16(row));
            vst1q_u16(parts, part);
            for (size_t j = 0; j < 8; j++) sums[i + j] += parts[j];
        }
}

/* Stores four numbers, or the first n, limited to 0..255. */
static inline void put_four(uint8_t *out, int32x4_t x, size_t n)
{
    const int32x4_t limited = vminq_s32(vmaxq_s32(x, vdupq_n_s32(0)), vdupq_n_s32(255));
    vstrbq_p_u32(out, vreinterpretq_u32_s32(limited), vctp32q(n));
}

static void add(uint8_t *out, const uint8_t *a, const uint8_t *b, const int32_t fraction[2], int32_t offset, size_t n)
{
    for (size_t i = 0; i < n; i += 4) {
        const int32x4_t first = vmlaq_n_s32(vdupq_n_s32(offset), four(a + i), fraction[0]);
        put_four(out + i, vshrq_n_s32(vmlaq_n_s32(first, four(b + i), fraction[1]), 16), n - i);
    }
}

static void look_up(uint8_t *x, size_t n, size_t step, size_t count, const uint8_t *table)
{
    for (; count > 0; count--, x += step)
        for (size_t i = 0; i < n; i += 16) {
            const mve_pred16_t used = vctp8q(n - i);
            vstrbq_p_u8(x + i, vldrbq_gather_offset_z_u8(table, vldrbq_z_u8(x + i, used), used), used);
        }
}

const sqz_kernels sqz_mve = {
    .lanes = LANES,
    .depth = DEPTH,
    .bytes = 1,
    .centre = CENTRE,
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
