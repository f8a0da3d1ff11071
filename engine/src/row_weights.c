/* Planner of rows, 2: in which form the weights of each layer lie in flash, and the bytes that operations read. */
#include <string.h>

#include "cursor.h"
#include "fixed_point.h"
#include "planner.h"
#include "subnormal.h"

enum {
    VECTOR_ALIGNMENT = 16, /* of stored weights, in bytes */
    MOST_BLOCK = 4096      /* bytes of decoded weights that a block of several vectors may take */
};

/* Bytes of `initial`, if a layer with stored weights needs it: 0 if all sums begin with 0. */
static size_t initial_bytes(const sqz_planner *p, uint32_t i)
{
    const sqz_op *op = p->from->ops + p->plan->infos[i].op;
    const sqz_layout layout = sqz_layout_of(p->from, op);
    const uint32_t groups = op->method == SQZ_DEPTHWISE ? 1 : op->groups;
    const size_t bytes = (size_t)groups * layout.vectors * p->from->kernels->lanes * sizeof(int32_t);
    for (size_t at = 0; at < bytes; at++)
        if (p->from->weights[op->initial + at] != 0) return bytes;
    return 0;
}

/* Vectors of a block that is decoded or unpacked. */
static uint32_t few_vectors(const sqz_layout *layout)
{
    uint32_t vectors = SQZ_VECTORS;
    while (vectors > 1 && vectors * layout->vector_bytes > MOST_BLOCK) vectors--;
    return vectors;
}

static int fits_four_bits(int8_t weight)
{
    return weight >= -8 && weight < 8;
}

/* Copy the weights of a vector, from its block of stored weights to its block (`width` vectors, of which it is number
 * `at`) in the plan. */
static void copy_vector(const sqz_planner *p, uint32_t i, uint32_t group, uint32_t vector, uint32_t width, uint32_t at,
                        uint8_t *to)
{
    const sqz_op *op = p->from->ops + p->plan->infos[i].op;
    const sqz_layout layout = sqz_layout_of(p->from, op);
    const size_t chunk = layout.vector_bytes / (layout.lines * layout.packs);
    uint32_t block = 0;
    while (sqz_first_vector(&layout, block + 1) <= vector) block++;
    const uint32_t first = sqz_first_vector(&layout, block), wide = sqz_first_vector(&layout, block + 1) - first;
    const uint8_t *from =
        p->from->weights + op->weights + ((size_t)group * layout.vectors + first) * layout.vector_bytes;
    for (size_t pack = 0; pack < layout.lines * layout.packs; pack++)
        memcpy(to + (pack * width + at) * chunk, from + (pack * wide + vector - first) * chunk, chunk);
}

/* Pack the weights of a layer (blocks.c) to `to`, and their patches to `patches`; if both are NULL, only count. Returns
 * the bytes of the patches. */
static size_t pack(const sqz_planner *p, uint32_t i, uint8_t *to, uint8_t *patches)
{
    const sqz_op *op = p->from->ops + p->plan->infos[i].op;
    sqz_layout layout = sqz_layout_of(p->from, op);
    layout.blocks = (layout.vectors + few_vectors(&layout) - 1) / few_vectors(&layout);
    uint32_t *begin = (uint32_t *)(void *)patches, count = 0;
    const size_t blocks = (size_t)op->groups * layout.blocks;
    uint16_t *list = patches != NULL ? (uint16_t *)(void *)(begin + blocks + 1) : NULL;
    for (uint32_t b = 0; b < blocks; b++) {
        const uint32_t group = b / layout.blocks, in = b % layout.blocks, first = sqz_first_vector(&layout, in);
        const uint32_t width = sqz_first_vector(&layout, in + 1) - first;
        uint32_t last = 0;
        for (uint32_t at = 0; at < width; at++) copy_vector(p, i, group, first + at, width, at, p->block);
        if (patches != NULL) begin[b] = count;
        for (uint32_t j = 0; j < width * layout.vector_bytes; j++) {
            const uint8_t weight = p->block[j];
            if (to != NULL) to[j / 8 * 4 + j % 4] |= (uint8_t)((weight & 15) << j % 8 / 4 * 4);
            if (fits_four_bits((int8_t)weight) && j - last < 255) continue;
            if (list != NULL) list[count] = (uint16_t)((uint32_t)weight << 8 | (j - last));
            last = j;
            count++;
        }
        if (to != NULL) to += width * layout.vector_bytes / 2;
    }
    if (patches != NULL) begin[blocks] = count;
    return sqz_padded((blocks + 1) * sizeof *begin + count * sizeof *list, sizeof *begin);
}

/* The bytes of the packed weights of a layer; 0 if they are not worth it. */
static size_t measure_packed(const sqz_planner *p, uint32_t i)
{
    const sqz_op *op = p->from->ops + p->plan->infos[i].op;
    if (p->from->kernels->bytes != 1 || op->method != SQZ_PACKED || sqz_layout_of(p->from, op).vector_bytes % 8 > 0)
        return 0;
    const size_t bytes = p->stored_bytes[i] / 2 + pack(p, i, NULL, NULL);
    return bytes < p->stored_bytes[i] / 8 * 7 ? bytes : 0;
}

void sqz_measure_weights(sqz_planner *p)
{
    for (uint32_t i = 0; i < p->op_count; i++) {
        sqz_row_op *info = p->plan->infos + i;
        const sqz_op *op = p->from->ops + info->op;
        p->streams[i] = NULL;
        p->stream_bytes[i] = 0;
        if (!sqz_is_layer(op)) continue;
        const sqz_layout layout = sqz_layout_of(p->from, op);
        const uint32_t groups = op->method == SQZ_DEPTHWISE ? 1 : op->groups;
        const sqz_shape shape = sqz_weight_shape(p->from, op);
        sqz_cursor c = {op->coded, p->from->coded_end, SQZ_OK};
        sqz_take(&c, sqz_take_varint(&c, INT32_MAX));
        p->stream_bytes[i] = sqz_take_varint(&c, INT32_MAX);
        p->streams[i] = sqz_take(&c, p->stream_bytes[i]);
        p->initial_bytes[i] = initial_bytes(p, i);
        p->stored_bytes[i] = groups * layout.vectors * layout.vector_bytes;
        info->place = SQZ_STORED;
        info->weights = shape.outputs * shape.inputs * shape.height * shape.width;
        if (op->method == SQZ_DEPTHWISE || p->stream_bytes[i] >= p->stored_bytes[i]) p->stream_bytes[i] = 0;
        p->packed_bytes[i] = p->stream_bytes[i] > 0 ? measure_packed(p, i) : 0;
    }
}

uint32_t sqz_choice_of(const sqz_planner *p, uint32_t i)
{
    const sqz_row_op *info = p->plan->infos + i;
    return info->place == SQZ_HALVED ? PACKED : info->decodes;
}

void sqz_place_weights(sqz_planner *p, uint32_t i, uint32_t choice)
{
    sqz_op *op = p->ops + i;
    const sqz_layout layout = sqz_layout_of(p->from, p->from->ops + p->plan->infos[i].op);
    sqz_row_op *info = p->plan->infos + i;
    const int packed = choice == PACKED && p->packed_bytes[i] > 0, decoded = choice < PACKED && choice > 0;
    info->place = packed ? SQZ_HALVED : decoded ? SQZ_DECODED : SQZ_STORED;
    op->stream = decoded ? p->stream_bytes[i] : 0;
    op->patches = (size_t)packed;
    op->block = packed ? sqz_block_packed : decoded ? sqz_block_decoded : sqz_block_stored;
    op->least = decoded && choice < op->rows ? (op->rows + choice - 1) / choice : 1;
    op->vectors = packed || decoded ? few_vectors(&layout) : SQZ_VECTORS;
    info->decodes = decoded ? (op->rows + op->least - 1) / op->least : 0;
}

/* Append bytes to the weights; only counted if `weights` is NULL. */
static size_t append(uint8_t *weights, size_t *used, const void *from, size_t bytes, size_t alignment)
{
    const size_t at = sqz_padded(*used, alignment);
    if (weights != NULL) memcpy(weights + at, from, bytes);
    *used = at + bytes;
    return at;
}

/* The factor of an output in 32 bits (blocks.c). */
static uint32_t packed_factor(const sqz_factor *f, int32_t zero)
{
    int32_t d = SQZ_LEAST_RESCALING;
    while (sqz_shift(d) != f->shift || sqz_multiplier(d) != f->multiplier) d++;
    const int64_t rest = f->offset - zero * ((int64_t)1 << f->shift) - ((int64_t)1 << (f->shift - 1));
    return (uint32_t)(rest / ((int64_t)1 << (f->shift - 4)) * 512) + (uint32_t)(d - SQZ_LEAST_RESCALING);
}

/* Byte of the image -> stored element, for each channel; as sqz_normalise and sqz_run compute it. */
static void make_table(const sqz_network *from, uint8_t *table)
{
    const sqz_preparation *prepared = &from->preparation;
    const float factor = sqz_step(-from->values[0].scale.exponent);
    const uint64_t before = sqz_flush_subnormal();
    for (uint32_t i = 0; i < sqz_channel_count(prepared) * SQZ_TABLE; i++) {
        const float pixel = ((float)(i % SQZ_TABLE) - prepared->mean[i / SQZ_TABLE]) / prepared->std[i / SQZ_TABLE];
        table[i] = sqz_quantise(pixel * factor, from->values[0].scale.zero);
    }
    sqz_restore_subnormal(before);
}

size_t sqz_lay_out_weights(sqz_planner *p, uint8_t *weights)
{
    sqz_row_plan *plan = p->plan;
    uint8_t table[3 * SQZ_TABLE];
    size_t used = 0;
    plan->stored = plan->packed = plan->streams = plan->factors = 0;
    if (weights != NULL) make_table(p->from, table);
    plan->rows.table = append(weights, &used, table, sqz_channel_count(&p->from->preparation) * SQZ_TABLE, 1);
    for (uint32_t i = 0; i < p->op_count; i++) {
        sqz_op *op = p->ops + i;
        const size_t before = used;
        const sqz_op *given = p->from->ops + plan->infos[i].op;
        if (op->table > 0 || op->kind == SQZ_ACTIVATION)
            op->look_up = append(weights, &used, p->from->weights + given->look_up, SQZ_TABLE, 1);
        if (sqz_is_layer(op)) {
            const sqz_factor *factors = (const sqz_factor *)(const void *)(p->from->weights + given->factors);
            const size_t initial = op->stream > 0 ? 0 : p->initial_bytes[i];
            op->factors = append(NULL, &used, NULL, op->out * sizeof(uint32_t), sizeof(uint32_t));
            for (uint32_t o = 0; weights != NULL && o < op->out; o++) {
                const uint32_t word = packed_factor(factors + o, sqz_made(p->from, given)->scale.zero);
                memcpy(weights + op->factors + o * sizeof word, &word, sizeof word);
            }
            op->initial = initial > 0 ? append(weights, &used, p->from->weights + given->initial, initial, 4) : 0;
            plan->factors += op->out * sizeof(uint32_t) + initial;
            if (op->stream > 0)
                op->weights = append(weights, &used, p->streams[i], op->stream, 1);
            else if (op->patches > 0) {
                op->weights = append(NULL, &used, NULL, p->stored_bytes[i] / 2, VECTOR_ALIGNMENT);
                op->patches = append(NULL, &used, NULL, p->packed_bytes[i] - p->stored_bytes[i] / 2, sizeof(uint32_t));
                if (weights != NULL) pack(p, i, weights + op->weights, weights + op->patches);
            } else
                op->weights =
                    append(weights, &used, p->from->weights + given->weights, p->stored_bytes[i], VECTOR_ALIGNMENT);
            if (op->stream > 0)
                plan->streams += op->stream;
            else if (op->patches > 0)
                plan->packed += p->packed_bytes[i];
            else
                plan->stored += p->stored_bytes[i];
        }
        plan->infos[i].flash = used - before;
    }
    return used + SQZ_SLACK;
}

void sqz_place_all(sqz_planner *p, uint32_t choice)
{
    for (uint32_t i = 0; i < p->op_count; i++)
        if (p->stream_bytes[i] > 0) sqz_place_weights(p, i, choice);
}

void sqz_place_smallest(sqz_planner *p)
{
    for (uint32_t i = 0; i < p->op_count; i++) {
        const int packed = p->packed_bytes[i] > 0 && p->packed_bytes[i] + p->initial_bytes[i] < p->stream_bytes[i];
        if (p->stream_bytes[i] > 0) sqz_place_weights(p, i, packed ? PACKED : 1);
    }
}

size_t sqz_largest_block(const sqz_network *from)
{
    size_t largest = MOST_BLOCK;
    for (uint32_t i = 0; i < from->op_count; i++) {
        if (!sqz_is_layer(from->ops + i)) continue;
        const size_t bytes = sqz_layout_of(from, from->ops + i).vector_bytes;
        if (bytes > largest) largest = bytes;
    }
    return largest;
}
