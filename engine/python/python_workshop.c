/* `squeezenet._workshop`: what makes files, deltas and plans, as a Python module in the stable ABI of Python 3.11. */
#include "binding.h"

static PyMethodDef methods[] = {
    {"text_encode", python_text_encode, METH_VARARGS, "text_encode(text): its stream in version 2"},
    {"levels_encode", python_levels_encode, METH_VARARGS, "levels_encode(levels, shape): the bytes of a stream"},
    {"levels_size", python_levels_size, METH_VARARGS, "levels_size(levels, shape): the number of its bytes"},
    {"delta_encode", python_delta_encode, METH_VARARGS, "delta_encode(old, new, plan): the levels in a delta, or None"},
    {"plan_rows", python_plan_rows, METH_VARARGS, "plan_rows(file, geometry, ram, flash): tables of a network by rows"},
    {"run_rows", python_run_rows, METH_VARARGS,
     "run_rows(file, kernels, images, logits, ram, flash): fill int32 logits; the bytes of memory"},
    {"round_inputs", python_round_inputs, METH_VARARGS,
     "round_inputs(inputs, matrix, rows, before, scales, costs, levels, values, errors): see rounding.py"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "squeezenet._workshop",
    .m_doc = "The C engine, for making files.",
    .m_size = 0,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__workshop(void)
{
    PyObject *self = PyModule_Create(&module);
#ifdef Py_GIL_DISABLED
    if (self != NULL) PyUnstable_Module_SetGIL(self, Py_MOD_GIL_NOT_USED);
#endif
    return self;
}
