"""torch modules to what backends build from: a traced program, and ONNX in three dialects.

    module (weights on the meta device) -> trace -> torch.export program, no weight allocated
        -> emit(program, "onnx" | "onnx-ort" | "onnx-trt", precision) -> Exported: skeleton bytes + initializer table
        -> emit(program, "exported-program", precision)               -> Exported: saved program  + initializer table

The initializer table says, for each weight the graph names, which key of the module's state dict it comes from and how.
Why we write ONNX ourselves: docs/adr/0004-own-onnx-emission.md.
"""

from __future__ import annotations

import copy
import inspect
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export import Dim as TracedDim
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from compiler.exporting.onnx.dialect import DIALECTS
from compiler.exporting.onnx.emitter import Emitter
from compiler.exporting.onnx.precision import float32_nodes
from compiler.exporting.onnx.translators import TRANSLATORS
from compiler.exporting.onnx.values import dtype_name
from compiler.exporting.precision import COMPUTE_DTYPES, in_precision
from compiler.exporting.weight_layout import weight_layout
from graphs.dims import Dim, Size, size_of
from graphs.errors import ExportError
from runtime.backends.backend import TensorSpec

EXPORTED_PROGRAM = "exported-program"
FORMS = (*DIALECTS, EXPORTED_PROGRAM)

# Tracing assumes every dynamic size to be at least this: large enough that no size is taken for 1 after three
# halvings. It binds the tracer only: graphs are written without such bounds, and tests run sizes below it.
_TRACE_MIN = 32
_TRACE_MIN_COUNT = 2
_COUNTS = frozenset({"batch", "text", "steps"})


def form_version(form: str) -> str:
    """Version of the library whose own format a form is: part of the key of a stored graph. "" for ONNX, a standard."""
    return torch.__version__.partition("+")[0] if form == EXPORTED_PROGRAM else ""


@dataclass(frozen=True)
class Initializer:
    """A weight the graph names. key: of the module's state dict. transform: "" as it is, "T" transposed."""

    name: str
    key: str
    transform: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Exported:
    """A network in one form: graph bytes without weights, and the table of the weights it wants."""

    form: str
    precision: str
    graph: bytes
    initializers: tuple[Initializer, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def trace(module: nn.Module, inputs: Sequence[TensorSpec]) -> ExportedProgram:
    """Traces forward(*inputs) with the sizes named in `inputs` dynamic and equal names equal.

    module: weights may be on the meta device or real; neither is copied or allocated. Raises ExportError.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    sizes = _Sizes(inputs)
    with mode:
        shadow = _fake_copy(module).eval()
        example = tuple(
            torch.empty([sizes.hint(d) for d in s.shape], dtype=getattr(torch, s.dtype)) for s in inputs
        )
    dynamic = tuple({i: sizes.dim(d) for i, d in enumerate(s.shape) if isinstance(d, Dim)} for s in inputs)
    try:
        with torch.no_grad():
            return torch.export.export(shadow, example, dynamic_shapes=_by_argument(shadow, dynamic), strict=False)
    except (torch._dynamo.exc.UserError, RuntimeError, ValueError) as error:
        raise ExportError(f"torch.export failed: {error}", where=type(module).__name__) from error


class _Sizes:
    """The dynamic sizes of the inputs in the tracer's terms: example sizes, and relations between them."""

    def __init__(self, inputs: Sequence[TensorSpec]) -> None:
        self._names = sorted({d.name for spec in inputs for d in spec.shape if isinstance(d, Dim)})
        self._dims = {
            n: TracedDim(n, min=_TRACE_MIN_COUNT if n in _COUNTS else _TRACE_MIN, max=1 << 16) for n in self._names
        }

    def hint(self, size: Size) -> int:
        """An example size; no two names share one, so that the tracer takes no two dynamic sizes for equal."""
        hints = {n: 3 + 2 * i if n in _COUNTS else _TRACE_MIN * 2 + 8 * i for i, n in enumerate(self._names)}
        return size_of(size, hints)

    def dim(self, size: Dim) -> object:
        if size.over > 1:
            return TracedDim.AUTO  # the tracer takes no rounded size: it finds the relation in the network
        return self._dims[size.name] * size.times if size.times > 1 else self._dims[size.name]


def _by_argument(module: nn.Module, dynamic: tuple[dict[int, object], ...]) -> tuple[object, ...]:
    """The sizes as forward names its arguments: those that *args takes stand together."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    if parameters[-1].kind is not inspect.Parameter.VAR_POSITIONAL:
        return dynamic
    named = len(parameters) - 1
    return (*dynamic[:named], dynamic[named:])


def _fake_copy(module: nn.Module) -> nn.Module:
    """The module with every parameter and buffer a fake CPU tensor; must be called under the fake mode."""
    memo: dict[int, object] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        if isinstance(tensor, FakeTensor):
            continue
        fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
        memo[id(tensor)] = nn.Parameter(fake, requires_grad=False) if isinstance(tensor, nn.Parameter) else fake
    return copy.deepcopy(module, memo)


def emit(
    program: ExportedProgram, form: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec],
    precision: str = "fp32",
) -> Exported:
    """The program in a form of FORMS, computing in `precision`; inputs and outputs keep the dtypes of their specs.

    Raises ExportError, which names the op and where in the module it is.
    """
    if form == EXPORTED_PROGRAM:
        return _saved_program(in_precision(program, precision), inputs, outputs, precision)
    if form not in DIALECTS:
        raise ExportError(f"unknown form {form!r}", expected=", ".join(FORMS))
    compute = COMPUTE_DTYPES[precision]
    dialect = DIALECTS[form]
    emitter = Emitter(program, dialect, compute, float32_nodes(program.graph), TRANSLATORS)
    for node, spec in zip(_user_inputs(program), inputs, strict=True):
        emitter.bind_input(node, spec)
    results = emitter.run()
    emitter.bind_outputs(results, outputs)
    emitter.skeleton.prune([s.name for s in outputs])
    table = tuple(
        Initializer(w.name, w.key, w.transform, w.shape, w.dtype) for w in emitter.skeleton.weights.values()
    )
    layout = weight_layout(table)
    graph = emitter.skeleton.to_bytes(inputs, outputs, dialect.opset, dialect.ir_version, layout)
    return Exported(form, precision, graph, table, tuple(inputs), tuple(outputs))


def _user_inputs(program: ExportedProgram) -> list[fx.Node]:
    names = [s.arg.name for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    by_name = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
    return [by_name[n] for n in names]


def _saved_program(
    program: ExportedProgram, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], precision: str
) -> Exported:
    """The program saved by torch.export with an empty state dict; weights are given again when it is loaded."""
    specs = [s for s in program.graph_signature.input_specs if s.kind in (InputKind.PARAMETER, InputKind.BUFFER)]
    tensors = {**program.state_dict, **program.constants}
    table = tuple(
        Initializer(str(s.target), str(s.target), "", tuple(tensors[str(s.target)].shape),
                    dtype_name(tensors[str(s.target)].dtype))
        for s in specs
    )
    weightless = copy.copy(program)
    weightless._state_dict = {k: _placeholder(v) for k, v in program.state_dict.items()}
    weightless._example_inputs = None
    weightless._graph_module = _without_traces(program.graph_module)
    file = io.BytesIO()
    with warnings.catch_warnings():
        # the shared one-element storages are what it warns about: no tensor of the group owns its whole storage
        warnings.filterwarnings("ignore", message="No complete tensor found in the group")
        torch.export.save(weightless, file)
    return Exported(EXPORTED_PROGRAM, precision, file.getvalue(), table, tuple(inputs), tuple(outputs))


def _without_traces(module: fx.GraphModule) -> fx.GraphModule:
    """A copy whose nodes remember no stack trace: those hold paths of the machine that traced."""
    graph = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    graph.output(graph.graph_copy(module.graph, copied))
    for node in graph.nodes:
        node.meta = {k: v for k, v in node.meta.items() if k not in ("stack_trace", "from_node")}
    return fx.GraphModule(module, graph)


def _placeholder(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of this shape and dtype that shares one element of storage, so that saving it costs nothing."""
    shared = torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
    return nn.Parameter(shared, requires_grad=False) if isinstance(tensor, nn.Parameter) else shared


def without_weights(exported: Exported) -> Exported:
    """The same without the table: what two checkpoints of one architecture share."""
    return replace(exported, initializers=())
