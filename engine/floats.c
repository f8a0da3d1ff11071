/* Float networks: every operation as docs/FORMAT.md defines it. Inner loops go over channels, neighbours in memory. */
#include "floats.h"

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
    const size_t v = y * op->stride[0] + a - op->padding[0], h = x * op->stride[1] + b - op->padding[1];
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

/* Weights (out, inputs, kernel), as in the file. A kernel position is looked up once for all outputs. */
static void layer(const sqz_network *network, const sqz_op *op, view in, size_t y, size_t x, float *out)
{
    const size_t inputs = in.value->channels / op->groups, area = (size_t)op->kernel[0] * op->kernel[1];
    const size_t outputs = op->out / op->groups;
    memcpy(out, network->weights + op->factors, op->out * sizeof *out); /* biases */
    for (size_t tap = 0; tap < area; tap++) {
        const float *from = look(op, in, y, x, tap / op->kernel[1], tap % op->kernel[1]);
        const float *w = (const float *)(const void *)(network->weights + op->weights) + tap;
        if (from == NULL) continue;
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
    const int mean = op->kind == SQZ_AVERAGE_POOL;
    const float count = (float)((uint64_t)op->kernel[0] * op->kernel[1]);
    for (size_t c = 0; c < n; c++) out[c] = mean ? 0 : -INFINITY;
    for (size_t a = 0; a < op->kernel[0]; a++)
        for (size_t b = 0; b < op->kernel[1]; b++) {
            const float *restrict from = look(op, in, y, x, a, b);
            if (from == NULL) continue;
            if (mean)
                total(out, from, n);
            else
                for (size_t c = 0; c < n; c++) out[c] = from[c] > out[c] ? from[c] : out[c];
        }
    if (mean) divide(out, count, n);
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

static void flatten(view in, float *out)
{
    for (size_t c = 0; c < in.value->channels; c++)
        for (size_t y = 0; y < in.value->height; y++)
            for (size_t x = 0; x < in.value->width; x++) *out++ = pixel(in, y, x)[c];
}

void sqz_floats(const sqz_network *network, const sqz_op *op, uint8_t *values, size_t from, size_t to)
{
    const uint32_t *inputs = network->inputs + op->first_input;
    const view in = view_of(network->values + inputs[0], values);
    const view out = view_of(network->values + (op - network->ops) + 1, values);
    const size_t n = out.value->channels;
    for (size_t y = from; y < to; y++)
        for (size_t x = 0; x < out.value->width; x++) {
            float *at = pixel(out, y, x);
            switch (op->kind) {
            case SQZ_CONVOLUTION:
            case SQZ_LINEAR: layer(network, op, in, y, x, at); break;
            case SQZ_RELU:
            case SQZ_CAPPED: relu(op, pixel(in, y, x), at, n); break;
            case SQZ_MAX_POOL:
            case SQZ_MAX_POOL_CEIL:
            case SQZ_AVERAGE_POOL: pool(op, in, y, x, at, n); break;
            case SQZ_GLOBAL_AVERAGE: global_average(in, at, n); break;
            case SQZ_NORMALISATION: normalise(op, pixel(in, y, x), at, n); break;
            case SQZ_CONCAT: join(network, op, values, y, x, at); break;
            case SQZ_ADD: {
                const float *a = pixel(in, y, x), *b = pixel(view_of(network->values + inputs[1], values), y, x);
                for (size_t c = 0; c < n; c++) at[c] = a[c] + b[c];
                break;
            }
            default: flatten(in, at);
            }
        }
}
