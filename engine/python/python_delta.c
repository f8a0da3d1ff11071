/* Deltas, for Python. */
#include "binding.h"

#include <string.h>

#include "delta.h"

typedef struct {
    uint8_t *bytes;
    size_t size;
} buffer;

static int keep(void *context, size_t offset, const uint8_t *bytes, size_t count)
{
    const buffer *b = context;
    if (offset > b->size || count > b->size - offset) return 1;
    memcpy(b->bytes + offset, bytes, count);
    return 0;
}

/* delta_apply(old, delta, bytes): the new file of so many bytes, and the bytes of memory that were needed. */
PyObject *python_delta_apply(PyObject *self, PyObject *args)
{
    Py_buffer old, delta;
    Py_ssize_t size;
    void *memory = NULL;
    size_t room = 0, given = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*n", &old, &delta, &size)) return NULL;
    PyObject *result = PyBytes_FromStringAndSize(NULL, size);
    int status = SQZ_NO_ROOM;
    if (result != NULL) {
        buffer made = {(uint8_t *)PyBytes_AsString(result), (size_t)size}; /* no other code has this object yet */
        do {
            void *larger = PyMem_Realloc(memory, room > 0 ? room : 1);
            if (larger == NULL) {
                PyErr_NoMemory();
                break;
            }
            memory = larger;
            given = room;
            Py_BEGIN_ALLOW_THREADS
            status =
                sqz_delta_apply(old.buf, (size_t)old.len, delta.buf, (size_t)delta.len, memory, &room, keep, &made);
            Py_END_ALLOW_THREADS
        } while (status == SQZ_NO_ROOM && room > given);
    }
    PyMem_Free(memory);
    PyBuffer_Release(&old);
    PyBuffer_Release(&delta);
    if (status == SQZ_OK) return Py_BuildValue("(Nn)", result, (Py_ssize_t)room);
    Py_XDECREF(result);
    if (!PyErr_Occurred()) python_raise_damage(status);
    return NULL;
}

/* delta_encode(old, new, plan): the stream of the range coder. `plan`: a buffer of int32. */
PyObject *python_delta_encode(PyObject *self, PyObject *args)
{
    Py_buffer old, made, plan;
    PyObject *result = NULL;
    void *memory = NULL;
    size_t room = 0, given = 0, size = 0;
    int status = SQZ_NO_ROOM;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*y*", &old, &made, &plan)) return NULL;
    const size_t most = (size_t)made.len + 4096;
    uint8_t *bytes = PyMem_Malloc(most);
    do {
        void *larger = bytes != NULL ? PyMem_Realloc(memory, room > 0 ? room : 1) : NULL;
        if (larger == NULL) {
            PyErr_NoMemory();
            break;
        }
        memory = larger;
        given = room;
        size = most;
        Py_BEGIN_ALLOW_THREADS
        status = sqz_delta_encode(old.buf, (size_t)old.len, made.buf, (size_t)made.len, plan.buf,
                                  (size_t)plan.len / sizeof(int32_t), bytes, &size, memory, &room);
        Py_END_ALLOW_THREADS
    } while (status == SQZ_NO_ROOM && room > given);
    if (status == SQZ_OK)
        result = PyBytes_FromStringAndSize((const char *)bytes, (Py_ssize_t)size);
    else if (!PyErr_Occurred() && status == SQZ_NO_ROOM)
        result = Py_NewRef(Py_None); /* longer than the new file */
    else if (!PyErr_Occurred())
        python_raise_damage(status);
    PyMem_Free(memory);
    PyMem_Free(bytes);
    PyBuffer_Release(&old);
    PyBuffer_Release(&made);
    PyBuffer_Release(&plan);
    return result;
}
