"""The ONNX graph being written: nodes, constants, weight slots. The only file of the project that imports onnx.

A skeleton names its weights and carries none of them: each weight is an initializer with external data, at its place
in a file of its own name (weight_location), which backends replace by a weight file or by memory they have mapped.
Bytes are deterministic: no dates, no paths, and names come from the traced graph alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compiler.exporting.weight_layout import WeightLayout
from graphs.dims import size_to_json
from runtime.backends.backend import LAYOUT_KEY, OFFSET_DIGITS, TensorSpec, weight_location

MICROSOFT = "com.microsoft"
_DTYPES: Mapping[str, int] = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "uint8": TensorProto.UINT8,
    "int8": TensorProto.INT8,
    "bool": TensorProto.BOOL,
    "float64": TensorProto.DOUBLE,
}


def onnx_dtype(dtype: str) -> int:
    """The ONNX number of a dtype name such as "float16"."""
    return _DTYPES[dtype]


@dataclass
class WeightSlot:
    """A place for a weight: its name in the graph, the module key it comes from, how, and its shape and dtype."""

    name: str
    key: str
    transform: str
    shape: tuple[int, ...]
    dtype: str


class Skeleton:
    """Nodes in order, with constants and weight slots; written out by `to_bytes`."""

    def __init__(self) -> None:
        self.weights: dict[str, WeightSlot] = {}
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._constant_names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def node(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], *, name: str, domain: str = "", **attributes: Any
    ) -> None:
        """Appends a node; an input named "" is an absent optional one. Attributes that are None are left out."""
        given = {k: v for k, v in attributes.items() if v is not None}
        self._nodes.append(helper.make_node(op, list(inputs), list(outputs), name=name, domain=domain, **given))

    def constant(self, array: np.ndarray[Any, Any], dtype: str) -> str:
        """The name of an initializer with this content; equal contents share one."""
        proto = onnx_dtype(dtype)
        if dtype == "bfloat16":
            stored = numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32))
            array = helper.tensor_dtype_to_np_dtype(proto).type(numpy_helper.to_array(stored))
        else:
            array = np.ascontiguousarray(array, dtype=helper.tensor_dtype_to_np_dtype(proto)).reshape(array.shape)
        key = (dtype, tuple(array.shape), array.tobytes())
        if key not in self._constant_names:
            name = f"const_{len(self._constant_names)}"
            self._constant_names[key] = name
            self._constants[name] = helper.make_tensor(name, proto, array.shape, array.tobytes(), raw=True)
        return self._constant_names[key]

    def weight(self, slot: WeightSlot) -> str:
        self.weights.setdefault(slot.name, slot)
        return slot.name

    def rename(self, old: str, new: str) -> bool:
        """Renames a value that a node makes, everywhere; False for what no node makes: inputs, constants, weights."""
        if not any(old in node.output for node in self._nodes):
            return False
        for node in self._nodes:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    if name == old:
                        names[i] = new
        return True

    def prune(self, outputs: Sequence[str]) -> None:
        """Drops every node, constant and weight that no output needs."""
        needed, kept = set(outputs), []
        for node in reversed(self._nodes):
            if any(o in needed for o in node.output):
                kept.append(node)
                needed.update(i for i in node.input if i)
        self._nodes = kept[::-1]
        self._constants = {k: v for k, v in self._constants.items() if k in needed}
        self.weights = {k: v for k, v in self.weights.items() if k in needed}

    def to_bytes(
        self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], opset: int, ir_version: int,
        layout: WeightLayout | None = None,
    ) -> bytes:
        """The serialised model: weights external, everything else inside. layout: of the weight file, where the
        backend is to find weights by place and not by name."""
        opsets = [helper.make_opsetid("", opset)]
        if any(n.domain == MICROSOFT for n in self._nodes):
            opsets.append(helper.make_opsetid(MICROSOFT, 1))
        weights = [_external(number, slot, layout) for number, slot in enumerate(self.weights.values())]
        initializers = [*self._constants.values(), *weights]
        graph = helper.make_graph(
            self._nodes, "network", [_info(s) for s in inputs], [_info(s) for s in outputs], initializer=initializers
        )
        model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, producer_name="comfyc")
        if layout is not None:
            helper.set_model_props(model, {LAYOUT_KEY: layout.fingerprint})
        return bytes(model.SerializeToString(deterministic=True))

    def ops(self) -> list[str]:
        """The op types in order, for tests and reports."""
        return [n.op_type for n in self._nodes]


def attach(skeleton: bytes, tensors: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """The skeleton with its weights inside: a model any ONNX tool reads (below ONNX's limit of 2 GB)."""
    model = onnx.load_model_from_string(skeleton)
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            array = np.ascontiguousarray(tensors[tensor.name])
            whole = helper.make_tensor(tensor.name, tensor.data_type, array.shape, array.tobytes(), raw=True)
            tensor.CopyFrom(whole)
    return bytes(model.SerializeToString(deterministic=True))


def check(model: bytes) -> None:
    """Runs ONNX's own checker with shape inference on a model that has its weights inside."""
    onnx.checker.check_model(model, full_check=True)


def _info(spec: TensorSpec) -> Any:
    return helper.make_tensor_value_info(spec.name, onnx_dtype(spec.dtype), [size_to_json(d) for d in spec.shape])


def _external(number: int, slot: WeightSlot, layout: WeightLayout | None) -> Any:
    tensor = TensorProto()
    tensor.name, tensor.data_type = slot.name, onnx_dtype(slot.dtype)
    tensor.dims.extend(slot.shape)
    tensor.data_location = TensorProto.EXTERNAL
    fields = {"location": weight_location(number)}
    if layout is not None:
        offset, size = layout.places[slot.name]
        fields |= {"offset": f"{offset:0{OFFSET_DIGITS}d}", "length": str(size)}
    for key, value in fields.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor
