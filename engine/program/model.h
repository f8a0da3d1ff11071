/* A model that is ready to run, with its labels. */
#ifndef SQZ_PROGRAM_MODEL_H
#define SQZ_PROGRAM_MODEL_H

#include "sqz.h"

typedef struct {
    sqz_network *network;
    const char **labels; /* NULL where the file has none */
    unsigned threads;
} model;

/* A whole file: `bytes` of it, or NULL with a reason. `name` is "-" for standard input. */
uint8_t *read_file(const char *name, size_t most, size_t *bytes, const char **reason, int *missing);

/* NULL, or the reason for which this is no model. */
const char *model_open(model *m, const uint8_t *file, size_t bytes, unsigned threads);

/* Prepared pixels -> probabilities of all classes. Returns 0 if a logit is not a number. */
int model_run(const model *m, const uint8_t *pixels, double *probabilities);

/* The numbers of the `top` most probable classes, the best first. */
void model_best(const model *m, const double *probabilities, uint32_t top, uint32_t *best);

#endif
