"""Writes models as files for other programs: one folder for each kind of file.

>>> from squeezenet.export.targets import TARGETS
>>> list(TARGETS)
['onnx', 'onnx-qdq', 'onnx-exact', 'qonnx', 'c', 'hls4ml', 'rtl', 'web']
"""
