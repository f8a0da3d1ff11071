/* A network as the engine holds it: a list of operations, and for each value (activation tensor) its place in memory.
 *
 * Operation i, counted from 0, reads earlier values and makes value i + 1. Value 0 is the image. An element of a value
 * is one byte in an integer network (32 bits where the value is wide), and a float in a float network. Elements lie in
 * the order (height, width, channels); a pair (row, column) is called a position.
 *
 * A value may lie inside the memory of another one, its host. So the inputs of a concatenation are written directly to
 * their channels of the result, a slice of channels is read where it lies, and an activation may work in place.
 *
 * A 9-bit value has elements q from 0 to 510. It is stored with twice its channels: the lower halves, min(q, 255), of
 * all channels, then the upper halves, max(q - 255, 0). The layer that makes it writes both halves; a layer that reads
 * it holds each weight twice, once for each half. So all other code sees bytes only. */
#ifndef SQZ_NETWORK_H
#define SQZ_NETWORK_H

#include "sqz.h"

struct sqz_kernels;
typedef struct sqz_task sqz_task;     /* run.h */
typedef struct sqz_layout sqz_layout; /* plan.h */
typedef struct sqz_block sqz_block;
typedef struct sqz_place sqz_place;
typedef struct sqz_tile sqz_tile; /* kernels.h */

/* Kinds of operations: their numbers in the file. */
enum {
    SQZ_CONVOLUTION = 1,
    SQZ_LINEAR,
    SQZ_RELU,
    SQZ_CAPPED,
    SQZ_MAX_POOL,
    SQZ_MAX_POOL_CEIL, /* read as SQZ_MAX_POOL */
    SQZ_AVERAGE_POOL,
    SQZ_GLOBAL_AVERAGE,
    SQZ_NORMALISATION,
    SQZ_CONCAT,
    SQZ_ADD,
    SQZ_FLATTEN,
    SQZ_ANY_CONVOLUTION,  /* read as SQZ_CONVOLUTION, */
    SQZ_ANY_MAX_POOL,     /* SQZ_MAX_POOL, */
    SQZ_ANY_AVERAGE_POOL, /* and SQZ_AVERAGE_POOL: these have more fields in the file */
    SQZ_ADAPTIVE_POOL,
    SQZ_ACTIVATION,
    SQZ_MULTIPLY,
    SQZ_SELECT,
    SQZ_UPSAMPLE,
    SQZ_LAYER_NORM
};

/* Functions of SQZ_ACTIVATION: their numbers in the file. */
enum {
    SQZ_CLAMP,
    SQZ_LEAKY_RELU,
    SQZ_ELU,
    SQZ_HARD_SIGMOID,
    SQZ_HARD_SWISH,
    SQZ_SIGMOID,
    SQZ_SILU,
    SQZ_TANH,
    SQZ_GELU,
    SQZ_GELU_TANH,
    SQZ_MISH,
    SQZ_SOFTPLUS,
    SQZ_POWER,
    SQZ_FUNCTIONS /* how many */
};

enum {
    SQZ_WIDEST = (1 << 24) - 1, /* largest magnitude of an element of a wide value */
    SQZ_HIGHEST = 255,          /* largest stored element of the other values */
    SQZ_TABLE = 256,            /* entries of the table of an activation: one for each stored element */
    SQZ_FINER = 64,             /* a wide mean has the scale exponent of its input minus 64: 1/256 of its step */
    SQZ_ALIGNMENT = 64          /* bytes */
};

/* An element q of a value stands for the real number (q - zero) * 2^(exponent / 8). */
typedef struct {
    int32_t exponent; /* scale exponent, in eighths of an octave */
    int32_t zero;     /* zero point: the stored element that stands for 0 */
    int wide;         /* elements have 32 bits, and the zero point is 0 */
    int nine_bit;     /* elements have 9 bits, and the zero point is 0 */
} sqz_scale;

typedef struct {
    uint32_t channels, height, width; /* as stored; a flat value has (its length, 1, 1) */
    uint32_t ring; /* rows in memory: row r lies where row r - ring lay before. The whole height, except in rows.c. */
    sqz_scale scale;
    uint32_t bytes; /* of an element */
    size_t offset;  /* bytes from the start of the running memory to its first element */
    size_t pitch;   /* elements from one position to the next: the number of channels of its host */
#ifndef SQZ_ROWS_ONLY
    int flat;
    uint32_t host;         /* number of the value in whose memory this one lies; its own number if it has no host */
    uint32_t host_channel; /* the channel of the host at which it begins */
    uint32_t reader_count; /* how many inputs of operations read it */
    uint32_t last_read;    /* last time at which it is read; value v is made at time v */
    uint32_t busy_until;   /* last time at which it, a value inside it, or a slice of it is read */
#endif
} sqz_value;

/* The sum of an output -> its stored element: (sum * multiplier + offset) >> shift */
typedef struct {
    int64_t offset;
    int32_t multiplier, shift;
} sqz_factor;

/* How a layer is computed: in plain loops, each channel by itself, or by tiles with packed weights (kernels.h). Plain
 * loops compute all layers of the reference path, and depthwise convolutions of floats. */
typedef enum { SQZ_PLAIN, SQZ_DEPTHWISE, SQZ_PACKED } sqz_method;

/* With SQZ_ROWS_ONLY, the fields that rows.c does not need are left out, here and in `sqz_value`. */
typedef struct {
    uint8_t kind;
    uint32_t inputs, first_input; /* how many inputs; index of the first one in `network->inputs` */
    uint32_t result;              /* number of the value that it makes */
    uint32_t rows;                /* it computes so many rows: of its result, or of the input of a global average */
    void (*work)(const sqz_task *task, unsigned part);       /* computes it */
    uint32_t out, kernel[2], stride[2], dilation[2], groups; /* as in docs/FORMAT.md; pairs are (height, width) */
    uint32_t padding[4];                                     /* top, left, bottom, right */
    int counted, maximum;      /* of pools: whether padding counts, whether the maximum is taken */
    uint32_t start, counts[2]; /* selected channels; counts: also the windows of an adaptive pool, or repetitions */
    int32_t steps[2];
    uint32_t table;    /* layer: also computes the activation that is operation `table`; 0: none */
    size_t look_up;    /* of that activation, or of this one: its table, in bytes from the start of the weights */
    int32_t low, high; /* bounds of the stored elements of the result */
    uint32_t least;    /* rows that are computed at once, fewer at the end: all of them, except in rows.c */

    /* Layers only. The sums of each output are rescaled by an `sqz_factor`, or by its vector form (sqz_rescale). */
    sqz_method method;
    uint32_t vectors; /* most vectors of a block of outputs */
    void (*block)(const sqz_task *task, const sqz_layout *layout, uint32_t group, uint32_t first, uint32_t vectors,
                  sqz_block *block); /* prepares the weights of a block */
    void (*finish)(const sqz_task *task, const void *sums, const sqz_tile *tile, const sqz_block *block,
                   const sqz_place *to); /* takes the sums of a tile */
    uint32_t repeat; /* depthwise: so many positions are computed as one with `repeat` times the channels */
    int vector;      /* every factor can be written in the vector form */
    size_t weights, factors, initial; /* bytes from the start of the memory of weights */

    /* In rows.c only. */
    uint32_t lag;         /* further rows of its input that it waits for */
    uint32_t waits;       /* index of the first number in `rows->waits`, */
    uint32_t wait_count;  /* and how many */
    uint32_t mean;        /* layer or global average: the value of the mean that it computes; 0: none */
    uint32_t pool;        /* layer: also computes its part of a maximum pool, which is operation `pool` - 1; 0: none */
    uint32_t channel;     /* first channel of this part */
    uint32_t stream;      /* bytes of the level stream at `weights`, if the weights are decoded */
    size_t patches;       /* if they are packed: what does not fit 4 bits (blocks.c); otherwise 0 */
    size_t scratch, sums; /* bytes from the start of the memory: scratch memory; sums of a mean so far */

#ifndef SQZ_ROWS_ONLY
    int ceil;          /* of pools: whether the last window may hang over */
    uint32_t function; /* of an activation, with the parameters a and b */
    float a, b;        /* a: also the epsilon of a layer normalisation */
    uint32_t size;     /* local response normalisation only, like the next three */
    float alpha, beta, k;
    float cap; /* of a ReLU; 0: none */
    int relu;  /* float layer: also computes the ReLU that follows it, with `cap` */
    int skip;  /* nothing to compute: another operation does it, or input and result share their memory */
    size_t multipliers, offsets; /* of a layer: bytes from the start of the memory of weights */
    int chains;                  /* of a layer: its weights are in chains (kernels.h), */
    size_t segments;             /* whose segments lie there */
    size_t weights_bytes;        /* of a layer: memory for its weights */
    const uint8_t *coded;        /* where the layer begins in the file */
    uint64_t cost;               /* of decoding it: roughly proportional to time */
    unsigned part;               /* the part of the team that decodes it */
    int status;                  /* SQZ_OK, or the damage that was found */
#endif
} sqz_op;

struct sqz_network {
    const struct sqz_kernels *kernels; /* NULL: plain loops compute all operations */
    int floats;                        /* whether this is a float network */
    uint32_t op_count, input_count;    /* operations; inputs of all of them together */
    sqz_op *ops;                       /* op_count */
    sqz_value *values;                 /* op_count + 1 */
    uint32_t *inputs;                  /* input_count numbers of values */
    size_t scratch_bytes;              /* of memory for each part */
    uint8_t *weights;                  /* laid out for the path */
#ifndef SQZ_ROWS_ONLY
    int by_rows;                                        /* whether it is read for the planner of rows.c */
    sqz_outputs outputs;                                /* what the logits mean */
    sqz_preparation preparation;                        /* of an image */
    uint32_t *live;                                     /* op_count + 1 numbers of values, for the planner */
    const uint8_t *coded, *coded_end;                   /* the weights in the file */
    size_t weights_bytes, decoding_bytes, values_bytes; /* of memory; decoding: for each part */
#endif
};

/* The value that an operation makes. */
static inline const sqz_value *sqz_made(const sqz_network *network, const sqz_op *op)
{
    return network->values + op->result;
}

/* The first input of an operation. */
static inline const sqz_value *sqz_source(const sqz_network *network, const sqz_op *op)
{
    return network->values + network->inputs[op->first_input];
}

static inline uint32_t sqz_channel_count(const sqz_preparation *preparation)
{
    return preparation->channels == SQZ_L ? 1 : 3;
}

/* Whether an operation has weights. */
static inline int sqz_is_layer(const sqz_op *op)
{
    return op->kind == SQZ_CONVOLUTION || op->kind == SQZ_LINEAR;
}

/* Whether each channel of a convolution has its own kernel. */
static inline int sqz_is_depthwise(const sqz_network *network, const sqz_op *op)
{
    return op->groups > 1 && op->groups == op->out && op->out == sqz_source(network, op)->channels;
}

/* Whether the section of weights has something for an operation: in an integer network, an activation has a table. */
static inline int sqz_is_coded(const sqz_network *network, const sqz_op *op)
{
    return sqz_is_layer(op) || (op->kind == SQZ_ACTIVATION && !network->floats);
}

/* `bytes`, rounded up to a multiple of SQZ_ALIGNMENT. */
static inline size_t sqz_aligned(size_t bytes)
{
    return (bytes + SQZ_ALIGNMENT - 1) / SQZ_ALIGNMENT * SQZ_ALIGNMENT;
}

/* The first aligned address from `memory` on. */
static inline uint8_t *sqz_align(void *memory)
{
    return (uint8_t *)memory + (SQZ_ALIGNMENT - (uintptr_t)memory % SQZ_ALIGNMENT) % SQZ_ALIGNMENT;
}

/* Index of the first item of `part`, where `count` items are split evenly into parts 0 to `parts` - 1. The result for
 * part = parts is `count`, the end of the last part. */
static inline size_t sqz_part_start(size_t count, size_t part, size_t parts)
{
    return (size_t)((uint64_t)count * part / parts);
}

#endif
