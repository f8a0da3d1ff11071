"""The version of the package, alone in its module so that anything may read it at no cost."""

__version__ = "0.1.0"
