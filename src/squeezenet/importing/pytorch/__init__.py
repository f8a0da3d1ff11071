"""The translation of PyTorch's operations into those of a draft."""
