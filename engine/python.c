/* `squeezenet._engine`: the engine for Python, by the stable ABI of 3.11. Written for `squeezenet.sqz.levels` and
 * `squeezenet.runtime` alone, which check what users may get wrong; here only what could touch foreign memory is
 * checked. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdlib.h>
#include <string.h>

#include "levels.h"
#include "sqz.h"
#include "threads.h"

/* The levels' buffer and the memory to work in; 0 if that is not possible, with an exception set. */
static int open_levels(PyObject *object, int flags, sqz_shape shape, Py_buffer *view, void **memory)
{
    const uint64_t most = UINT64_C(1) << 31, each = (uint64_t)shape.height * shape.width;
    if (PyObject_GetBuffer(object, view, flags) < 0) return 0;
    /* Each product is checked before the next, so that none overflows. */
    if (each > most || shape.inputs * each > most || shape.outputs * (shape.inputs * each) > most ||
        shape.outputs * (shape.inputs * each) * sizeof(int32_t) != (uint64_t)view->len)
        PyErr_SetString(PyExc_ValueError, "the buffer is not one of int32 in this shape");
    else if ((*memory = PyMem_Malloc(sqz_levels_memory(shape))) == NULL)
        PyErr_NoMemory();
    else
        return 1;
    PyBuffer_Release(view);
    return 0;
}

static PyObject *levels_decode(PyObject *self, PyObject *args)
{
    Py_buffer bytes, levels;
    PyObject *target;
    sqz_shape shape;
    void *memory;
    int status;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*O(IIII)", &bytes, &target, &shape.outputs, &shape.inputs, &shape.height,
                          &shape.width))
        return NULL;
    if (!open_levels(target, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS, shape, &levels, &memory)) {
        PyBuffer_Release(&bytes);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = sqz_levels_decode(bytes.buf, (size_t)bytes.len, levels.buf, shape, memory);
    Py_END_ALLOW_THREADS
    PyMem_Free(memory);
    PyBuffer_Release(&levels);
    PyBuffer_Release(&bytes);
    return PyLong_FromLong(status);
}

/* The bytes of a stream, or only their number. */
static PyObject *measure_or_encode(PyObject *args, int write)
{
    Py_buffer levels;
    PyObject *source, *result = NULL;
    sqz_shape shape;
    void *memory;
    size_t size = 0;
    int status;
    if (!PyArg_ParseTuple(args, "O(IIII)", &source, &shape.outputs, &shape.inputs, &shape.height, &shape.width) ||
        !open_levels(source, PyBUF_C_CONTIGUOUS, shape, &levels, &memory))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    status = sqz_levels_encode(levels.buf, shape, NULL, &size, memory);
    Py_END_ALLOW_THREADS
    if (status != SQZ_OK)
        PyErr_SetString(PyExc_ValueError, "a level or a kernel is too large");
    else if (!write)
        result = PyLong_FromSize_t(size);
    else if ((result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size)) != NULL && size > 0) {
        uint8_t *bytes = (uint8_t *)PyBytes_AsString(result); /* nobody else has seen the object yet */
        Py_BEGIN_ALLOW_THREADS
        sqz_levels_encode(levels.buf, shape, bytes, &size, memory);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(memory);
    PyBuffer_Release(&levels);
    return result;
}

static PyObject *levels_encode(PyObject *self, PyObject *args)
{
    (void)self;
    return measure_or_encode(args, 1);
}

static PyObject *levels_size(PyObject *self, PyObject *args)
{
    (void)self;
    return measure_or_encode(args, 0);
}

enum { MOST_THREADS = 64 };

/* A network that is ready to run. The memory of the last run is kept for the next: fresh memory costs page faults. */
typedef struct {
    PyObject_HEAD
    void *description, *weights, *spare;
    size_t spare_bytes;
    sqz_network *network;
    sqz_path path;
} Network;

/* Raise the error of `squeezenet.errors` that names the damage. */
static void raise_damage(int status)
{
    static const struct {
        int status;
        const char *name, *message;
    } kinds[] = {
        {SQZ_NOT_SQZ, "NotSqz", "not a .sqz file: it does not begin with the magic bytes"},
        {SQZ_VERSION, "UnsupportedVersion", "a version or a flag that this engine does not know: upgrade squeezenet"},
        {SQZ_CHECKSUM, "ChecksumMismatch", "not the bytes that were written; fetch the file again"},
        {SQZ_BAD_GRAPH, "BadGraph", "a graph that no writer could have written"},
        {SQZ_LIMIT, "LimitExceeded", "more memory or time than a file of its size may ask for"},
        {SQZ_TRUNCATED, "Truncated", "the file, or a stream in it, ends too early; fetch it again"},
        {SQZ_TRAILING, "TrailingBytes", "the file, or a stream in it, goes on after its end"},
        {SQZ_BAD_STREAM, "BadStream", "a stream contradicts itself or the graph"},
    };
    size_t i = 0;
    while (kinds[i].status != status && kinds[i].status != SQZ_BAD_STREAM) i++;
    PyObject *errors = PyImport_ImportModule("squeezenet.errors");
    PyObject *type = errors != NULL ? PyObject_GetAttrString(errors, kinds[i].name) : NULL;
    if (type != NULL) PyErr_SetString(type, kinds[i].message);
    Py_XDECREF(type);
    Py_XDECREF(errors);
}

typedef struct {
    Network *self;
    void *decoding;
    int status;
} reading;

static void read_weights(void *context, const sqz_team *team)
{
    reading *r = context;
    r->status = sqz_prepare(r->self->network, r->self->weights, r->decoding, team);
}

/* SQZ_OK, another status, or 1 without memory. */
static int open_network(Network *self, const uint8_t *file, size_t bytes, unsigned threads)
{
    size_t size;
    int status = sqz_measure(file, bytes, &size);
    if (status != SQZ_OK) return status;
    if ((self->description = malloc(size)) == NULL) return 1;
    status = sqz_open(file, bytes, self->path, self->description, &self->network);
    if (status != SQZ_OK) return status;
    const sqz_needs needs = sqz_ask(self->network, threads);
    reading r = {self, malloc(needs.decoding), 1};
    self->weights = malloc(needs.weights);
    if (r.decoding != NULL && self->weights != NULL) sqz_with_team(threads, read_weights, &r);
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
        PyErr_SetString(PyExc_ValueError, "at least one thread has to read");
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
                raise_damage(status);
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

/* A batch. As many images as threads, or more: each thread takes some. Fewer: all threads work on one image. */
typedef struct {
    const sqz_network *network;
    const float *images;
    float *logits;
    size_t count, pixels, classes, running;
    uint8_t *memory;
    unsigned parts;
    int apart; /* each image is one thread's from end to end */
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

/* Memory for a run, the spare one if it is large enough. */
static uint8_t *borrow(Network *self, size_t *bytes)
{
    uint8_t *memory = self->spare;
    if (memory == NULL || self->spare_bytes < *bytes) return malloc(*bytes);
    *bytes = self->spare_bytes;
    self->spare = NULL;
    return memory;
}

static void give_back(Network *self, uint8_t *memory, size_t bytes)
{
    free(self->spare);
    self->spare = memory;
    self->spare_bytes = bytes;
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
        b.apart = b.count >= threads;
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
    return Py_BuildValue("(IIss)", p->resize, p->crop, p->shorter ? "shorter" : "stretch", channels[p->channels]);
}

static PyMethodDef network_methods[] = {
    {"normalise", network_normalise, METH_VARARGS, "normalise(pixels, image): fill a float32 image from bytes"},
    {"run", network_run, METH_VARARGS, "run(images, logits, threads): fill float32 logits from float32 images"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef network_attributes[] = {
    {"path", network_path, NULL, "how it is computed", NULL},
    {"shape", network_shape, NULL, "of an image: channels, height, width", NULL},
    {"classes", network_classes, NULL, "how many logits", NULL},
    {"layers", network_layers, NULL, "how many operations have weights, and a name", NULL},
    {"framing", network_framing, NULL, "of an image: resize, crop, fit, channels", NULL},
    {"memory", network_memory, NULL, "bytes: of weights, while decoding, while running", NULL},
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

static PyType_Spec network_spec = {
    "squeezenet._engine.Network", sizeof(Network), 0, Py_TPFLAGS_DEFAULT, network_slots,
};

/* The text of a file that a network was made of. */
static PyObject *text(PyObject *self, PyObject *args)
{
    Py_buffer file;
    size_t length;
    PyObject *result = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*", &file)) return NULL;
    int status = sqz_text_measure(file.buf, (size_t)file.len, &length);
    if (status == SQZ_OK && (result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length)) != NULL) {
        uint8_t *bytes = (uint8_t *)PyBytes_AsString(result); /* nobody else has seen the object yet */
        Py_BEGIN_ALLOW_THREADS
        status = sqz_text_read(file.buf, (size_t)file.len, bytes);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&file);
    if (status != SQZ_OK) {
        Py_CLEAR(result);
        raise_damage(status);
    }
    return result;
}

static PyObject *paths(PyObject *self, PyObject *unused)
{
    PyObject *found = PyList_New(0);
    (void)self;
    (void)unused;
    for (int path = 0; path < SQZ_PATHS && found != NULL; path++) {
        if (!sqz_has_path((sqz_path)path)) continue;
        PyObject *name = PyUnicode_FromString(sqz_path_name((sqz_path)path));
        if (name == NULL || PyList_Append(found, name) < 0) Py_CLEAR(found);
        Py_XDECREF(name);
    }
    return found;
}

static PyMethodDef methods[] = {
    {"paths", paths, METH_NOARGS, "paths(): the paths of this machine, the fastest last"},
    {"text", text, METH_VARARGS, "text(file): names and labels, as bytes"},
    {"levels_decode", levels_decode, METH_VARARGS, "levels_decode(bytes, levels, shape): fill levels; 0 or an error"},
    {"levels_encode", levels_encode, METH_VARARGS, "levels_encode(levels, shape): the bytes of a stream"},
    {"levels_size", levels_size, METH_VARARGS, "levels_size(levels, shape): the number of its bytes"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "squeezenet._engine",
    .m_doc = "The C engine.",
    .m_size = 0,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__engine(void)
{
    PyObject *self = PyModule_Create(&module), *type = PyType_FromSpec(&network_spec);
    if (self == NULL || type == NULL || PyModule_AddObjectRef(self, "Network", type) < 0 ||
        PyModule_AddIntConstant(self, "TRUNCATED", SQZ_TRUNCATED) < 0 ||
        PyModule_AddIntConstant(self, "TRAILING", SQZ_TRAILING) < 0)
        Py_CLEAR(self);
    Py_XDECREF(type);
    return self;
}
