"""ONNX Runtime and OpenVINO, forward: a model of one layer, made once, its weight an initializer that they prepack.

Inputs are (N, C, *S), as ONNX has them. Input and output stay in memory that the library knows, so that a run copies
nothing for Python's sake.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np

from .functions import Array
from .layers import BatchNorm, Case, Conv, Layer, Operands, Pass, Pool, ProportionalPool
from .peers import Contender, Peer, moved

OPSET, IR_VERSION = 17, 8


class _Onnx(Peer):
    modules = ("onnx",)

    def lacks(self, case: Case, which: Pass) -> str | None:
        if which != "forward":
            return "no gradients"
        if isinstance(case, BatchNorm):
            return "no batch norm by the batch's own statistics"
        if isinstance(case, ProportionalPool):
            return "no such pooling in ONNX"
        if isinstance(case, Layer):
            return "models are made of convolutions and pools alone"
        return None


class OnnxRuntime(_Onnx):
    """A session on the CPU, run with input and output bound to it."""

    name = "ONNX Runtime"
    module = "onnxruntime"

    def contenders(self, case: Case, which: Pass, operands: Operands, threads: int) -> list[Contender]:
        runtime = self.load()
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # Its threads spin for the next run otherwise, while it is another's turn.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = runtime.InferenceSession(_model(case, operands), options, providers=["CPUExecutionProvider"])
        x = _first(case, operands.x)
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", runtime.OrtValue.ortvalue_from_numpy(x))
        binding.bind_output("y")

        def call() -> Any:
            session.run_with_iobinding(binding)
            return binding

        return [Contender(self.name, call, lambda done: _last(done.get_outputs()[0].numpy()), keeps=x)]


class OpenVino(_Onnx):
    """A compiled model with the hint for latency, held to float32."""

    name = "OpenVINO"
    module = "openvino"

    def lacks(self, case: Case, which: Pass) -> str | None:
        return super().lacks(case, which) or (f"no layers in {case.rank}D" if case.rank > 3 else None)

    def load(self) -> Any:
        os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")
        return super().load()

    def version(self) -> str:
        return super().version().partition("-")[0]

    def contenders(self, case: Case, which: Pass, operands: Operands, threads: int) -> list[Contender]:
        openvino = self.load()
        core = openvino.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # bfloat16 otherwise, where the processor has it
        }
        compiled = core.compile_model(core.read_model(model=_model(case, operands)), "CPU", settings)
        request = compiled.create_infer_request()
        x = _first(case, operands.x)
        request.set_input_tensor(openvino.Tensor(x, shared_memory=True))

        def call() -> Any:
            request.infer(share_outputs=True)
            return request

        return [Contender(self.name, call, lambda done: _last(done.get_output_tensor().data), keeps=x)]


def _model(case: Case, operands: Operands) -> bytes:
    """The case as an ONNX model of one node."""
    onnx: Any = importlib.import_module("onnx")
    helper: Any = importlib.import_module("onnx.helper")
    assert isinstance(case, (Conv, Pool))
    window = case.window
    attributes: dict[str, Any] = {
        "kernel_shape": window.kernel, "strides": window.stride, "pads": case.pads * 2
    }  # fmt: skip
    weights = []
    if isinstance(case, Conv):
        attributes |= {"dilations": window.dilation, "group": case.groups}
        weights = [importlib.import_module("onnx.numpy_helper").from_array(moved(operands.weight), "w")]
        name = "ConvTranspose" if case.transposed else "Conv"
    else:
        name = "MaxPool" if case.mode == "max" else "AveragePool"
    node = helper.make_node(name, ["x", "w"][: 1 + len(weights)], ["y"], **attributes)
    ends = [
        helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, (case.batch, channels, *size))
        for end, channels, size in (("x", case.channels, case.size), ("y", case.filters, case.output))
    ]
    graph = helper.make_graph([node], case.name, ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    serialized: bytes = model.SerializeToString()
    return serialized


def _first(case: Case, values: Array) -> Array:
    """(P, C) as (N, C, *S)."""
    return np.ascontiguousarray(np.moveaxis(values.reshape(case.batch, *case.size, -1), -1, 1))


def _last(values: Array) -> Array:
    """(N, C, *S) as (P, C)."""
    return np.ascontiguousarray(np.moveaxis(values, 1, -1)).reshape(-1, values.shape[1])
