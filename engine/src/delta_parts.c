/* Finds the parts of a file. */
#include "delta_parts.h"

#include "plan.h"

int sqz_delta_parts(arena *a, const uint8_t *front, size_t bytes, size_t file_bytes, int whole, part **parts,
                    uint32_t *count)
{
    sqz_network *network;
    uint32_t ops, reads;
    const size_t graph = sqz_little(front + 16), text = sqz_little(front + 20);
    if (graph > bytes - SQZ_FILE_HEADER || (whole && text > bytes - SQZ_FILE_HEADER - graph)) return SQZ_TRUNCATED;
    const sqz_cursor c = {front + SQZ_FILE_HEADER, front + SQZ_FILE_HEADER + graph, SQZ_OK};
    sqz_cursor rest = {c.end + (whole ? text : 0), front + bytes, SQZ_OK};
    int status = sqz_graph_count(c, &ops, &reads);
    if (status != SQZ_OK) return status;
    *parts = take(a, ops * sizeof **parts);
    const size_t mark = a->used;
    uint8_t *memory = take(a, sqz_lay_out(NULL, ops, reads, &network) + SQZ_ALIGNMENT);
    a->used = mark;
    if (memory == NULL) return SQZ_NO_ROOM;
    sqz_lay_out(sqz_align(memory), ops, reads, &network);
    status = sqz_graph_read(c, file_bytes, network);
    if (status == SQZ_OK && whole) status = sqz_graph_scales(&rest, network);
    *count = 0;
    for (uint32_t i = 0; i < ops && status == SQZ_OK; i++) {
        static const sqz_shape table = {0, 0, 0, 0};
        const sqz_op *op = network->ops + i;
        if (!sqz_is_layer(op) && op->kind != SQZ_ACTIVATION) continue;
        part *p = *parts + (*count)++;
        p->shape = sqz_is_layer(op) ? sqz_weight_shape(network, op) : table;
        p->at = whole ? rest.at : NULL;
        for (int streams = sqz_is_layer(op) ? STREAMS : 1; streams > 0 && whole; streams--)
            sqz_take(&rest, sqz_take_varint(&rest, INT32_MAX));
        status = rest.status;
    }
    return status;
}
