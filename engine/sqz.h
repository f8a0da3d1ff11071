/* The engine: reads a `.sqz` file (docs/FORMAT.md) from a buffer and runs the network in it.
 *
 *     size_t size;
 *     sqz_network *network;
 *     if (sqz_measure(file, bytes, &size) != SQZ_OK) ...
 *     if (sqz_open(file, bytes, sqz_best_path(), malloc(size), &network) != SQZ_OK) ...
 *     sqz_needs needs = sqz_ask(network, 1);
 *     if (sqz_prepare(network, malloc(needs.weights), malloc(needs.decoding), NULL) != SQZ_OK) ...
 *     sqz_run(network, image, logits, malloc(needs.running), NULL);
 *
 * Portable C99. Nothing is allocated, printed or kept between calls. All memory is the caller's, aligned as malloc
 * aligns; it need not be cleared. The file is read by sqz_measure, sqz_open and sqz_prepare only; a damaged or hostile
 * one is refused with a status, and neither read past nor trusted.
 * After sqz_prepare a network never changes: any number of threads may run it, each with its own running memory. */
#ifndef SQZ_H
#define SQZ_H

#include <stddef.h>
#include <stdint.h>

#include "levels.h" /* SQZ_OK, SQZ_TRUNCATED, SQZ_TRAILING */

enum {
    SQZ_NOT_SQZ = -5,     /* does not begin with the magic bytes */
    SQZ_VERSION = -6,     /* a version or a flag that is newer than this reader */
    SQZ_CHECKSUM = -7,    /* not the bytes that were written */
    SQZ_BAD_GRAPH = -8,   /* unknown operation, impossible shape, scales that do not go together */
    SQZ_BAD_STREAM = -9,  /* a number or a stream that contradicts itself or the graph */
    SQZ_LIMIT = -10       /* more memory or time than a file of its size may ask for */
};

/* How a network is computed. An integer network gives the same logits on every path, to the bit. One of floats gives
 * the same bits run after run, for any number of threads; paths differ by some millionths of the largest logit. */
typedef enum {
    SQZ_REFERENCE,
    SQZ_SCALAR,
    SQZ_AVX2,
    SQZ_AVX512VNNI,
    SQZ_NEON,
    SQZ_NEONDOT,
    SQZ_SIMD128, /* of WebAssembly */
    SQZ_PATHS
} sqz_path;

const char *sqz_path_name(sqz_path path);
int sqz_has_path(sqz_path path); /* on this machine */
sqz_path sqz_best_path(void);

typedef struct sqz_network sqz_network;

/* Bytes of memory that a network needs. */
typedef struct {
    size_t weights;  /* from sqz_prepare to the last run */
    size_t decoding; /* during sqz_prepare */
    size_t running;  /* during a run */
} sqz_needs;

/* Whoever shares work out: `each` calls work(task, part) for every part from 0 to parts - 1, in any order and on any
 * threads, and returns when all are done. */
typedef struct {
    unsigned parts;
    void (*each)(void *context, void (*work)(const void *task, unsigned part), const void *task);
    void *context;
} sqz_team;

/* Bytes of memory that sqz_open needs. */
int sqz_measure(const uint8_t *file, size_t bytes, size_t *memory);

/* Read everything but the weights. `file` and `memory` stay where they are until sqz_prepare and the last run. */
int sqz_open(const uint8_t *file, size_t bytes, sqz_path path, void *memory, sqz_network **network);

/* What preparing and running take where so many parts share the work. */
sqz_needs sqz_ask(const sqz_network *network, unsigned parts);

/* Decode the weights and lay them out for the path. A team reads several layers of an integer network at once; the
 * result is the same, and so is the status. Networks of floats are read by one. `team` may be NULL. */
int sqz_prepare(sqz_network *network, void *weights, void *decoding, const sqz_team *team);

void sqz_image_shape(const sqz_network *network, uint32_t shape[3]); /* channels, height, width */
uint32_t sqz_classes(const sqz_network *network);
uint32_t sqz_layers(const sqz_network *network); /* operations with weights, which have names in the text */

typedef enum { SQZ_RGB, SQZ_BGR, SQZ_L } sqz_channels;

/* How an image becomes what the network reads: resized, bilinear and antialiased; the centre cut out; normalised. */
typedef struct {
    uint32_t resize, crop;
    int shorter; /* the shorter side is resized and the shape kept; else the image is stretched to a square */
    sqz_channels channels;
    float mean[3], std[3];
} sqz_preparation;

const sqz_preparation *sqz_preparation_of(const sqz_network *network);

/* Pixels of the crop, row by row, each of the bytes R, G, B or one of gray -> a prepared image. */
void sqz_normalise(const sqz_network *network, const uint8_t *pixels, float *image);

/* A prepared image (channels, height, width) -> logits. `team` may be NULL: one part, in this thread. */
void sqz_run(const sqz_network *network, const float *image, float *logits, void *running, const sqz_team *team);

/* The text of a file that sqz_open has checked: names and labels (docs/FORMAT.md, "Text"). First its length, then its
 * bytes, for which there is room. */
int sqz_text_measure(const uint8_t *file, size_t bytes, size_t *length);
int sqz_text_read(const uint8_t *file, size_t bytes, uint8_t *text);

#endif
