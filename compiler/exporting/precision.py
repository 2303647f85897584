"""Rewrites a traced network to compute in a 16-bit type: casts are put into the graph that all torch forms share.

Inputs and outputs keep the dtypes of their specs. Weights become 16-bit. A value becomes 16-bit where it meets a
weight; what is made of inputs alone (the timestep's sinusoid) stays float32 until then. What leads into a cast to
integers (the 8-bit picture) is float32 again: float16 has steps of an eighth near 255.
Norms, softmax and sums in 16-bit types keep float32 statistics inside torch's kernels; no cast is needed for them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature, InputKind, TensorArgument

from compiler.exporting.onnx.precision import float32_nodes

COMPUTE_DTYPES: Mapping[str, str] = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_IDENTITIES = frozenset({"aten.to.device", "aten.to.dtype", "aten.to.dtype_layout"})
_WEIGHTS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


def in_precision(program: ExportedProgram, precision: str) -> ExportedProgram:
    """The program computing in `precision`, one of COMPUTE_DTYPES; the given one is not changed."""
    compute = getattr(torch, COMPUTE_DTYPES[precision])
    graph, module = _copy_of(program)
    _drop_identities(graph)
    weights = {s.arg.name for s in program.graph_signature.input_specs if s.kind in _WEIGHTS}
    wide = float32_nodes(graph)
    casts = _Casts(graph)
    for node in list(graph.nodes):
        if node.op == "placeholder":
            if node.name in weights:
                _retype(node, compute)
        elif node.op == "output":
            _keep_output_dtypes(node, program.graph, casts)
        elif node.op == "call_function":
            _rewrite(node, compute, node in wide, casts)
    module.recompile()
    changed = copy.copy(program)
    changed._graph_module = module
    changed._graph_signature = _signature(program, module.graph)
    changed._state_dict = {k: _as(v, compute) for k, v in program.state_dict.items()}
    changed._constants = {k: _as(v, compute) for k, v in program.constants.items()}
    changed._example_inputs = None
    return changed


def _drop_identities(graph: fx.Graph) -> None:
    """Erases casts that change nothing, and the tracer's checks of dtypes: both name dtype and device of the trace."""
    for node in list(graph.nodes):
        if str(node.target) == "aten._assert_tensor_metadata.default":
            graph.erase_node(node)
        elif str(node.target) in _IDENTITIES and node.args[0].meta["val"].dtype == node.meta["val"].dtype:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


class _Casts:
    """Casts put into a graph, one for each value and dtype."""

    def __init__(self, graph: fx.Graph) -> None:
        self._graph = graph
        self._made: dict[tuple[fx.Node, torch.dtype], fx.Node] = {}

    def of(self, node: fx.Node, dtype: torch.dtype) -> fx.Node:
        """The node as `dtype`: itself where it has it."""
        if node.meta["val"].dtype == dtype:
            return node
        if (node, dtype) not in self._made:
            # placeholders stay the first nodes of a graph
            after = node if node.op != "placeholder" else _last_placeholder(self._graph)
            with self._graph.inserting_after(after):
                cast = self._graph.call_function(torch.ops.aten._to_copy.default, (node,), {"dtype": dtype})
            cast.meta["val"] = _retyped(node.meta["val"], dtype)
            self._made[node, dtype] = cast
        return self._made[node, dtype]


def _rewrite(node: fx.Node, compute: torch.dtype, wide: bool, casts: _Casts) -> None:
    """Gives the node arguments of one dtype, and says the dtype of its value anew."""
    floats = [n for n in node.all_input_nodes if _is_float(n)]
    if not floats:
        return
    narrow = not wide and any(n.meta["val"].dtype == compute for n in floats)
    dtype = compute if narrow else torch.float32
    node.args = fx.map_arg(node.args, lambda n: casts.of(n, dtype) if _is_float(n) else n)
    node.kwargs = fx.map_arg(node.kwargs, lambda n: casts.of(n, dtype) if _is_float(n) else n)
    if narrow and not isinstance(_named_dtype(node), torch.dtype):
        _retype(node, compute)


def _named_dtype(node: fx.Node) -> object:
    """The dtype that the node asks for by name, if it does: its value has that one, whatever goes in."""
    if str(node.target) == "aten.to.dtype":
        return node.args[1]
    return node.kwargs.get("dtype")


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype.is_floating_point


def _retype(node: fx.Node, dtype: torch.dtype) -> None:
    value = node.meta["val"]
    if isinstance(value, list | tuple):
        node.meta["val"] = type(value)(_retyped(v, dtype) for v in value)
    else:
        node.meta["val"] = _retyped(value, dtype)


def _retyped(value: object, dtype: torch.dtype) -> object:
    if isinstance(value, torch.Tensor) and value.dtype.is_floating_point:
        return value.to(dtype)  # fake: nothing is computed
    return value


def _keep_output_dtypes(node: fx.Node, before: fx.Graph, casts: _Casts) -> None:
    """Casts the results back to what they were."""
    old: Any = before.find_nodes(op="output")[0].args[0]
    new: Any = node.args[0]
    node.args = (
        tuple(
            casts.of(n, o.meta["val"].dtype) if isinstance(n, fx.Node) and _is_float(n) else n
            for n, o in zip(new, old, strict=True)
        ),
    )


def _signature(program: ExportedProgram, graph: fx.Graph) -> ExportGraphSignature:
    """The program's signature with the names that its results have in the rewritten graph."""
    results = graph.find_nodes(op="output")[0].args[0]
    old = program.graph_signature
    outputs = [
        replace(spec, arg=replace(spec.arg, name=node.name)) if isinstance(spec.arg, TensorArgument) else spec
        for spec, node in zip(old.output_specs, results, strict=True)
    ]
    return ExportGraphSignature(list(old.input_specs), outputs)


def _copy_of(program: ExportedProgram) -> tuple[fx.Graph, fx.GraphModule]:
    graph = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    graph.output(graph.graph_copy(program.graph, copied))
    module = fx.GraphModule(program.graph_module, graph)
    module.meta.update(program.graph_module.meta)
    return module.graph, module


def _last_placeholder(graph: fx.Graph) -> fx.Node:
    last: fx.Node = graph.find_nodes(op="placeholder")[-1]
    return last


def _as(value: Any, dtype: torch.dtype) -> Any:
    """A weight as its dtype, on whatever device; parameters stay parameters."""
    if not isinstance(value, torch.Tensor) or not value.dtype.is_floating_point:
        return value
    with torch.no_grad():
        changed = value.to(dtype)
    return nn.Parameter(changed, requires_grad=False) if isinstance(value, nn.Parameter) else changed
