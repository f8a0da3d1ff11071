/* sqz: labels images, as one file without dependencies. It answers as `squeezenet classify` does. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model.h"
#include "picture.h"
#include "text.h"

#define MODEL_FILE ((size_t)1 << 30)
enum { USUAL_THREADS = 4, MOST_THREADS = 64 };
enum { DONE, FAILED, WRONG }; /* exit codes */

#ifdef SQZ_MODEL
__asm__(".section .rodata\n.balign 64\nsqz_model: .incbin \"" SQZ_MODEL "\"\nsqz_model_end:\n.previous");
extern const uint8_t sqz_model[], sqz_model_end[];
#endif

static const char usage[] =
    "usage: sqz classify [--json] [--top N] [--threads N] "
#ifdef SQZ_MODEL
    "[MODEL.sqz] IMAGE...\n\n"
    "Labels JPEG and PNG images. The first operand names a model if it ends in .sqz; otherwise the included model\n"
    "(" SQZ_MODEL_NAME ") is used. "
#else
    "MODEL.sqz IMAGE...\n\n"
    "Labels JPEG and PNG images. "
#endif
    "`-` is standard input.\n\n"
    "  --json       one line of JSON\n"
    "  --top N      the N most probable labels (default: 5)\n"
    "  --threads N  number of threads (default: the cores, at most 4)\n";

typedef struct {
    int json;
    uint32_t top;
    unsigned threads;
    const char *model;
    char **images;
    int count;
} options;

static int wrong(const char *what, const char *where)
{
    fputs("sqz classify: ", stderr);
    text_print(stderr, where);
    fprintf(stderr, ": %s\n", what);
    return WRONG;
}

/* A number from 1 on. */
static int parse_number(const char *text, unsigned long *value)
{
    char *end;
    errno = 0;
    *value = text != NULL && *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
    return *value >= 1 && *end == '\0' && errno == 0;
}

static int parse(int count, char **words, options *o)
{
    cpu_set_t cores;
    const unsigned available = sched_getaffinity(0, sizeof cores, &cores) == 0 ? (unsigned)CPU_COUNT(&cores) : 1;
    *o = (options){0, 5, available < USUAL_THREADS ? available : USUAL_THREADS, NULL, words, 0};
    int only_names = 0;
    for (int i = 0; i < count; i++) {
        const char *word = words[i];
        unsigned long value;
        if (only_names || word[0] != '-' || word[1] == '\0')
            words[o->count++] = words[i];
        else if (strcmp(word, "--") == 0)
            only_names = 1;
        else if (strcmp(word, "--json") == 0)
            o->json = 1;
        else if (strcmp(word, "--top") == 0 || strcmp(word, "--threads") == 0) {
            if (!parse_number(++i < count ? words[i] : NULL, &value)) return wrong("needs a number from 1 on", word);
            if (word[3] == 'o')
                o->top = value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
            else
                o->threads = value < MOST_THREADS ? (unsigned)value : MOST_THREADS;
        } else
            return wrong("no such option (sqz --help)", word);
    }
    const size_t length = o->count > 0 ? strlen(words[0]) : 0;
    int named = length > 4 && strcmp(words[0] + length - 4, ".sqz") == 0;
#ifndef SQZ_MODEL
    named = o->count > 0;
#endif
    if (named) {
        o->model = words[0];
        o->images++;
        o->count--;
    }
    if (o->count == 0) return wrong("name a model and an image (sqz --help)", "usage");
    return DONE;
}

static int open_model(const options *o, model *m)
{
    size_t bytes = 0;
    const char *reason = NULL, *name = o->model;
    int missing = 0;
    const uint8_t *file;
#ifdef SQZ_MODEL
    if (name == NULL) {
        file = sqz_model;
        bytes = (size_t)(sqz_model_end - sqz_model);
        name = SQZ_MODEL_NAME;
    } else
#endif
        file = read_file(name, MODEL_FILE, &bytes, &reason, &missing);
    if (file != NULL) reason = model_open(m, file, bytes, o->threads);
    if (reason == NULL) return DONE;
    wrong(reason, name);
    return missing ? WRONG : FAILED;
}

typedef struct {
    char error[MESSAGE];
    int missing; /* no file has this name */
    double milliseconds;
    double *probabilities; /* of all classes */
    uint32_t *best;
} answer;

static void decode(picture *p, const uint8_t *file, size_t bytes)
{
    static const uint8_t jpeg[] = {0xff, 0xd8, 0xff}, png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    if (bytes >= sizeof jpeg && memcmp(file, jpeg, sizeof jpeg) == 0)
        picture_from_jpeg(p, file, bytes);
    else if (bytes >= sizeof png && memcmp(file, png, sizeof png) == 0)
        picture_from_png(p, file, bytes);
    else
        picture_fail(p, "not an image that can be read (JPEG, PNG)");
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

static void classify(const model *m, const char *name, uint32_t top, answer *a)
{
    const double begin = now();
    const sqz_preparation *preparation = sqz_preparation_of(m->network);
    const size_t channels = preparation->channels == SQZ_L ? 1 : 3;
    picture p = {.preparation = preparation};
    size_t bytes;
    const char *reason;
    uint8_t *file = read_file(name, IMAGE_FILE, &bytes, &reason, &a->missing);
    p.pixels = malloc(preparation->crop[0] * channels * preparation->crop[1]);
    if (p.pixels == NULL) reason = "not enough memory to decode it";
    if (reason != NULL)
        picture_fail(&p, "%s", reason);
    else
        decode(&p, file, bytes);
    picture_free(&p);
    free(file);
    if (p.error[0] == '\0' && !model_run(m, p.pixels, a->probabilities))
        picture_fail(&p, "the network gives values that are not numbers; its weights are of no use");
    if (p.error[0] == '\0') model_best(m, a->probabilities, top, a->best);
    free(p.pixels);
    memcpy(a->error, p.error, sizeof a->error);
    a->milliseconds = now() - begin;
}

static void label_of(const model *m, uint32_t index, char *number, size_t room, const char **label)
{
    *label = m->labels[index];
    if (*label != NULL) return;
    snprintf(number, room, sqz_classes(m->network) == 1 ? "positive" : "%u", (unsigned)index);
    *label = number;
}

static void print_json(const model *m, const char *name, uint32_t top, const answer *a)
{
    char number[16];
    const char *label;
    fputs("\"image\": ", stdout);
    text_print_json(stdout, name);
    if (a->error[0] != '\0') {
        char message[MESSAGE + 2] = ": ";
        strcat(message, a->error);
        char *whole = malloc(strlen(name) + sizeof message);
        if (whole == NULL) abort();
        fputs(", \"error\": ", stdout);
        text_print_json(stdout, strcat(strcpy(whole, name), message));
        free(whole);
        return;
    }
    fputs(", \"predictions\": [", stdout);
    for (uint32_t i = 0; i < top; i++) {
        label_of(m, a->best[i], number, sizeof number, &label);
        fputs(i > 0 ? ", {\"label\": " : "{\"label\": ", stdout);
        text_print_json(stdout, label);
        printf(", \"index\": %u, \"probability\": ", (unsigned)a->best[i]);
        text_print_number(stdout, a->probabilities[a->best[i]]);
        putchar('}');
    }
    printf("], \"milliseconds\": %.2f", a->milliseconds);
}

static void print_text(const model *m, const char *name, uint32_t top, const answer *a)
{
    char number[16];
    const char *label;
    text_print(stdout, name);
    if (a->error[0] != '\0') {
        printf(": ");
        text_print(stdout, a->error);
        putchar('\n');
        return;
    }
    printf("  %.1f ms\n", a->milliseconds);
    for (uint32_t i = 0; i < top; i++) {
        label_of(m, a->best[i], number, sizeof number, &label);
        printf("  %5.1f%%  ", 100 * a->probabilities[a->best[i]]);
        text_print(stdout, label);
        putchar('\n');
    }
}

static int run(const options *o, const model *m)
{
    const uint32_t classes = sqz_classes(m->network), top = o->top < classes ? o->top : classes;
    const char *name = o->model != NULL ? o->model : "";
    int failed = 0;
    answer a = {.probabilities = malloc(sizeof(double) * classes), .best = malloc(sizeof(uint32_t) * classes)};
    if (a.probabilities == NULL || a.best == NULL) return wrong("not enough memory", "model") - 1;
#ifdef SQZ_MODEL
    if (o->model == NULL) name = SQZ_MODEL_NAME;
#endif
    for (int i = 0; i < o->count; i++) {
        classify(m, o->images[i], top, &a);
        failed += a.error[0] != '\0';
        if (o->count == 1 && failed) { /* as for a single image in Python: nothing but one line */
            wrong(a.error, o->images[i]);
            return a.missing ? WRONG : FAILED;
        }
        if (o->json && i == 0) {
            fputs("{\"model\": ", stdout);
            text_print_json(stdout, name);
            printf(", \"outputs\": \"%s\", ", sqz_outputs_of(m->network) == SQZ_LABELS ? "labels" : "classes");
            if (o->count > 1) fputs("\"results\": [", stdout);
        }
        if (o->json && o->count > 1) fputs(i == 0 ? "{" : ", {", stdout);
        (o->json ? print_json : print_text)(m, o->images[i], top, &a);
        if (o->json && o->count > 1) putchar('}');
    }
    if (o->json) {
        if (o->count > 1) printf("], \"failed\": %d", failed);
        puts("}");
    } else {
        if (failed) printf("%d of %d images could not be read\n", failed, o->count);
        fputs("model: ", stdout);
        text_print(stdout, name);
        putchar('\n');
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "sqz classify: standard output: %s\n", strerror(errno));
        return FAILED;
    }
    return failed ? FAILED : DONE;
}

int main(int count, char **words)
{
    options o;
    model m = {0};
    for (int i = 1; i < count && strcmp(words[i], "--") != 0; i++)
        if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0) return fputs(usage, stdout) < 0;
    if (count < 2 || strcmp(words[1], "classify") != 0) {
        fputs("sqz: the only verb is classify (sqz --help)\n", stderr);
        return WRONG;
    }
    int code = parse(count - 2, words + 2, &o);
    if (code == DONE) code = open_model(&o, &m);
    if (code == DONE) code = run(&o, &m);
    return code;
}
