/* The engine: reads a `.sqz` file (docs/FORMAT.md) from memory and runs the network in it.
 *
 *     size_t size;
 *     sqz_network *network;
 *     if (sqz_measure(file, bytes, &size) != SQZ_OK) ...
 *     if (sqz_open(file, bytes, sqz_best_path(), malloc(size), &network) != SQZ_OK) ...
 *     sqz_needs needs = sqz_ask(network, 1);
 *     if (sqz_load_weights(network, malloc(needs.weights), malloc(needs.decoding), NULL) != SQZ_OK) ...
 *     sqz_prepare(network, pixels, 3 * width, width, height, 3, image, malloc(sqz_prepare_memory(...)));
 *     sqz_run(network, image, logits, malloc(needs.running), NULL);
 *
 * Portable C99. The engine allocates nothing, prints nothing and keeps no state between calls. The caller provides all
 * memory; it must be aligned as malloc aligns, and need not be cleared. Only functions with an argument `file`
 * and sqz_load_weights read the file. A damaged or hostile file is refused with a status; nothing is read past its end. A network does not
 * change after sqz_load_weights: any number of threads may run it, each with its own running memory. */
#ifndef SQZ_H
#define SQZ_H

#include <stddef.h>
#include <stdint.h>

/* Raised when a program that was compiled for an older library could fail; it is also in the name of the shared library
 * (libsqz.so.1). New functions do not raise it. */
#define SQZ_ABI 1

#ifndef SQZ_API
#define SQZ_API
#endif
#ifdef __cplusplus
extern "C" {
#endif

enum {
    SQZ_OK = 0,
    SQZ_TRUNCATED = -1,  /* the file ends before its last number */
    SQZ_TRAILING = -2,   /* the file goes on after its last number */
    SQZ_TOO_LARGE = -3,  /* a number over the largest one that the format has */
    SQZ_NO_ROOM = -4,    /* the memory for the result is too small */
    SQZ_NOT_SQZ = -5,    /* does not begin with the magic bytes */
    SQZ_VERSION = -6,    /* a version or a flag that is newer than this reader */
    SQZ_CHECKSUM = -7,   /* not the bytes that were written */
    SQZ_BAD_GRAPH = -8,  /* unknown operation, impossible shape, scales that contradict each other */
    SQZ_BAD_STREAM = -9, /* a number or a stream that contradicts the graph, or itself */
    SQZ_LIMIT = -10,     /* more memory or time than a file of its size may ask for */
    SQZ_NOT_DELTA = -11, /* does not begin with the magic bytes of a delta */
    SQZ_WRONG_OLD = -12, /* the delta is for another old file */
    SQZ_STOPPED = -13    /* a function of the caller asked to stop */
};

/* Path: the instruction set that computes a network. An integer network gives the same logits on every path, to the
 * bit. A float network gives the same bits in every run and for any number of threads; its logits on two paths differ
 * by some millionths of the largest logit. */
typedef enum {
    SQZ_REFERENCE, /* every operation in plain loops */
    SQZ_SCALAR,    /* any machine */
    SQZ_SMALL,     /* machines with 32-bit registers and without vectors */
    SQZ_AVX2,
    SQZ_AVXVNNI, /* AVX2 with dot products of bytes */
    SQZ_AVX512VNNI,
    SQZ_NEON,
    SQZ_NEONDOT,
    SQZ_NEONI8MM, /* products of matrices of bytes */
    SQZ_SIMD128,  /* WebAssembly */
    SQZ_DSP,      /* Cortex-M with the DSP extension */
    SQZ_MVE,      /* Cortex-M with the vector extension */
    SQZ_PATHS     /* number of paths */
} sqz_path;

SQZ_API const char *sqz_path_name(sqz_path path);
SQZ_API int sqz_has_path(sqz_path path); /* whether this machine has it */
SQZ_API sqz_path sqz_best_path(void);

typedef struct sqz_network sqz_network;

/* Bytes of memory that a network needs, in addition to what sqz_measure returns. */
typedef struct {
    size_t weights;  /* from sqz_load_weights to the last run */
    size_t decoding; /* during sqz_load_weights */
    size_t running;  /* during a run */
} sqz_needs;

/* A team of threads, which the caller provides. `each` calls work(task, part) for every part from 0 to parts - 1, in
 * any order and on any threads, and returns when all are done. */
typedef struct {
    unsigned parts;
    void (*each)(void *context, void (*work)(const void *task, unsigned part), const void *task);
    void *context; /* first argument of `each` */
} sqz_team;

/* How many bytes of memory sqz_open needs. */
SQZ_API int sqz_measure(const uint8_t *file, size_t bytes, size_t *memory);

/* Read everything but the weights. `file` must stay in place until sqz_load_weights has returned, `memory` until the
 * last run. */
SQZ_API int sqz_open(const uint8_t *file, size_t bytes, sqz_path path, void *memory, sqz_network **network);

/* The memory that the network needs if a team of `parts` loads and runs it. */
SQZ_API sqz_needs sqz_ask(const sqz_network *network, unsigned parts);

/* Decode the weights and lay them out as the path multiplies them. A team decodes several layers of an integer network
 * at once; result and status do not depend on the team. A float network is decoded by one part. `team` may be NULL. */
SQZ_API int sqz_load_weights(sqz_network *network, void *weights, void *decoding, const sqz_team *team);

SQZ_API void sqz_image_shape(const sqz_network *network, uint32_t shape[3]); /* channels, height, width */
SQZ_API uint32_t sqz_classes(const sqz_network *network);

/* What the logits mean: one of the classes is right, and the probabilities are their softmax; or each of them is a label
 * of its own, with the probability 1 / (1 + exp(-logit)). A network with one output has one label. */
typedef enum { SQZ_CLASSES, SQZ_LABELS } sqz_outputs;

SQZ_API sqz_outputs sqz_outputs_of(const sqz_network *network);
SQZ_API uint32_t sqz_layers(const sqz_network *network); /* operations with weights; the text has a name for each */

typedef enum { SQZ_RGB, SQZ_BGR, SQZ_L } sqz_channels;

/* How an image becomes the input of the network (docs/FORMAT.md, "Preparation of an image"). The caller decodes it, the
 * functions sqz_resize_... resize and crop it, and sqz_normalise does the rest. */
typedef struct {
    uint32_t resize[2], crop[2]; /* (height, width) in pixels after resizing, and after cropping */
    int shorter;                 /* 1: the smallest size of the image's aspect ratio that covers `resize` */
    sqz_channels channels;
    float mean[3], std[3]; /* of each channel: (pixel - mean) / std */
} sqz_preparation;

SQZ_API const sqz_preparation *sqz_preparation_of(const sqz_network *network);

/* Resize and crop an image of any size, to the same pixels as squeezenet in Python. `samples`: bytes of a pixel of the
 * image: 1 (grey), 3 (R G B), or 4 (R G B and a byte without meaning). First the bytes of memory, or 0 if the numbers
 * are impossible. Then start: `pixels`, the result, has room for height x width x channels of the network. Start tells
 * which part of the image is needed. Then give the rows `top` to `bottom - 1` of this part, each from the pixel `left`
 * on, one after the other. */
typedef struct {
    uint32_t left, top, right, bottom; /* right and bottom: first pixels that do not belong to the part */
} sqz_box;

SQZ_API size_t sqz_resize_memory(const sqz_preparation *preparation, uint32_t width, uint32_t height, uint32_t samples);
SQZ_API sqz_box sqz_resize_start(const sqz_preparation *preparation, uint32_t width, uint32_t height, uint32_t samples,
                                 uint8_t *pixels, void *memory);
SQZ_API void sqz_resize_row(void *memory, const uint8_t *row);

/* Pixels (height, width, 3) in the order R G B, or (height, width) of grey -> a prepared image (channels, height,
 * width). */
SQZ_API void sqz_normalise(const sqz_network *network, const uint8_t *pixels, float *image);

/* All of this at once: an image whose rows are `stride` bytes apart -> a prepared image. `memory`: as many bytes as
 * sqz_prepare_memory returns; 0 if the numbers are impossible. */
SQZ_API size_t sqz_prepare_memory(const sqz_network *network, uint32_t width, uint32_t height, uint32_t samples);
SQZ_API void sqz_prepare(const sqz_network *network, const uint8_t *pixels, size_t stride, uint32_t width,
                         uint32_t height, uint32_t samples, float *image, void *memory);

/* A prepared image (channels, height, width) -> logits (classes). `team` may be NULL: then this thread does all
 * work. */
SQZ_API void sqz_run(const sqz_network *network, const float *image, float *logits, void *running,
                     const sqz_team *team);

/* The text of a file that sqz_open has accepted: names and labels (docs/FORMAT.md, "Text"). First its length and the
 * bytes of working memory (about 460 kB; none for a file of version 1), then its bytes: `text` must have room for them. */
SQZ_API int sqz_text_measure(const uint8_t *file, size_t bytes, size_t *length, size_t *memory);
SQZ_API int sqz_text_read(const uint8_t *file, size_t bytes, uint8_t *text, void *memory);

/* The label of each class in such a text, as UTF-8 that ends with a byte 0. `labels` has room for one pointer a class,
 * into `text`; all are NULL if the file has no labels. */
SQZ_API int sqz_text_labels(const sqz_network *network, const uint8_t *text, size_t length, const char **labels);

/* Takes the next bytes of a new file, which begin at `offset`. Returns 0, or something else to stop. */
typedef int (*sqz_write)(void *context, size_t offset, const uint8_t *bytes, size_t count);

/* Write the new file that a delta makes of an old one (docs/FORMAT.md, "Deltas"). Both are only read, from the start to
 * the end, and may lie in flash or in a mapped file. The new file is written in pieces, in order. The same call always
 * writes the same bytes: after a power cut, call it again and skip the bytes that are already written. The new file
 * must not be used unless the status is SQZ_OK.
 *
 * `*room`: before the call the bytes of `memory`, after the call the bytes that were needed. If the memory is too small,
 * the status is SQZ_NO_ROOM, and nothing was written. If not even the graphs of both files fitted, `*room` may still be
 * too small after the call: then call again. */
SQZ_API int sqz_delta_apply(const uint8_t *old, size_t old_bytes, const uint8_t *delta, size_t delta_bytes,
                            void *memory, size_t *room, sqz_write write, void *context);

/* Call body(context, team) with a team of at most `parts` POSIX threads, or of one where there are none. The threads
 * stay for about a millisecond, for a call that follows. No other function of this library starts threads. */
SQZ_API void sqz_with_team(unsigned parts, void (*body)(void *context, const sqz_team *team), void *context);

/* SQZ_ABI of the library that is in use. */
SQZ_API int sqz_abi(void);

#ifdef __cplusplus
}
#endif
#endif
