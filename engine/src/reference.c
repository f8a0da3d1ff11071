/* Every operation in plain loops. The fast forms must give the same; operations that cost little have no fast form. */
#include "reference.h"

#include <string.h>

#include "fixed_point.h"
#include "run.h"
#include "window.h"

/* A value and its first element. `get` and `put` work on x = q - zero, where q is the stored element. */
typedef struct {
    const sqz_value *value;
    uint8_t *at;
} view;

static view view_of(const sqz_value *value, uint8_t *values)
{
    const view g = {value, values + value->offset};
    return g;
}

static size_t index_of(view g, size_t y, size_t x, size_t channel)
{
    return ((y < g.value->ring ? y : y % g.value->ring) * g.value->width + x) * g.value->pitch + channel;
}

static int inside(view g, int64_t y, int64_t x)
{
    return y >= 0 && x >= 0 && y < (int64_t)g.value->height && x < (int64_t)g.value->width;
}

static int64_t get(view g, size_t y, size_t x, size_t channel)
{
    const size_t i = index_of(g, y, x, channel);
    int32_t wide;
    if (!g.value->scale.wide) return g.at[i] - g.value->scale.zero;
    memcpy(&wide, g.at + 4 * i, sizeof wide);
    return wide;
}

static void put(view g, size_t y, size_t x, size_t channel, int64_t n)
{
    const size_t i = index_of(g, y, x, channel);
    const sqz_scale *scale = &g.value->scale;
    const int32_t wide = (int32_t)sqz_clip(n, -SQZ_WIDEST, SQZ_WIDEST);
    if (scale->wide)
        memcpy(g.at + 4 * i, &wide, sizeof wide);
    else
        g.at[i] = (uint8_t)(sqz_clip(n, -scale->zero, 255 - scale->zero) + scale->zero);
}

uint8_t sqz_quantise(float pixel, int32_t zero)
{
    if (!(pixel > (float)-zero)) return 0; /* also if it is not a number */
    if (pixel >= (float)(255 - zero)) return 255;
    int32_t n = (int32_t)pixel; /* towards 0 */
    const float left = pixel - (float)n;
    if (left > 0.5f || (left == 0.5f && n % 2 != 0)) n++;
    if (left < -0.5f || (left == -0.5f && n % 2 != 0)) n--;
    return (uint8_t)(n + zero);
}

static int64_t convolve(const sqz_network *network, const sqz_op *op, view in, size_t y, size_t x, size_t o)
{
    const size_t inputs = in.value->channels / op->groups, first = o / (op->out / op->groups) * inputs;
    const int8_t *level = (const int8_t *)network->weights + op->weights + o * inputs * op->kernel[0] * op->kernel[1];
    const sqz_factor *f = (const sqz_factor *)(const void *)(network->weights + op->factors) + o;
    int64_t sum = 0;
    for (size_t i = 0; i < inputs; i++)
        for (size_t a = 0; a < op->kernel[0]; a++)
            for (size_t b = 0; b < op->kernel[1]; b++, level++) {
                const int64_t v = (int64_t)(y * op->stride[0] + a * op->dilation[0]) - op->padding[0];
                const int64_t h = (int64_t)(x * op->stride[1] + b * op->dilation[1]) - op->padding[1];
                if (inside(in, v, h)) sum += *level * get(in, (size_t)v, (size_t)h, first + i);
            }
    return sqz_requantise(op, f, sum);
}

static int64_t pool(const sqz_op *op, view in, size_t y, size_t x, size_t channel)
{
    const sqz_span rows = sqz_span_of(op, in.value, 0, y), columns = sqz_span_of(op, in.value, 1, x);
    int64_t sum = 0, most = -255;
    for (size_t a = 0; a < rows.count; a++)
        for (size_t b = 0; b < columns.count; b++) {
            const int64_t n = get(in, rows.from + a * rows.step, columns.from + b * columns.step, channel);
            sum += n;
            if (n > most) most = n;
        }
    return op->maximum ? most : sqz_round(sum * sqz_reciprocal((uint64_t)rows.mean * columns.mean));
}

static int64_t global_average(view in, int wide, size_t channel)
{
    int64_t sum = 0;
    for (size_t y = 0; y < in.value->height; y++)
        for (size_t x = 0; x < in.value->width; x++) sum += get(in, y, x, channel);
    sum *= sqz_reciprocal((uint64_t)in.value->height * in.value->width);
    return wide ? (sum + 128) >> 8 : sqz_round(sum);
}

/* Of an input of a sum or product: a value of one position is the same at all positions. */
static int64_t get_joined(view g, size_t y, size_t x, size_t channel)
{
    return get(g, g.value->height > 1 ? y : 0, g.value->width > 1 ? x : 0, channel);
}

static int64_t add(view a, view b, const sqz_scale *result, size_t y, size_t x, size_t channel)
{
    return sqz_round(get(a, y, x, channel) * sqz_fraction(result->exponent - a.value->scale.exponent) +
                     get_joined(b, y, x, channel) * sqz_fraction(result->exponent - b.value->scale.exponent));
}

static int64_t multiply(view a, view b, const sqz_scale *result, size_t y, size_t x, size_t channel)
{
    const int32_t d = result->exponent - a.value->scale.exponent - b.value->scale.exponent;
    const int64_t product = get(a, y, x, channel) * get_joined(b, y, x, channel);
    return (product * sqz_multiplier(d) + ((int64_t)1 << (sqz_shift(d) - 1))) >> sqz_shift(d);
}

/* A 9-bit value has all lower halves, then all upper halves: each half has its own copy of the selected channels. */
static int64_t selected(const sqz_op *op, view in, const sqz_value *result, size_t y, size_t x, size_t channel)
{
    const int nine_bit = result->scale.nine_bit;
    const size_t each = result->channels >> nine_bit, half = channel / each * (in.value->channels >> nine_bit);
    const int64_t i = (int64_t)(channel % each / op->counts[1]), j = (int64_t)(channel % each % op->counts[1]);
    return get(in, y, x, half + (size_t)(op->start + i * op->steps[0] + j * op->steps[1]));
}

static int64_t join(const sqz_network *network, const sqz_op *op, uint8_t *values, size_t y, size_t x, size_t channel)
{
    const uint32_t *input = network->inputs + op->first_input;
    while (channel >= network->values[*input].channels) channel -= network->values[*input++].channels;
    return get(view_of(network->values + *input, values), y, x, channel);
}

/* Element i of a flattened value: `in` lies as (height, width, channels), but is numbered (channels, height, width). */
static int64_t flatten(view in, size_t i)
{
    const size_t width = in.value->width, area = in.value->height * width;
    return get(in, i % area / width, i % width, i / area);
}

static void compute(const sqz_network *network, const sqz_op *op, uint8_t *values, size_t from, size_t to)
{
    const uint32_t *inputs = network->inputs + op->first_input;
    const view in = view_of(network->values + inputs[0], values);
    const view out = view_of(sqz_made(network, op), values);
    const int32_t zero = out.value->scale.zero;
    for (size_t y = from; y < to; y++)
        for (size_t x = 0; x < out.value->width; x++)
            for (size_t c = 0; c < out.value->channels; c++) {
                int64_t n = 0;
                switch (op->kind) {
                case SQZ_CONVOLUTION:
                case SQZ_LINEAR:
                    n = convolve(network, op, in, y, x, c % op->out) - zero - (c < op->out ? 0 : SQZ_HIGHEST);
                    break;
                case SQZ_RELU:
                case SQZ_CAPPED: n = sqz_clip(get(in, y, x, c), op->low - zero, op->high - zero); break;
                case SQZ_ACTIVATION: n = network->weights[op->look_up + in.at[index_of(in, y, x, c)]] - zero; break;
                case SQZ_MAX_POOL:
                case SQZ_AVERAGE_POOL:
                case SQZ_ADAPTIVE_POOL: n = pool(op, in, y, x, c); break;
                case SQZ_GLOBAL_AVERAGE: n = global_average(in, out.value->scale.wide, c); break;
                case SQZ_CONCAT: n = join(network, op, values, y, x, c); break;
                case SQZ_ADD:
                    n = add(in, view_of(network->values + inputs[1], values), &out.value->scale, y, x, c);
                    break;
                case SQZ_MULTIPLY:
                    n = multiply(in, view_of(network->values + inputs[1], values), &out.value->scale, y, x, c);
                    break;
                case SQZ_SELECT: n = selected(op, in, out.value, y, x, c); break;
                case SQZ_UPSAMPLE: n = get(in, y / op->counts[0], x / op->counts[1], c); break;
                default: n = flatten(in, c);
                }
                put(out, y, x, c, n);
            }
}

void sqz_plain(const sqz_task *task, unsigned part)
{
    compute(task->network, task->op, task->values, sqz_first_row(task, part), sqz_first_row(task, part + 1));
}
