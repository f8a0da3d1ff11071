/* Inner loops for Cortex-M4, M7 and other processors with the DSP extension. Its instruction SMLAD multiplies two
 * pairs of 16-bit numbers and adds both products, so bytes must be widened to 16 bits first: to halves of 32-bit
 * words.
 *
 * `multiply` widens the activations and the weights of a piece of all windows once for the whole tile. Its inner
 * loop computes two outputs at two positions. With 14 registers, no other shape takes as few instructions: 10 for 16
 * products (docs/experiments.md, "Kernels for microcontrollers"). The loop is in assembly, because compilers do not
 * keep all values in registers. */
#include "kernels.h"

#ifdef SQZ_CORTEX_DSP
#define SQZ_TARGET
#define STRIP 1
#define OWN_MAXIMUM
#define OWN_ACCUMULATE
#include "loops.h"

enum {
    LANES = 8,
    DEPTH = 4,
    POSITIONS = 14, /* most positions of a tile */
    PIECE = 24,     /* most packs that are widened at once; they take 3 kB of the stack */
    PAIRS = 5,      /* most pairs of taps that are widened at once in a depthwise convolution */
    PACK_OF_TWO = 38,
    PACK_OF_ONE = 22,
    PAIR_OF_TAPS = 46 /* bytes of code: loops are unrolled for the largest number of steps, and entered in the middle */
};

/* Functions in assembly. Argument i lies at [sp, #36 + 4 * i]: ENTER puts the first four there. */
#define ENTER(name) \
    ".syntax unified\n.pushsection .text." name ", \"ax\", %progbits\n.balign 4\n.thumb_func\n.type " name \
    ", %function\n.hidden " name "\n.global " name "\n" name ":\n push {r0-r3}\n push {r4-r11, lr}\n"
#define LEAVE "pop {r4-r11, lr}\n add sp, #16\n bx lr\n.popsection\n"

/* Add the products of a piece to the sums of two outputs at pairs of positions.
 *
 * x: the activations, (pairs, packs, 2 positions, 4) halves of words. w: the weights, (packs, 2 outputs, 4) halves.
 * Sums are read from `from` on and written from `to` on; both move by a step from each position to the next. `skip`:
 * bytes of code to skip, PACK_OF_TWO for each pack less than PIECE. `end`: the end of x. */
void sqz_dsp_pairs(const uint32_t *x, const uint32_t *w, const int32_t *from, size_t from_step, int32_t *to,
                   size_t to_step, uint32_t skip, const uint32_t *end);
__asm__(ENTER("sqz_dsp_pairs") //
        "1: ldrd r2, r3, [sp, #36 + 4 * 2]\n"
        "ldr r1, [sp, #36 + 4 * 1]\n"
        "ldr r6, [sp, #36 + 4 * 6]\n"
        "ldrd r10, r11, [r2]\n"
        "add r2, r3\n"
        "ldrd r12, lr, [r2]\n"
        "add r2, r3\n"
        "str r2, [sp, #36 + 4 * 2]\n"
        "add pc, r6\n"
        "nop\n"
        ".rept 24\n"
        "ldm r0!, {r2-r5}\n"
        "ldm r1!, {r6-r9}\n"
        "smlad r10, r2, r6, r10\n"
        "smlad r11, r2, r8, r11\n"
        "smlad r12, r4, r6, r12\n"
        "smlad lr, r4, r8, lr\n"
        "smlad r10, r3, r7, r10\n"
        "smlad r11, r3, r9, r11\n"
        "smlad r12, r5, r7, r12\n"
        "smlad lr, r5, r9, lr\n"
        ".endr\n"
        "ldrd r2, r3, [sp, #36 + 4 * 4]\n"
        "ldr r1, [sp, #36 + 4 * 7]\n"
        "strd r10, r11, [r2]\n"
        "add r2, r3\n"
        "strd r12, lr, [r2]\n"
        "add r2, r3\n"
        "str r2, [sp, #36 + 4 * 4]\n"
        "cmp r0, r1\n"
        "bne 1b\n" //
        LEAVE);

/* The same for two outputs at one position. x: (packs, 4) halves; `skip`: PACK_OF_ONE for each pack. */
void sqz_dsp_one(const uint32_t *x, const uint32_t *w, const int32_t *from, int32_t *to, uint32_t skip);
__asm__(ENTER("sqz_dsp_one") //
        "ldr r12, [sp, #36 + 4 * 4]\n"
        "ldrd r10, r11, [r2]\n"
        "add pc, r12\n"
        "nop\n"
        ".rept 24\n"
        "ldm r0!, {r4-r5}\n"
        "ldm r1!, {r6-r9}\n"
        "smlad r10, r4, r6, r10\n"
        "smlad r11, r4, r8, r11\n"
        "smlad r10, r5, r7, r10\n"
        "smlad r11, r5, r9, r11\n"
        ".endr\n"
        "strd r10, r11, [r3]\n" //
        LEAVE);

/* n packs at two positions -> (packs, 2 positions, 4) halves in the order 0, 2, 1, 3. Returns the end of the result. */
static inline uint32_t *widen_pairs(uint32_t *to, const uint8_t *a, const uint8_t *b, uint32_t n)
{
    uint32_t first, second;
    __asm__ volatile(
        "1: ldr %[first], [%[a]], #4\n"
        "ldr %[second], [%[b]], #4\n"
        "subs %[n], #1\n"
        "uxtb16 r2, %[first]\n"
        "uxtb16 r3, %[first], ror #8\n"
        "uxtb16 r4, %[second]\n"
        "uxtb16 r5, %[second], ror #8\n"
        "stm %[to]!, {r2-r5}\n"
        "bne 1b\n"
        : [to] "+r"(to), [a] "+r"(a), [b] "+r"(b), [n] "+r"(n), [first] "=&r"(first), [second] "=&r"(second)
        :
        : "r2", "r3", "r4", "r5", "cc", "memory");
    return to;
}

/* The same at one position. */
static inline uint32_t *widen_one(uint32_t *to, const uint8_t *a, uint32_t n)
{
    __asm__ volatile("1: ldr r3, [%[a]], #4\n"
                     "subs %[n], #1\n"
                     "uxtb16 r2, r3\n"
                     "uxtb16 r3, r3, ror #8\n"
                     "stm %[to]!, {r2-r3}\n"
                     "bne 1b\n"
                     : [to] "+r"(to), [a] "+r"(a), [n] "+r"(n)
                     :
                     : "r2", "r3", "cc", "memory");
    return to;
}

/* n packs of the weights of four outputs, which lie `step` bytes apart -> (2, packs, 2 outputs, 4) halves. */
static inline void widen_weights(uint32_t *to, const uint8_t *w, size_t step, uint32_t n)
{
    uint32_t *second = to + 4 * n;
    __asm__ volatile("1: ldrd r3, r5, [%[w]]\n"
                     "subs %[n], #1\n"
                     "sxtb16 r2, r3\n"
                     "sxtb16 r3, r3, ror #8\n"
                     "sxtb16 r4, r5\n"
                     "sxtb16 r5, r5, ror #8\n"
                     "stm %[to]!, {r2-r5}\n"
                     "ldrd r3, r5, [%[w], #8]\n"
                     "add %[w], %[step]\n"
                     "sxtb16 r2, r3\n"
                     "sxtb16 r3, r3, ror #8\n"
                     "sxtb16 r4, r5\n"
                     "sxtb16 r5, r5, ror #8\n"
                     "stm %[second]!, {r2-r5}\n"
                     "bne 1b\n"
                     : [to] "+r"(to), [second] "+r"(second), [w] "+r"(w), [n] "+r"(n)
                     : [step] "r"(step)
                     : "r2", "r3", "r4", "r5", "cc", "memory");
}

/* Widen n packs of the windows at all positions, from pack `first` on. */
static void widen_windows(uint32_t *to, const sqz_tile *t, uint32_t first, uint32_t n)
{
    for (uint32_t p = 0; p < t->positions; p += 2) {
        uint32_t row = first / t->packs, pack = first - row * t->packs;
        for (uint32_t left = n; left > 0; row++, pack = 0) {
            const uint32_t rest = t->packs - pack, run = rest < left ? rest : left;
            const uint8_t *x = t->lines[row] + t->begin + p * t->stride + DEPTH * pack;
            to = p + 1 < t->positions ? widen_pairs(to, x, x + t->stride, run) : widen_one(to, x, run);
            left -= run;
        }
    }
}

static void multiply(const sqz_tile *t, void *out)
{
    const uint32_t width = t->vectors * LANES, packs = t->rows * t->packs, even = t->positions & ~1u;
    const uint32_t pieces = (packs + PIECE - 1) / PIECE, most = (packs + pieces - 1) / pieces;
    uint32_t x[2 * POSITIONS * PIECE], w[8 * PIECE];
    for (uint32_t first = 0; first < packs; first += most) {
        const uint32_t n = packs - first < most ? packs - first : most, skipped = PIECE - n;
        const uint32_t step = width * sizeof(int32_t), from_step = first > 0 ? step : 0;
        const uint32_t *const end = x + 2 * n * even;
        widen_windows(x, t, first, n);
        for (uint32_t o = 0; o < width; o += 2) {
            const int32_t *from = (first > 0 ? (const int32_t *)out : (const int32_t *)t->initial) + o;
            const uint32_t *weights = w + o % 4 / 2 * 4 * n;
            int32_t *to = (int32_t *)out + o;
            if (o % 4 == 0)
                widen_weights(w, (const uint8_t *)t->weights + DEPTH * (first * width + o), DEPTH * width, n);
            if (even > 0) sqz_dsp_pairs(x, weights, from, from_step, to, step, skipped * PACK_OF_TWO, end);
            if (even < t->positions) {
                if (first > 0) from += even * width;
                sqz_dsp_one(end, weights, from, to + even * width, skipped * PACK_OF_ONE);
            }
        }
    }
}

static inline uint32_t four(const void *x)
{
    uint32_t bytes;
    memcpy(&bytes, x, sizeof bytes);
    return bytes;
}

static inline void put_four(uint8_t *to, uint32_t bytes)
{
    memcpy(to, &bytes, sizeof bytes);
}

#define INSTRUCTION(name, code) \
    static inline uint32_t name(uint32_t a, uint32_t b) \
    { \
        uint32_t result; \
        __asm__(code : "=r"(result) : "r"(a), "r"(b)); \
        return result; \
    }
INSTRUCTION(lower_halves, "pkhbt %0, %1, %2, lsl #16")
INSTRUCTION(upper_halves, "pkhtb %0, %2, %1, asr #16")
INSTRUCTION(add_limited, "uqadd8 %0, %1, %2")
INSTRUCTION(subtract_limited, "uqsub8 %0, %1, %2")
INSTRUCTION(add_even, "uxtab16 %0, %1, %2")
INSTRUCTION(add_odd, "uxtab16 %0, %1, %2, ror #8")

/* Halves of the signed bytes 0 and 2. */
static inline uint32_t signed_even(uint32_t x)
{
    uint32_t result;
    __asm__("sxtb16 %0, %1" : "=r"(result) : "r"(x));
    return result;
}

static inline uint32_t signed_odd(uint32_t x)
{
    uint32_t result;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(result) : "r"(x));
    return result;
}

/* The sums of one position -> bytes, four at a time. `count`: a multiple of 4. The offsets of a vector have the order
 * 0, 2, 4, 6, 1, 3, 5, 7. `low` and `above` have the same byte four times: the result is at least low, and at most
 * 255 - above. */
void sqz_dsp_rescale(const int32_t *sums, const int32_t *multipliers, const int64_t *offsets, uint8_t *out,
                     uint32_t low, uint32_t above, uint32_t count);
#define ONE(sum, multiplier, at) \
    "ldrd r10, r11, [r2, #(" #at ") * 8]\n" \
    "smlal r10, r11, " sum ", " multiplier "\n"
#define FOUR(first) \
    "ldrd r6, r7, [r0], #8\n" \
    "ldrd r8, r9, [r1], #8\n" ONE("r6", "r8", first) "usat r12, #8, r11\n" ONE( \
        "r7", "r9", \
        first + 4) "usat r11, #8, r11\n orr r12, r12, r11, lsl #8\n" \
                   "ldrd r6, r7, [r0], #8\n" \
                   "ldrd r8, r9, [r1], #8\n" ONE( \
                       "r6", "r8", \
                       first + \
                           1) "usat r11, #8, r11\n orr r12, r12, r11, lsl #16\n" ONE("r7", "r9", \
                                                                                     first + \
                                                                                         5) "usat r11, #8, r11\n orr " \
                                                                                            "r12, r12, r11, lsl #24\n" \
                                                                                            "uqsub8 r12, r12, r4\n" \
                                                                                            "uqadd8 r12, r12, r4\n" \
                                                                                            "uqadd8 r12, r12, r5\n" \
                                                                                            "uqsub8 r12, r12, r5\n" \
                                                                                            "subs lr, #4\n" \
                                                                                            "str r12, [r3], #4\n"
__asm__(ENTER("sqz_dsp_rescale") //
        "ldrd r4, r5, [sp, #36 + 4 * 4]\n"
        "ldr lr, [sp, #36 + 4 * 6]\n"
        "1:\n" FOUR(0) "beq 2f\n" FOUR(2) "add r2, #64\n"
                                          "bne 1b\n"
                                          "2:\n" //
        LEAVE);

/* `low` and `high` lie within 0..255. */
static void rescale(const sqz_rescale *r, const int32_t *sums, uint32_t positions, uint8_t *out, size_t step)
{
    const uint32_t ones = 0x01010101, low = (uint32_t)r->low * ones, above = (uint32_t)(255 - r->high) * ones;
    const uint32_t whole = r->outputs & ~3u, rest = r->outputs & 3u;
    for (; positions > 0; positions--, sums += r->vectors * LANES, out += step) {
        if (whole > 0) sqz_dsp_rescale(sums, r->multipliers, r->offsets, out, low, above, whole);
        if (rest > 0) {
            const int64_t *offsets = r->offsets + whole / LANES * LANES + whole % LANES / 2;
            uint8_t last[4];
            sqz_dsp_rescale(sums + whole, r->multipliers + whole, offsets, last, low, above, 4);
            for (uint32_t i = 0; i < rest; i++) out[whole + i] = last[i];
        }
    }
}

/* Two taps of four channels of a depthwise convolution: where their activations lie at the first position, and the
 * weights of each channel as halves. */
typedef struct {
    const uint8_t *x[2];
    uint32_t weights[4];
} tap_pair;

/* Add the products of pairs of taps to four sums. `at`: bytes from the first position to this one; `skip`: PAIR_OF_TAPS
 * for each pair less than PAIRS. */
void sqz_dsp_taps(const tap_pair *taps, size_t at, const int32_t *from, uint32_t skip, int32_t *to);
__asm__(ENTER("sqz_dsp_taps") //
        "ldm r2, {r10, r11, r12, lr}\n"
        "add pc, r3\n"
        "nop\n"
        ".rept 5\n"
        "ldm r0!, {r2-r7}\n"
        "ldr r2, [r2, r1]\n"
        "ldr r3, [r3, r1]\n"
        "pkhbt r8, r2, r3, lsl #16\n"
        "pkhtb r9, r3, r2, asr #16\n"
        "uxtb16 r2, r8\n"
        "uxtb16 r8, r8, ror #8\n"
        "uxtb16 r3, r9\n"
        "uxtb16 r9, r9, ror #8\n"
        "smlad r10, r2, r4, r10\n"
        "smlad r11, r8, r5, r11\n"
        "smlad r12, r3, r6, r12\n"
        "smlad lr, r9, r7, lr\n"
        ".endr\n"
        "ldr r2, [sp, #36 + 4 * 4]\n"
        "stm r2, {r10, r11, r12, lr}\n" //
        LEAVE);

static void depthwise(const sqz_tile *t, int32_t *sums)
{
    const uint32_t width = t->vectors * LANES;
    for (uint32_t c = 0; c < width; c += 4)
        for (size_t row = 0; row < t->rows; row += 2 * PAIRS) {
            const uint8_t *w = (const uint8_t *)t->weights + row * SQZ_CHUNK + c;
            tap_pair taps[PAIRS];
            uint32_t pairs = 0;
            for (size_t i = row; i < t->rows && pairs < PAIRS; i += 2, pairs++, w += 2 * SQZ_CHUNK) {
                const size_t second = i + 1 < t->rows ? i + 1 : i; /* the last tap may have no partner */
                const uint32_t a = four(w), b = second > i ? four(w + SQZ_CHUNK) : 0;
                const uint32_t lower = lower_halves(a, b), upper = upper_halves(a, b);
                taps[pairs] =
                    (tap_pair){{t->lines[i] + t->begin + c, t->lines[second] + t->begin + c},
                               {signed_even(lower), signed_odd(lower), signed_even(upper), signed_odd(upper)}};
            }
            const uint32_t skip = (PAIRS - pairs) * PAIR_OF_TAPS;
            for (uint32_t p = 0; p < t->positions; p++) {
                int32_t *to = sums + p * width + c;
                sqz_dsp_taps(taps, p * t->stride, row > 0 ? to : (const int32_t *)t->initial + c, skip, to);
            }
        }
}

/* max(x, y) = y + (x - y, at least 0) */
static void maximum(uint8_t *out, const uint8_t *x, size_t n, size_t step, size_t count)
{
    for (; n > 0; out += 4, x += 4) {
        const uint8_t *row = x;
        uint32_t most = 0;
        for (size_t r = 0; r < count; r++, row += step) most = add_limited(subtract_limited(four(row), most), most);
        if (n < 4) {
            for (; n > 0; n--, most >>= 8) *out++ = (uint8_t)most;
            return;
        }
        put_four(out, most);
        n -= 4;
    }
}

static void accumulate(int32_t *sums, const uint8_t *x, size_t n, size_t step, size_t count)
{
    for (size_t i = 0; i < n; i += 4)
        for (size_t from = 0; from < count; from += MOST_ROWS) {
            const size_t rows = count - from < MOST_ROWS ? count - from : MOST_ROWS;
            const uint8_t *row = x + from * step + i;
            uint32_t even = 0, odd = 0;
            for (size_t r = 0; r < rows; r++, row += step) {
                const uint32_t bytes = four(row);
                even = add_even(even, bytes);
                odd = add_odd(odd, bytes);
            }
            sums[i] += (int32_t)(even & 65535);
            sums[i + 1] += (int32_t)(odd & 65535);
            sums[i + 2] += (int32_t)(even >> 16);
            sums[i + 3] += (int32_t)(odd >> 16);
        }
}

const sqz_kernels sqz_dsp = {
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
