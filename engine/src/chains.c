#include "chains.h"

#include <string.h>

enum {
    SUMS = 16,     /* of 8 outputs, in 16 bits */
    LONGEST = 4095 /* most packs of a segment */
};

/* What fits into a chain, and whether chains save time: instructions for each vector and position, for a pack, for the
 * end of a chain, and for as many products that are computed in 32 bits. */
typedef struct {
    int16_t most; /* levels */
    size_t pack, chain, widened;
} rule;

static const rule of_pairs = {SQZ_CHAIN_LEVELS, 2, 3, 5}, of_signed = {SQZ_SIGNED_CHAIN_LEVELS, 5, 12, 8};

/* For each sum: its positive weights together, and the magnitudes of its negative weights. Signed activations: all
 * magnitudes together, and nothing. */
typedef struct {
    int16_t up[SQZ_CHAIN_VECTORS * SUMS], down[SQZ_CHAIN_VECTORS * SUMS];
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

/* What one pack alone adds: to a sum, a pair of weights, or a weight that multiplies signed activations. */
static void load_pack(load *l, const int8_t *w, uint32_t sums, int centred)
{
    for (uint32_t from = 0; from < sums; from += SUMS)
        for (uint32_t i = from; i < from + SUMS; i++) {
            const int16_t a = w[centred ? i : 2 * i], b = centred ? 0 : w[2 * i + 1];
            const int16_t up = (int16_t)((a > 0 ? a : 0) + (b > 0 ? b : 0)), down = (int16_t)(up - a - b);
            l->up[i] = centred ? (int16_t)(up + down) : up;
            l->down[i] = centred ? 0 : down;
        }
}

/* Add a pack to a chain. Returns whether the chain keeps within its limits. */
static int add_pack(load *chain, const load *pack, uint32_t sums, int16_t most)
{
    int16_t left = 0; /* negative if a limit is passed */
    for (uint32_t from = 0; from < sums; from += SUMS)
        for (uint32_t i = from; i < from + SUMS; i++) {
            chain->up[i] = (int16_t)(chain->up[i] + pack->up[i]);
            chain->down[i] = (int16_t)(chain->down[i] + pack->down[i]);
            left |= (int16_t)(most - chain->up[i]);
            left |= (int16_t)(most - chain->down[i]);
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
            int8_t half[SQZ_CHAIN_VECTORS * SUMS * 2];
            to -= bytes;
            split(from - bytes, half, to, bytes);
            memcpy(from - bytes, half, bytes);
        }
    }
}

int sqz_lay_out_chains(int8_t *weights, const sqz_kernels *k, const sqz_layout *layout, uint32_t outputs,
                       uint16_t *segments)
{
    const int centred = k->centre > 0;
    const rule *r = centred ? &of_signed : &of_pairs;
    const uint32_t bytes = outputs * k->depth, sums = 2 * outputs;
    const size_t packs = layout->lines * layout->packs;
    const int8_t *w = weights;
    writer to = {segments, 0, 0};
    size_t chains = 1, split_packs = 0;
    load chain, pack, sum;
    memset(&chain, 0, sizeof chain);
    for (size_t i = 0; i < packs; i++, w += bytes) {
        load_pack(&pack, w, sums, centred);
        sum = chain;
        if (!add_pack(&sum, &pack, sums, r->most)) {
            if (i > 0) close_segment(&to, SQZ_CHAIN_ENDS);
            memset(&sum, 0, sizeof sum);
            chains++;
            if (!add_pack(&sum, &pack, sums, r->most)) {
                int8_t half[SQZ_CHAIN_VECTORS * SUMS * 2], rest[SQZ_CHAIN_VECTORS * SUMS * 2];
                if (2 * ++split_packs > packs) return 0; /* there is no room for another segment (chains.h) */
                split(w, half, rest, bytes);
                load_pack(&sum, rest, sums, centred);
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
    if (r->pack * (packs + split_packs) + r->chain * chains >= r->widened * packs) return 0;
    spread(weights, &to, packs, split_packs, bytes);
    return 1;
}
