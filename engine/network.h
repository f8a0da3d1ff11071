/* A network as the engine holds it: operations on values, where each value lies, how each operation is computed.
 *
 * Every value is in the order (height, width, channels): bytes in an integer network, or 32 bits where a value is wide;
 * else floats. A value may live inside another: what is joined is written where the joined value stands.
 *
 * A deep value, 0 to 510, has twice its channels: first the lower halves, min(x, 255), then the upper ones,
 * max(x - 255, 0). A layer writes both, and one that reads them has its weights twice. Nothing else has to know. */
#ifndef SQZ_NETWORK_H
#define SQZ_NETWORK_H

#include "sqz.h"

struct sqz_kernels;

/* Numbers of the file. */
enum {
    SQZ_CONVOLUTION = 1,
    SQZ_LINEAR,
    SQZ_RELU,
    SQZ_CAPPED,
    SQZ_MAX_POOL,
    SQZ_MAX_POOL_CEIL,
    SQZ_AVERAGE_POOL,
    SQZ_GLOBAL_AVERAGE,
    SQZ_NORMALISATION,
    SQZ_CONCAT,
    SQZ_ADD,
    SQZ_FLATTEN
};

enum {
    SQZ_WIDEST = (1 << 24) - 1, /* where wide values are cut off */
    SQZ_HIGHEST = 255,          /* where others are */
    SQZ_FINER = 64,             /* eighths by which a wide mean is finer than what it is the mean of */
    SQZ_ALIGNMENT = 64
};

typedef struct {
    int32_t exponent; /* in eighths of an octave */
    int32_t zero;
    int wide, deep;
} sqz_scale;

typedef struct {
    uint32_t channels, height, width; /* as it is stored; of a flat value: its length, 1, 1 */
    int flat;
    sqz_scale scale;
    uint32_t home, channel; /* the value in whose memory it lives, perhaps its own, and the channel where it begins */
    uint32_t reads, last;   /* how often it is read, and the last time; value v is made at time v */
    uint32_t free;          /* the last time at which it or a guest is read */
    uint32_t bytes;         /* of an element */
    size_t at;              /* bytes from the start of the running memory */
    size_t step;            /* elements from one place to the next */
} sqz_value;

/* How a layer is computed. */
typedef enum { SQZ_PLAIN, SQZ_DEPTHWISE, SQZ_PACKED } sqz_method;

typedef struct {
    uint8_t kind;
    uint32_t inputs, from; /* how many, and where they stand in `network->inputs` */
    uint32_t out, kernel[2], stride[2], padding[2], groups;
    uint32_t size; /* of a normalisation, then its numbers */
    float alpha, beta, k;
    float cap;         /* 0: none */
    int relu;          /* of a layer of floats: the ReLU behind it, with this cap, is done here */
    int skip;          /* nothing is left to do: another operation does it, or the values share their memory */
    int32_t low, high; /* bounds of the results, as they are stored */

    /* Of layers. Each output has a factor, or in the vector form a start, a multiplier and an offset. */
    sqz_method method;
    int vector; /* all factors have the vector form */
    size_t weights, factors, starts, multipliers, offsets; /* where they stand in the memory of weights */
    const uint8_t *at;                                     /* where an integer layer begins in the file, */
    uint64_t effort;                                       /* what reading it takes, */
    unsigned part;                                         /* who reads it, */
    int status;                                            /* and what came of it */
} sqz_op;

/* (sum * multiplier + offset) >> shift */
typedef struct {
    int64_t offset;
    int32_t multiplier, shift;
} sqz_factor;

struct sqz_network {
    const struct sqz_kernels *kernels; /* NULL: the reference */
    int floats;                        /* no integer network */
    sqz_preparation preparation;       /* of an image */
    uint32_t count, reads;             /* operations; inputs of all of them together */
    sqz_op *ops;
    sqz_value *values;
    uint32_t *inputs, *live;
    const uint8_t *at, *end; /* of the file: the weights */
    size_t weights_bytes, decoding_bytes, values_bytes, scratch_bytes;
    uint8_t *weights;
};

static inline const sqz_value *sqz_source(const sqz_network *network, const sqz_op *op)
{
    return network->values + network->inputs[op->from];
}

static inline uint32_t sqz_channel_count(const sqz_preparation *preparation)
{
    return preparation->channels == SQZ_L ? 1 : 3;
}

static inline int sqz_is_layer(const sqz_op *op)
{
    return op->kind == SQZ_CONVOLUTION || op->kind == SQZ_LINEAR;
}

static inline size_t sqz_aligned(size_t bytes)
{
    return (bytes + SQZ_ALIGNMENT - 1) / SQZ_ALIGNMENT * SQZ_ALIGNMENT;
}

static inline uint8_t *sqz_align(void *memory)
{
    return (uint8_t *)memory + (SQZ_ALIGNMENT - (uintptr_t)memory % SQZ_ALIGNMENT) % SQZ_ALIGNMENT;
}

/* The part of `count` that is the share of `part` of `parts`. */
static inline size_t sqz_share(size_t count, size_t part, size_t parts)
{
    return (size_t)((uint64_t)count * part / parts);
}

#endif
