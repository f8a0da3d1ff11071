/* A classifier that squeezenet @VERSION@ wrote as C: @MODEL@
 *
 *     static model_memory memory;
 *     int32_t logits[MODEL_CLASSES];
 *     model_begin(&memory);
 *     for (int y = 0; y < MODEL_HEIGHT; y++) model_row(&memory, row y of the image);
 *     model_finish(&memory, logits);
 *
 * The functions allocate nothing, print nothing, and keep no state but in `memory`: images may be classified at the same
 * time in several memories. Between two images, the memory may be used for other things. */
#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MODEL_HEIGHT = @HEIGHT@,
    MODEL_WIDTH = @WIDTH@,
    MODEL_CHANNELS = @CHANNELS@, /* bytes of a pixel: @ORDER@ */
    MODEL_CLASSES = @CLASSES@,
    MODEL_MEMORY = @MEMORY@ /* bytes */
};

/* Logit i stands for the real number (float)logits[i] * MODEL_STEP. The order of the classes needs the integers only. */
#define MODEL_STEP @STEP@

typedef struct {
    @ALIGNED@uint64_t bytes[MODEL_MEMORY / 8];
} model_memory;

/* Begin an image. The memory need not be cleared. */
void model_begin(model_memory *memory);

/* The next row of the image, from top to bottom: MODEL_WIDTH pixels of MODEL_CHANNELS bytes. */
void model_row(model_memory *memory, const uint8_t *pixels);

/* After the last row. */
void model_finish(const model_memory *memory, int32_t logits[MODEL_CLASSES]);

@LABELS@

#ifdef __cplusplus
}
#endif

#endif
