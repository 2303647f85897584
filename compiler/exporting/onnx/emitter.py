"""Walks a traced program in order and emits each ATen node through its translator.

Values: every FX node maps to a Value (a named ONNX tensor) or a tuple of them. Symbolic sizes are never computed
alongside: a translator that needs one asks `dim`, which reads it off a tensor that has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import sympy
import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils._sympy.functions import FloorDiv

from compiler.exporting.onnx.dialect import Dialect
from compiler.exporting.onnx.skeleton import Skeleton, WeightSlot, onnx_dtype
from compiler.exporting.onnx.values import ASSERTIONS, FLOATS, Shape, Value, dtype_name, module_path, shape_of
from graphs.errors import ExportError
from runtime.backends.backend import TensorSpec

Translator = Callable[["Emitter", fx.Node], Any]


class Emitter:
    """State of one emission: the skeleton so far, the value of each FX node, where each symbolic size can be read."""

    def __init__(
        self, program: ExportedProgram, dialect: Dialect, compute: str, float32: frozenset[fx.Node],
        translators: Mapping[str, Translator],
    ) -> None:
        self.program, self.dialect, self.compute = program, dialect, compute
        self.skeleton = Skeleton()
        self._float32 = float32
        self._translators = translators
        self._env: dict[fx.Node, Any] = {}
        self._known: dict[fx.Node, torch.Tensor] = {}
        self._dims: dict[Any, tuple[str, int]] = {}
        self._dim_names: dict[Any, str] = {}
        self._casts: dict[tuple[str, str], Value] = {}
        self._counter = 0
        self._path = ""
        self._keys = {
            s.arg.name: s.target
            for s in program.graph_signature.input_specs
            if s.kind in (InputKind.PARAMETER, InputKind.BUFFER) and s.target is not None
        }

    # --- the walk

    def bind(self, node: fx.Node, value: Any) -> None:
        """Fixes the value of an FX node; a node bound before the walk reaches it is not translated."""
        self._env[node] = value
        if isinstance(value, Value):
            self._remember(value)

    def bind_input(self, node: fx.Node, spec: TensorSpec) -> None:
        """Names a graph input after its spec."""
        traced = dtype_name(node.meta["val"].dtype)
        if traced != spec.dtype:
            raise ExportError("an input was traced in another dtype", where=spec.name, expected=spec.dtype, got=traced)
        self.bind(node, Value(spec.name, spec.dtype, shape_of(node)))

    def bind_outputs(self, results: Sequence[Value], specs: Sequence[TensorSpec]) -> None:
        """Gives each result the output's name and dtype.

        The node that makes the value is renamed where that is possible: TensorRT knows 8-bit pictures only as what a
        Cast hands to the outside, so no Identity may stand between them.
        """
        renamed: dict[str, str] = {}
        for value, spec in zip(results, specs, strict=True):
            name = renamed.get(value.name, value.name)
            if value.dtype != spec.dtype:
                self.skeleton.node("Cast", [name], [spec.name], name=spec.name, to=onnx_dtype(spec.dtype))
            elif name == value.name and self.skeleton.rename(name, spec.name):
                renamed[name] = spec.name
            else:
                self.skeleton.node("Identity", [name], [spec.name], name=spec.name)

    def run(self) -> tuple[Any, ...]:
        """Translates every node and returns the values of the program's outputs."""
        for node in self.program.graph.nodes:
            self._path = module_path(node)
            if node.op == "call_function" and node not in self._env:
                self._translate(node)
            elif node.op == "output":
                return tuple(self._env[n] for n in node.args[0])
        raise ExportError("the traced program has no output")

    def _translate(self, node: fx.Node) -> None:
        name = str(node.target)
        if isinstance(node.meta.get("val"), (torch.SymInt, int)) or node.target in ASSERTIONS:
            return  # sizes are read off tensors when a translator needs them
        folded = self._fold(node)
        if folded is not None:
            self.bind(node, folded)
            return
        translator = self._translators.get(name)
        if translator is None:
            raise ExportError(
                f"no ONNX form of {name}", where=f"{self._path or 'the network'} ({node.name})",
                hint="add a translator for it in compiler/exporting/onnx",
            )
        self.bind(node, translator(self, node))

    def _fold(self, node: fx.Node) -> Value | None:
        """Computes what depends on no input and no weight (tables of frequencies, masks) here and now."""
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor) or any(not isinstance(d, int) for d in value.shape):
            return None
        if value.numel() > 1 << 20 or not all(n in self._known for n in node.all_input_nodes):
            return None
        arguments = fx.map_arg((node.args, dict(node.kwargs)), lambda n: self._known[n])
        known = node.target(*arguments[0], **arguments[1])  # type: ignore[operator]
        self._known[node] = known
        return self.tensor(known)

    # --- what translators use

    def arguments(self, node: fx.Node) -> dict[str, Any]:
        """Every argument by its schema name, defaults filled in; FX nodes are left as they are."""
        schema = node.target._schema  # type: ignore[union-attr]
        given = {}
        for i, argument in enumerate(schema.arguments):
            if i < len(node.args):
                given[argument.name] = node.args[i]
            else:
                given[argument.name] = node.kwargs.get(argument.name, argument.default_value)
        return given

    def value(self, node: Any) -> Value:
        """The value of an argument that must be a tensor; placeholders of weights become weight slots here."""
        if not isinstance(node, fx.Node):
            raise ExportError(f"expected a tensor, got {node!r}", where=self._path)
        if node not in self._env:
            if node.op == "placeholder" and node.name in self._keys:
                self.bind(node, self.weight(node))
            else:
                raise ExportError(
                    f"{node.name} has no value in the ONNX graph", where=self._path,
                    hint="tensors made in __init__ must be registered as buffers of the state dict, or made in forward",
                )
        found = self._env[node]
        assert isinstance(found, Value), f"{node.name} is a list"
        return found

    def values(self, node: fx.Node) -> tuple[Value, ...]:
        found = self._env[node]
        assert isinstance(found, tuple), f"{node.name} is not a list"
        return found

    def is_weight(self, node: Any) -> bool:
        return isinstance(node, fx.Node) and node.op == "placeholder" and node.name in self._keys

    def weight(self, node: fx.Node, transform: str = "") -> Value:
        """The slot of a parameter or buffer. transform "T": its transpose, named KEY + "^T"."""
        key = self._keys[node.name]
        shape = tuple(int(d) for d in shape_of(node))
        source = dtype_name(node.meta["val"].dtype)
        dtype = self.compute if source in FLOATS else source
        if transform == "T":
            shape, name = shape[::-1], f"{key}^T"
        elif transform == "":
            name = key
        else:
            raise AssertionError(f"unknown weight transform {transform}")
        self.skeleton.weight(WeightSlot(name, key, transform, shape, dtype))
        return Value(name, dtype, shape, weight=key)

    def emit(
        self, op: str, inputs: Sequence[Value | str], shape: Shape, dtype: str, *, domain: str = "", **attributes: Any
    ) -> Value:
        """One node with one output."""
        return self.emit_many(op, inputs, [(shape, dtype)], domain=domain, **attributes)[0]

    def emit_many(
        self, op: str, inputs: Sequence[Value | str], outputs: Sequence[tuple[Shape, str]], *, domain: str = "",
        **attributes: Any,
    ) -> tuple[Value, ...]:
        self._counter += 1
        stem = f"{self._path}/{op}_{self._counter}" if self._path else f"{op}_{self._counter}"
        names = [stem if i == 0 else f"{stem}.{i}" for i in range(len(outputs))]
        self.skeleton.node(
            op, [i if isinstance(i, str) else i.name for i in inputs], names, name=stem, domain=domain, **attributes
        )
        values = tuple(Value(n, d, tuple(s)) for n, (s, d) in zip(names, outputs, strict=True))
        for value in values:
            self._remember(value)
        return values

    def cast(self, value: Value, dtype: str) -> Value:
        """The value in another dtype; equal casts share one node."""
        if value.dtype == dtype:
            return value
        key = (value.name, dtype)
        if key not in self._casts:
            self._casts[key] = self.emit("Cast", [value], value.shape, dtype, to=onnx_dtype(dtype))
        return self._casts[key]

    def to_compute(self, value: Value) -> Value:
        """A floating value in the compute dtype: what meets a weight."""
        return self.cast(value, self.compute) if value.dtype in FLOATS else value

    def float_dtype(self, node: fx.Node, operands: Sequence[Value]) -> str:
        """The dtype of an element-wise result: the traced dtype, with float32 lowered to the compute dtype as soon as
        one operand is, unless the node was marked as needing float32."""
        traced = dtype_name(node.meta["val"].dtype)
        if traced not in FLOATS:
            return traced
        floats = {v.dtype for v in operands if v.dtype in FLOATS}
        if node in self._float32 or floats == {"float32"}:
            return "float32"
        return self.compute

    def needs_float32(self, node: fx.Node) -> bool:
        return node in self._float32

    def tensor(self, tensor: torch.Tensor) -> Value:
        """A constant with the content of a torch tensor."""
        dtype = dtype_name(tensor.dtype)
        array = tensor.detach().to(torch.float32).numpy() if dtype == "bfloat16" else tensor.detach().numpy()
        return Value(self.skeleton.constant(array, dtype), dtype, tuple(tensor.shape))

    def scalar(self, number: float | int | bool, dtype: str) -> Value:
        return Value(self.skeleton.constant(np.asarray(number), dtype), dtype, ())

    def ints(self, numbers: Sequence[int]) -> str:
        """The name of a 1-D int64 constant."""
        return self.skeleton.constant(np.asarray(list(numbers), dtype=np.int64), "int64")

    # --- symbolic sizes

    def _remember(self, value: Value) -> None:
        for axis, size in enumerate(value.shape):
            if not isinstance(size, int):
                self._dims.setdefault(size, (value.name, axis))

    def dim(self, size: Any) -> str:
        """The name of a 1-D int64 tensor of one element holding a size: an int, or an expression over dynamic sizes."""
        if isinstance(size, int | sympy.Integer):
            return self.ints([int(size)])
        if size not in self._dim_names:
            if size in self._dims:
                name, axis = self._dims[size]
                self._dim_names[size] = self.emit("Shape", [name], (1,), "int64", start=axis, end=axis + 1).name
            else:
                self._dim_names[size] = self._compute_dim(size)
        return self._dim_names[size]

    def _compute_dim(self, size: Any) -> str:
        if isinstance(size, FloorDiv):
            op, parts = "Div", size.args
        elif isinstance(size, sympy.Add):
            op, parts = "Add", sorted(size.args, key=str)
        elif isinstance(size, sympy.Mul):
            op, parts = "Mul", sorted(size.args, key=str)
        elif isinstance(size, sympy.Pow) and size.exp.is_Integer and size.exp > 0:
            op, parts = "Mul", [size.base] * int(size.exp)
        else:
            raise ExportError(f"cannot compute the size {size}", where=self._path)
        name = self.dim(parts[0])
        for part in parts[1:]:
            name = self.emit(op, [name, self.dim(part)], (1,), "int64").name
        return name

    def shape_tensor(self, shape: Sequence[Any]) -> str:
        """The name of a 1-D int64 tensor with these sizes."""
        if all(isinstance(d, int) for d in shape):
            return self.ints([int(d) for d in shape])
        return self.emit("Concat", [self.dim(d) for d in shape], (len(shape),), "int64", axis=0).name

    def reshape(self, value: Value, shape: Shape) -> Value:
        """Reshape with 0 (same size at the same place) and one -1 where that says everything, computed sizes else."""
        if tuple(value.shape) == tuple(shape):
            return value
        spec: list[Any] = [
            d if isinstance(d, int) else (0 if i < value.rank and value.shape[i] == d else d)
            for i, d in enumerate(shape)
        ]
        open_axes = [i for i, d in enumerate(spec) if not isinstance(d, int)]
        if len(open_axes) <= 1:
            target = self.ints([d if isinstance(d, int) else -1 for d in spec])
        else:
            spec[open_axes[-1]] = -1
            target = self.emit(
                "Concat", [self.ints([d]) if isinstance(d, int) else self.dim(d) for d in spec], (len(spec),), "int64",
                axis=0,
            ).name
        return self.emit("Reshape", [value, target], tuple(shape), value.dtype)

    def transpose(self, value: Value, order: Sequence[int]) -> Value:
        if list(order) == list(range(value.rank)):
            return value
        shape = tuple(value.shape[i] for i in order)
        return self.emit("Transpose", [value], shape, value.dtype, perm=list(order))
