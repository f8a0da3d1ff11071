/* A file as a whole: header, checksum, sections (docs/FORMAT.md, "File"). */
#include "graph.h"
#include "kernels.h"
#include "budget.h"
#include "plan.h"
#include "row_plan.h"
#include "text.h"

enum {
    HEADER = 24,  /* bytes of the header */
    CHECKED = 16, /* the checksum covers the bytes from this offset on */
    INTEGER = 1,  /* flag of an integer network */
    LABELS = 2,   /* flag: each of several outputs is a label of its own */
    NEWEST = 2    /* version that this reader knows */
};

typedef struct {
    sqz_cursor graph, text, weights;
    int integer, labels;
    uint32_t version;
} sections;

/* CRC-32 of four bytes at a time; `crc` is that of the bytes before. Table i is for the byte that has i more bytes after
 * it in its group of four. */
uint32_t sqz_crc32(uint32_t crc, const uint8_t *bytes, size_t size)
{
    uint32_t table[4][256];
    crc = ~crc;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? UINT32_C(0xEDB88320) : 0);
        table[0][i] = value;
    }
    for (int behind = 1; behind < 4; behind++)
        for (uint32_t i = 0; i < 256; i++) {
            const uint32_t value = table[behind - 1][i];
            table[behind][i] = value >> 8 ^ table[0][value & 255];
        }
    for (; size >= 4; size -= 4, bytes += 4) {
        crc ^= sqz_little(bytes);
        crc = table[3][crc & 255] ^ table[2][crc >> 8 & 255] ^ table[1][crc >> 16 & 255] ^ table[0][crc >> 24];
    }
    for (; size > 0; size--, bytes++) crc = crc >> 8 ^ table[0][(crc ^ *bytes) & 255];
    return ~crc;
}

static int check_header(const uint8_t *file, size_t bytes)
{
    static const uint8_t magic[4] = {0x89, 'S', 'Q', 'Z'};
    if (bytes == 0 || memcmp(file, magic, bytes < sizeof magic ? bytes : sizeof magic) != 0) return SQZ_NOT_SQZ;
    if (bytes < HEADER) return SQZ_TRUNCATED;
    if (bytes > SQZ_MAX_MODEL_FILE) return SQZ_LIMIT;
    if (file[4] < 1 || file[4] > NEWEST || (file[5] & ~(INTEGER | LABELS)) != 0 || file[6] != 0 || file[7] != 0)
        return SQZ_VERSION;
    if (sqz_little(file + 8) != bytes) return sqz_little(file + 8) > bytes ? SQZ_TRUNCATED : SQZ_TRAILING;
    return SQZ_OK;
}

static int check_sum(const uint8_t *file, size_t bytes)
{
    const uint32_t before = file[5] & LABELS ? sqz_crc32(0, file + 5, 1) : 0;
    return sqz_crc32(before, file + CHECKED, bytes - CHECKED) == sqz_little(file + 12) ? SQZ_OK : SQZ_CHECKSUM;
}

/* The sections of a file whose header was checked. */
static int find_sections(const uint8_t *file, size_t bytes, sections *found)
{
    const size_t graph = sqz_little(file + 16), text = sqz_little(file + 20), left = bytes - HEADER;
    if (graph > left || text > left - graph) return SQZ_TRUNCATED;
    const sqz_cursor first = {file + HEADER, file + HEADER + graph, SQZ_OK};
    const sqz_cursor second = {first.end, first.end + text, SQZ_OK};
    const sqz_cursor last = {second.end, file + bytes, SQZ_OK};
    found->graph = first;
    found->text = second;
    found->weights = last;
    found->integer = file[5] & INTEGER;
    found->labels = file[5] & LABELS;
    found->version = file[4];
    return SQZ_OK;
}

/* Reserve `count` items of `each` bytes, from front to back. If `memory` is NULL, only count the bytes. */
static void *cut(uint8_t *memory, size_t *used, size_t count, size_t each)
{
    void *piece = memory != NULL ? memory + *used : NULL;
    *used += sqz_aligned(count * each);
    return piece;
}

/* Lay out a network in memory, or count its bytes if `memory` is NULL. */
size_t sqz_lay_out(uint8_t *memory, uint32_t ops, uint32_t reads, sqz_network **network)
{
    size_t used = 0;
    sqz_network n;
    memset(&n, 0, sizeof n);
    *network = cut(memory, &used, 1, sizeof n);
    n.ops = cut(memory, &used, ops, sizeof *n.ops);
    n.values = cut(memory, &used, (size_t)ops + 1, sizeof *n.values);
    n.inputs = cut(memory, &used, reads, sizeof *n.inputs);
    n.live = cut(memory, &used, (size_t)ops + 1, sizeof *n.live);
    n.op_count = ops;
    n.input_count = reads;
    if (memory != NULL) **network = n;
    return used;
}

int sqz_measure(const uint8_t *file, size_t bytes, size_t *memory)
{
    sections found;
    uint32_t ops, reads;
    sqz_network *network;
    int status = check_header(file, bytes);
    if (status != SQZ_OK) return status;
    status = find_sections(file, bytes, &found);
    if (status == SQZ_OK) status = sqz_graph_count(found.graph, &ops, &reads);
    /* sqz_open checks the checksum of every file. Here it only decides which error to report. */
    if (status != SQZ_OK) return check_sum(file, bytes) == SQZ_OK ? status : SQZ_CHECKSUM;
    *memory = sqz_lay_out(NULL, ops, reads, &network) + SQZ_ALIGNMENT;
    return SQZ_OK;
}

/* Read everything but the weights, and the plan. */
static int read_file(const uint8_t *file, size_t bytes, void *memory, sqz_network **network)
{
    sections found;
    uint32_t ops, reads;
    int status = check_header(file, bytes);
    if (status == SQZ_OK) status = check_sum(file, bytes);
    if (status == SQZ_OK) status = find_sections(file, bytes, &found);
    if (status == SQZ_OK) status = sqz_graph_count(found.graph, &ops, &reads);
    if (status != SQZ_OK) return status;
    sqz_lay_out(sqz_align(memory), ops, reads, network);
    status = sqz_graph_read(found.graph, bytes, *network);
    if (status == SQZ_OK && found.integer) status = sqz_graph_scales(&found.weights, *network);
    if (status != SQZ_OK) return status;
    (*network)->coded = found.weights.at;
    (*network)->coded_end = found.weights.end;
    (*network)->floats = !found.integer;
    (*network)->outputs = found.labels || sqz_classes(*network) == 1 ? SQZ_LABELS : SQZ_CLASSES;
    return SQZ_OK;
}

int sqz_open(const uint8_t *file, size_t bytes, sqz_path path, void *memory, sqz_network **network)
{
    const int status = read_file(file, bytes, memory, network);
    if (status != SQZ_OK) return status;
    (*network)->kernels = sqz_kernels_of(path, (*network)->floats);
    sqz_plan(*network);
    return SQZ_OK;
}

int sqz_open_rows(const uint8_t *file, size_t bytes, const sqz_kernels *kernels, void *memory, sqz_network **network)
{
    const int status = read_file(file, bytes, memory, network);
    if (status != SQZ_OK) return status;
    (*network)->kernels = kernels;
    (*network)->by_rows = 1;
    sqz_plan(*network);
    return SQZ_OK;
}

void sqz_image_shape(const sqz_network *network, uint32_t shape[3])
{
    shape[0] = network->values[0].channels;
    shape[1] = network->values[0].height;
    shape[2] = network->values[0].width;
}

uint32_t sqz_classes(const sqz_network *network)
{
    return network->values[network->op_count].channels;
}

sqz_outputs sqz_outputs_of(const sqz_network *network)
{
    return network->outputs;
}

uint32_t sqz_layers(const sqz_network *network)
{
    uint32_t layers = 0;
    for (uint32_t i = 0; i < network->op_count; i++) layers += (uint32_t)sqz_is_layer(network->ops + i);
    return layers;
}

const sqz_preparation *sqz_preparation_of(const sqz_network *network)
{
    return &network->preparation;
}

int sqz_text_measure(const uint8_t *file, size_t bytes, size_t *length, size_t *memory)
{
    sections found;
    int status = check_header(file, bytes);
    if (status == SQZ_OK) status = find_sections(file, bytes, &found);
    if (status != SQZ_OK) return status;
    *length = sqz_text_length(&found.text, found.version);
    *memory = sqz_text_memory(found.version);
    return found.text.status;
}

int sqz_text_read(const uint8_t *file, size_t bytes, uint8_t *text, void *memory)
{
    sections found;
    int status = check_header(file, bytes);
    if (status == SQZ_OK) status = find_sections(file, bytes, &found);
    return status == SQZ_OK ? sqz_text_unpack(found.text, found.version, text, memory) : status;
}

sqz_needs sqz_ask(const sqz_network *network, unsigned parts)
{
    sqz_needs needs;
    needs.weights = network->weights_bytes + SQZ_ALIGNMENT;
    needs.decoding = network->decoding_bytes * (network->floats ? 1 : parts);
    needs.running = network->values_bytes + parts * network->scratch_bytes + SQZ_ALIGNMENT;
    return needs;
}

int sqz_abi(void)
{
    return SQZ_ABI;
}
