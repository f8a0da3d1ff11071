/* Counts the instructions that layers take on an emulated Cortex-M, per multiply-accumulate: `count`. One line for each
 * layer and set of kernels (engine/kernels/kernels.h), and for CMSIS-NN if WITH_CMSIS is defined.
 *
 * The emulator must run with `-icount shift=0`: then each instruction takes a nanosecond, and the board's timer counts
 * instructions. count.py builds and runs this program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#ifdef WITH_CMSIS
#include "arm_nnfunctions.h"
#endif

/* A convolution with padding kernel / 2, or none where the stride is 2. */
typedef struct {
    const char *name;
    uint32_t kernel, stride, inputs, outputs, width, height; /* width, height: of the result */
    int depthwise;
} layer;

static const layer layers[] = {
    {"1x1, 64 to 16", 1, 1, 64, 16, 27, 8, 0},   {"1x1, 16 to 64", 1, 1, 16, 64, 27, 8, 0},
    {"3x3, 16 to 64", 3, 1, 16, 64, 27, 8, 0},   {"3x3, 64 to 256", 3, 1, 64, 256, 13, 2, 0},
    {"1x1, 512 to 64", 1, 1, 512, 64, 13, 4, 0}, {"7x7 from RGB", 7, 2, 3, 96, 55, 2, 0},
    {"3x3 from RGB", 3, 2, 3, 64, 55, 2, 0},     {"3x3 depthwise, 64", 3, 1, 64, 64, 27, 8, 1},
};

static uint8_t inputs[1 << 18], outputs[1 << 18];
static int8_t levels[1 << 18];
static uint32_t seed = 1;

static uint32_t number(void)
{
    return (seed = seed * 1664525u + 1013904223u) >> 16;
}

/* The timer counts down, 24 bits; each of its ticks is some instructions. */
static volatile uint32_t *const timer = (volatile uint32_t *)0xE000E010;

static uint32_t ticks(void)
{
    return timer[2];
}

static double tick; /* instructions */

static void start_timer(void)
{
    timer[1] = 0xffffff;
    timer[2] = 0;
    timer[0] = 5;
    const uint32_t from = ticks();
    uint32_t loops = 1000000;
    __asm__ volatile("1: subs %0, #1\n nop\n nop\n bne 1b" : "+r"(loops)::"cc");
    tick = 4e6 / ((from - ticks()) & 0xffffff);
}

static void report(const char *set, const layer *l, uint32_t from)
{
    const double instructions = ((from - ticks()) & 0xffffff) * tick;
    const double each = (double)l->kernel * l->kernel * (l->depthwise ? 1 : l->inputs);
    printf("%s\t%s\t%.3f\n", set, l->name, instructions / (each * l->outputs * l->width * l->height));
}

static void *have(size_t bytes)
{
    void *memory = calloc(1, bytes + 128);
    if (memory == NULL) exit(1);
    return (void *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
}

/* The layer row by row as engine/src/convolution.c computes it, with weights, factors and lines laid out beforehand. */
static void count_kernels(const char *set, const sqz_kernels *k, const layer *l)
{
    const uint32_t padding = l->stride == 1 ? l->kernel / 2 : 0, across = (l->width - 1) * l->stride + l->kernel;
    const uint32_t lanes = k->lanes,
                   vectors = l->depthwise ? (l->outputs + 63) / 64 * 64 / lanes : (l->outputs + lanes - 1) / lanes;
    const uint32_t rows = l->depthwise ? l->kernel * l->kernel : l->kernel;
    const uint32_t packs = (l->kernel * l->inputs + k->depth - 1) / k->depth;
    const size_t weights =
        l->depthwise ? (size_t)rows * vectors * lanes : (size_t)rows * packs * vectors * lanes * k->depth;
    uint8_t *w = have(weights), *copies = have((size_t)l->kernel * across * l->inputs + SQZ_SLACK);
    for (size_t i = 0; i < weights; i++) w[i] = (uint8_t)levels[i % sizeof levels];
    int32_t *initial = have(vectors * lanes * 4), *multipliers = have(vectors * lanes * 4);
    int64_t *offsets = have(vectors * lanes * 8);
    for (uint32_t i = 0; i < vectors * lanes; i++) multipliers[i] = 1 << 22, offsets[i] = (int64_t)128 << 32;
    const uint8_t *lines[49];
    int32_t *sums = have(SQZ_MOST_SUMS * 4);
    const uint32_t from = ticks();
    for (uint32_t row = 0; row < l->height; row++) {
        const int direct = l->kernel == 1;
        const size_t line = (size_t)across * l->inputs;
        if (padding > 0) /* the next row of the input */
            k->widen(copies + row % l->kernel * line + padding * l->inputs, inputs + row * l->width * l->inputs,
                     l->width * l->inputs);
        for (uint32_t i = 0; i < rows; i++) {
            const uint32_t down = l->depthwise ? i / l->kernel : i;
            const uint8_t *start = direct || padding == 0 ? inputs + (row * l->stride + down) * line
                                                          : copies + (row + down) % l->kernel * line;
            lines[i] = start + (l->depthwise ? i % l->kernel * l->inputs : 0);
        }
        for (uint32_t v = 0, next; v < vectors; v = next) {
            next = v + SQZ_VECTORS < vectors ? v + SQZ_VECTORS : vectors;
            if (l->depthwise) next = v + 64 / lanes;
            const uint32_t most = l->depthwise ? SQZ_MOST_SUMS / SQZ_CHUNK : k->positions[next - v];
            const uint32_t tiles = (l->width + most - 1) / most, channel = v * lanes;
            for (uint32_t i = 0, p = 0; i < tiles; i++) {
                const uint32_t end = l->width * (i + 1) / tiles;
                const size_t stride = l->stride * l->inputs, begin = p * stride + (l->depthwise ? channel : 0);
                const size_t at = l->depthwise ? (size_t)rows * channel : (size_t)rows * packs * channel * k->depth;
                const sqz_tile t = {lines,    rows,    begin, stride, packs, w + at, initial + channel,
                                    next - v, end - p, w,     0};
                const uint32_t left = l->outputs - channel, width = (next - v) * lanes;
                const sqz_rescale r = {
                    multipliers + channel, offsets + channel, next - v, left < width ? left : width, 0, 255, 0};
                if (l->depthwise)
                    k->depthwise(&t, sums);
                else
                    k->multiply(&t, sums);
                k->rescale(&r, sums, end - p, outputs + (row * l->width + p) * l->outputs + channel, l->outputs);
                p = end;
            }
        }
    }
    report(set, l, from);
}

#ifdef WITH_CMSIS
static void count_cmsis(const layer *l)
{
    const int32_t padding = l->stride == 1 ? (int32_t)l->kernel / 2 : 0;
    const int32_t in_height = padding > 0 ? (int32_t)l->height : (int32_t)((l->height - 1) * l->stride + l->kernel);
    const int32_t in_width = padding > 0 ? (int32_t)l->width : (int32_t)((l->width - 1) * l->stride + l->kernel);
    const int32_t stride = (int32_t)l->stride, kernel = (int32_t)l->kernel, outs = (int32_t)l->outputs;
    const cmsis_nn_dims in = {1, in_height, in_width, (int32_t)l->inputs};
    const cmsis_nn_dims filter = {l->depthwise ? 1 : outs, kernel, kernel, (int32_t)l->inputs}, bias = {1, 1, 1, outs};
    const cmsis_nn_dims out = {1, (int32_t)l->height, (int32_t)l->width, outs};
    int32_t *multipliers = have(l->outputs * 4), *shifts = have(l->outputs * 4), *biases = have(l->outputs * 4);
    for (uint32_t i = 0; i < l->outputs; i++) multipliers[i] = 1 << 30, shifts[i] = -9;
    const cmsis_nn_per_channel_quant_params quant = {multipliers, shifts};
    cmsis_nn_context buffer = {NULL, 0};
    uint32_t from;
    if (l->depthwise) {
        const cmsis_nn_dw_conv_params p = {128, 0, 1, {stride, stride}, {padding, padding}, {1, 1}, {-128, 127}};
        buffer.size = arm_depthwise_conv_wrapper_s8_get_buffer_size(&p, &in, &filter, &out);
        buffer.buf = have((size_t)buffer.size);
        from = ticks();
        if (arm_depthwise_conv_wrapper_s8(&buffer, &p, &quant, &in, (int8_t *)inputs, &filter, levels, &bias, biases,
                                          &out, (int8_t *)outputs) != ARM_CMSIS_NN_SUCCESS)
            exit(1);
    } else {
        const cmsis_nn_conv_params p = {128, 0, {stride, stride}, {padding, padding}, {1, 1}, {-128, 127}};
        buffer.size = arm_convolve_wrapper_s8_get_buffer_size(&p, &in, &filter, &out);
        buffer.buf = have((size_t)buffer.size);
        from = ticks();
        if (arm_convolve_wrapper_s8(&buffer, &p, &quant, &in, (int8_t *)inputs, &filter, levels, &bias, biases, &out,
                                    (int8_t *)outputs) != ARM_CMSIS_NN_SUCCESS)
            exit(1);
    }
    report("CMSIS-NN", l, from);
}
#endif

int main(void)
{
    for (size_t i = 0; i < sizeof inputs; i++) inputs[i] = (uint8_t)number();
    for (size_t i = 0; i < sizeof levels; i++)
        levels[i] = (int8_t)(number() % 2 > 0 ? number() % 15 - 7 : 0); /* half are 0, as in squeezed networks */
    start_timer();
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        for (int path = SQZ_SCALAR; path < SQZ_PATHS; path++)
            if (sqz_has_path((sqz_path)path))
                count_kernels(sqz_path_name((sqz_path)path), sqz_kernels_of((sqz_path)path, 0), layers + i);
#ifdef WITH_CMSIS
        count_cmsis(layers + i);
#endif
    }
    return 0;
}
