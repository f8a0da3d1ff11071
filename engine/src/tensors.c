/* Decodes weights and biases of float networks, in every coding of the format, to exactly the floats of the writer. */
#include "tensors.h"

#include <string.h>

#include "huffman.h"
#include "network.h"

enum {
    SPARSE = 1, /* bits of the byte that names a coding */
    SHARED = 2,
    ADAPTIVE = 4,
    GAPS = 254, /* first byte of a list of floats that is not stored as planes */
    EXPONENTS = 255,
    MOST_CENTROIDS = 4096,
    FRACTION = 23,    /* bits of a float after its exponent */
    FIRST_LENGTH = 31 /* the bit length of the first gap is coded relative to this */
};
#define MOST_LISTED 65536u /* most floats of a list in the form of gaps or exponents */

/* Working memory. */
typedef struct {
    uint16_t *order;  /* of a symbol stream */
    uint8_t *lengths; /* of a symbol stream */
    float *codebook;  /* MOST_CENTROIDS */
    uint8_t *kept;    /* a bit for each weight: whether it is kept, not pruned */
    void *model;      /* of a level stream */
} room;

static size_t weights_of(sqz_shape shape)
{
    return (size_t)shape.outputs * shape.inputs * shape.height * shape.width;
}

static size_t bits_of(sqz_shape shape)
{
    return sqz_aligned(weights_of(shape) / 8 + 1);
}

static room cut(uint8_t *memory, sqz_shape shape)
{
    room r;
    r.order = (uint16_t *)(void *)memory;
    r.lengths = memory + SQZ_ALPHABET * sizeof *r.order;
    r.codebook = (float *)(void *)(r.lengths + SQZ_ALPHABET);
    r.kept = (uint8_t *)(r.codebook + MOST_CENTROIDS);
    r.model = r.kept + bits_of(shape);
    return r;
}

size_t sqz_tensor_memory(sqz_shape shape)
{
    const sqz_shape list = {shape.outputs, 1, 1, 1};
    const size_t weight = sqz_levels_memory(shape), bias = sqz_levels_memory(list);
    const size_t fixed = SQZ_ALPHABET * (sizeof(uint16_t) + 1) + MOST_CENTROIDS * sizeof(float);
    return fixed + bits_of(shape) + (weight > bias ? weight : bias);
}

void sqz_take_levels(sqz_cursor *c, int32_t *levels, sqz_shape shape, void *memory)
{
    const size_t size = sqz_take_varint(c, INT32_MAX);
    const uint8_t *bytes = sqz_take(c, size);
    if (bytes != NULL && sqz_levels_decode(bytes, size, levels, shape, memory) != SQZ_OK) sqz_fail(c, SQZ_BAD_STREAM);
}

/* Numbers of different bit lengths, one after the other, most significant bit first; zeros fill up the last byte. */
typedef struct {
    const uint8_t *bytes;
    size_t at;
} packed;

static packed open_packed(sqz_cursor *c, uint64_t bits)
{
    const size_t size = (size_t)((bits + 7) / 8);
    const packed p = {sqz_take(c, size), 0};
    if (p.bytes != NULL && bits % 8 > 0 && (p.bytes[size - 1] & 0xFF >> bits % 8) != 0) sqz_fail(c, SQZ_BAD_STREAM);
    return p;
}

static uint32_t take_packed(packed *p, unsigned width)
{
    uint32_t value = 0;
    for (; width > 0; width--, p->at++) value = value << 1 | (p->bytes[p->at / 8] >> (7 - p->at % 8) & 1u);
    return value;
}

/* Store the float that has these bits. Fails if it is infinite or not a number. */
static void settle(sqz_cursor *c, float *value, uint32_t bits)
{
    if ((bits >> FRACTION & 255) == 255) sqz_fail(c, SQZ_BAD_STREAM);
    memcpy(value, &bits, sizeof *value);
}

static uint32_t bits_at(const float *value)
{
    uint32_t bits;
    memcpy(&bits, value, sizeof bits);
    return bits;
}

static void take_planes(sqz_cursor *c, float *values, size_t count, uint32_t modes, const room *r)
{
    memset(values, 0, count * sizeof *values);
    for (unsigned plane = 0; plane < 4; plane++) {
        const unsigned mode = modes >> 2 * plane & 3, shift = 24 - 8 * plane;
        const uint8_t *raw = mode == 0 ? sqz_take(c, count) : NULL;
        sqz_symbols s;
        s.order = r->order;
        if (mode == 3) sqz_fail(c, SQZ_BAD_STREAM);
        if (mode == 1) sqz_symbols_open(c, &s, count, 256, r->lengths);
        for (size_t i = 0; i < count && mode < 2 && c->status == SQZ_OK; i++) {
            const uint32_t bits = bits_at(values + i) | (raw != NULL ? raw[i] : sqz_symbol(c, &s)) << shift;
            memcpy(values + i, &bits, sizeof bits);
        }
        if (mode == 1 && count > 0) sqz_symbols_close(c, &s);
    }
    for (size_t i = 0; i < count && c->status == SQZ_OK; i++) settle(c, values + i, bits_at(values + i));
}

static void take_gaps(sqz_cursor *c, float *values, size_t count, const room *r)
{
    const sqz_shape list = {(uint32_t)count, 1, 1, 1};
    int32_t *levels = (int32_t *)(void *)values;
    int64_t length = FIRST_LENGTH;
    uint64_t bits = 0, key = 0;
    sqz_take_levels(c, levels, list, r->model);
    for (size_t i = 0; i < count && c->status == SQZ_OK; i++) {
        length += levels[i];
        if (length < 1 || length > 32) sqz_fail(c, SQZ_BAD_STREAM);
        bits += (uint64_t)length - 1;
    }
    packed p = open_packed(c, bits);
    length = FIRST_LENGTH;
    for (size_t i = 0; i < count && c->status == SQZ_OK; i++) {
        length += levels[i];
        key += (UINT64_C(1) << (length - 1)) + take_packed(&p, (unsigned)length - 1);
        if (key > UINT32_MAX) sqz_fail(c, SQZ_BAD_STREAM);
        settle(c, values + i, key >> 31 ? (uint32_t)key & INT32_MAX : ~(uint32_t)key);
    }
}

static void take_exponents(sqz_cursor *c, float *values, size_t count, const room *r)
{
    const sqz_shape list = {(uint32_t)count, 1, 1, 1};
    const int32_t largest = (int32_t)sqz_take_byte(c);
    int32_t *levels = (int32_t *)(void *)values;
    if (largest > 254) sqz_fail(c, SQZ_BAD_STREAM);
    sqz_take_levels(c, levels, list, r->model);
    for (size_t i = 0; i < count && c->status == SQZ_OK; i++)
        if (levels[i] == 0 || levels[i] > largest + 1 || levels[i] < -largest - 1) sqz_fail(c, SQZ_BAD_STREAM);
    packed p = open_packed(c, (uint64_t)count * FRACTION);
    for (size_t i = 0; i < count && c->status == SQZ_OK; i++) {
        const int32_t exponent = largest + 1 - (levels[i] < 0 ? -levels[i] : levels[i]);
        const uint32_t sign = levels[i] < 0 ? UINT32_C(1) << 31 : 0;
        settle(c, values + i, sign | (uint32_t)exponent << FRACTION | take_packed(&p, FRACTION));
    }
}

static void take_list(sqz_cursor *c, float *values, size_t count, const room *r)
{
    const uint32_t modes = sqz_take_byte(c);
    if (modes < GAPS)
        take_planes(c, values, count, modes, r);
    else if (count == 0 || count > MOST_LISTED)
        sqz_fail(c, SQZ_BAD_STREAM);
    else if (modes == GAPS)
        take_gaps(c, values, count, r);
    else
        take_exponents(c, values, count, r);
}

static uint32_t take_codebook(sqz_cursor *c, const room *r)
{
    const uint32_t count = sqz_take_varint(c, MOST_CENTROIDS);
    take_list(c, r->codebook, count, r);
    return count;
}

static void take_adaptive(sqz_cursor *c, float *weight, size_t size, sqz_shape shape, const room *r)
{
    const int32_t count = (int32_t)take_codebook(c, r);
    int32_t *levels = (int32_t *)(void *)weight, negative = 0;
    for (int32_t i = 0; i < count && c->status == SQZ_OK; i++) negative += (int32_t)(bits_at(r->codebook + i) >> 31);
    sqz_take_levels(c, levels, shape, r->model);
    for (size_t i = 0; i < size && c->status == SQZ_OK; i++) {
        const int32_t level = levels[i];
        if (level < -negative || level > count - negative)
            sqz_fail(c, SQZ_BAD_STREAM);
        else
            weight[i] = level == 0 ? 0 : r->codebook[negative + level - (level > 0)];
    }
}

static int is_kept(const room *r, size_t i)
{
    return r->kept[i / 8] >> i % 8 & 1;
}

/* Mark the weights that are kept, from relative positions (gaps). Returns how many there are. */
static size_t take_positions(sqz_cursor *c, size_t size, const room *r)
{
    const uint32_t most = size < INT32_MAX ? (uint32_t)size : INT32_MAX;
    const size_t count = sqz_take_varint(c, most);
    const uint32_t longest = sqz_take_varint(c, SQZ_ALPHABET - 1);
    size_t symbols = sqz_take_varint(c, most), at = 0, kept = 0;
    sqz_symbols s;
    s.order = r->order;
    memset(r->kept, 0, size / 8 + 1);
    if (longest < 1) sqz_fail(c, SQZ_BAD_STREAM);
    if (c->status == SQZ_OK) sqz_symbols_open(c, &s, symbols, longest + 1, r->lengths);
    for (; symbols > 0 && c->status == SQZ_OK; symbols--) {
        const uint32_t gap = sqz_symbol(c, &s);
        at += gap;
        if (gap == longest) {
            if (symbols == 1) sqz_fail(c, SQZ_BAD_STREAM);
        } else if (at >= size || kept == count)
            sqz_fail(c, SQZ_BAD_STREAM);
        else {
            r->kept[at / 8] |= (uint8_t)(1u << at % 8);
            at++;
            kept++;
        }
    }
    if (c->status == SQZ_OK) sqz_symbols_close(c, &s);
    if (kept != count) sqz_fail(c, SQZ_BAD_STREAM);
    return count;
}

/* Indices into a codebook: of the kept weights, or of all weights, where index 0 is a pruned one. */
static void take_shared(sqz_cursor *c, float *weight, size_t size, size_t count, int sparse, const room *r)
{
    const uint32_t centroids = take_codebook(c, r);
    sqz_symbols s;
    s.order = r->order;
    sqz_symbols_open(c, &s, count, centroids + (sparse ? 0 : 1), r->lengths);
    for (size_t i = 0; i < size && c->status == SQZ_OK; i++) {
        const uint32_t index = !sparse ? sqz_symbol(c, &s) : is_kept(r, i) ? sqz_symbol(c, &s) + 1 : 0;
        weight[i] = index == 0 ? 0 : r->codebook[index - 1];
    }
    sqz_symbols_close(c, &s);
}

/* Kept weights that share no codebook: read one after the other, then moved to their positions from the last one on. */
static void take_sparse(sqz_cursor *c, float *weight, size_t size, size_t count, const room *r)
{
    take_list(c, weight, count, r);
    for (size_t i = size; i-- > 0 && c->status == SQZ_OK;) weight[i] = is_kept(r, i) ? weight[--count] : 0;
}

void sqz_take_weight(sqz_cursor *c, float *weight, sqz_shape shape, void *memory)
{
    const size_t size = weights_of(shape);
    const uint32_t kind = sqz_take_byte(c);
    const room r = cut(memory, shape);
    const int sparse = kind & SPARSE;
    if (kind == (ADAPTIVE | SHARED)) {
        take_adaptive(c, weight, size, shape, &r);
        return;
    }
    if (kind > (SPARSE | SHARED)) {
        sqz_fail(c, SQZ_BAD_STREAM);
        return;
    }
    const size_t count = sparse ? take_positions(c, size, &r) : size;
    if (c->status != SQZ_OK) return;
    if (kind & SHARED)
        take_shared(c, weight, size, count, sparse, &r);
    else if (sparse)
        take_sparse(c, weight, size, count, &r);
    else
        take_list(c, weight, size, &r);
}

void sqz_take_floats(sqz_cursor *c, float *values, size_t count, void *memory)
{
    const sqz_shape list = {(uint32_t)count, 1, 1, 1};
    const room r = cut(memory, list);
    take_list(c, values, count, &r);
}
