"""How much memory and work a file from a stranger may ask for: one budget each for images, data sets and models.

Whoever reads a file checks what the file declares against these numbers before anything is allocated. A file that asks
for more is refused with one line that names the file, the number and the limit.
"""

# Images ---------------------------------------------------------------------------------------------------------------

IMAGE_MEMORY = 280_000_000
"""Bytes that decoding an image may take, its pixels included: 70 megapixels of RGB. Larger JPEGs come smaller."""
IMAGE_PIXELS = 150_000_000
"""Pixels of an image; Pillow itself refuses those of 179 million."""
IMAGE_FILE = 256_000_000
"""Bytes of an image's file, also in a data set."""
IMAGE_SIDE = 32_768
"""Pixels of a side that resizing works on; longer ones are averaged down to this first."""
IMAGE_AREA = 16_777_216
"""Pixels of an image between its two passes of resizing, which is as wide as the result and as high as the image."""
IMAGE_METADATA = 250_000
"""Bytes of an image's metadata; larger ones are left out, since they can be packed a thousand times smaller."""
JPEG_SCANS = 1_200_000_000
"""Pixels of a JPEG times its scans: a second of work. A progressive photograph has ten scans."""
PYTHON_PIXELS = 5_000_000
"""Pixels of images that Pillow decodes in Python: run-length coded BMP, PPM of other than 8 bits or as text."""
AVIF_PARTS = 20_000
"""Items of an AVIF and pieces that they lie in, and units of its AV1 data: each is looked at."""
TIFF_PIECES = 200_000
"""Strips or tiles of a TIFF, each of which takes its own work."""
TIFF_TAGS = 64_000_000
"""Bytes of all tags of a TIFF: layers and previews of other programs among them."""

# Data sets ------------------------------------------------------------------------------------------------------------

DECODED_BYTES = 8 * 2**30
"""Bytes of decoded images that one verb holds in memory: 55,000 of 227 x 227 pixels in colour."""

CLASSES = 100_000
"""Classes of a data set: more than any published one has."""

CLASS_NAME = 1_000
"""Characters in the name of a class."""

LABEL_BYTES = 4 * CLASS_NAME
"""Bytes of a file with the label of one image."""

SIDECAR_BYTES = 2**20
"""Bytes of a JSON file beside an image in which a label is looked for."""

LABEL_FILE_BYTES = 16 * 2**20
"""Bytes of a file that lists the names of classes."""

PARQUET_GROUP_BYTES = 2**30
"""Bytes of the images in a row group of a Parquet file, decompressed: they are read together."""

PARQUET_SPARE_BYTES = 32 * 2**20
"""Bytes by which a row group may hold more than the file says, as where rows that are equal were stored once."""

PARQUET_ROWS = 20_000_000
"""Rows of a Parquet file; one that is smaller than a byte a row may have `PARQUET_FEW_ROWS`, of equal images."""

PARQUET_FEW_ROWS = 1_000_000
"""Rows that a Parquet file of any size may have."""

BATCH_BYTES = 40 * 2**20
"""Bytes of the images (uint8) that are decoded, or answered, at a time: 256 of 227 x 227 pixels in colour. One image
where a single one is larger."""

# Models ---------------------------------------------------------------------------------------------------------------

MAX_MODEL_FILE = 1 << 30
"""Bytes of a file that holds a model, of any kind."""

# Of a `.sqz` file: docs/FORMAT.md, "What a reader refuses". `engine/budget.h` has the same numbers by the same names.

MAX_OPERATIONS = 4096
"""Operations of a graph."""

MAX_SIDE = 8192
"""Pixels of a side to which an image is resized."""

MAX_ELEMENTS = 1 << 31
"""Elements of one value of a graph."""

MAX_LIVE = 1 << 26
"""Elements of all values of a graph that are needed at the same time."""

MAX_WINDOWS = 1 << 28
"""Elements that all windows of one operation read, and elements of its padded input."""

MAX_WEIGHTS = 1 << 28
"""Weights of a network."""

FREE_WEIGHTS = 1 << 16
WEIGHTS_A_BYTE = 128
"""Weights that any file may declare, or if that is more, for each of its bytes."""

FREE_MEMORY = 3 << 26
MEMORY_A_BYTE = 256
"""Bytes of memory (`sqz.costs.memory`) that any file may ask for, and how many more for each of its bytes."""

FREE_WORK = 1 << 35
WORK_A_BYTE = 1 << 15
"""Work for one image (`sqz.costs.work`) that any file may ask for, and how much more for each of its bytes. 2^35 is
about a second of one core."""

MAX_TEXT = 1 << 24
"""Bytes of the names of layers, labels and provenance."""

FREE_TEXT = 1 << 16
TEXT_A_BYTE = 64
"""Bytes of text that any file may unpack to, and how many more for each byte of its section."""

MAX_LABELS = 1 << 20
"""Labels."""

MAX_PAIRS = 256
"""Keys of the provenance."""

# Of other people's files.

MAX_DESCRIPTION = 1 << 22
"""Bytes of the JSON in which a `.pth` or `.safetensors` file of ours describes its network."""

MAX_TENSOR_HEADER = 1 << 23
"""Bytes of the header of a `.safetensors` file, and of the pickle in a `.pth` file: the names and shapes of tensors."""

MAX_PICKLE_OPERATIONS = 200_000
"""Operations of the pickle in a `.pth` file. A tensor takes about 30."""
