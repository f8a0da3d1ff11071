/* A function of one image and its logits, both of floats, as emx-onnx-cgen and onnx2c write it, behind tool.h. */
#include "tool.h"

void ENTRY(const void *image, float *logits);

static float logits[CLASSES];

void begin(void)
{
}

void classify(void)
{
    ENTRY(image, logits);
}

void finish(void)
{
    const uint32_t *bits = (const uint32_t *)(const void *)logits;
    for (uint32_t i = 0; i < CLASSES; i++) told("logit", bits[i]);
}
