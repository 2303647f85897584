"""What a NodeDef's lower() builds on: the Builder of graphs.program, over one growing program."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

from graphs.definition import Builder, NodeDef
from graphs.dynamic_inputs import DYNAMIC_COMBO, expanded
from graphs.errors import Problem, WorkflowError
from graphs.node import Input, Json, Link, Node
from graphs.operands import Const, Literal, Operand, OperandTree, Param, Ref
from graphs.ops import OPS
from graphs.parameters import fits, parameter_type
from graphs.program import ModelUse, NetworkUse, Parameter, Program, Step
from graphs.roles import ROLES
from graphs.values import CompileValue, ModelValue, Value, Weights

T = TypeVar("T", bound=CompileValue)


class Poisoned(Exception):  # noqa: N818  not an error of its own
    """An input hangs on a node whose problem is already listed."""


class ProgramBuilder:
    """What grows while the nodes are walked."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, int], Value] = {}
        self.parameters: dict[str, Parameter] = {}
        self.fixed: dict[str, Json] = {}  # parameters that some lower() needed at compile time
        self.networks: dict[str, NetworkUse] = {}
        self.models: dict[str, ModelUse] = {}
        self._network_ids: dict[tuple[str, Weights, str], str] = {}
        self._model_ids: dict[tuple[Weights, str], str] = {}
        self._steps: list[Step] = []
        self._value_names: set[str] = set()
        self._step_ids: set[str] = set()

    def value_name(self, name: str) -> str:
        """The name, or name.2, name.3 ... where it is taken."""
        return _unique(name, self._value_names)

    def step_id(self, name: str) -> str:
        return _unique(name, self._step_ids)

    def network(self, role: str, weights: Weights, options: Mapping[str, Json]) -> str:
        assert role in ROLES, f"no role of networks: {role}"
        key = (role, weights, json.dumps(options, sort_keys=True))
        if key not in self._network_ids:
            n = sum(1 for use in self.networks.values() if use.kind == role)
            network_id = role if n == 0 else f"{role}.{n + 1}"
            self._network_ids[key] = network_id
            self.networks[network_id] = NetworkUse(network_id, role, weights, dict(options))
        return self._network_ids[key]

    def model(self, weights: Weights, overrides: Mapping[str, Json]) -> str:
        key = (weights, json.dumps(dict(overrides), sort_keys=True))
        if key not in self._model_ids:
            model_id = f"model.{len(self.models) + 1}" if self.models else "model"
            self._model_ids[key] = model_id
            self.models[model_id] = ModelUse(model_id, weights, dict(overrides))
        return self._model_ids[key]

    def append(self, step: Step) -> None:
        self._steps.append(step)

    def finish(self) -> Program:
        """Parameters that were needed at compile time become literals wherever else they are used."""
        steps = tuple(replace(s, inputs={k: self._fix(v) for k, v in s.inputs.items()}) for s in self._steps)
        used = {name for step in steps for name in step.params()}
        parameters = {name: p for name, p in self.parameters.items() if name in used}
        return Program(steps, parameters, self.networks, self.models)

    def _fix(self, tree: OperandTree) -> OperandTree:
        if isinstance(tree, tuple):
            return tuple(self._fix_one(operand) for operand in tree)
        return self._fix_one(tree)

    def _fix_one(self, operand: Operand) -> Operand:
        if isinstance(operand, Param) and operand.name in self.fixed:
            return Literal(self.fixed[operand.name])
        return operand


def _unique(name: str, taken: set[str]) -> str:
    candidate, n = name, 1
    while candidate in taken:
        n += 1
        candidate = f"{name}.{n}"
    taken.add(candidate)
    return candidate


class NodeBuilder(Builder):
    """The Builder that one node's lower() sees."""

    def __init__(self, node: Node, definition: NodeDef, program: ProgramBuilder, poisoned: set[str]) -> None:
        self._node, self._definition, self._program, self._poisoned = node, definition, program, poisoned

    @property
    def node(self) -> Node:
        return self._node

    @property
    def definition(self) -> NodeDef:
        return self._definition

    def has(self, name: str) -> bool:
        return name in self._node.inputs

    def value(self, name: str) -> Value:
        schema = self._schema(name)
        given = self._node.inputs.get(name, schema.default)
        if isinstance(given, Link):
            return self._linked(name, schema, given)
        if given is None and name not in self._node.inputs:
            raise self._problem("required_input_missing", "required input is missing", name, hint="link it or set it")
        if schema.is_widget:
            return self._parameter(name, schema, given)
        if schema.takes_values:
            return Literal(given)
        expected = f"a link of type {schema.type}"
        raise self._problem("bad_linked_input", "a value stands here", name, expected=expected, got=repr(given))

    def inputs_like(self, prefix: str) -> tuple[str, ...]:
        return tuple(name for name in self._expanded if name.startswith(prefix))

    def constant(self, name: str) -> Json:
        value = self.value(name)
        if isinstance(value, Literal):
            return value.value
        if isinstance(value, Param):
            default = self._program.parameters[value.name].default
            self._program.fixed[value.name] = default
            return default
        raise self._problem(
            "not_constant",
            "this value must be known when the workflow is compiled, but another node computes it",
            name,
            hint="unlink it and type the value in",
        )

    def take(self, name: str, kind: type[T]) -> T:
        value = self.value(name)
        if isinstance(value, kind):
            return value
        raise self._mismatch(name, value, kind.socket)

    def operand(self, name: str) -> Operand:
        value = self.value(name)
        if isinstance(value, Ref | Param | Const | Literal):
            return value
        raise self._mismatch(name, value, self._schema(name).type)

    def network(self, role: str, weights: Weights, **options: Json) -> str:
        return self._program.network(role, weights, options)

    def model_use(self, model: ModelValue) -> str:
        return self._program.model(model.weights, model.overrides)

    def emit(
        self,
        op: str,
        inputs: Mapping[str, OperandTree] | None = None,
        attrs: Mapping[str, Json] | None = None,
        networks: Mapping[str, str] | None = None,
        model: str | None = None,
    ) -> tuple[Ref, ...]:
        spec, inputs, networks = OPS[op], dict(inputs or {}), dict(networks or {})
        wrong = (set(spec.inputs) - set(inputs)) | {name for name in inputs if not spec.takes(name)}
        assert not wrong, f"{op}: inputs {sorted(wrong)} are missing or unknown"
        assert set(networks) >= set(spec.networks), f"{op}: networks {sorted(networks)}, expected {spec.networks}"
        assert all(spec.calls(role) for role in networks), f"{op}: networks {sorted(networks)}"
        refs = tuple(Ref(self._program.value_name(f"{self._node.id}.{name}")) for name in spec.outputs)
        self._program.append(
            Step(
                id=self._program.step_id(f"{self._node.id}.{op}"),
                op=op,
                inputs=inputs,
                attrs=dict(attrs or {}),
                outputs=tuple(ref.name for ref in refs),
                networks=networks,
                nodes=(self._node.id,),
                model=model,
            )
        )
        return refs

    def unsupported(self, name: str, message: str, hint: str | None = None) -> WorkflowError:
        return self._problem("unsupported_value", message, name, hint=hint)

    def output(self, slot: int, value: Value) -> None:
        self._program.values[(self._node.id, slot)] = value

    def _schema(self, name: str) -> Input:
        schema = self._definition.input(name)
        if schema is None or schema.type == DYNAMIC_COMBO:
            schema = self._expanded.get(name)
        if schema is None:
            raise self._problem("unknown_input", "the class has no such input, and its lowering asks for it", name)
        return schema

    @cached_property
    def _expanded(self) -> Mapping[str, Input]:
        """The inputs by name, with those that dynamic ones stand for."""
        return {i.name: i for i in expanded(self._definition.inputs, self._node.inputs)}

    def _linked(self, name: str, schema: Input, link: Link) -> Value:
        if link.node in self._poisoned:
            raise Poisoned
        value = self._program.values.get((link.node, link.slot))
        if value is None:
            got = f"node {link.node}, slot {link.slot}"
            raise self._problem("bad_linked_input", "the link leads nowhere", name, got=got)
        if isinstance(value, Param) and schema.is_widget:
            self._narrow(value.name, schema)
        return value

    def _parameter(self, name: str, schema: Input, given: Json) -> Param:
        full_name = f"{self._node.id}.{name}"
        if full_name not in self._program.parameters:
            if not fits(schema.type, given):  # `check` converts
                what = "the value is of the wrong type"
                raise self._problem("invalid_input_type", what, name, expected=schema.type, got=repr(given))
            options = schema.options if schema.folder is None else None  # of a folder: its files, known at run time
            self._program.parameters[full_name] = Parameter(
                full_name, parameter_type(schema), given, schema.min, schema.max, options
            )
        return Param(full_name)

    def _narrow(self, full_name: str, schema: Input) -> None:
        """A primitive's parameter accepts what every widget that it feeds accepts."""
        p = self._program.parameters[full_name]
        low = [m for m in (p.min, schema.min) if m is not None]
        high = [m for m in (p.max, schema.max) if m is not None]
        options = schema.options if p.options is None else p.options
        if p.options is not None and schema.options is not None:
            options = tuple(o for o in p.options if o in schema.options)
        self._program.parameters[full_name] = replace(
            p,
            type=parameter_type(schema) if p.type == "STRING" else p.type,
            min=max(low) if low else None,
            max=min(high) if high else None,
            options=options,
        )

    def _mismatch(self, name: str, value: Value, expected: str) -> WorkflowError:
        if isinstance(value, Ref | Param | Const | Literal):
            got = "a value that exists only while running"
        else:
            got = value.socket
        return self._problem(
            "return_type_mismatch",
            "the linked output is of another type",
            name,
            expected=expected,
            got=got,
            hint=f"link an output of type {expected}",
        )

    def _problem(
        self,
        kind: str,
        message: str,
        name: str,
        *,
        expected: str | None = None,
        got: str | None = None,
        hint: str | None = None,
    ) -> WorkflowError:
        problem = Problem(kind, message, self._node.id, self._node.class_type, name, expected, got, hint)
        return WorkflowError(message, (problem,))
