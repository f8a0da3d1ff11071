/* Template of `multiply` (kernels.h): the sums of one tile, kept in registers. A file defines these once:
 *
 *     REGISTERS                registers in a vector of LANES outputs
 *     AT_ONCE                  vectors of a tile that are computed together
 *     FITS(vectors, positions) whether the kernels ask for such a tile, so that code is made for it
 *
 * and these each time before the #include of this header:
 *
 *     FLOATS                   if defined, the function is `multiply_floats`, for floats; else:
 *     MULTIPLY, WEIGHT         name of the function; type of a weight as it is multiplied
 *     PACK                     activations of a pack, if not DEPTH
 *     VECTOR, LOAD, STORE      type of a register, how it is read and written
 *     BROADCAST(x)             a register with the pack of activations at x (4 bytes) in every lane
 *     ADD_PRODUCTS(sum, x, w)  sum + the products of activations and weights, lane by lane
 *
 * Instead of the last three lines, a file may define a TILE of its own. Floats are added in the order of the
 * window, so their sums do not depend on the size of the tile. */
#ifdef FLOATS
#define MULTIPLY multiply_floats
#define SUM float
#define WEIGHT float
#define PACK 1
#else
#define SUM int32_t
#ifndef PACK
#define PACK DEPTH
#endif
#endif

#ifndef TILE
#define TILE GLUED(tile_of_, MULTIPLY)
#define VECTOR_LANES (LANES / REGISTERS)
/* Compute `vectors` registers of sums for each position, from register `first` on. Both counts are constants where the
 * function is inlined. The smaller set, weights or activations, is loaded first and stays in registers. */
SQZ_TARGET SQZ_INLINE void TILE(const sqz_tile *t, SUM *sums, uint32_t first, const uint32_t vectors,
                                const uint32_t positions)
{
    VECTOR sum[24]; /* (positions, vectors) */
    const size_t width = VECTOR_LANES * (AT_ONCE < SQZ_VECTORS ? (size_t)REGISTERS * t->vectors : vectors);
    const SUM *initial = (const SUM *)t->initial + VECTOR_LANES * first;
    const WEIGHT *w = (const WEIGHT *)t->weights + PACK * VECTOR_LANES * first;
    const uint8_t *ahead = t->ahead;
    SQZ_EACH(v, vectors)
        SQZ_EACH(p, positions) sum[p * vectors + v] = LOAD(initial + VECTOR_LANES * v);
    for (size_t row = 0; row < t->rows; row++) {
        const uint8_t *x = t->lines[row] + t->begin;
        for (size_t i = 0; i < t->packs; i++, x += 4, w += PACK * width, ahead += t->ahead_step) {
            VECTOR kept[8];
            __builtin_prefetch(ahead);
            if (vectors <= 2) {
                SQZ_EACH(v, vectors) kept[v] = LOAD(w + PACK * VECTOR_LANES * v);
                SQZ_EACH(p, positions) {
                    const VECTOR pack = BROADCAST(x + p * t->stride);
                    SQZ_EACH(v, vectors) sum[p * vectors + v] = ADD_PRODUCTS(sum[p * vectors + v], pack, kept[v]);
                }
            } else {
                SQZ_EACH(p, positions) kept[p] = BROADCAST(x + p * t->stride);
                SQZ_EACH(v, vectors) {
                    const VECTOR weights = LOAD(w + PACK * VECTOR_LANES * v);
                    SQZ_EACH(p, positions) sum[p * vectors + v] = ADD_PRODUCTS(sum[p * vectors + v], kept[p], weights);
                }
            }
        }
    }
    SQZ_EACH(p, positions)
        SQZ_EACH(v, vectors) STORE(sums + p * width + VECTOR_LANES * (first + v), sum[p * vectors + v]);
}
#endif

#define CASE(V, P) \
    case 16 * V + P: \
        if (FITS(V, P)) TILE(t, sums, begin, (V) * (REGISTERS), P); \
        break;
#define CASES(V) CASE(V, 1) CASE(V, 2) CASE(V, 3) CASE(V, 4) CASE(V, 5) CASE(V, 6) CASE(V, 7) CASE(V, 8)

SQZ_TARGET static void MULTIPLY(const sqz_tile *t, void *sums)
{
    for (uint32_t first = 0; first < t->vectors; first += AT_ONCE) {
        const uint32_t begin = AT_ONCE < SQZ_VECTORS ? first * REGISTERS : 0, left = t->vectors - first;
        switch (16u * (left < AT_ONCE ? left : AT_ONCE) + t->positions) {
            CASES(1)
            CASES(2)
            CASES(3)
            CASES(4)
        }
    }
}

#undef CASE
#undef CASES
#undef TILE
#undef FLOATS
#undef MULTIPLY
#undef SUM
#undef WEIGHT
#undef PACK
#undef VECTOR
#undef LOAD
#undef STORE
#undef BROADCAST
#undef ADD_PRODUCTS
#undef VECTOR_LANES
