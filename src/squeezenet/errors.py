"""Every failure a user can cause or meet, as one tree of exceptions.

A message is one line: what is wrong, then what to do next. The command line prints it and exits with `exit_code`.
"""


class SqueezeNetError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


class UsageError(SqueezeNetError):
    """The call itself is wrong: an unknown name, options that exclude each other."""

    exit_code = 2


class MissingDependency(SqueezeNetError):
    """A part of the package was asked for whose libraries are not installed."""


class ImageError(SqueezeNetError):
    """An image cannot be read, or is too large to be read safely."""


class DataError(SqueezeNetError):
    """A data set is missing, malformed, or does not fit the model."""


class ModelError(SqueezeNetError):
    """A model cannot be found, loaded or built."""


class NoSuchImage(ImageError, UsageError):
    """No file lies where an argument says that an image does."""


class NoSuchData(DataError, UsageError):
    """An argument that should name a data set does not: nothing is there, or a file of another kind."""

    ACCEPTED = (
        "a folder with one folder per class, Parquet files, WebDataset shards, a folder with ImageNet's tars, "
        "'digits', or owner/name on the Hugging Face hub"
    )


class NoSuchModel(ModelError, UsageError):
    """No model has the name that an argument gives, and no file lies there."""


class DownloadError(SqueezeNetError):
    """A published file cannot be fetched, or what came is not that file."""


class FleetError(SqueezeNetError):
    """An update cannot be published or installed. The model that runs on a device stays."""


class NotEnrolled(FleetError, UsageError):
    """An argument that should name the folder of a device names another one, or none."""


class UpdateRefused(FleetError):
    """What a server offers as an update does not have the signatures, the age or the bytes that it must have."""


class WrongClock(FleetError):
    """The clock of this device contradicts a signature, so nothing can be said about the age of an update."""


class HeldBack(FleetError):
    """A rule of the publisher holds a release back."""


class EmptyModel(ModelError):
    """A network has so few weights left that the format refuses its file."""


class UnsupportedOperation(ModelError):
    """A network uses an operation that the graph cannot express."""


class TrainingError(SqueezeNetError):
    """Training cannot go on: a loss that is not a number, or a network that never started to learn."""


class CheckpointError(SqueezeNetError):
    """A run folder cannot be resumed from or written to."""


class FormatError(ModelError):
    """A `.sqz` file is damaged or hostile. Each kind of damage has its own subclass; no partial model is returned."""


class NotSqz(FormatError):
    """The file does not begin with the magic bytes."""


class NotDelta(FormatError):
    """The file does not begin with the magic bytes of a delta."""


class WrongOldFile(ModelError):
    """A delta is applied to another file than the one that it was made for."""


class UnsupportedVersion(FormatError):
    """The file's version, or a flag in it, is newer than this reader."""


class Truncated(FormatError):
    """The file, or a section in it, ends too early."""


class TrailingBytes(FormatError):
    """The file, or a section in it, goes on after its declared end."""


class ChecksumMismatch(FormatError):
    """The bytes are not those that were written."""


class BadGraph(FormatError):
    """The graph is not one that a writer could have written: unknown operation, impossible shape."""


class BadStream(FormatError):
    """A coded stream contradicts itself or the graph."""


class LimitExceeded(FormatError):
    """The file asks for more memory or time than a file of its size may."""
