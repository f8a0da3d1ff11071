/* `squeezenet._workshop.plan_rows` and `run_rows`: networks that run by rows (rows.h). */
#include "binding.h"

#include <stdlib.h>
#include <string.h>

#include "fixed_point.h"
#include "reference.h"
#include "row_plan.h"
#include "run.h"

enum { CANARIES = 256 }; /* bytes before and after the memory of a run, which it must not change */

/* A network and its plan, and all their memory. */
typedef struct {
    sqz_network *network;
    void *description, *weights;
    sqz_row_plan plan;
} planned;

static void free_planned(planned *p)
{
    sqz_free_rows(&p->plan);
    free(p->description);
    free(p->weights);
}

/* Returns 0, or -1 with an exception set. */
static int plan_file(const Py_buffer *file, const sqz_kernels *kernels, size_t ram, size_t flash, planned *p)
{
    size_t size;
    void *decoding = NULL;
    memset(p, 0, sizeof *p);
    if (!sqz_geometry_is_possible(kernels)) {
        PyErr_SetString(PyExc_ValueError, "no kernels can have these numbers of lanes, activations and positions");
        return -1;
    }
    int status = sqz_measure(file->buf, (size_t)file->len, &size);
    if (status == SQZ_OK && (p->description = malloc(size)) == NULL) status = SQZ_NO_MEMORY;
    if (status == SQZ_OK) status = sqz_open_rows(file->buf, (size_t)file->len, kernels, p->description, &p->network);
    if (status == SQZ_OK && p->network->floats) {
        PyErr_SetString(PyExc_ValueError, "only integer networks run by rows");
        return -1;
    }
    if (status == SQZ_OK) {
        const sqz_needs needs = sqz_ask(p->network, 1);
        p->weights = malloc(needs.weights);
        decoding = malloc(needs.decoding);
        status = p->weights == NULL || decoding == NULL ? SQZ_NO_MEMORY
                                                        : sqz_load_weights(p->network, p->weights, decoding, NULL);
        free(decoding);
    }
    if (status == SQZ_OK) status = sqz_plan_rows(p->network, ram, flash, &p->plan);
    if (status == SQZ_OK) return 0;
    if (status == SQZ_NO_MEMORY)
        PyErr_NoMemory();
    else if (status == SQZ_NO_PLAN)
        PyErr_SetString(PyExc_ValueError, "no plan keeps within these limits of RAM and flash");
    else
        python_raise_damage(status);
    return -1;
}

/* dict[name] = value, and the reference to the value is given up. Nothing is done after an error. */
static void put(PyObject *dict, const char *name, PyObject *value)
{
    if (value != NULL && !PyErr_Occurred()) PyDict_SetItemString(dict, name, value);
    Py_XDECREF(value);
}

static void put_number(PyObject *dict, const char *name, long long number)
{
    if (number != 0) put(dict, name, PyLong_FromLongLong(number));
}

static void put_numbers(PyObject *dict, const char *name, const uint32_t *numbers, uint32_t count)
{
    int any = 0;
    for (uint32_t i = 0; i < count; i++) any |= numbers[i] != 0;
    if (!any) return;
    PyObject *tuple = PyTuple_New(count);
    for (uint32_t i = 0; i < count && tuple != NULL; i++)
        PyTuple_SetItem(tuple, i, PyLong_FromUnsignedLong(numbers[i]));
    put(dict, name, tuple);
}

static void put_function(PyObject *dict, const char *name, void (*function)(void))
{
    static const struct {
        void (*function)(void);
        const char *name;
    } names[] = {
#define NAMED(function) {(void (*)(void))function, #function}
        NAMED(sqz_packed_layer),  NAMED(sqz_mean_layer),     NAMED(sqz_depthwise),    NAMED(sqz_max_pool_rows),
        NAMED(sqz_average_pool),  NAMED(sqz_global_average), NAMED(sqz_add),          NAMED(sqz_multiply),
        NAMED(sqz_look_up),       NAMED(sqz_concatenate),    NAMED(sqz_select),       NAMED(sqz_plain),
        NAMED(sqz_pool_layer),    NAMED(sqz_finish_pool),    NAMED(sqz_block_packed), NAMED(sqz_block_stored),
        NAMED(sqz_block_decoded), NAMED(sqz_finish),         NAMED(sqz_finish_mean),
#undef NAMED
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].function == function) put(dict, name, PyUnicode_FromString(names[i].name));
}

static PyObject *value_dict(const sqz_value *v)
{
    PyObject *dict = PyDict_New(), *scale = PyDict_New();
    if (dict == NULL || scale == NULL) return NULL;
    put_number(scale, "exponent", v->scale.exponent);
    put_number(scale, "zero", v->scale.zero);
    put_number(scale, "wide", v->scale.wide);
    put_number(scale, "nine_bit", v->scale.nine_bit);
    put_number(dict, "channels", v->channels);
    put_number(dict, "height", v->height);
    put_number(dict, "width", v->width);
    put_number(dict, "ring", v->ring);
    put(dict, "scale", scale);
    put_number(dict, "bytes", v->bytes);
    put_number(dict, "offset", (long long)v->offset);
    put_number(dict, "pitch", (long long)v->pitch);
    return dict;
}

static PyObject *op_dict(const sqz_op *op)
{
    PyObject *dict = PyDict_New();
    if (dict == NULL) return NULL;
    put_number(dict, "kind", op->kind);
    put_number(dict, "inputs", op->inputs);
    put_number(dict, "first_input", op->first_input);
    put_number(dict, "result", op->result);
    put_number(dict, "rows", op->rows);
    put_function(dict, "work", (void (*)(void))op->work);
    put_number(dict, "out", op->out);
    put_numbers(dict, "kernel", op->kernel, 2);
    put_numbers(dict, "stride", op->stride, 2);
    put_numbers(dict, "dilation", op->dilation, 2);
    put_number(dict, "groups", op->groups);
    put_numbers(dict, "padding", op->padding, 4);
    put_number(dict, "counted", op->counted);
    put_number(dict, "maximum", op->maximum);
    put_number(dict, "start", op->start);
    put_numbers(dict, "counts", op->counts, 2);
    put(dict, "steps", Py_BuildValue("(ii)", op->steps[0], op->steps[1]));
    put_number(dict, "table", op->table);
    put_number(dict, "look_up", (long long)op->look_up);
    put_number(dict, "low", op->low);
    put_number(dict, "high", op->high);
    put_number(dict, "least", op->least);
    put_number(dict, "lag", op->lag);
    put_number(dict, "waits", op->waits);
    put_number(dict, "wait_count", op->wait_count);
    put_number(dict, "mean", op->mean);
    put_number(dict, "sums", (long long)op->sums);
    put_number(dict, "pool", op->pool);
    put_number(dict, "channel", op->channel);
    if (!sqz_is_layer(op)) return dict;
    static const char *const methods[] = {"SQZ_PLAIN", "SQZ_DEPTHWISE", "SQZ_PACKED"};
    put(dict, "method", PyUnicode_FromString(methods[op->method]));
    put_number(dict, "vectors", op->vectors);
    put_function(dict, "block", (void (*)(void))op->block);
    put_function(dict, "finish", (void (*)(void))op->finish);
    put_number(dict, "repeat", op->repeat);
    put_number(dict, "vector", op->vector);
    put_number(dict, "weights", (long long)op->weights);
    put_number(dict, "factors", (long long)op->factors);
    put_number(dict, "initial", (long long)op->initial);
    put_number(dict, "stream", op->stream);
    put_number(dict, "patches", (long long)op->patches);
    put_number(dict, "scratch", (long long)op->scratch);
    return dict;
}

static PyObject *info_dict(const sqz_op *op, const sqz_row_op *info)
{
    static const char *const places[] = {"", "stored", "packed", "decoded"};
    return Py_BuildValue("{sIsssnsIsIsnsI}", "op", info->op, "place", places[info->place], "flash",
                         (Py_ssize_t)info->flash, "least", op->least, "decodes", info->decodes, "scratch",
                         (Py_ssize_t)info->scratch, "weights", info->weights);
}

/* dict[name] = the list of what `item` makes of `count` things; consumes the items. */
static void put_list(PyObject *dict, const char *name, PyObject **items, uint32_t count)
{
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; i < count; i++) {
        if (list != NULL && items[i] != NULL && !PyErr_Occurred()) PyList_Append(list, items[i]);
        Py_XDECREF(items[i]);
    }
    put(dict, name, list);
}

static PyObject *describe(const sqz_row_plan *plan)
{
    const sqz_network *n = &plan->network;
    const sqz_rows *r = &plan->rows;
    const uint32_t most = plan->value_count + n->op_count + n->input_count + plan->wait_count;
    PyObject *dict = PyDict_New(), **items = calloc(most, sizeof *items);
    if (dict == NULL || items == NULL) return PyErr_NoMemory();
    for (uint32_t i = 0; i < n->op_count; i++) items[i] = op_dict(n->ops + i);
    put_list(dict, "ops", items, n->op_count);
    for (uint32_t i = 0; i < plan->value_count; i++) items[i] = value_dict(n->values + i);
    put_list(dict, "values", items, plan->value_count);
    for (uint32_t i = 0; i < n->input_count; i++) items[i] = PyLong_FromUnsignedLong(n->inputs[i]);
    put_list(dict, "inputs", items, n->input_count);
    for (uint32_t i = 0; i < plan->wait_count; i++) items[i] = PyLong_FromUnsignedLong(r->waits[i]);
    put_list(dict, "waits", items, plan->wait_count);
    for (uint32_t i = 0; i < n->op_count; i++) items[i] = info_dict(n->ops + i, plan->infos + i);
    put_list(dict, "layers", items, n->op_count);
    free(items);
    put(dict, "network", Py_BuildValue("{sIsI}", "op_count", n->op_count, "input_count", n->input_count));
    put(dict, "rows",
        Py_BuildValue("{snsisIsnsn}", "table", (Py_ssize_t)r->table, "reversed", r->reversed, "logits", r->logits,
                      "done", (Py_ssize_t)r->done, "bytes", (Py_ssize_t)r->bytes));
    put(dict, "weights", PyBytes_FromStringAndSize((const char *)n->weights, (Py_ssize_t)plan->weights_bytes));
    put(dict, "memory",
        Py_BuildValue("{snsnsnsnsnsn}", "all", (Py_ssize_t)r->bytes, "packed", (Py_ssize_t)plan->packed, "values",
                      (Py_ssize_t)plan->values_bytes, "stored", (Py_ssize_t)plan->stored, "streams",
                      (Py_ssize_t)plan->streams, "factors", (Py_ssize_t)plan->factors));
    put(dict, "forms",
        Py_BuildValue("{snsnsn}", "least_flash", (Py_ssize_t)plan->least_weights, "packed_flash",
                      (Py_ssize_t)plan->packed_weights, "packed_ram", (Py_ssize_t)plan->packed_bytes));
    put(dict, "decoded", PyLong_FromUnsignedLongLong(plan->decoded));
    put(dict, "steps", PyLong_FromUnsignedLong(plan->steps));
    if (PyErr_Occurred()) Py_CLEAR(dict);
    return dict;
}

PyObject *python_plan_rows(PyObject *self, PyObject *args)
{
    Py_buffer file;
    sqz_kernels kernels;
    Py_ssize_t ram, flash;
    uint32_t *p = kernels.positions;
    PyObject *result = NULL;
    planned all;
    (void)self;
    memset(&kernels, 0, sizeof kernels);
    if (!PyArg_ParseTuple(args, "y*(IIIiIiIIII)nn", &file, &kernels.lanes, &kernels.depth, &kernels.bytes,
                          &kernels.centre, &kernels.taps, &kernels.interleaved, p + 1, p + 2, p + 3, p + 4, &ram,
                          &flash))
        return NULL;
    if (plan_file(&file, &kernels, (size_t)ram, (size_t)flash, &all) == 0) result = describe(&all.plan);
    free_planned(&all);
    PyBuffer_Release(&file);
    return result;
}

/* One image of floats -> stored elements, row by row; the table of bytes is made for this: it changes nothing. */
static void run_floats(const planned *p, const sqz_rows *rows, const float *image, uint8_t *row, uint8_t *memory)
{
    const sqz_value *x = p->network->values;
    const float factor = sqz_step(-x->scale.exponent);
    const size_t area = (size_t)x->height * x->width;
    sqz_rows_start(rows, memory);
    for (size_t y = 0; y < x->height; y++) {
        for (size_t i = 0; i < x->width; i++)
            for (size_t c = 0; c < x->channels; c++) {
                const size_t from = rows->reversed ? x->channels - 1 - c : c;
                row[i * x->channels + c] = sqz_quantise(image[from * area + y * x->width + i] * factor, x->scale.zero);
            }
        sqz_rows_push(rows, memory, row);
    }
}

PyObject *python_run_rows(PyObject *self, PyObject *args)
{
    Py_buffer file, images, logits;
    Py_ssize_t ram, flash;
    PyObject *capsule, *result = NULL;
    planned all;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*Oy*w*nn", &file, &capsule, &images, &logits, &ram, &flash)) return NULL;
    const sqz_kernels *kernels = PyCapsule_GetPointer(capsule, PYTHON_KERNELS);
    if (kernels != NULL) {
        if (plan_file(&file, kernels, (size_t)ram, (size_t)flash, &all) == 0) {
            const sqz_value *x = all.network->values;
            const size_t pixels = (size_t)x->channels * x->height * x->width, classes = sqz_classes(all.network);
            const size_t count = (size_t)logits.len / classes / sizeof(int32_t);
            const int floats = (size_t)images.len == count * pixels * sizeof(float);
            sqz_rows rows = all.plan.rows;
            uint8_t *row = malloc((size_t)x->width * x->channels);
            uint8_t *block = malloc(rows.bytes + 2 * CANARIES), *memory = block + CANARIES, *table = NULL;
            if ((size_t)logits.len != count * classes * sizeof(int32_t) ||
                (!floats && (size_t)images.len != count * pixels))
                PyErr_SetString(PyExc_ValueError, "the buffers are not those of images and logits of one batch");
            else if (row == NULL || block == NULL)
                PyErr_NoMemory();
            else {
                if (floats) {
                    table = all.plan.network.weights + rows.table;
                    for (size_t i = 0; i < x->channels * SQZ_TABLE; i++) table[i] = (uint8_t)i;
                }
                int intact = 1;
                memset(block, 0xA5, rows.bytes + 2 * CANARIES);
                for (size_t i = 0; i < count; i++) {
                    if (floats)
                        run_floats(&all, &rows, (const float *)images.buf + i * pixels, row, memory);
                    else {
                        sqz_rows_start(&rows, memory);
                        for (size_t y = 0; y < x->height; y++)
                            sqz_rows_push(&rows, memory,
                                          (const uint8_t *)images.buf + i * pixels + y * x->width * x->channels);
                    }
                    sqz_rows_logits(&rows, memory, (int32_t *)logits.buf + i * classes);
                }
                for (size_t i = 0; i < CANARIES; i++)
                    intact &= block[i] == 0xA5 && block[rows.bytes + CANARIES + i] == 0xA5;
                if (intact)
                    result = PyLong_FromSize_t(rows.bytes);
                else
                    PyErr_SetString(PyExc_RuntimeError, "memory outside of the plan was changed");
            }
            free(block);
            free(row);
        }
        free_planned(&all);
    }
    PyBuffer_Release(&logits);
    PyBuffer_Release(&images);
    PyBuffer_Release(&file);
    return result;
}
