"""ONNX's own test cases of every operator that the reader translates."""

import warnings
from functools import cache

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra [onnx] is not installed")
pytest.importorskip("onnx_ir", reason="the extra [onnx] is not installed")

from squeezenet.errors import ModelError
from squeezenet.importing.onnx.elementwise import CHOICES
from squeezenet.importing.onnx.operators import OPERATORS
from squeezenet.importing.onnx.read import read_onnx
from support.onnx_cases import answers, classifiers

INTEGERS = {"Cast", "CastLike", "Shape", "Size", "QuantizeLinear", "DequantizeLinear", *CHOICES}
"""Operators whose cases compute with integers or truth values, or whose result is a constant."""

REFUSED = {
    "one or three dimensions": """averagepool_1d_default averagepool_3d_dilations_small maxpool_1d_default
        averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_True
        averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_False
        averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True
        averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_False averagepool_3d_default
        maxpool_3d_default maxpool_3d_dilations maxpool_3d_dilations_use_ref_impl
        maxpool_3d_dilations_use_ref_impl_large""",
    "training": """batchnorm_example_training_mode batchnorm_epsilon_training_mode training_dropout_default
        training_dropout_default_mask training_dropout training_dropout_mask training_dropout_zero_ratio
        training_dropout_zero_ratio_mask""",
    "a product of two matrices that are both many": "matmul_3d matmul_4d matmul_bcast matmul_1d_3d",
    "a constant for each image of the batch": "gemm_default_matrix_bias",
    "normalisation over more than the channels": """layer_normalization_4d_axis0 layer_normalization_4d_axis1
        layer_normalization_4d_axis2 layer_normalization_4d_axis_negative_4 layer_normalization_4d_axis_negative_3
        layer_normalization_4d_axis_negative_2 layer_normalization_2d_axis0 layer_normalization_2d_axis_negative_2
        layer_normalization_3d_axis0_epsilon layer_normalization_3d_axis1_epsilon
        layer_normalization_3d_axis_negative_3_epsilon layer_normalization_3d_axis_negative_2_epsilon""",
    "an image that is taken for one with the channels last": """layer_normalization_3d_axis2_epsilon
        layer_normalization_3d_axis_negative_1_epsilon""",
    "softmax that is not over classes": """softmax_axis_0 softmax_axis_1 softmax_axis_2 softmax_negative_axis
        softmax_default_axis logsoftmax_axis_0 logsoftmax_axis_1 logsoftmax_axis_2 logsoftmax_negative_axis
        logsoftmax_default_axis""",
    "a border of other numbers than zero": "constant_pad constant_pad_axes constant_pad_negative_axes",
    "powers of two values": """pow_bcast_array pow_example pow pow_types_float32_int64 pow_types_float32_int32
        pow_types_float32_uint64 pow_types_float32_uint32""",
    "a maximum over everything": "reduce_max_default_axes_keepdim_example reduce_max_default_axes_keepdims_random",
    "one number as the result": """reduce_mean_default_axes_keepdims_example reduce_mean_default_axes_keepdims_random
        reduce_l2_default_axes_keepdims_example reduce_l2_default_axes_keepdims_random
        reduce_sum_default_axes_keepdims_example reduce_sum_default_axes_keepdims_random""",
    "functions that are known only as a part of others": """erf exp_example exp log_example log softsign_example
        softsign thresholdedrelu_example thresholdedrelu thresholdedrelu_default""",
    "a division by what may be negative": "reciprocal reciprocal_example",
    "an empty array": """reduce_l2_empty_set reduce_max_empty_set reduce_sum_empty_set
        reduce_sum_empty_set_non_reduced_axis_zero reshape_allowzero_reordered slice_start_out_of_bounds
        split_zero_size_splits_opset13 split_zero_size_splits_opset18""",
}
"""Cases that the graph cannot express, by their reason. Resizing with interpolation is left out: no case is exact."""


@cache
def cases():
    """Operator -> cases of one node whose inputs are floats."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        collected = collect_testcases(None)
    found = {}
    for case in collected:
        nodes, inputs = case.model.graph.node, case.data_sets[0][0]
        floats = (
            inputs and isinstance(inputs[0], np.ndarray) and inputs[0].dtype in (np.float16, np.float32, np.float64)
        )
        if len(nodes) == 1 and floats:
            found.setdefault(nodes[0].op_type, []).append(case)
    return found


def refused():
    return {f"test_{name}" for names in REFUSED.values() for name in names.split()}


@pytest.mark.slow
@pytest.mark.parametrize("operator", sorted(set(OPERATORS) - INTEGERS))
def test_every_case_of_an_operator_is_computed_or_refused(operator, tmp_path):
    path = tmp_path / "case.onnx"
    for case in cases().get(operator, []):
        inputs, outputs = case.data_sets[0]
        equal = 0
        for file, images, expected in classifiers(case.model, inputs, outputs):
            path.write_bytes(file)
            try:
                network = read_onnx(path)
            except ModelError:
                continue
            found = answers(network, images)
            if network.ending == "softmax":
                shifted = found - found.max(1, keepdims=True)
                found = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
                found = np.exp(found) if operator == "Softmax" else found
            np.testing.assert_allclose(found, expected, 3e-4, 3e-4 * np.abs(expected).max(), err_msg=case.name)
            equal += 1
        interpolated = operator == "Resize" and (
            "linear" in case.name or "cubic" in case.name or "tf_crop" in case.name
        )
        assert bool(equal) == (case.name not in refused() and not interpolated), case.name


@pytest.mark.slow
def test_every_refused_case_exists():
    assert refused() <= {case.name for held in cases().values() for case in held}
