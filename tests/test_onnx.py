"""ONNX's own tests of single nodes (onnx.backend.test), by convnd's operations. What isn't ours is listed, and why."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the cases that aren't used here
    import onnx.backend.test.case.node as node_cases
    from onnx_adapter import NODES, NotOurs

    CASES = node_cases.collect_testcases(None)
CASES = [case for case in CASES if len(case.model.graph.node) == 1 and case.model.graph.node[0].op_type in NODES]
CASES = list({case.name: case for case in CASES}.values())


def outcome(case):
    """None if the results are ONNX's, else why the case isn't ours."""
    (node,) = case.model.graph.node
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    for inputs, outputs in case.data_sets:
        given = iter(inputs)
        operands = [next(given) if name else None for name in node.input]
        try:
            results = NODES[node.op_type](attributes, *operands)
        except NotOurs as reason:
            return str(reason)
        for found, wanted in zip(results, outputs, strict=False):  # later outputs are optional
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, rtol=case.rtol, atol=max(case.atol, 1e-6))
    return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_node(case):
    assert outcome(case) == NOT_OURS.get(case.name)


NOT_OURS: dict[str, str] = {
    f"test_{name}": reason
    for reason, names in {
        "a scale that isn't the ratio of the sizes: coordinates follow from the sizes here": (
            "resize_downsample_scales_linear resize_downsample_scales_linear_align_corners "
            "resize_downsample_scales_linear_half_pixel_symmetric resize_downsample_scales_nearest "
            "resize_upsample_scales_linear_half_pixel_symmetric"
        ),
        "alpha=0.2: ours is 0.166667": (
            "hardsigmoid_default"
        ),
        "alpha=0.5: ours is 0.166667": (
            "hardsigmoid hardsigmoid_example"
        ),
        "alpha=2: ours is 1": (
            "celu celu_bfloat16 celu_float16 elu elu_example"
        ),
        "alpha=2: ours is 1.67326": (
            "selu selu_example"
        ),
        "antialiasing: pool or blur before resizing": (
            "resize_downsample_scales_linear_antialias resize_downsample_sizes_linear_antialias"
        ),
        "bilinear samples in boxes: roi_pool pools whole positions": (
            "roialign_aligned_false roialign_aligned_true roialign_mode_max"
        ),
        "cropping in one go: crop, then resize": (
            "resize_tf_crop_and_resize resize_tf_crop_and_resize_axes_2_3 resize_tf_crop_and_resize_axes_3_2 "
            "resize_tf_crop_and_resize_extrapolation_value"
        ),
        "cubic interpolation": (
            "resize_downsample_scales_cubic resize_downsample_scales_cubic_A_n0p5_exclude_outside "
            "resize_downsample_scales_cubic_align_corners resize_downsample_scales_cubic_antialias "
            "resize_downsample_sizes_cubic resize_downsample_sizes_cubic_antialias resize_upsample_scales_cubic "
            "resize_upsample_scales_cubic_A_n0p5_exclude_outside resize_upsample_scales_cubic_align_corners "
            "resize_upsample_scales_cubic_asymmetric resize_upsample_sizes_cubic"
        ),
        "linear at pytorch_half_pixel coordinates: ours are half_pixel and align_corners": (
            "resize_downsample_sizes_linear_pytorch_half_pixel"
        ),
        "nearest at align_corners coordinates with floor: ours is floor(q S / T)": (
            "resize_upsample_sizes_nearest_floor_align_corners"
        ),
        "nearest at asymmetric coordinates with round_prefer_ceil: ours is floor(q S / T)": (
            "resize_upsample_sizes_nearest_round_prefer_ceil_asymmetric"
        ),
        "nearest at half_pixel coordinates with ceil: ours is floor(q S / T)": (
            "resize_upsample_sizes_nearest_ceil_half_pixel"
        ),
        "nearest at half_pixel coordinates with round_prefer_floor: ours is floor(q S / T)": (
            "resize_downsample_sizes_nearest resize_upsample_sizes_nearest resize_upsample_sizes_nearest_axes_2_3 "
            "resize_upsample_sizes_nearest_axes_3_2"
        ),
        "no such activation": (
            "mish thresholdedrelu thresholdedrelu_default thresholdedrelu_example"
        ),
        "sizes that follow from a policy: work them out": (
            "resize_downsample_sizes_nearest_not_larger resize_downsample_sizes_nearest_not_smaller "
            "resize_upsample_sizes_nearest_not_larger resize_upsample_sizes_nearest_not_smaller"
        ),
        "the approximation by tanh: ours is exact": (
            "gelu_tanh_1 gelu_tanh_2"
        ),
    }.items()
    for name in names.split()
}


def test_how_many_pass():
    reasons = Counter(NOT_OURS[case.name] for case in CASES if case.name in NOT_OURS)
    assert len(CASES) - sum(reasons.values()) >= 143
    assert NOT_OURS.keys() <= {case.name for case in CASES}
