/* The state of a resizing (resize.c), and its inner loops, of which AVX2 has its own (resize_avx2.c). */
#ifndef SQZ_RESIZER_H
#define SQZ_RESIZER_H

#include "kernels.h"

enum {
    SQZ_WEIGHT_BITS = 22, /* of a weight, after the point */
    SQZ_LOW_BITS = 11,    /* of them in the lower half of a weight for rows */
    SQZ_STEP = 8          /* windows of rows are multiples of this: elements of a vector */
};

/* One direction of the resizing. Pixel i of the result is computed from `count[i]` pixels, the first is `start[i]`. */
typedef struct {
    uint32_t size, most; /* pixels of the result, and of the longest window */
    uint32_t *start, *count;
} sqz_axis;

/* A side of the image: the part that becomes the crop, and the averaging before it. */
typedef struct {
    uint32_t begin, end, factor; /* pixels of the image that are averaged, and how many become one */
    uint32_t size;               /* pixels after averaging */
    float from, to;              /* of these, the part that becomes the crop */
    uint32_t skipped;            /* rows before those that `from` and `to` count from */
} sqz_side;

typedef struct sqz_resizer sqz_resizer;

/* Inner loops. The results do not depend on their choice. */
typedef struct {
    void (*separate)(const sqz_resizer *r, const uint8_t *row, uint32_t width); /* pixels -> `line`, plane by plane */
    void (*row)(const sqz_resizer *r, uint8_t *row);                            /* `line` -> a resized row */
    void (*columns)(const sqz_resizer *r, uint32_t i); /* resized rows -> row i of the result */
} sqz_resizing;

struct sqz_resizer {
    sqz_resizing loops;
    sqz_side x, y;
    sqz_axis across, down;
    uint32_t samples, planes, outputs; /* bytes of a pixel: of the image, while it is resized, of the result */
    uint32_t row, made, next;          /* rows: of the image so far, after averaging, of the result */
    uint32_t room;                     /* elements of a plane */
    int16_t *low, *high;               /* the two halves of the weights for rows: (width, most) */
    int32_t *weights;                  /* for columns: (height, most) */
    int16_t *line;                     /* a row of the image, plane by plane */
    uint32_t *sums;                    /* of the rows that are averaged */
    uint8_t *rows;                     /* the newest resized rows */
    uint8_t *pixels;                   /* the result */
};

#ifdef SQZ_X86
extern const sqz_resizing sqz_resizing_avx2; /* for 4 bytes a pixel and 3 planes */
#endif

#endif
