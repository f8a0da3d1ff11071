"""How much memory and work a file from a stranger may ask for: one budget each for images, data sets and models.

Whoever reads a file checks what the file declares against these numbers before anything is allocated. A file that asks
for more is refused with one line that names the file, the number and the limit.
"""

# Images ---------------------------------------------------------------------------------------------------------------

# Data sets ------------------------------------------------------------------------------------------------------------

DECODED_BYTES = 8 * 2**30
"""Bytes of decoded images that one verb holds in memory: 55,000 of 227 x 227 pixels in colour."""

BATCH_BYTES = 40 * 2**20
"""Bytes of the images (uint8) that are decoded, or answered, at a time: 256 of 227 x 227 pixels in colour. One image
where a single one is larger."""

# Models ---------------------------------------------------------------------------------------------------------------

MAX_MODEL_FILE = 1 << 30
"""Bytes of a file that holds a model, of any kind."""

MAX_DESCRIPTION = 1 << 22
"""Bytes of the JSON in which a `.pth` or `.safetensors` file of ours describes its network."""

MAX_TENSOR_HEADER = 1 << 23
"""Bytes of the header of a `.safetensors` file, and of the pickle in a `.pth` file: the names and shapes of tensors."""

MAX_PICKLE_OPERATIONS = 200_000
"""Operations of the pickle in a `.pth` file. A tensor takes about 30."""
