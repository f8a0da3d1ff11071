"""What only makes files, deltas and plans, of the C engine (engine/python/python_workshop.c).

It is missing wherever `_engine` is.
"""

from typing import Any, TypeAlias

Buffer: TypeAlias = Any  # Python below 3.12 has no type for buffers

def text_encode(text: Buffer, /) -> bytes: ...
def levels_encode(levels: Buffer, shape: tuple[int, int, int, int], /) -> bytes: ...
def levels_size(levels: Buffer, shape: tuple[int, int, int, int], /) -> int: ...
def delta_encode(old: Buffer, new: Buffer, plan: Buffer, /) -> bytes | None: ...
def round_inputs(
    inputs: int, matrix: Buffer, rows: Buffer, before: Buffer | None, scales: Buffer, costs: Buffer,
    levels: Buffer, values: Buffer, errors: Buffer, /,
) -> None: ...  # fmt: skip
def plan_rows(file: Buffer, geometry: tuple[int, ...], ram: int, flash: int, /) -> dict[str, Any]:
    """The plan of an integer network that runs by rows (engine/src/rows.h), as plain data for the tables of the device.

    `geometry` describes the kernels of the device (kernels.h): lanes, depth, bytes, centre, taps, interleaved, and
    most positions of a tile of 1, 2, 3 and 4 vectors. Those of kernels_scalar.c: (8, 4, 1, 0, 1, 0, 8, 8, 8, 8). `ram`
    and `flash` are limits in bytes, 0 for none: of everything in memory but the stack, and of `weights`. Raises
    `ValueError` if there is no plan within the limits, or the network is not an integer network.

    Below, a dict stands for a C struct and has its fields that are not 0: an int for a number, a tuple for an array, a
    dict for a struct, a str for the name of a function. So `{"kernel": (3, 3), "work": "sqz_packed_layer"}` is written
    as `{.kernel = {3, 3}, .work = sqz_packed_layer}`.

    "ops": list of `sqz_op`; "values": list of `sqz_value`; "inputs", "waits": lists of numbers (`uint32_t`);
    "network": `sqz_network` without its pointers (`kernels`, `ops`, `values`, `inputs`, `weights`);
    "rows": `sqz_rows` without `network` and `waits`;
    "weights": bytes, to which `weights` points, aligned to 16 bytes;
    "layers": one dict for each operation of "ops": "op" is the number of the operation in the graph of the file,
    "place" is "stored", "packed", "decoded" or "" (no weights), "weights" how many it has in the file, "flash" the
    bytes of its weights and factors, "least" the rows that it computes at once, "decodes" how often its stream is
    decoded for an image, "scratch" the bytes of scratch memory;
    "memory": bytes of RAM by use ("values", "all" with scratch memory and counters) and of flash ("stored", "packed",
    "streams", "factors");
    "forms": bytes of other plans: "least_flash", the length of "weights" if each layer had the smallest form of its
    weights; "packed_flash" and "packed_ram", if all layers had packed weights;
    "decoded": how many weights are decoded for each image; "steps": how many times an operation is started.
    """

def run_rows(file: Buffer, kernels: object, images: Buffer, logits: Buffer, ram: int, flash: int, /) -> int:
    """Run images by rows with the plan of these limits, for tests. Returns the bytes of memory.

    `kernels`: from `_engine.kernels`.
    `images`: prepared, (N, channels, height, width) of float32, or pixels, (N, height, width, channels) of bytes.
    `logits`: (N, classes) of int32, to be filled. Raises `RuntimeError` if memory outside of the plan was changed.
    """
