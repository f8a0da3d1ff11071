/* `squeezenet._engine`: the engine for Python, by the stable ABI of 3.11. Written for `squeezenet.sqz.levels` alone, which
 * checks what users may get wrong; here only what could touch foreign memory is checked. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "levels.h"

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

static PyMethodDef methods[] = {
    {"levels_decode", levels_decode, METH_VARARGS, "levels_decode(bytes, levels, shape): fill int32 levels; 0 or an error"},
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
    PyObject *self = PyModule_Create(&module);
    if (self != NULL && (PyModule_AddIntConstant(self, "TRUNCATED", SQZ_TRUNCATED) < 0 ||
                         PyModule_AddIntConstant(self, "TRAILING", SQZ_TRAILING) < 0)) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}
