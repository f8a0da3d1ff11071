/* label MODEL.sqz IMAGE.ppm: the label of an image. cc label.c $(pkg-config --cflags --libs sqz) -o label */
#include <sqz.h>
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments)
{
    static uint8_t file[1 << 24], image[1 << 26]; /* at most 16 MB, and 64 MB of pixels */
    unsigned width, height;
    size_t size, length, unpacking;
    sqz_network *network;
    FILE *model = count == 3 ? fopen(arguments[1], "rb") : NULL, *ppm = count == 3 ? fopen(arguments[2], "rb") : NULL;
    if (model == NULL || ppm == NULL || fscanf(ppm, "P6 %5u %5u 255%*1[ \n]", &width, &height) != 2) return 2;
    if (width == 0 || height == 0 || width > sizeof image / 3 / height) return 1;
    const size_t bytes = fread(file, 1, sizeof file, model);
    if (fread(image, 3 * width, height, ppm) != height) return 1;
    if (sqz_measure(file, bytes, &size) != SQZ_OK) return 1;
    if (sqz_open(file, bytes, sqz_best_path(), malloc(size), &network) != SQZ_OK) return 1;
    const sqz_needs needs = sqz_ask(network, 1);
    if (sqz_load_weights(network, malloc(needs.weights), malloc(needs.decoding), NULL) != SQZ_OK) return 1;
    const uint32_t classes = sqz_classes(network);
    uint32_t shape[3], best = 0;
    sqz_image_shape(network, shape);
    float *input = malloc(sizeof(float) * shape[0] * shape[1] * shape[2]), *logits = malloc(sizeof(float) * classes);
    sqz_prepare(network, image, 3 * width, width, height, 3, input,
                malloc(sqz_prepare_memory(network, width, height, 3)));
    sqz_run(network, input, logits, malloc(needs.running), NULL);
    for (uint32_t i = 1; i < classes; i++) best = logits[i] > logits[best] ? i : best;
    if (sqz_text_measure(file, bytes, &length, &unpacking) != SQZ_OK) return 1;
    uint8_t *text = malloc(length);
    const char **labels = malloc(sizeof *labels * classes);
    if (sqz_text_read(file, bytes, text, malloc(unpacking)) != SQZ_OK) return 1;
    if (sqz_text_labels(network, text, length, labels) != SQZ_OK) return 1;
    printf("%s %a\n", labels[best] != NULL ? labels[best] : "?", (double)logits[best]);
    return 0;
}
