/* `squeezenet._engine`: what a device needs of the engine, as a Python module in the stable ABI of Python 3.11. */
#include "binding.h"

#include <string.h>

#include "kernels.h"

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

/* kernels(path): for `squeezenet._workshop.run_rows`, which has no kernels of its own. */
static PyObject *kernels(PyObject *self, PyObject *args)
{
    const char *name;
    int path = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "s", &name)) return NULL;
    while (path < SQZ_PATHS && strcmp(name, sqz_path_name((sqz_path)path)) != 0) path++;
    const sqz_kernels *found = path < SQZ_PATHS ? sqz_kernels_of((sqz_path)path, 0) : NULL;
    if (found == NULL) return PyErr_Format(PyExc_ValueError, "there are no kernels of a path '%s'", name);
    return PyCapsule_New((void *)found, PYTHON_KERNELS, NULL);
}

static PyMethodDef methods[] = {
    {"kernels", kernels, METH_VARARGS, "kernels(path): the inner loops of a path, for C only"},
    {"paths", paths, METH_NOARGS, "paths(): the paths of this machine, the fastest last"},
    {"text", python_text, METH_VARARGS, "text(file): names and labels, as bytes"},
    {"text_decode", python_text_decode, METH_VARARGS,
     "text_decode(stream, length): a text of version 2, as bytes, or an error"},
    {"levels_decode", python_levels_decode, METH_VARARGS,
     "levels_decode(bytes, levels, shape): fill levels; 0 or an error"},
    {"delta_apply", python_delta_apply, METH_VARARGS, "delta_apply(old, delta, bytes): the new file; memory needed"},
    {"resize", python_resize, METH_VARARGS,
     "resize(resize, crop, shorter, grey, width, height, samples, read): the pixels that a network reads"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "squeezenet._engine",
    .m_doc = "The C engine, for devices.",
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
#ifdef Py_GIL_DISABLED
    if (self != NULL) PyUnstable_Module_SetGIL(self, Py_MOD_GIL_NOT_USED);
#endif
    Py_XDECREF(type);
    return self;
}
