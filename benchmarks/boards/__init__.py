"""The tools that `benchmarks/embedded.py` compares on emulated microcontrollers, and what it measures them with."""
