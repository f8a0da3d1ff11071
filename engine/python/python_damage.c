/* Damage of a file, as an exception of Python. */
#include "binding.h"

#include "delta.h"

void python_raise_damage(int status)
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
        {SQZ_NOT_DELTA, "NotDelta", "not a delta: it does not begin with the magic bytes"},
        {SQZ_WRONG_OLD, "WrongOldFile", "the delta is for another file; fetch the whole new file instead"},
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
