/* Pixels of a cropped image -> the input of the network. */
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
