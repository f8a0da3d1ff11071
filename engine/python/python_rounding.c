/* Inner loop of rounding (src/squeezenet/compression/squeeze/rounding.py), for Python: the same bits as NumPy. */
#include "binding.h"

#include <math.h>
#include <string.h>

/* Of 0 and the two levels around `value`, the one of least scale * error^2 + costs[magnitude]. */
static double cheapest(double value, double scale, const double *costs, size_t most)
{
    const double size = fabs(value) < (double)most ? fabs(value) : (double)most;
    const size_t lower = (size_t)size, upper = lower + ((double)lower < size);
    const double down = size - (double)lower, up = size - (double)upper;
    const double best = scale * (size * size) + costs[0], below = scale * (down * down) + costs[lower];
    const double above = scale * (up * up) + costs[upper];
    size_t chosen = below < best ? lower : 0;
    if (above < (below < best ? below : best)) chosen = upper;
    return copysign((double)chosen, value);
}

/* Some inputs of a block, one after the other: the arrays of `_one_by_one`. */
typedef struct {
    const double *matrix;         /* (inputs, inputs) */
    double *rows;                 /* (inputs, outputs), as are the next ones */
    const double *before;         /* or NULL */
    const double *scales, *costs; /* costs: (most + 1,) */
    double *levels, *values, *errors;
    size_t inputs, outputs, most;
} inputs_of_a_block;

static void round_all(const inputs_of_a_block *b)
{
    const size_t n = b->outputs;
    for (size_t i = 0; i < b->inputs; i++) {
        const double own = b->matrix[i * b->inputs + i];
        const double *row = b->rows + i * n, *scales = b->scales + i * n;
        double *levels = b->levels + i * n, *values = b->values + i * n, *errors = b->errors + i * n;
        for (size_t o = 0; o < n; o++) {
            const double value = b->before == NULL ? row[o] : b->before[i * n + o] - row[o] / own;
            const double level = cheapest(value, scales[o], b->costs, b->most);
            errors[o] = b->before == NULL ? (value - level) / own : b->before[i * n + o] - level;
            values[o] = value;
            levels[o] = level;
        }
        for (size_t j = i + 1; j < b->inputs; j++) {
            const double factor = b->matrix[i * b->inputs + j];
            double *restrict later = b->rows + j * n;
            const double *restrict error = errors;
            for (size_t o = 0; o < n; o++) later[o] -= factor * error[o];
        }
    }
}

PyObject *python_round_inputs(PyObject *self, PyObject *args)
{
    enum { MATRIX, ROWS, BEFORE, SCALES, COSTS, LEVELS, VALUES, ERRORS, BUFFERS };
    Py_buffer b[BUFFERS];
    unsigned inputs;
    PyObject *result = NULL;
    (void)self;
    memset(b, 0, sizeof b);
    if (!PyArg_ParseTuple(args, "Iy*w*z*y*y*w*w*w*", &inputs, &b[MATRIX], &b[ROWS], &b[BEFORE], &b[SCALES], &b[COSTS],
                          &b[LEVELS], &b[VALUES], &b[ERRORS]))
        return NULL;
    const uint64_t all = (uint64_t)b[ROWS].len;
    int fit = (uint64_t)b[MATRIX].len == (uint64_t)inputs * inputs * sizeof(double) && b[COSTS].len > 0 &&
              b[COSTS].len % sizeof(double) == 0 && inputs > 0 && all % (inputs * sizeof(double)) == 0;
    for (int i = 0; i < BUFFERS; i++)
        if (i != MATRIX && i != COSTS && b[i].obj != NULL && (uint64_t)b[i].len != all) fit = 0;
    if (!fit)
        PyErr_SetString(PyExc_ValueError, "the buffers are not those of some inputs of a block");
    else {
        const inputs_of_a_block block = {b[MATRIX].buf,
                                         b[ROWS].buf,
                                         b[BEFORE].obj != NULL ? b[BEFORE].buf : NULL,
                                         b[SCALES].buf,
                                         b[COSTS].buf,
                                         b[LEVELS].buf,
                                         b[VALUES].buf,
                                         b[ERRORS].buf,
                                         inputs,
                                         (size_t)(all / sizeof(double) / inputs),
                                         (size_t)b[COSTS].len / sizeof(double) - 1};
        Py_BEGIN_ALLOW_THREADS
        round_all(&block);
        Py_END_ALLOW_THREADS
        result = Py_NewRef(Py_None);
    }
    for (int i = 0; i < BUFFERS; i++) PyBuffer_Release(&b[i]);
    return result;
}
