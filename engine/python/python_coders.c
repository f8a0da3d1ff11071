/* Level streams and the text of a file, for Python. */
#include "binding.h"

#include "levels.h"
#include "mixed_text.h"
#include "sqz.h"

/* Get the buffer of the levels, and working memory. Returns 0 with an exception set if that fails. */
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

PyObject *python_levels_decode(PyObject *self, PyObject *args)
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

/* The bytes of a stream (write = 1), or only their number. */
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
        uint8_t *bytes = (uint8_t *)PyBytes_AsString(result); /* no other code has this object yet */
        Py_BEGIN_ALLOW_THREADS
        sqz_levels_encode(levels.buf, shape, bytes, &size, memory);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(memory);
    PyBuffer_Release(&levels);
    return result;
}

PyObject *python_levels_encode(PyObject *self, PyObject *args)
{
    (void)self;
    return measure_or_encode(args, 1);
}

PyObject *python_levels_size(PyObject *self, PyObject *args)
{
    (void)self;
    return measure_or_encode(args, 0);
}

/* The text of a file that `Network` has accepted. */
PyObject *python_text(PyObject *self, PyObject *args)
{
    Py_buffer file;
    size_t length, needed;
    void *memory = NULL;
    PyObject *result = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*", &file)) return NULL;
    int status = sqz_text_measure(file.buf, (size_t)file.len, &length, &needed);
    if (status == SQZ_OK && (memory = PyMem_Malloc(needed)) == NULL)
        PyErr_NoMemory();
    else if (status == SQZ_OK && (result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length)) != NULL) {
        uint8_t *bytes = (uint8_t *)PyBytes_AsString(result); /* no other code has this object yet */
        Py_BEGIN_ALLOW_THREADS
        status = sqz_text_read(file.buf, (size_t)file.len, bytes, memory);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(memory);
    PyBuffer_Release(&file);
    if (status != SQZ_OK) {
        Py_CLEAR(result);
        python_raise_damage(status);
    }
    return result;
}

/* Get the buffer of a text or of its stream, and working memory. Returns 0 with an exception set if that fails. */
static int open_text(PyObject *args, const char *format, Py_buffer *view, Py_ssize_t *length, void **memory)
{
    if (!PyArg_ParseTuple(args, format, view, length)) return 0;
    *memory = PyMem_Malloc(sqz_mixed_text_memory());
    if (*memory != NULL) return 1;
    PyErr_NoMemory();
    PyBuffer_Release(view);
    return 0;
}

PyObject *python_text_decode(PyObject *self, PyObject *args)
{
    Py_buffer stream;
    Py_ssize_t length = 0;
    void *memory;
    int status = SQZ_OK;
    (void)self;
    if (!open_text(args, "y*n", &stream, &length, &memory)) return NULL;
    PyObject *result = PyBytes_FromStringAndSize(NULL, length);
    if (result != NULL) {
        uint8_t *bytes = (uint8_t *)PyBytes_AsString(result); /* no other code has this object yet */
        Py_BEGIN_ALLOW_THREADS
        status = sqz_mixed_text_decode(stream.buf, (size_t)stream.len, bytes, (size_t)length, memory);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(memory);
    PyBuffer_Release(&stream);
    if (status == SQZ_OK) return result;
    Py_CLEAR(result);
    return PyLong_FromLong(status);
}

PyObject *python_text_encode(PyObject *self, PyObject *args)
{
    Py_buffer text;
    Py_ssize_t unused = 0;
    PyObject *result;
    void *memory;
    size_t size = 0;
    (void)self;
    if (!open_text(args, "y*|n", &text, &unused, &memory)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    sqz_mixed_text_encode(text.buf, (size_t)text.len, NULL, &size, memory);
    Py_END_ALLOW_THREADS
    if ((result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size)) != NULL) {
        uint8_t *bytes = (uint8_t *)PyBytes_AsString(result); /* no other code has this object yet */
        Py_BEGIN_ALLOW_THREADS
        sqz_mixed_text_encode(text.buf, (size_t)text.len, bytes, &size, memory);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(memory);
    PyBuffer_Release(&text);
    return result;
}
