/* Runs a network on every path of the machine: `engine_driver model.sqz images.f32 logits.f32`. Prints the paths' names, a
 * line each, and writes the logits of all images by the first of them, by the second, and so on. Fails where two or
 * three threads, which read the file and share out each image, give other logits than one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

enum { MOST_THREADS = 3 };

/* Everything to run a network with so many threads, which do it again from its file. */
typedef struct {
    const uint8_t *file;
    const float *images;
    float *logits; /* of all images */
    size_t bytes, count;
    sqz_path path;
} job;

static void do_job(void *context, const sqz_team *team)
{
    const job *j = context;
    sqz_network *network;
    uint32_t shape[3];
    size_t size;
    check(sqz_measure(j->file, j->bytes, &size));
    void *description = have(malloc(size));
    check(sqz_open(j->file, j->bytes, j->path, description, &network));
    const sqz_needs needs = sqz_ask(network, team->parts);
    void *weights = have(malloc(needs.weights)), *decoding = have(malloc(needs.decoding));
    check(sqz_load_weights(network, weights, decoding, team));
    void *running = have(malloc(needs.running));
    sqz_image_shape(network, shape);
    const size_t each = (size_t)shape[0] * shape[1] * shape[2], classes = sqz_classes(network);
    for (size_t i = 0; i < j->count; i++)
        sqz_run(network, j->images + i * each, j->logits + i * classes, running, team);
    free(running);
    free(decoding);
    free(weights);
    free(description);
}

int main(int count, char **names)
{
    if (count != 4) return 2;
    size_t bytes, pixels, size;
    uint8_t *file = contents(names[1], &bytes);
    const float *images = (const float *)(void *)contents(names[2], &pixels);
    FILE *out = have(fopen(names[3], "wb"));
    check(sqz_measure(file, bytes, &size));
    void *description = have(malloc(size));
    sqz_network *network;
    uint32_t shape[3];
    check(sqz_open(file, bytes, SQZ_REFERENCE, description, &network));
    sqz_image_shape(network, shape);
    job j = {file, images, NULL, bytes, pixels / sizeof *images / ((size_t)shape[0] * shape[1] * shape[2]), SQZ_REFERENCE};
    const size_t all = j.count * sqz_classes(network);
    float *logits = have(malloc(MOST_THREADS * all * sizeof *logits));
    for (int path = 0; path < SQZ_PATHS; path++) {
        if (!sqz_has_path((sqz_path)path)) continue;
        puts(sqz_path_name((sqz_path)path));
        j.path = (sqz_path)path;
        for (unsigned threads = 1; threads <= MOST_THREADS; threads++) {
            j.logits = logits + (threads - 1) * all;
            sqz_with_team(threads, do_job, &j);
            if (memcmp(logits, j.logits, all * sizeof *logits) != 0) {
                fprintf(stderr, "%u threads give other logits\n", threads);
                return 1;
            }
        }
        fwrite(logits, sizeof *logits, all, out);
    }
    free(logits);
    free(description);
    return fclose(out) == 0 ? 0 : 1;
}
