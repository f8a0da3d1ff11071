"""The runtimes `benchmarks/runtime.py` compares: what each needs, and each in its best documented settings."""
