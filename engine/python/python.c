/* `squeezenet._engine`: the engine as a Python module, in the stable ABI of Python 3.11. */
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
    {"text", python_text, METH_VARARGS, "text(file): names and labels, as bytes"},
    {"text_decode", python_text_decode, METH_VARARGS,
     "text_decode(stream, length): a text of version 2, as bytes, or an error"},
    {"text_encode", python_text_encode, METH_VARARGS, "text_encode(text): its stream in version 2"},
    {"levels_decode", python_levels_decode, METH_VARARGS,
     "levels_decode(bytes, levels, shape): fill levels; 0 or an error"},
    {"levels_encode", python_levels_encode, METH_VARARGS, "levels_encode(levels, shape): the bytes of a stream"},
    {"levels_size", python_levels_size, METH_VARARGS, "levels_size(levels, shape): the number of its bytes"},
    {"plan_rows", python_plan_rows, METH_VARARGS, "plan_rows(file, geometry, ram, flash): tables of a network by rows"},
    {"run_rows", python_run_rows, METH_VARARGS,
     "run_rows(file, path, images, logits, ram, flash): fill int32 logits; the bytes of memory"},
    {"delta_apply", python_delta_apply, METH_VARARGS, "delta_apply(old, delta, bytes): the new file; memory needed"},
    {"delta_encode", python_delta_encode, METH_VARARGS, "delta_encode(old, new, plan): the levels in a delta, or None"},
    {"resize", python_resize, METH_VARARGS,
     "resize(resize, crop, shorter, grey, width, height, samples, read): the pixels that a network reads"},
    {"round_inputs", python_round_inputs, METH_VARARGS,
     "round_inputs(inputs, matrix, rows, before, scales, costs, levels, values, errors): see rounding.py"},
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
    PyObject *self = PyModule_Create(&module), *type = PyType_FromSpec(&python_network_spec);
    if (self == NULL || type == NULL || PyModule_AddObjectRef(self, "Network", type) < 0 ||
        PyModule_AddIntConstant(self, "TRUNCATED", SQZ_TRUNCATED) < 0 ||
        PyModule_AddIntConstant(self, "TRAILING", SQZ_TRAILING) < 0)
        Py_CLEAR(self);
    Py_XDECREF(type);
    return self;
}
