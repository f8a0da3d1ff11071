/* What the parts of `squeezenet._engine` and `squeezenet._workshop` have in common. (Not named `python.h`: some file
 * systems would take that for `Python.h`.) Only the package calls these modules, and it checks what users may get wrong;
 * here only the sizes of buffers are checked.
 *
 * Both modules are linked from all files, and the linker leaves out what a module does not refer to. */
#ifndef SQZ_BINDING_H
#define SQZ_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#ifndef Py_BEGIN_CRITICAL_SECTION /* the stable ABI of Python 3.11 is for Pythons with one global lock */
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

/* Raise the error of `squeezenet.errors` that names the damage. */
void python_raise_damage(int status);

/* The name of a capsule with a `sqz_kernels`. */
#define PYTHON_KERNELS "sqz_kernels"

/* python_coders.c: functions of a module; the tables in python_engine.c and python_workshop.c describe them. */
PyObject *python_levels_decode(PyObject *self, PyObject *args);
PyObject *python_levels_encode(PyObject *self, PyObject *args);
PyObject *python_levels_size(PyObject *self, PyObject *args);
PyObject *python_text(PyObject *self, PyObject *args);
PyObject *python_text_decode(PyObject *self, PyObject *args);
PyObject *python_text_encode(PyObject *self, PyObject *args);

/* python_rows.c: the same. */
PyObject *python_plan_rows(PyObject *self, PyObject *args);
PyObject *python_run_rows(PyObject *self, PyObject *args);

/* python_delta.c */
PyObject *python_delta_apply(PyObject *self, PyObject *args);
PyObject *python_delta_encode(PyObject *self, PyObject *args);

/* python_resize.c */
PyObject *python_resize(PyObject *self, PyObject *args);

/* python_rounding.c */
PyObject *python_round_inputs(PyObject *self, PyObject *args);

/* python_network.c: the type `Network`. */
extern PyType_Spec python_network_spec;

#endif
