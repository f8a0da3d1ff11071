"""Models as files for other people's programs: one folder for each kind of file.

>>> from squeezenet.export.targets import TARGETS
>>> list(TARGETS)
['onnx', 'onnx-exact']
"""
