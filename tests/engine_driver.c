/* Runs a network on every path of the machine: `engine_driver model.sqz images.f32 logits.f32`. Prints the paths' names, a
 * line each, and writes the logits of all images by the first of them, by the second, and so on. */
#include <stdio.h>
#include <stdlib.h>

#include "sqz.h"

static void *have(void *memory)
{
    if (memory == NULL) {
        fputs("no memory\n", stderr);
        exit(1);
    }
    return memory;
}

static uint8_t *contents(const char *name, size_t *bytes)
{
    FILE *file = have(fopen(name, "rb"));
    uint8_t *data = NULL;
    size_t room = 0, got;
    *bytes = 0;
    do {
        room = 2 * room + 4096;
        data = have(realloc(data, room));
        got = fread(data + *bytes, 1, room - *bytes, file);
        *bytes += got;
    } while (got > 0);
    fclose(file);
    return data;
}

static void check(int status)
{
    if (status == SQZ_OK) return;
    fprintf(stderr, "status %d\n", status);
    exit(1);
}

int main(int count, char **names)
{
    if (count != 4) return 2;
    size_t bytes, pixels, size;
    uint8_t *file = contents(names[1], &bytes);
    const float *images = (const float *)(void *)contents(names[2], &pixels);
    FILE *out = have(fopen(names[3], "wb"));
    check(sqz_measure(file, bytes, &size));
    for (int path = 0; path < SQZ_PATHS; path++) {
        sqz_network *network;
        uint32_t shape[3];
        if (!sqz_has_path((sqz_path)path)) continue;
        puts(sqz_path_name((sqz_path)path));
        void *description = have(malloc(size));
        check(sqz_open(file, bytes, (sqz_path)path, description, &network));
        const sqz_needs needs = sqz_ask(network, 1);
        void *weights = have(malloc(needs.weights)), *decoding = have(malloc(needs.decoding));
        check(sqz_prepare(network, weights, decoding, NULL));
        sqz_image_shape(network, shape);
        const size_t each = (size_t)shape[0] * shape[1] * shape[2], classes = sqz_classes(network);
        void *running = have(malloc(needs.running));
        float *logits = have(malloc(classes * sizeof *logits));
        for (size_t i = 0; i < pixels / sizeof *images / each; i++) {
            sqz_run(network, images + i * each, logits, running, NULL);
            fwrite(logits, sizeof *logits, classes, out);
        }
        free(logits);
        free(running);
        free(decoding);
        free(weights);
        free(description);
    }
    return fclose(out) == 0 ? 0 : 1;
}
