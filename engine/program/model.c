#define _POSIX_C_SOURCE 200809L
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char too_large[] = "the file is too large", no_memory[] = "not enough memory";

uint8_t *read_file(const char *name, size_t most, size_t *bytes, const char **reason, int *missing)
{
    const int standard = strcmp(name, "-") == 0, file = standard ? 0 : open(name, O_RDONLY | O_NONBLOCK);
    struct stat about;
    uint8_t *data = NULL;
    size_t room = 1 << 16;
    *bytes = 0;
    *missing = file < 0 && errno == ENOENT;
    *reason = *missing ? "no such file" : file < 0 ? strerror(errno) : NULL;
    if (*reason == NULL && fstat(file, &about) == 0 && !standard) {
        if (S_ISDIR(about.st_mode))
            *reason = "is a folder, not an image";
        else if (!S_ISREG(about.st_mode))
            *reason = "is not a regular file";
        else
            room = (size_t)about.st_size + 1;
    }
    if (*reason == NULL && room > most) *reason = too_large;
    while (*reason == NULL) {
        uint8_t *larger = realloc(data, room);
        if (larger == NULL) {
            *reason = no_memory;
            break;
        }
        data = larger;
        const ssize_t count = read(file, data + *bytes, room - *bytes);
        if (count < 0) *reason = strerror(errno);
        if (count <= 0) break;
        *bytes += (size_t)count;
        if (*bytes > most) *reason = too_large;
        if (*bytes == room) room *= 2;
    }
    if (file > 0) close(file);
    if (*reason == NULL) return data;
    free(data);
    return NULL;
}

static const char *explained(int status)
{
    switch (status) {
    case SQZ_NOT_SQZ: return "not a .sqz file: it does not begin with the magic bytes";
    case SQZ_VERSION: return "a version or a flag that this program does not know; get a newer one";
    case SQZ_CHECKSUM: return "not the bytes that were written; fetch the file again";
    case SQZ_BAD_GRAPH: return "a graph that no writer could have written";
    case SQZ_LIMIT: return "more memory or time than a file of its size may ask for";
    case SQZ_TRUNCATED: return "the file, or a stream in it, ends too early; fetch it again";
    case SQZ_TRAILING: return "the file, or a stream in it, goes on after its end";
    default: return "a stream contradicts itself or the graph";
    }
}

/* The labels are unpacked by a thread of their own while others decode the weights. */
typedef struct {
    model *m;
    const uint8_t *file;
    size_t bytes;
    int status;
} reading;

static void *read_labels(void *context)
{
    reading *r = context;
    size_t length, memory;
    r->status = sqz_text_measure(r->file, r->bytes, &length, &memory);
    if (r->status != SQZ_OK) return NULL;
    uint8_t *text = malloc(length + 1);
    void *working = malloc(memory + 1);
    r->m->labels = malloc(sizeof *r->m->labels * sqz_classes(r->m->network));
    if (text == NULL || working == NULL || r->m->labels == NULL)
        r->status = 1;
    else
        r->status = sqz_text_read(r->file, r->bytes, text, working);
    if (r->status == SQZ_OK) r->status = sqz_text_labels(r->m->network, text, length, r->m->labels);
    free(working);
    return NULL;
}

typedef struct {
    model *m;
    void *weights, *decoding;
    int status;
} loading;

static void load(void *context, const sqz_team *team)
{
    loading *l = context;
    l->status = sqz_load_weights(l->m->network, l->weights, l->decoding, team);
}

const char *model_open(model *m, const uint8_t *file, size_t bytes, unsigned threads)
{
    size_t size;
    int status = sqz_measure(file, bytes, &size);
    if (status != SQZ_OK) return explained(status);
    void *memory = malloc(size);
    if (memory == NULL) return no_memory;
    status = sqz_open(file, bytes, sqz_best_path(), memory, &m->network);
    if (status != SQZ_OK) return explained(status);
    m->threads = threads;
    const sqz_needs needs = sqz_ask(m->network, threads);
    loading l = {m, malloc(needs.weights), malloc(needs.decoding), 1};
    reading r = {m, file, bytes, 1};
    if (l.weights == NULL || l.decoding == NULL) return no_memory;
    pthread_t reader;
    const int apart = threads > 1 && pthread_create(&reader, NULL, read_labels, &r) == 0;
    sqz_with_team(threads, load, &l);
    if (apart)
        pthread_join(reader, NULL);
    else
        read_labels(&r);
    free(l.decoding);
    if (l.status != SQZ_OK) return explained(l.status);
    return r.status == SQZ_OK ? NULL : r.status == 1 ? no_memory : explained(r.status);
}

typedef struct {
    const sqz_network *network;
    const float *image;
    float *logits;
    void *memory;
} run;

static void run_once(void *context, const sqz_team *team)
{
    const run *r = context;
    sqz_run(r->network, r->image, r->logits, r->memory, team);
}

int model_run(const model *m, const uint8_t *pixels, double *probabilities)
{
    uint32_t shape[3];
    const uint32_t classes = sqz_classes(m->network);
    sqz_image_shape(m->network, shape);
    float *image = malloc(sizeof(float) * shape[0] * shape[1] * shape[2]), *logits = malloc(sizeof(float) * classes);
    run r = {m->network, image, logits, malloc(sqz_ask(m->network, m->threads).running)};
    if (image == NULL || logits == NULL || r.memory == NULL) abort();
    sqz_normalise(m->network, pixels, image);
    sqz_with_team(m->threads, run_once, &r);
    double largest = -INFINITY, total = 0;
    int finite = 1;
    for (uint32_t i = 0; i < classes; i++) {
        finite &= isfinite(logits[i]) != 0;
        if (logits[i] > largest) largest = logits[i];
    }
    for (uint32_t i = 0; i < classes; i++) {
        const double logit = logits[i];
        probabilities[i] = sqz_outputs_of(m->network) == SQZ_CLASSES ? exp(logit - largest)
                           : logit >= 0                              ? 1 / (1 + exp(-logit))
                                                                     : exp(logit) / (1 + exp(logit));
        total += probabilities[i];
    }
    if (sqz_outputs_of(m->network) == SQZ_CLASSES)
        for (uint32_t i = 0; i < classes; i++) probabilities[i] /= total;
    free(r.memory);
    free(image);
    free(logits);
    return finite;
}

void model_best(const model *m, const double *probabilities, uint32_t top, uint32_t *best)
{
    const uint32_t classes = sqz_classes(m->network);
    for (uint32_t rank = 0; rank < top; rank++) {
        uint32_t found = UINT32_MAX;
        for (uint32_t i = 0; i < classes; i++) {
            const int lower = rank == 0 || probabilities[i] < probabilities[best[rank - 1]] ||
                              (probabilities[i] == probabilities[best[rank - 1]] && i > best[rank - 1]);
            if (lower && (found == UINT32_MAX || probabilities[i] > probabilities[found])) found = i;
        }
        best[rank] = found;
    }
}
