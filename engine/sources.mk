# The engine's C files, by the options they are compiled with. engine/Makefile includes this list, setup.py reads it.

# Run once for a file or an operation: compiled to be small.
SMALL = \
    kernels/kernels.c \
    src/delta.c \
    src/delta_front.c \
    src/delta_layer.c \
    src/delta_parts.c \
    src/delta_walk.c \
    src/file.c \
    src/graph.c \
    src/huffman.c \
    src/image.c \
    src/labels.c \
    src/lists.c \
    src/plan.c \
    src/pooling.c \
    src/reference.c \
    src/row_graph.c \
    src/row_offsets.c \
    src/row_plan.c \
    src/row_search.c \
    src/row_timeline.c \
    src/row_weights.c \
    src/rows.c \
    src/run.c \
    src/scales.c \
    src/sha256.c \
    src/tensors.c \
    src/text.c \
    src/threads.c \
    src/weights.c

# Loops that take the time of decoding.
FAST = \
    src/differences.c \
    src/levels.c \
    src/mixed_text.c

# Loops that take the time of a run, on strips of constant length: Clang, and GCC from 12 on, vectorise them at -O2.
VECTORS = \
    kernels/kernels_avx2.c \
    kernels/kernels_avx512vnni.c \
    kernels/kernels_dsp.c \
    kernels/kernels_mve.c \
    kernels/kernels_neon.c \
    kernels/kernels_scalar.c \
    kernels/kernels_small.c \
    kernels/kernels_wasm.c \
    kernels/resize_avx2.c \
    src/blocks.c \
    src/chains.c \
    src/convolution.c \
    src/floats.c \
    src/layers.c

# No product and sum are rounded at once: -ffp-contract=off.
EXACT = \
    src/resize.c

# For Python only: functions of both modules.
PYTHON_SMALL = \
    python/python_coders.c \
    python/python_damage.c \
    python/python_delta.c \
    python/python_network.c \
    python/python_resize.c \
    python/python_rows.c

# As EXACT.
PYTHON_EXACT = \
    python/python_rounding.c

# The module of a device, and that of the workshop. Each gets of all other files what it refers to.
PYTHON_ENGINE = \
    python/python_engine.c

PYTHON_WORKSHOP = \
    python/python_workshop.c
