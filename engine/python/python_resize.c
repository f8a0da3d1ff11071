/* `squeezenet._engine.resize`. */
#include "binding.h"

#include <stdlib.h>

#include "sqz.h"

/* Most bytes that are asked for at once, but for one row. */
#define MOST ((size_t)1 << 18)

/* Call read((left, top, right, bottom)) and resize the rows that it returns. Returns 0, or -1 with an exception. */
static int resize_some(PyObject *read, sqz_box part, size_t row, void *memory)
{
    Py_buffer pixels;
    PyObject *data = PyObject_CallFunction(read, "((IIII))", part.left, part.top, part.right, part.bottom);
    if (data == NULL) return -1;
    int failed = PyObject_GetBuffer(data, &pixels, PyBUF_SIMPLE);
    if (failed == 0) {
        if ((size_t)pixels.len != row * (part.bottom - part.top)) {
            PyErr_SetString(PyExc_ValueError, "not the bytes of this part of the image");
            failed = -1;
        } else {
            Py_BEGIN_ALLOW_THREADS
            for (uint32_t y = part.top; y < part.bottom; y++)
                sqz_resize_row(memory, (const uint8_t *)pixels.buf + row * (y - part.top));
            Py_END_ALLOW_THREADS
        }
        PyBuffer_Release(&pixels);
    }
    Py_DECREF(data);
    return failed;
}

PyObject *python_resize(PyObject *self, PyObject *args)
{
    sqz_preparation p = {0};
    uint32_t width, height, samples;
    int grey;
    PyObject *read;
    (void)self;
    if (!PyArg_ParseTuple(args, "(II)(II)ppIIIO", &p.resize[0], &p.resize[1], &p.crop[0], &p.crop[1], &p.shorter, &grey,
                          &width, &height, &samples, &read))
        return NULL;
    p.channels = grey ? SQZ_L : SQZ_RGB;
    const int fits = p.crop[0] >= 1 && p.crop[0] <= p.resize[0] && p.crop[1] >= 1 && p.crop[1] <= p.resize[1];
    const size_t size = fits ? sqz_resize_memory(&p, width, height, samples) : 0;
    if (size == 0) return PyErr_Format(PyExc_ValueError, "an image of %u x %u cannot be resized so", width, height);
    void *memory = malloc(size);
    PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)p.crop[0] * p.crop[1] * (grey ? 1 : 3));
    if (memory == NULL || result == NULL) {
        if (memory == NULL) PyErr_NoMemory();
        Py_CLEAR(result);
    } else {
        const sqz_box all = sqz_resize_start(&p, width, height, samples, (uint8_t *)PyBytes_AsString(result), memory);
        const size_t row = (size_t)samples * (all.right - all.left);
        const uint32_t rows = row < MOST ? (uint32_t)(MOST / row) : 1;
        for (uint32_t y = all.top; y < all.bottom && result != NULL; y += rows) {
            sqz_box part = {all.left, y, all.right, all.bottom - y < rows ? all.bottom : y + rows};
            if (resize_some(read, part, row, memory) < 0) Py_CLEAR(result);
            if (part.bottom == all.bottom) break;
        }
    }
    free(memory);
    return result;
}
