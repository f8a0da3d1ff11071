/* Pixels -> the input of the network. */
#include "network.h"
#include "subnormal.h"

void sqz_normalise(const sqz_network *network, const uint8_t *pixels, float *image)
{
    const sqz_preparation *p = &network->preparation;
    const size_t area = (size_t)p->crop[0] * p->crop[1];
    const uint32_t channels = sqz_channel_count(p);
    const uint64_t before = sqz_flush_subnormal();
    for (uint32_t c = 0; c < channels; c++) {
        const uint8_t *source = pixels + (p->channels == SQZ_BGR ? 2 - c : c);
        const float mean = p->mean[c], std = p->std[c];
        for (size_t i = 0; i < area; i++) image[c * area + i] = ((float)source[i * channels] - mean) / std;
    }
    sqz_restore_subnormal(before);
}

/* Bytes of the resized pixels, in steps of the alignment of malloc. */
static size_t pixel_bytes(const sqz_preparation *p)
{
    return ((size_t)p->crop[0] * p->crop[1] * sqz_channel_count(p) + 63) / 64 * 64;
}

size_t sqz_prepare_memory(const sqz_network *network, uint32_t width, uint32_t height, uint32_t samples)
{
    const size_t needed = sqz_resize_memory(&network->preparation, width, height, samples);
    return needed == 0 ? 0 : needed + pixel_bytes(&network->preparation);
}

void sqz_prepare(const sqz_network *network, const uint8_t *pixels, size_t stride, uint32_t width, uint32_t height,
                 uint32_t samples, float *image, void *memory)
{
    const sqz_preparation *p = &network->preparation;
    uint8_t *resized = memory, *rest = resized + pixel_bytes(p);
    const sqz_box box = sqz_resize_start(p, width, height, samples, resized, rest);
    for (uint32_t y = box.top; y < box.bottom; y++)
        sqz_resize_row(rest, pixels + y * stride + (size_t)box.left * samples);
    sqz_normalise(network, resized, image);
}
