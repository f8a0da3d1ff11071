/* several MODEL.sqz PATH N: runs a network N times on one path of the engine, on the same image; prints a number that
 * depends on all logits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sqz.h"

static uint8_t file[1 << 24];

int main(int count, char **arguments)
{
    FILE *model = count == 4 ? fopen(arguments[1], "rb") : NULL;
    sqz_network *network;
    uint32_t shape[3], path = 0, number = 0;
    size_t size;
    if (model == NULL) return 2;
    const size_t bytes = fread(file, 1, sizeof file, model);
    while (path < SQZ_PATHS && strcmp(sqz_path_name((sqz_path)path), arguments[2]) != 0) path++;
    if (sqz_measure(file, bytes, &size) != SQZ_OK) return 1;
    if (sqz_open(file, bytes, (sqz_path)path, malloc(size), &network) != SQZ_OK) return 1;
    const sqz_needs needs = sqz_ask(network, 1);
    if (sqz_load_weights(network, malloc(needs.weights), malloc(needs.decoding), NULL) != SQZ_OK) return 1;
    sqz_image_shape(network, shape);
    const size_t pixels = (size_t)shape[0] * shape[1] * shape[2], classes = sqz_classes(network);
    float *image = malloc(pixels * sizeof *image), *logits = malloc(classes * sizeof *logits);
    for (size_t i = 0; i < pixels; i++) image[i] = (float)((int32_t)(i * 2654435761u) >> 8) / (1 << 22);
    void *running = malloc(needs.running);
    for (int i = atoi(arguments[3]); i > 0; i--) sqz_run(network, image, logits, running, NULL);
    const uint8_t *bits = (const uint8_t *)logits;
    for (size_t i = 0; i < classes * sizeof *logits; i++) number = number * 31 + bits[i];
    printf("%u\n", (unsigned)number);
    return 0;
}
