/* The code that `squeezenet export --to c` wrote, behind tool.h. The image comes in rows, as from a camera. */
#include "model.h"
#include "tool.h"

static model_memory memory;
static int32_t logits[MODEL_CLASSES];

void begin(void)
{
    if (image_bytes != (uint32_t)MODEL_HEIGHT * MODEL_WIDTH * MODEL_CHANNELS) failed("the image has another size");
}

void classify(void)
{
    model_begin(&memory);
    for (uint32_t y = 0; y < MODEL_HEIGHT; y++) model_row(&memory, image + y * MODEL_WIDTH * MODEL_CHANNELS);
    model_finish(&memory, logits);
}

void finish(void)
{
    for (uint32_t i = 0; i < MODEL_CLASSES; i++) told("logit", (uint32_t)logits[i]);
}
