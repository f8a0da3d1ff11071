/* One model in one instance of WebAssembly; web/squeezenet.js calls these functions.
 *
 *     file(bytes)               room for the .sqz file, or 0 if there is no memory
 *     load(bytes)               0, or the status of the engine, or OUT_OF_MEMORY
 *     start(width, height)      room for `strip_rows` rows of the part `box` of an image of RGBA pixels, or 0
 *     rows(count)               resize so many of them; call it for all rows of the part
 *     run_pixels()              the logits, or 0
 *
 * Or prepared(), room for a prepared image, and run().
 * Memory is a stack: what a model keeps lies below, what a call needs above. It is never given back; to release a model
 * is to drop its instance. */
#include "network.h"

#define EXPORT(name) __attribute__((export_name(name)))

enum { OUT_OF_MEMORY = 1, PAGE = 1 << 16, STRIP = 1 << 20 /* bytes of pixels that come at once */ };

extern uint8_t __heap_base; /* the first byte after the stack and the constants; set by the linker */

static uint8_t *top; /* the first free byte */
static uint8_t *kept; /* `top` when no call is under way */
static uint8_t *file, *strip, *running, *pixels, *resizer;
static float *image, *logits;
static const char **labels;
static sqz_network *network;
static sqz_box part;
static uint32_t strip_rows;

/* The next `bytes` bytes of memory, or NULL. */
static void *take(size_t bytes)
{
    uint8_t *found = top;
    const uint64_t end = (uint64_t)(uintptr_t)top + (bytes + 63) / 64 * 64;
    const uint64_t held = (uint64_t)__builtin_wasm_memory_size(0) * PAGE;
    if (end > UINT32_MAX - PAGE) return NULL;
    if (end > held && __builtin_wasm_memory_grow(0, (size_t)((end - held + PAGE - 1) / PAGE)) == SIZE_MAX) return NULL;
    top = (uint8_t *)(uintptr_t)end;
    return found;
}

EXPORT("file") uint8_t *room_for_file(size_t bytes)
{
    top = (uint8_t *)(((uintptr_t)&__heap_base + 63) / 64 * 64);
    network = NULL;
    file = take(bytes);
    return file;
}

static int read_text(size_t bytes)
{
    size_t length, memory;
    const int status = sqz_text_measure(file, bytes, &length, &memory);
    if (status != SQZ_OK) return status;
    labels = take(sqz_classes(network) * sizeof *labels);
    uint8_t *text = take(length);
    kept = top;
    void *working = take(memory);
    if (labels == NULL || text == NULL || working == NULL) return OUT_OF_MEMORY;
    const int read = sqz_text_read(file, bytes, text, working);
    return read != SQZ_OK ? read : sqz_text_labels(network, text, length, labels);
}

EXPORT("load") int load(size_t bytes)
{
    size_t size;
    sqz_network *opened;
    int status = sqz_measure(file, bytes, &size);
    if (status != SQZ_OK) return status;
    void *memory = take(size);
    if (memory == NULL) return OUT_OF_MEMORY;
    status = sqz_open(file, bytes, sqz_best_path(), memory, &opened);
    if (status != SQZ_OK) return status;
    network = opened;
    const sqz_needs needs = sqz_ask(network, 1);
    void *weights = take(needs.weights);
    logits = take(sqz_classes(network) * sizeof *logits);
    kept = top;
    void *decoding = take(needs.decoding);
    if (weights == NULL || logits == NULL || decoding == NULL) return OUT_OF_MEMORY;
    status = sqz_load_weights(network, weights, decoding, NULL);
    top = kept;
    if (status == SQZ_OK) status = read_text(bytes);
    top = kept;
    return status;
}

EXPORT("classes") uint32_t classes(void)
{
    return sqz_classes(network);
}

/* 1: each output is a label of its own. */
EXPORT("outputs") int outputs(void)
{
    return sqz_outputs_of(network) == SQZ_LABELS;
}

/* UTF-8 that ends with a byte 0, or NULL. */
EXPORT("label") const char *label(uint32_t index)
{
    return labels[index];
}

EXPORT("path") const char *path(void)
{
    return sqz_path_name(sqz_best_path());
}

EXPORT("shape") const uint32_t *shape(void)
{
    static uint32_t found[3]; /* channels, height, width */
    sqz_image_shape(network, found);
    return found;
}

/* Left, top, right, bottom of the part of the image that is needed. */
EXPORT("box") const sqz_box *box(void)
{
    return &part;
}

EXPORT("strip_rows") uint32_t rows_at_once(void)
{
    return strip_rows;
}

EXPORT("start") uint8_t *start(uint32_t width, uint32_t height)
{
    const sqz_preparation *p = sqz_preparation_of(network);
    const size_t needed = sqz_resize_memory(p, width, height, 4);
    const size_t area = (size_t)p->crop[0] * p->crop[1];
    if (needed == 0) return NULL;
    top = kept;
    image = take(3 * area * sizeof *image);
    pixels = take(3 * area);
    resizer = take(needed);
    if (image == NULL || pixels == NULL || resizer == NULL) return NULL;
    part = sqz_resize_start(p, width, height, 4, pixels, resizer);
    const size_t row = 4 * (size_t)(part.right - part.left);
    strip_rows = row > STRIP ? 1 : (uint32_t)(STRIP / row);
    strip = take(row * strip_rows);
    return strip;
}

/* A channel on white, as Pillow's alpha_composite computes it for a background without transparency. */
static uint8_t on_white(uint32_t channel, uint32_t alpha)
{
    const uint32_t blended = (channel * alpha + 255 * (255 - alpha)) * 128 + (0x80 << 7);
    return (uint8_t)(((blended >> 8) + blended) >> 8 >> 7);
}

EXPORT("rows") void rows(uint32_t count)
{
    const size_t row = 4 * (size_t)(part.right - part.left);
    for (size_t i = 0; i < count * row; i += 4) {
        const uint8_t alpha = strip[i + 3];
        if (alpha == 255) continue;
        for (size_t c = 0; c < 3; c++) strip[i + c] = on_white(strip[i + c], alpha);
    }
    for (uint32_t y = 0; y < count; y++) sqz_resize_row(resizer, strip + y * row);
}

EXPORT("run") const float *run(void)
{
    running = take(sqz_ask(network, 1).running);
    if (running == NULL) return NULL;
    sqz_run(network, image, logits, running, NULL);
    return logits;
}

EXPORT("run_pixels") const float *run_pixels(void)
{
    sqz_normalise(network, pixels, image);
    return run();
}

/* Room for a prepared image, channels x height x width floats, which replaces start and rows. */
EXPORT("prepared") float *prepared(void)
{
    const sqz_preparation *p = sqz_preparation_of(network);
    top = kept;
    image = take(3 * (size_t)p->crop[0] * p->crop[1] * sizeof *image);
    return image;
}
