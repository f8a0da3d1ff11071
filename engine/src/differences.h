/* Codes the levels of a new file, given those of an old one (docs/FORMAT.md, "Deltas"). `squeezenet/sqz/differences.py`
 * is the slow reference in Python; a test compares the streams. */
#ifndef SQZ_DIFFERENCES_H
#define SQZ_DIFFERENCES_H

#include "levels.h"
#include "range_coder.h"

enum {
    SQZ_MOST_RESCALING_OF_LEVELS = 64, /* eighths of an octave between the old and the new step */
    SQZ_NUMBERS = 43,                  /* kinds of numbers */
    SQZ_MOVES = 4 * 7 + 9 * 7,         /* classes of moves: by kind and mean move, by magnitude and mean move */
    SQZ_MOVE_BITS = 8
};

/* Kinds of numbers: of the structure of a delta, then of the levels. */
enum {
    SQZ_OLD_PART,
    SQZ_RUNS,
    SQZ_RUN,
    SQZ_STREAM_SIZE,
    SQZ_LENGTH,
    SQZ_BIAS_STEP,
    SQZ_STEP = 8,
    SQZ_FRESH_STEP,
    SQZ_FRESH_BIAS,
    SQZ_BIAS = 16,
    SQZ_SIZE = 32
};

/* The statistics of a whole delta. `version`: of the delta. Version 1 uses neither `length_of_move` nor `digit_of_move`,
 * and codes moves as numbers of the kinds from SQZ_SIZE on. */
typedef struct {
    int version;
    uint32_t changed[63 + 165 + 165 + 40 + 320 + 136], away[64 + 12], negative[27 + 17], same_step;
    int32_t changed_weight[14 + 11][6], away_weight[4][2], negative_weight[2][2];
    uint32_t length_of_move[SQZ_MOVES][SQZ_MOVE_BITS], digit_of_move[SQZ_MOVES][SQZ_MOVE_BITS];
    int32_t move_weight[5][2];
    uint32_t move, moves; /* mean move in this layer, in 64ths; number of moves, up to 14 */
    uint32_t length[SQZ_NUMBERS][32], digit[SQZ_NUMBERS][64], sign[SQZ_NUMBERS];
    uint16_t rate[1026];
    int16_t stretched[4096];
    uint8_t class[(1 << 9) + 1];
    uint64_t seen, differing; /* levels of the present layer, and how many of them changed */
} sqz_differences;

void sqz_differences_start(sqz_differences *m, int version);

/* Code a bit in its context. */
static inline uint32_t sqz_code_flag(sqz_differences *m, coder *c, uint32_t *context, uint32_t bit, direction way)
{
    return code(c, m->rate, context, bit, way);
}

/* Code a number from 0 to 2^31 - 2. Reading may give up to 2^32 - 1. */
uint32_t sqz_code_natural(sqz_differences *m, coder *c, unsigned kind, uint32_t value, direction way);

/* Code a number of either sign, of magnitude below 2^31 - 1. */
int64_t sqz_code_whole(sqz_differences *m, coder *c, unsigned kind, int64_t value, direction way);

/* value * 2^(rescaling / 8), rounded; `part`: the eighths that rounding left over. */
int64_t sqz_rescaled(int64_t value, int32_t rescaling, int32_t *part);

/* Begin a layer. `memory`: `sqz_differences_memory` bytes, aligned for uint16_t. */
size_t sqz_differences_memory(sqz_shape shape);
void sqz_differences_layer(sqz_differences *m, sqz_shape shape, void *memory);

/* Code the levels of output number `output` of the layer. `before`: the levels of the old output, or NULL for none.
 * Returns 0 for a level over the limit. Two functions, so that a device that only reads needs only one of them. */
typedef int sqz_output_coder(sqz_differences *m, coder *c, sqz_shape shape, void *memory, uint32_t output,
                             const int32_t *before, int32_t rescaling, int32_t *levels);
sqz_output_coder sqz_read_output, sqz_write_output;

#endif
