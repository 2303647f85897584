"""A node class as comfyc knows it: its schema and how it lowers, and the Builder that a lower() works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from graphs.errors import WorkflowError
from graphs.node import Input, Node, Output
from graphs.operands import Operand, OperandTree, Ref
from graphs.values import CompileValue, ModelValue, Value, Weights

Json = Any
T = TypeVar("T", bound=CompileValue)


class Builder(Protocol):
    """What a lower() function may do. Implemented by compiler.lowering.builder."""

    def value(self, name: str) -> Value:
        """The lowered value of a linked input; for a widget the Param operand (made on first use)."""

    def has(self, name: str) -> bool:
        """Whether the optional input is given."""

    def inputs_like(self, prefix: str) -> tuple[str, ...]:
        """The names that a dynamic input stands for in this node, e.g. "images." -> "images.image0", "images.image1".

        In the order of its members, not that of the file."""

    def constant(self, name: str) -> Json:
        """A widget value that must be known at compile time (file names of loaders, LoRA strengths).

        A parameter that is read this way is not a parameter of the plan."""

    def take(self, name: str, kind: type[T]) -> T:
        """The compile-time value that is linked to an input, e.g. take("model", ModelValue).

        Raises WorkflowError where a value of another type is linked."""

    def operand(self, name: str) -> Operand:
        """The input as a run-time operand (LATENT, IMAGE, MASK, or a widget)."""

    def network(self, role: str, weights: Weights, **options: Json) -> str:
        """Registers the use of a network in a role (graphs.roles) and returns its id; equal uses share one id."""

    def model_use(self, model: ModelValue) -> str:
        """Registers a model whose facts a step needs and returns its id; equal ones share one id."""

    def emit(
        self,
        op: str,
        inputs: Mapping[str, OperandTree] | None = None,
        attrs: Mapping[str, Json] | None = None,
        networks: Mapping[str, str] | None = None,
        model: str | None = None,
    ) -> tuple[Ref, ...]:
        """Appends a step and returns a Ref per output of the op."""

    def unsupported(self, name: str, message: str, hint: str | None = None) -> WorkflowError:
        """The error of an input whose value is known and not compiled yet, to be raised."""

    def output(self, slot: int, value: Value) -> None:
        """Sets what an output slot of this node yields."""

    @property
    def node(self) -> Node: ...

    @property
    def definition(self) -> NodeDef: ...


Lower = Callable[[Node, Builder], None]


@dataclass(frozen=True)
class NodeDef:
    """Schema of a node class and, where comfyc compiles it, how it lowers.

    lower(node, b) emits steps through the builder and computes nothing. None: the schema is known, the class is not
    compiled yet. pure: equal inputs give equal outputs and nothing else happens (dedupe may merge two). place:
    "module:function" of an interpreted node, whose op is a function on the host (graphs.rows). folds: its outputs are
    small, and are computed while compiling where that can be.
    """

    class_type: str
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    lower: Lower | None = None
    output_node: bool = False
    pure: bool = True
    display_name: str = ""
    category: str = ""
    deprecated: bool = False
    place: str | None = None
    folds: bool = False

    def input(self, name: str) -> Input | None:
        return next((i for i in self.inputs if i.name == name), None)
