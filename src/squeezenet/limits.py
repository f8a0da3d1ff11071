"""Limits of the memory and the work that an untrusted file can cause: an image, a data set or a model.

A reader compares what a file declares with these numbers before it allocates memory. A file that is over a limit is
refused with one line that names the file, the number and the limit.
"""

# Images ---------------------------------------------------------------------------------------------------------------

IMAGE_MEMORY = 280_000_000
"""Bytes for decoding an image, pixels included: 70 megapixels of RGB. A larger JPEG is decoded at a smaller size."""
IMAGE_PIXELS = 150_000_000
"""Pixels of an image. Pillow itself refuses images of more than 179 million pixels."""
IMAGE_FILE = 256_000_000
"""Bytes of an image's file, also in a data set."""
IMAGE_SIDE = 32_768
"""Pixels of a side for resizing; a longer side is first averaged down to this."""
IMAGE_AREA = 16_777_216
"""Pixels of the image after the first pass of resizing, which has the new width and the old height."""
IMAGE_METADATA = 250_000
"""Bytes of an image's metadata. Larger metadata are ignored, since compressed ones can grow a thousandfold."""
JPEG_SCANS = 1_200_000_000
"""Pixels of a JPEG times its number of scans: about a second to decode. A progressive JPEG has about ten scans."""
PYTHON_PIXELS = 5_000_000
"""Pixels of images that Pillow decodes in Python: run-length coded BMP, PPM of other than 8 bits or as text."""
AVIF_PARTS = 20_000
"""Items of an AVIF, extents of the items, and OBUs (units of the AV1 data). A reader examines every one."""
TIFF_PIECES = 200_000
"""Strips or tiles of a TIFF. Each one takes time."""
TIFF_TAGS = 64_000_000
"""Bytes of all tags of a TIFF, with the layers and previews that programs store there."""

# Data sets ------------------------------------------------------------------------------------------------------------

DECODED_BYTES = 8 * 2**30
"""Bytes of decoded images that one command holds in memory: 55,000 images of 227 x 227 pixels in colour."""

CLASSES = 100_000
"""Classes of a data set: more than any published one has."""

CLASS_NAME = 1_000
"""Characters in the name of a class."""

LABEL_BYTES = 4 * CLASS_NAME
"""Bytes of a file with the label of one image."""

SIDECAR_BYTES = 2**20
"""Bytes of a JSON file beside an image that may hold its label."""

LABEL_FILE_BYTES = 16 * 2**20
"""Bytes of a file that lists the names of classes."""

PARQUET_GROUP_BYTES = 2**30
"""Bytes of the images in a row group of a Parquet file, decompressed: they are read together."""

PARQUET_SPARE_BYTES = 32 * 2**20
"""Bytes by which a row group may be larger than the file declares, for example where equal rows are stored once."""

PARQUET_ROWS = 20_000_000
"""Rows of a Parquet file. A file with less than a byte per row (all images equal) may have `PARQUET_FEW_ROWS`."""

PARQUET_FEW_ROWS = 1_000_000
"""Rows that a Parquet file of any size may have."""

BATCH_BYTES = 40 * 2**20
"""Bytes of the images (uint8) in a batch: 256 images of 227 x 227 pixels in colour. A larger image is one batch."""

# Models ---------------------------------------------------------------------------------------------------------------

MAX_MODEL_FILE = 1 << 30
"""Bytes of a file that holds a model, of any kind."""

# Of a `.sqz` file: docs/FORMAT.md, "What a reader refuses". The engine has the same numbers (`budget.h`).

MAX_OPERATIONS = 4096
"""Operations of a graph."""

MAX_SIDE = 8192
"""Pixels of a side to which an image is resized."""

MAX_ELEMENTS = 1 << 31
"""Elements of one value of a graph."""

MAX_LIVE = 1 << 26
"""Elements of all values of a graph that are in memory at the same time."""

MAX_WINDOWS = 1 << 28
"""Elements that all windows of one operation read, and elements of its padded input."""

MAX_WEIGHTS = 1 << 28
"""Weights of a network."""

FREE_WEIGHTS = 1 << 16
WEIGHTS_A_BYTE = 128
"""A file of n bytes may declare max(FREE_WEIGHTS, n * WEIGHTS_A_BYTE) weights."""

FREE_MEMORY = 3 << 26
MEMORY_A_BYTE = 256
"""A file of n bytes may need FREE_MEMORY + n * MEMORY_A_BYTE bytes of memory (`sqz.costs.memory`)."""

FREE_WORK = 1 << 35
WORK_A_BYTE = 1 << 15
"""A file of n bytes may need FREE_WORK + n * WORK_A_BYTE of `sqz.costs.work`. 2^35 is about a second of one core."""

MAX_TEXT = 1 << 24
"""Bytes of the names of layers, labels and provenance, in a file of version 1."""

MAX_MIXED_TEXT = 1 << 22
"""The same in a file of version 2. The engine decodes these in about a second."""

FREE_TEXT = 1 << 16
TEXT_A_BYTE = 64
"""A text section of n bytes may have FREE_TEXT + n * TEXT_A_BYTE bytes after unpacking."""

MAX_LABELS = 1 << 20
"""Labels of a model."""

MAX_PAIRS = 256
"""Keys of the provenance."""

# Of a delta (`.sqzd`): docs/FORMAT.md, "Deltas". `engine/src/delta.c` has the same numbers by the same names.

FREE_DELTA = 1 << 12
DELTA_BYTES_A_BYTE = 4
"""A delta of n bytes for a file of m bytes may make a file of FREE_DELTA + DELTA_BYTES_A_BYTE * (m + n) bytes."""

# Of .pth and .safetensors files.

MAX_DESCRIPTION = 1 << 22
"""Bytes of the JSON that describes the network, in a `.pth` or `.safetensors` file of this package."""

MAX_TENSOR_HEADER = 1 << 23
"""Bytes of the header of a `.safetensors` file, and of the pickle in a `.pth` file: the names and shapes of tensors."""

MAX_PICKLE_OPERATIONS = 200_000
"""Operations of the pickle in a `.pth` file. A tensor takes about 30."""

# Of .onnx files.

MAX_ONNX_PARTS = 300_000
"""Fields of all messages in an ONNX file. A node takes about ten."""

MAX_ONNX_DEPTH = 32
"""Messages of an ONNX file inside each other. A node is at depth 2, the data of its attribute at depth 4."""

MAX_ONNX_OPAQUE = 1 << 16
"""Bytes of messages in an ONNX file that classifiers of images do not need, such as sharding."""

MAX_ONNX_NODES = 16_384
"""Nodes of an ONNX graph: four for each operation of ours, since constants and shapes are computed by nodes."""

MAX_ONNX_VIEW = 1 << 23
"""Elements of an array of an ONNX network that is transposed, cut or reshaped. The reader stores where each lies."""

MAX_ONNX_RESULTS = 1 << 28
"""Elements of the results of all nodes for one image: ONNX's reference evaluator keeps them all."""

FREE_FOLDED = 1 << 22
FOLDED_A_BYTE = 4
"""An ONNX file of n bytes may compute FREE_FOLDED + n * FOLDED_A_BYTE elements of constants."""

# Updates over the air -------------------------------------------------------------------------------------------------

FLEET_MODEL = 64 * 2**20
"""Bytes of a model, or of a delta, that the update client downloads."""

FLEET_ROOT = 2**16
"""Bytes of one version of the root metadata."""

FLEET_ROOTS = 64
"""Versions of the root metadata that one update follows; the next update goes on."""

FLEET_TIMESTAMP = 2**12
"""Bytes of the timestamp metadata."""

FLEET_METADATA = 2**18
"""Bytes of the snapshot metadata, and of the targets metadata."""

FLEET_STATE = 2**22
"""Bytes of the state of the update client: more than twice the largest metadata that it can trust, as JSON."""
