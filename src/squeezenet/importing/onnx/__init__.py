"""ONNX files as graphs, read with the library `onnx-ir` (the extra `[onnx]`).

>>> found = read_onnx("mobilenet.onnx")                     # doctest: +SKIP
>>> found.graph.classes                                     # doctest: +SKIP
1000
"""
