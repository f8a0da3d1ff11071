#include "chains.h"

#include <string.h>

enum {
    DEPTH = 4,          /* weights of an output in a pack, */
    PAIRS = 16,         /* and pairs of weights of 8 outputs */
    LONGEST = 4095,     /* most packs of a segment */
    COST_OF_A_PACK = 2, /* instructions for each vector, */
    COST_OF_A_CHAIN = 3,
    COST_WIDENED = 5 /* and of a pack whose products are computed in 32 bits */
};

/* For each pair: the sum of its positive weights, and that of the magnitudes of its negative weights. */
typedef struct {
    int16_t up[SQZ_CHAIN_VECTORS * PAIRS], down[SQZ_CHAIN_VECTORS * PAIRS];
} load;

/* The segments as they are written. */
typedef struct {
    uint16_t *segments;
    uint32_t count, open; /* segments so far; packs of the next one */
} writer;

static void close_segment(writer *to, uint32_t flags)
{
    if (to->open > 0) to->segments[to->count++] = (uint16_t)(to->open * SQZ_SEGMENT_PACKS);
    to->segments[to->count - 1] |= (uint16_t)flags;
    to->open = 0;
}

/* What one pack alone adds. */
static void load_pack(load *l, const int8_t *w, uint32_t pairs)
{
    for (uint32_t from = 0; from < pairs; from += PAIRS)
        for (uint32_t i = from; i < from + PAIRS; i++) {
            const int16_t a = w[2 * i], b = w[2 * i + 1];
            const int16_t up = (int16_t)((a > 0 ? a : 0) + (b > 0 ? b : 0));
            l->up[i] = up;
            l->down[i] = (int16_t)(up - a - b);
        }
}

/* Add a pack to a chain. Returns whether the chain keeps within its limits. */
static int add_pack(load *chain, const load *pack, uint32_t pairs)
{
    int16_t left = 0; /* negative if a limit is passed */
    for (uint32_t from = 0; from < pairs; from += PAIRS)
        for (uint32_t i = from; i < from + PAIRS; i++) {
            chain->up[i] = (int16_t)(chain->up[i] + pack->up[i]);
            chain->down[i] = (int16_t)(chain->down[i] + pack->down[i]);
            left |= (int16_t)(SQZ_CHAIN_LEVELS - chain->up[i]);
            left |= (int16_t)(SQZ_CHAIN_LEVELS - chain->down[i]);
        }
    return left >= 0;
}

/* The weights of a pack that is split: half of each one, and the rest. */
static void split(const int8_t *w, int8_t *half, int8_t *rest, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const int8_t weight = w[i];
        half[i] = (int8_t)(weight / 2);
        rest[i] = (int8_t)(weight - weight / 2);
    }
}

/* Move packs apart, the last one first, so that there is room for those that are split. */
static void spread(int8_t *weights, const writer *written, size_t packs, size_t split_packs, uint32_t bytes)
{
    int8_t *from = weights + packs * bytes, *to = weights + (packs + split_packs) * bytes;
    for (uint32_t i = written->count; i-- > 0 && to > from;) {
        const int again = i > 0 && (written->segments[i - 1] & SQZ_PACK_AGAIN) != 0;
        const uint32_t whole = written->segments[i] / SQZ_SEGMENT_PACKS - (again ? 1u : 0u);
        from -= whole * bytes;
        to -= whole * bytes;
        memmove(to, from, whole * bytes);
        if (again) { /* the first half is moved with its own segment */
            int8_t half[SQZ_CHAIN_VECTORS * PAIRS * 2];
            to -= bytes;
            split(from - bytes, half, to, bytes);
            memcpy(from - bytes, half, bytes);
        }
    }
}

int sqz_lay_out_chains(int8_t *weights, const sqz_layout *layout, uint32_t outputs, uint16_t *segments)
{
    const uint32_t bytes = outputs * DEPTH, pairs = outputs * DEPTH / 2;
    const size_t packs = layout->lines * layout->packs;
    const int8_t *w = weights;
    writer to = {segments, 0, 0};
    size_t chains = 1, split_packs = 0;
    load chain, pack, sum;
    memset(&chain, 0, sizeof chain);
    for (size_t i = 0; i < packs; i++, w += bytes) {
        load_pack(&pack, w, pairs);
        sum = chain;
        if (!add_pack(&sum, &pack, pairs)) {
            if (i > 0) close_segment(&to, SQZ_CHAIN_ENDS);
            memset(&sum, 0, sizeof sum);
            chains++;
            if (!add_pack(&sum, &pack, pairs)) {
                int8_t half[SQZ_CHAIN_VECTORS * PAIRS * 2], rest[SQZ_CHAIN_VECTORS * PAIRS * 2];
                if (2 * ++split_packs > packs) return 0; /* there is no room for another segment (chains.h) */
                split(w, half, rest, bytes);
                load_pack(&sum, rest, pairs);
                to.open = 1;
                close_segment(&to, SQZ_CHAIN_ENDS | SQZ_PACK_AGAIN);
                chains++;
            }
        }
        chain = sum;
        if (++to.open == LONGEST) close_segment(&to, 0);
        if (i + 1 == packs)
            close_segment(&to, SQZ_CHAIN_ENDS | SQZ_TILE_ENDS);
        else if ((i + 1) % layout->packs == 0)
            close_segment(&to, SQZ_LINE_ENDS);
    }
    if (COST_OF_A_PACK * (packs + split_packs) + COST_OF_A_CHAIN * chains >= COST_WIDENED * packs) return 0;
    spread(weights, &to, packs, split_packs, bytes);
    return 1;
}
