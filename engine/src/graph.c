/* Reads the graph of an untrusted file: every number is compared with the limits before it is used. */
#include "graph.h"

#include "budget.h"

#define LARGEST UINT64_C(0x7FFFFFFF) /* largest varint */

/* a * b, at most 2^48: far above every limit, and thousands of such products can be added without overflow. */
static uint64_t times(uint64_t a, uint64_t b)
{
    const uint64_t most = UINT64_C(1) << 48;
    return b != 0 && a > most / b ? most : a * b;
}

static uint64_t times3(uint64_t a, uint64_t b, uint64_t c)
{
    return times(times(a, b), c);
}

static uint64_t elements(const sqz_value *v)
{
    return times3(v->channels, v->height, v->width);
}

static void take_pair(sqz_cursor *c, uint32_t pair[2])
{
    pair[0] = sqz_take_varint(c, LARGEST);
    pair[1] = sqz_take_varint(c, LARGEST);
}

/* The fields of a window: of the short form, or of the one with padding on four sides and dilation. */
static void take_window(sqz_cursor *c, sqz_op *op, int any)
{
    take_pair(c, op->kernel);
    take_pair(c, op->stride);
    take_pair(c, op->padding);
    memcpy(op->padding + 2, op->padding, sizeof op->padding / 2);
    if (!any) return;
    take_pair(c, op->padding + 2);
    take_pair(c, op->dilation);
}

/* Read the operation that makes value `value`. Its inputs go to `inputs`, unless that is NULL. */
static sqz_op take_op(sqz_cursor *c, uint32_t value, uint32_t *inputs)
{
    static const uint8_t parameters[SQZ_FUNCTIONS] = {2, 1, 2, 2, 2, 0, 1, 0, 0, 0, 0, 1, 2};
    sqz_op op;
    memset(&op, 0, sizeof op);
    op.kind = (uint8_t)sqz_take_byte(c);
    op.groups = op.kernel[0] = op.kernel[1] = op.stride[0] = op.stride[1] = op.dilation[0] = op.dilation[1] = 1;
    op.inputs = op.kind == SQZ_CONCAT                           ? sqz_take_varint(c, SQZ_MAX_OPERATIONS)
                : op.kind == SQZ_ADD || op.kind == SQZ_MULTIPLY ? 2
                                                                : 1;
    int itself = op.inputs == 0;
    for (uint32_t i = 0; i < op.inputs && c->status == SQZ_OK; i++) {
        const uint32_t back = sqz_take_varint(c, value);
        itself |= back == 0;
        if (inputs != NULL) inputs[i] = value - back;
    }
    if (itself) sqz_fail(c, SQZ_BAD_GRAPH);
    switch (op.kind) {
    case SQZ_CONVOLUTION:
    case SQZ_ANY_CONVOLUTION:
        op.out = sqz_take_varint(c, LARGEST);
        take_window(c, &op, op.kind == SQZ_ANY_CONVOLUTION);
        op.groups = sqz_take_varint(c, LARGEST);
        op.kind = SQZ_CONVOLUTION;
        break;
    case SQZ_LINEAR: op.out = sqz_take_varint(c, LARGEST); break;
    case SQZ_CAPPED:
        op.cap = sqz_take_float(c);
        if (!(op.cap > 0)) sqz_fail(c, SQZ_BAD_GRAPH);
        break;
    case SQZ_MAX_POOL:
    case SQZ_MAX_POOL_CEIL:
    case SQZ_ANY_MAX_POOL:
        take_window(c, &op, op.kind == SQZ_ANY_MAX_POOL);
        op.ceil = op.kind == SQZ_ANY_MAX_POOL ? sqz_take_varint(c, 1) == 1 : op.kind == SQZ_MAX_POOL_CEIL;
        op.maximum = 1;
        op.kind = SQZ_MAX_POOL;
        break;
    case SQZ_AVERAGE_POOL:
    case SQZ_ANY_AVERAGE_POOL:
        take_window(c, &op, op.kind == SQZ_ANY_AVERAGE_POOL);
        op.counted = 1;
        if (op.kind == SQZ_ANY_AVERAGE_POOL) {
            op.ceil = sqz_take_varint(c, 1) == 1;
            op.counted = sqz_take_varint(c, 1) == 1;
        }
        op.kind = SQZ_AVERAGE_POOL;
        break;
    case SQZ_ADAPTIVE_POOL:
        take_pair(c, op.counts);
        op.maximum = sqz_take_varint(c, 1) == 1;
        break;
    case SQZ_ACTIVATION:
        op.function = sqz_take_varint(c, SQZ_FUNCTIONS - 1);
        if (parameters[op.function] > 0) op.a = sqz_take_float(c);
        if (parameters[op.function] > 1) op.b = sqz_take_float(c);
        break;
    case SQZ_SELECT:
        op.start = sqz_take_varint(c, LARGEST);
        take_pair(c, op.counts);
        for (int i = 0; i < 2; i++) op.steps[i] = sqz_unfold(sqz_take_varint(c, LARGEST));
        break;
    case SQZ_UPSAMPLE: take_pair(c, op.counts); break;
    case SQZ_LAYER_NORM:
        op.a = sqz_take_float(c);
        if (!(op.a > 0)) sqz_fail(c, SQZ_BAD_GRAPH);
        break;
    case SQZ_RELU:
    case SQZ_GLOBAL_AVERAGE:
    case SQZ_CONCAT:
    case SQZ_ADD:
    case SQZ_MULTIPLY:
    case SQZ_FLATTEN: break;
    case SQZ_NORMALISATION:
        op.size = sqz_take_varint(c, LARGEST);
        op.alpha = sqz_take_float(c);
        op.beta = sqz_take_float(c);
        op.k = sqz_take_float(c);
        break;
    default: sqz_fail(c, SQZ_BAD_GRAPH);
    }
    return op;
}

/* Read the preparation of images. Returns the number of operations. */
static uint32_t take_start(sqz_cursor *c, sqz_preparation *p)
{
    memset(p, 0, sizeof *p);
    p->resize[0] = p->resize[1] = sqz_take_varint(c, SQZ_MAX_SIDE);
    p->crop[0] = p->crop[1] = sqz_take_varint(c, SQZ_MAX_SIDE);
    const uint32_t fit = sqz_take_varint(c, 3);
    p->shorter = fit % 2 == 1;
    p->channels = (sqz_channels)sqz_take_varint(c, SQZ_L);
    if (fit >= 2) { /* widths of their own */
        p->resize[1] = sqz_take_varint(c, SQZ_MAX_SIDE);
        p->crop[1] = sqz_take_varint(c, SQZ_MAX_SIDE);
        if (p->resize[0] == p->resize[1] && p->crop[0] == p->crop[1]) sqz_fail(c, SQZ_BAD_GRAPH);
    }
    const uint32_t channels = sqz_channel_count(p);
    for (uint32_t i = 0; i < channels; i++) p->mean[i] = sqz_take_float(c);
    for (uint32_t i = 0; i < channels; i++) p->std[i] = sqz_take_float(c);
    for (uint32_t i = 0; i < channels; i++)
        if (!(p->std[i] > 0)) sqz_fail(c, SQZ_BAD_GRAPH);
    for (int side = 0; side < 2; side++)
        if (p->crop[side] < 1 || p->crop[side] > p->resize[side]) sqz_fail(c, SQZ_BAD_GRAPH);
    uint32_t count = sqz_take_varint(c, LARGEST);
    if (count > SQZ_MAX_OPERATIONS) sqz_fail(c, SQZ_LIMIT);
    if (count == 0) sqz_fail(c, SQZ_BAD_GRAPH);
    return count;
}

int sqz_graph_count(sqz_cursor c, uint32_t *ops, uint32_t *inputs)
{
    sqz_preparation preparation;
    *ops = take_start(&c, &preparation);
    *inputs = 0;
    for (uint32_t i = 0; i < *ops && c.status == SQZ_OK; i++) *inputs += take_op(&c, i + 1, NULL).inputs;
    if (c.at != c.end) sqz_fail(&c, SQZ_TRAILING);
    return c.status;
}

/* Whether a kernel moves over the input of an operation. */
static int is_window(const sqz_op *op)
{
    return op->kind == SQZ_CONVOLUTION || op->kind == SQZ_MAX_POOL || op->kind == SQZ_AVERAGE_POOL;
}

/* How many positions the window of `op` takes along a side (0: height, 1: width) of n elements; 0 if refused. */
static uint32_t window(uint32_t n, const sqz_op *op, int side)
{
    const int64_t kernel = op->kernel[side], stride = op->stride[side], dilation = op->dilation[side];
    const int64_t before = op->padding[side], after = op->padding[2 + side], reach = (kernel - 1) * dilation + 1;
    const int64_t span = n + before + after - reach;
    if (kernel < 1 || stride < 1 || dilation < 1 || span < 0) return 0;
    /* a window of a pool must hold an element of the image */
    if (op->kind != SQZ_CONVOLUTION && (before >= reach || after >= reach || (kernel > 1 && dilation > n))) return 0;
    int64_t count = span / stride + 1;
    if (op->ceil && span % stride > 0 && count * stride < n + before) count++;
    return (uint32_t)(count < (int64_t)LARGEST ? count : (int64_t)LARGEST);
}

/* Whether b has the shape of a, or is the same at all positions. */
static int joins(const sqz_value *a, const sqz_value *b)
{
    const int same = a->height == b->height && a->width == b->width && a->flat == b->flat;
    return a->channels == b->channels && (same || (!a->flat && !b->flat && b->height == 1 && b->width == 1));
}

/* Whether all selected channels exist. */
static int selects(const sqz_op *op, uint32_t channels)
{
    int64_t lowest = op->start, highest = op->start;
    for (int i = 0; i < 2; i++) {
        const int64_t reach = ((int64_t)op->counts[i] - 1) * op->steps[i];
        *(reach < 0 ? &lowest : &highest) += reach;
    }
    return op->counts[0] > 0 && op->counts[1] > 0 && lowest >= 0 && highest < channels;
}

/* Compute the shape of the result of an operation. */
static int shape(const sqz_network *network, const sqz_op *op, sqz_value *result)
{
    const sqz_value *x = sqz_source(network, op);
    uint64_t channels = x->channels, height = x->height, width = x->width;
    int fits = x->flat == (op->kind == SQZ_LINEAR);
    memset(result, 0, sizeof *result);
    result->flat = x->flat;
    switch (op->kind) {
    case SQZ_CONVOLUTION:
        fits &= op->groups > 0 && x->channels % op->groups == 0 && op->out % op->groups == 0;
        channels = op->out;
        break;
    case SQZ_LINEAR: channels = op->out; break;
    case SQZ_GLOBAL_AVERAGE: height = width = 1; break;
    case SQZ_CONCAT:
        channels = 0;
        for (uint32_t i = 0; i < op->inputs; i++) {
            const sqz_value *v = network->values + network->inputs[op->first_input + i];
            fits &= !v->flat && v->height == x->height && v->width == x->width;
            channels += v->channels;
        }
        break;
    case SQZ_ADD:
    case SQZ_MULTIPLY: fits = joins(x, network->values + network->inputs[op->first_input + 1]); break;
    case SQZ_NORMALISATION: fits &= op->size > 0 && op->size <= x->channels; break;
    case SQZ_ADAPTIVE_POOL:
        fits &= op->counts[0] <= height && op->counts[1] <= width;
        height = op->counts[0];
        width = op->counts[1];
        break;
    case SQZ_SELECT:
        fits &= selects(op, x->channels);
        channels = times(op->counts[0], op->counts[1]);
        break;
    case SQZ_UPSAMPLE:
        height = times(height, op->counts[0]);
        width = times(width, op->counts[1]);
        break;
    case SQZ_ACTIVATION:
        fits = (op->function != SQZ_CLAMP || op->a <= op->b) && (op->function != SQZ_SOFTPLUS || op->a > 0) &&
               (op->function != SQZ_POWER || (op->b >= 0 && (op->a >= 0 || op->b > 0)));
        break;
    case SQZ_RELU:
    case SQZ_CAPPED:
    case SQZ_LAYER_NORM: fits = 1; break;
    case SQZ_FLATTEN:
        fits = result->flat = 1;
        channels = elements(x);
        height = width = 1;
        break;
    default: break;
    }
    if (fits && is_window(op)) {
        height = window(x->height, op, 0);
        width = window(x->width, op, 1);
    }
    const uint64_t all = times3(channels, height, width);
    if (!fits || all < 1 || all > SQZ_MAX_ELEMENTS) return SQZ_BAD_GRAPH;
    result->channels = (uint32_t)channels;
    result->height = (uint32_t)height;
    result->width = (uint32_t)width;
    return SQZ_OK;
}

/* Count how often every value is read, and when it is read last: operation i runs at time i + 1. A value that is never
 * read is kept until the end. */
static void count_reads(sqz_network *network)
{
    for (uint32_t v = 0; v <= network->op_count; v++) {
        network->values[v].reader_count = 0;
        network->values[v].last_read = network->op_count + 1;
    }
    for (uint32_t i = 0; i < network->op_count; i++)
        for (uint32_t j = 0; j < network->ops[i].inputs; j++) {
            sqz_value *x = network->values + network->inputs[network->ops[i].first_input + j];
            x->reader_count++;
            x->last_read = i + 1;
        }
}

/* `count`, rounded up to a multiple of `size`. */
static uint64_t whole(uint64_t count, uint64_t size)
{
    return (count + size - 1) / size * size;
}

/* The memory and work that a graph asks for, added up operation by operation (docs/FORMAT.md, "What a reader refuses").
 * squeezenet/sqz/costs.py does the same, with the same names. */
typedef struct {
    uint64_t weights, stored; /* weights in the file; weights in memory, with padding */
    uint64_t live, most_live; /* elements of values that are alive now, and at most */
    uint64_t lines, windows;  /* of the largest operation: elements of its lines; elements of its windows */
    uint64_t work;            /* in multiply-accumulates */
} costs;

static void count_operation(costs *k, const sqz_network *network, const sqz_op *op)
{
    enum { ELEMENT = 256, SLOW = 128, FEW_OUTPUTS = 8, LANES = 16, DEPTH = 4 };
    const sqz_value *x = sqz_source(network, op), *y = sqz_made(network, op);
    const uint64_t area = times(op->kernel[0], op->kernel[1]), window = times(elements(y), area);
    uint64_t read = 0;
    for (uint32_t i = 0; i < op->inputs; i++) read += elements(network->values + network->inputs[op->first_input + i]);
    if (is_window(op)) {
        const uint64_t high = (uint64_t)x->height + op->padding[0] + op->padding[2];
        const uint64_t wide = (uint64_t)x->width + op->padding[1] + op->padding[3];
        const uint64_t padded = times3(x->channels, high, wide);
        const uint64_t patches = times3(times(x->channels, area), y->height, y->width);
        const uint64_t lines = times3(x->channels, times(op->kernel[0] - 1, op->dilation[0]) + 1, wide);
        if (padded > k->windows) k->windows = padded;
        if (patches > k->windows) k->windows = patches;
        if (op->kind == SQZ_CONVOLUTION) read = padded;
        if (op->kind == SQZ_CONVOLUTION && lines > k->lines) k->lines = lines;
    }
    k->work += times(ELEMENT, read) + times(ELEMENT, elements(y));
    if (sqz_is_layer(op)) {
        const uint64_t inputs = x->channels / op->groups, outputs = op->out / op->groups;
        const uint64_t each = times3(op->out, inputs, area), macs = times3(each, y->height, y->width);
        const uint64_t sums = times(op->kernel[0], whole(times(inputs, op->kernel[1]), DEPTH));
        k->weights += each;
        k->stored += times3(op->groups, whole(outputs, LANES), sums);
        k->work += outputs < FEW_OUTPUTS ? times(SLOW, macs) + times(ELEMENT, window) : macs;
    } else if (op->kind == SQZ_NORMALISATION)
        k->work += times3(ELEMENT, elements(y), op->size);
    else if (op->kind == SQZ_LAYER_NORM)
        k->work += times(2 * ELEMENT, elements(y));
    else if (op->kind == SQZ_ADAPTIVE_POOL)
        k->work += times(4 * ELEMENT, elements(x));
    else if (is_window(op))
        k->work += times(ELEMENT, window);
}

static int limits(const sqz_network *network, uint64_t file_bytes)
{
    const sqz_preparation *p = &network->preparation;
    const uint64_t pixels = (uint64_t)p->resize[0] * p->resize[1], image = elements(network->values);
    costs k = {0, 0, image, image, 0, 0, 0};
    for (uint32_t i = 0; i < network->op_count; i++) {
        count_operation(&k, network, network->ops + i);
        k.live += elements(network->values + i + 1);
        if (k.live > k.most_live) k.most_live = k.live;
        for (uint32_t v = 0; v <= i; v++)
            if (network->values[v].last_read == i + 1) k.live -= elements(network->values + v);
    }
    const uint64_t memory = 4 * (pixels + image + k.most_live + k.lines + 2 * k.stored);
    return k.most_live > SQZ_MAX_LIVE || k.windows > SQZ_MAX_WINDOWS || k.weights > SQZ_MAX_WEIGHTS ||
                   (k.weights > SQZ_FREE_WEIGHTS && k.weights > SQZ_WEIGHTS_A_BYTE * file_bytes) ||
                   memory > SQZ_FREE_MEMORY + SQZ_MEMORY_A_BYTE * file_bytes ||
                   k.work > SQZ_FREE_WORK + SQZ_WORK_A_BYTE * file_bytes
               ? SQZ_LIMIT
               : SQZ_OK;
}

int sqz_graph_read(sqz_cursor c, size_t file_bytes, sqz_network *network)
{
    uint32_t from = 0;
    sqz_value *image = network->values;
    take_start(&c, &network->preparation);
    memset(image, 0, sizeof *image);
    image->channels = sqz_channel_count(&network->preparation);
    image->height = network->preparation.crop[0];
    image->width = network->preparation.crop[1];
    for (uint32_t i = 0; i < network->op_count; i++) {
        sqz_op *op = network->ops + i;
        *op = take_op(&c, i + 1, network->inputs + from);
        op->result = i + 1;
        op->first_input = from;
        from += op->inputs;
        if (c.status == SQZ_OK) c.status = shape(network, op, network->values + i + 1);
        if (c.status != SQZ_OK) return c.status;
    }
    if (!network->values[network->op_count].flat) return SQZ_BAD_GRAPH;
    count_reads(network);
    return limits(network, file_bytes);
}
