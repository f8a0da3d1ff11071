/* `squeezenet._engine.Network`: a network that is decoded once and run often. */
#include "binding.h"

#include <stdlib.h>
#include <string.h>

#include "sqz.h"

enum { MOST_THREADS = 64 };
/* Most bytes of running memory that several threads take together. One thread may take all that it needs. */
#define MOST_MEMORY ((size_t)3 << 26)

/* A network that is ready to run. The memory of the last run is kept for the next one: new memory costs page faults. */
typedef struct {
    PyObject_HEAD
    void *description, *weights; /* memory of sqz_open and of sqz_load_weights */
    void *spare;                 /* running memory of the last run, or NULL */
    size_t spare_bytes;
    sqz_network *network;
    sqz_path path;
} Network;

typedef struct {
    Network *self;
    void *decoding;
    int status;
} loading;

static void load_weights(void *context, const sqz_team *team)
{
    loading *r = context;
    r->status = sqz_load_weights(r->self->network, r->self->weights, r->decoding, team);
}

/* Returns SQZ_OK, another status, or 1 if there is not enough memory. */
static int open_network(Network *self, const uint8_t *file, size_t bytes, unsigned threads)
{
    size_t size;
    int status = sqz_measure(file, bytes, &size);
    if (status != SQZ_OK) return status;
    if ((self->description = malloc(size)) == NULL) return 1;
    status = sqz_open(file, bytes, self->path, self->description, &self->network);
    if (status != SQZ_OK) return status;
    while (threads > 1 && sqz_ask(self->network, threads).decoding > 4 * MOST_MEMORY) threads--;
    const sqz_needs needs = sqz_ask(self->network, threads);
    loading r = {self, malloc(needs.decoding), 1};
    self->weights = malloc(needs.weights);
    if (r.decoding != NULL && self->weights != NULL) sqz_with_team(threads, load_weights, &r);
    free(r.decoding);
    return r.status;
}

static PyObject *network_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    Py_buffer file;
    const char *name = "";
    int path = (int)sqz_best_path(), status;
    unsigned threads = 1;
    static char *names[] = {"", "", "", NULL}; /* by position alone */
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "y*|sI", names, &file, &name, &threads)) return NULL;
    if (name[0] != '\0')
        for (path = 0; path < SQZ_PATHS && strcmp(name, sqz_path_name((sqz_path)path)) != 0;) path++;
    Network *self = NULL;
    if (threads < 1)
        PyErr_SetString(PyExc_ValueError, "at least one thread is needed");
    else if (!sqz_has_path((sqz_path)path))
        PyErr_Format(PyExc_ValueError, "this machine has no path '%s'", name);
    else
        self = (Network *)PyType_GenericAlloc(type, 0);
    if (self != NULL) {
        self->path = (sqz_path)path;
        Py_BEGIN_ALLOW_THREADS
        status = open_network(self, file.buf, (size_t)file.len, threads < MOST_THREADS ? threads : MOST_THREADS);
        Py_END_ALLOW_THREADS
        if (status != SQZ_OK) {
            if (status == 1)
                PyErr_NoMemory();
            else
                python_raise_damage(status);
            Py_CLEAR(self);
        }
    }
    PyBuffer_Release(&file);
    return (PyObject *)self;
}

static void network_free(PyObject *object)
{
    Network *self = (Network *)object;
    PyTypeObject *type = Py_TYPE(object);
    free(self->description);
    free(self->weights);
    free(self->spare);
    PyObject_Free(object);
    Py_DECREF(type);
}

/* A batch of images. If there are at least as many images as threads, each thread runs some of them; otherwise all
 * threads work together on one image after the other. */
typedef struct {
    const sqz_network *network;
    const float *images;
    float *logits;
    size_t count, pixels, classes, running;
    uint8_t *memory;
    unsigned parts;
    int apart; /* each image is run by one thread */
} batch;

static void run_some(const void *task, unsigned part)
{
    const batch *b = task;
    const size_t end = b->count * (part + 1) / b->parts;
    for (size_t i = b->count * part / b->parts; i < end; i++)
        sqz_run(b->network, b->images + i * b->pixels, b->logits + i * b->classes, b->memory + part * b->running, NULL);
}

static void run_batch(void *context, const sqz_team *team)
{
    batch *b = context;
    if (b->apart) {
        b->parts = team->parts;
        team->each(team->context, run_some, b);
    } else
        for (size_t i = 0; i < b->count; i++)
            sqz_run(b->network, b->images + i * b->pixels, b->logits + i * b->classes, b->memory, team);
}

/* Memory for a run: the spare memory, if it is large enough. */
static uint8_t *borrow(Network *self, size_t *bytes)
{
    uint8_t *memory = NULL;
    Py_BEGIN_CRITICAL_SECTION(self);
    if (self->spare_bytes >= *bytes) {
        memory = self->spare;
        *bytes = self->spare_bytes;
        self->spare = NULL;
        self->spare_bytes = 0;
    }
    Py_END_CRITICAL_SECTION();
    return memory != NULL ? memory : malloc(*bytes);
}

static void give_back(Network *self, uint8_t *memory, size_t bytes)
{
    void *spare;
    Py_BEGIN_CRITICAL_SECTION(self);
    spare = self->spare;
    self->spare = memory;
    self->spare_bytes = bytes;
    Py_END_CRITICAL_SECTION();
    free(spare);
}

static PyObject *network_run(PyObject *object, PyObject *args)
{
    Network *self = (Network *)object;
    Py_buffer images, logits;
    unsigned threads;
    uint32_t shape[3];
    PyObject *result = NULL;
    batch b;
    if (!PyArg_ParseTuple(args, "y*w*I", &images, &logits, &threads)) return NULL;
    sqz_image_shape(self->network, shape);
    b.network = self->network;
    b.pixels = (size_t)shape[0] * shape[1] * shape[2];
    b.classes = sqz_classes(self->network);
    b.count = (size_t)logits.len / sizeof(float) / b.classes;
    b.images = images.buf;
    b.logits = logits.buf;
    if (threads < 1 || b.count * b.classes * sizeof(float) != (size_t)logits.len ||
        b.count * b.pixels * sizeof(float) != (size_t)images.len)
        PyErr_SetString(PyExc_ValueError, "the buffers are not those of images and logits of one batch");
    else {
        if (threads > MOST_THREADS) threads = MOST_THREADS;
        b.running = (sqz_ask(self->network, 1).running + 63) / 64 * 64;
        b.apart = b.count >= threads && threads * b.running <= MOST_MEMORY;
        while (!b.apart && threads > 1 && sqz_ask(self->network, threads).running > MOST_MEMORY) threads--;
        size_t bytes = b.apart ? threads * b.running : sqz_ask(self->network, threads).running;
        b.memory = borrow(self, &bytes);
        if (b.memory == NULL)
            PyErr_NoMemory();
        else {
            Py_BEGIN_ALLOW_THREADS
            sqz_with_team(threads, run_batch, &b);
            Py_END_ALLOW_THREADS
            give_back(self, b.memory, bytes);
            result = Py_NewRef(Py_None);
        }
    }
    PyBuffer_Release(&logits);
    PyBuffer_Release(&images);
    return result;
}

static PyObject *network_normalise(PyObject *object, PyObject *args)
{
    const sqz_network *network = ((Network *)object)->network;
    Py_buffer pixels, image;
    uint32_t shape[3];
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "y*w*", &pixels, &image)) return NULL;
    sqz_image_shape(network, shape);
    const size_t size = (size_t)shape[0] * shape[1] * shape[2];
    if ((size_t)pixels.len != size || (size_t)image.len != size * sizeof(float))
        PyErr_SetString(PyExc_ValueError, "the buffers are not those of the pixels and floats of one image");
    else {
        sqz_normalise(network, pixels.buf, image.buf);
        result = Py_NewRef(Py_None);
    }
    PyBuffer_Release(&image);
    PyBuffer_Release(&pixels);
    return result;
}

static PyObject *network_path(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(sqz_path_name(((Network *)self)->path));
}

static PyObject *network_memory(PyObject *self, void *unused)
{
    const sqz_needs needs = sqz_ask(((Network *)self)->network, 1);
    (void)unused;
    return Py_BuildValue("(nnn)", (Py_ssize_t)needs.weights, (Py_ssize_t)needs.decoding, (Py_ssize_t)needs.running);
}

static PyObject *network_shape(PyObject *self, void *unused)
{
    uint32_t shape[3];
    (void)unused;
    sqz_image_shape(((Network *)self)->network, shape);
    return Py_BuildValue("(III)", shape[0], shape[1], shape[2]);
}

static PyObject *network_classes(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLong(sqz_classes(((Network *)self)->network));
}

static PyObject *network_outputs(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(sqz_outputs_of(((Network *)self)->network) == SQZ_LABELS ? "labels" : "classes");
}

static PyObject *network_layers(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLong(sqz_layers(((Network *)self)->network));
}

static PyObject *network_framing(PyObject *self, void *unused)
{
    static const char *const channels[] = {"RGB", "BGR", "L"};
    const sqz_preparation *p = sqz_preparation_of(((Network *)self)->network);
    (void)unused;
    return Py_BuildValue("((II)(II)ss)", p->resize[0], p->resize[1], p->crop[0], p->crop[1],
                         p->shorter ? "shorter" : "stretch", channels[p->channels]);
}

static PyMethodDef network_methods[] = {
    {"normalise", network_normalise, METH_VARARGS, "normalise(pixels, image): fill a float32 image from bytes"},
    {"run", network_run, METH_VARARGS, "run(images, logits, threads): fill float32 logits from float32 images"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef network_attributes[] = {
    {"path", network_path, NULL, "the instruction set that computes it", NULL},
    {"shape", network_shape, NULL, "of an image: channels, height, width", NULL},
    {"classes", network_classes, NULL, "how many logits", NULL},
    {"outputs", network_outputs, NULL, "what the logits mean: classes or labels", NULL},
    {"layers", network_layers, NULL, "how many operations have weights, and so a name", NULL},
    {"framing", network_framing, NULL, "of an image: (height, width) of resize and of crop, fit, channels", NULL},
    {"memory", network_memory, NULL, "bytes of memory: for weights, while decoding, while running", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot network_slots[] = {
    {Py_tp_doc, "Network(file, path='', threads=1): the network in the bytes of a file"},
    {Py_tp_new, (void *)network_new},
    {Py_tp_dealloc, (void *)network_free},
    {Py_tp_methods, network_methods},
    {Py_tp_getset, network_attributes},
    {0, NULL},
};

PyType_Spec python_network_spec = {
    "squeezenet._engine.Network", sizeof(Network), 0, Py_TPFLAGS_DEFAULT, network_slots,
};
