/* Float networks: every operation as docs/FORMAT.md defines it. Inner loops go over channels, neighbours in memory. */
#include <math.h>
#include <string.h>

#include "run.h"
#include "window.h"

typedef struct {
    const sqz_value *value;
    float *at;
} view; /* a value and its first element */

static view view_of(const sqz_value *value, uint8_t *values)
{
    const view g = {value, (float *)(void *)(values + value->offset)};
    return g;
}

/* The channels of a position. */
static float *pixel(view g, size_t y, size_t x)
{
    return g.at + (y * g.value->width + x) * g.value->pitch;
}

/* The input under kernel position (a, b) of the window at (y, x); NULL in the padding: a negative index becomes a
 * very large size_t. */
static const float *look(const sqz_op *op, view in, size_t y, size_t x, size_t a, size_t b)
{
    const size_t v = y * op->stride[0] + a * op->dilation[0] - op->padding[0];
    const size_t h = x * op->stride[1] + b * op->dilation[1] - op->padding[1];
    return v < in.value->height && h < in.value->width ? pixel(in, v, h) : NULL;
}

static void relu(const sqz_op *op, const float *x, float *out, size_t n)
{
    const float cap = op->cap > 0 ? op->cap : INFINITY;
    for (size_t i = 0; i < n; i++) {
        const float positive = x[i] > 0 ? x[i] : 0;
        out[i] = positive < cap ? positive : cap;
    }
}

static void add_products(float *restrict sums, const float *restrict x, const float *restrict weights, size_t n)
{
    for (size_t c = 0; c < n; c++) sums[c] += x[c] * weights[c];
}

/* Apply the ReLU that follows the layer, if `op->relu`; then store n results of the layer. */
static void put_floats(const sqz_op *op, float *restrict out, const float *restrict x, size_t n)
{
    const float most = op->cap > 0 ? op->cap : INFINITY;
    if (op->relu)
        for (size_t i = 0; i < n; i++) {
            const float y = x[i] > 0 ? x[i] : 0;
            out[i] = y < most ? y : most;
        }
    else
        memcpy(out, x, n * sizeof *out);
}

/* Weights (out, inputs, kernel), as in the file, or (kernel, channels) of a depthwise convolution. A kernel position is looked up once for all outputs. */
static void layer(const sqz_network *network, const sqz_op *op, view in, size_t y, size_t x, float *out)
{
    const size_t inputs = in.value->channels / op->groups, area = (size_t)op->kernel[0] * op->kernel[1];
    const size_t outputs = op->out / op->groups;
    memcpy(out, network->weights + op->factors, op->out * sizeof *out); /* biases */
    for (size_t tap = 0; tap < area; tap++) {
        const float *from = look(op, in, y, x, tap / op->kernel[1], tap % op->kernel[1]);
        const float *w = (const float *)(const void *)(network->weights + op->weights);
        if (from == NULL) continue;
        if (sqz_is_depthwise(network, op)) {
            add_products(out, from, w + tap * op->out, op->out);
            continue;
        }
        w += tap;
        for (size_t group = 0; group < op->groups; group++, from += inputs)
            for (size_t o = group * outputs; o < (group + 1) * outputs; o++, w += inputs * area) {
                float sum = out[o];
                for (size_t i = 0; i < inputs; i++) sum += from[i] * w[i * area];
                out[o] = sum;
            }
    }
    if (op->relu) relu(op, out, out, op->out);
}

static void total(float *restrict out, const float *restrict x, size_t n)
{
    for (size_t c = 0; c < n; c++) out[c] += x[c];
}

static void divide(float *out, float count, size_t n)
{
    for (size_t c = 0; c < n; c++) out[c] /= count;
}

static void pool(const sqz_op *op, view in, size_t y, size_t x, float *restrict out, size_t n)
{
    const sqz_span rows = sqz_span_of(op, in.value, 0, y), columns = sqz_span_of(op, in.value, 1, x);
    for (size_t c = 0; c < n; c++) out[c] = op->maximum ? -INFINITY : 0;
    for (size_t a = 0; a < rows.count; a++)
        for (size_t b = 0; b < columns.count; b++) {
            const float *restrict from = pixel(in, rows.from + a * rows.step, columns.from + b * columns.step);
            if (!op->maximum)
                total(out, from, n);
            else
                for (size_t c = 0; c < n; c++) out[c] = from[c] > out[c] ? from[c] : out[c];
        }
    if (!op->maximum) divide(out, (float)((uint64_t)rows.mean * columns.mean), n);
}

static void global_average(view in, float *out, size_t n)
{
    const size_t positions = (size_t)in.value->height * in.value->width;
    memset(out, 0, n * sizeof *out);
    for (size_t i = 0; i < positions; i++) total(out, in.at + i * in.value->pitch, n);
    divide(out, (float)positions, n);
}

static void normalise(const sqz_op *op, const float *x, float *out, size_t n)
{
    const size_t before = op->size / 2, after = (op->size - 1) / 2;
    const float share = op->alpha / (float)op->size;
    for (size_t c = 0; c < n; c++) {
        float sum = 0;
        for (size_t i = c > before ? c - before : 0; i <= c + after && i < n; i++) sum += x[i] * x[i];
        out[c] = x[c] / powf(op->k + share * sum, op->beta);
    }
}

/* Concatenate. An input may lie inside the result already. */
static void join(const sqz_network *network, const sqz_op *op, uint8_t *values, size_t y, size_t x, float *out)
{
    for (uint32_t i = 0; i < op->inputs; i++) {
        const sqz_value *part = network->values + network->inputs[op->first_input + i];
        memmove(out, pixel(view_of(part, values), y, x), part->channels * sizeof *out);
        out += part->channels;
    }
}

static float limited(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

/* An activation at one element (docs/FORMAT.md, "Scalar functions"). */
static float function_of(const sqz_op *op, float x)
{
    const float a = op->a, b = op->b;
    switch (op->function) {
    case SQZ_CLAMP: return limited(x, a, b);
    case SQZ_LEAKY_RELU: return x > 0 ? x : a * x;
    case SQZ_ELU: return x > 0 ? x : a * expm1f(b * x < 0 ? b * x : 0);
    case SQZ_HARD_SIGMOID: return limited(a * x + b, 0, 1);
    case SQZ_HARD_SWISH: return x * limited(a * x + b, 0, 1);
    case SQZ_SIGMOID: return 1 / (1 + expf(-x));
    case SQZ_SILU: return x / (1 + expf(-a * x));
    case SQZ_TANH: return tanhf(x);
    case SQZ_GELU: return x * (1 + erff(x * 0.70710678f)) / 2;
    case SQZ_GELU_TANH: return x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x))) / 2;
    case SQZ_MISH: return x * tanhf((x > 0 ? x : 0) + log1pf(expf(-fabsf(x))));
    case SQZ_SOFTPLUS: return ((a * x > 0 ? a * x : 0) + log1pf(expf(-fabsf(a * x)))) / a;
    default: return powf((x > 0 ? x : 0) + b, a); /* power */
    }
}

static void centre(const sqz_op *op, const float *x, float *out, size_t n)
{
    double mean = 0, variance = 0;
    for (size_t c = 0; c < n; c++) mean += x[c];
    mean /= (double)n;
    for (size_t c = 0; c < n; c++) variance += (x[c] - mean) * (x[c] - mean);
    const double scale = 1 / sqrt(variance / (double)n + (double)op->a);
    for (size_t c = 0; c < n; c++) out[c] = (float)((x[c] - mean) * scale);
}

static void flatten(view in, float *out)
{
    for (size_t c = 0; c < in.value->channels; c++)
        for (size_t y = 0; y < in.value->height; y++)
            for (size_t x = 0; x < in.value->width; x++) *out++ = pixel(in, y, x)[c];
}

static void compute(const sqz_network *network, const sqz_op *op, uint8_t *values, size_t from, size_t to)
{
    const uint32_t *inputs = network->inputs + op->first_input;
    const view in = view_of(network->values + inputs[0], values);
    const view out = view_of(sqz_made(network, op), values);
    const size_t n = out.value->channels;
    for (size_t y = from; y < to; y++)
        for (size_t x = 0; x < out.value->width; x++) {
            float *at = pixel(out, y, x);
            switch (op->kind) {
            case SQZ_CONVOLUTION:
            case SQZ_LINEAR: layer(network, op, in, y, x, at); break;
            case SQZ_RELU:
            case SQZ_CAPPED: relu(op, pixel(in, y, x), at, n); break;
            case SQZ_ACTIVATION: {
                const float *a = pixel(in, y, x);
                for (size_t c = 0; c < n; c++) at[c] = function_of(op, a[c]);
                break;
            }
            case SQZ_LAYER_NORM: centre(op, pixel(in, y, x), at, n); break;
            case SQZ_MAX_POOL:
            case SQZ_AVERAGE_POOL:
            case SQZ_ADAPTIVE_POOL: pool(op, in, y, x, at, n); break;
            case SQZ_GLOBAL_AVERAGE: global_average(in, at, n); break;
            case SQZ_NORMALISATION: normalise(op, pixel(in, y, x), at, n); break;
            case SQZ_CONCAT: join(network, op, values, y, x, at); break;
            case SQZ_ADD:
            case SQZ_MULTIPLY: {
                const view other = view_of(network->values + inputs[1], values);
                const float *a = pixel(in, y, x);
                const float *b = pixel(other, other.value->height > 1 ? y : 0, other.value->width > 1 ? x : 0);
                for (size_t c = 0; c < n; c++) at[c] = op->kind == SQZ_ADD ? a[c] + b[c] : a[c] * b[c];
                break;
            }
            case SQZ_SELECT:
                for (size_t i = 0; i < op->counts[0]; i++)
                    for (size_t j = 0; j < op->counts[1]; j++) {
                        const int64_t c = op->start + (int64_t)i * op->steps[0] + (int64_t)j * op->steps[1];
                        at[i * op->counts[1] + j] = pixel(in, y, x)[c];
                    }
                break;
            case SQZ_UPSAMPLE: memcpy(at, pixel(in, y / op->counts[0], x / op->counts[1]), n * sizeof *at); break;
            default: flatten(in, at);
            }
        }
}

void sqz_plain_floats(const sqz_task *task, unsigned part)
{
    compute(task->network, task->op, task->values, sqz_first_row(task, part), sqz_first_row(task, part + 1));
}

void sqz_finish_floats(const sqz_task *task, const void *sums, const sqz_tile *tile, const sqz_block *block,
                       const sqz_place *to)
{
    const sqz_value *y = sqz_result(task);
    const size_t width = (size_t)tile->vectors * task->network->kernels->lanes;
    float *out = (float *)(void *)sqz_at(task, y, to->position) + to->channel;
    (void)block;
    for (uint32_t p = 0; p < tile->positions; p++)
        put_floats(task->op, out + p * y->pitch, (const float *)sums + p * width, to->outputs);
}
