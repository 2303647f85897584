"""Program <-> JSON, as it stands in plan.json.

An operand is {"ref": name}, {"param": name}, {"const": key} or {"value": JSON}; a list of operands is a JSON list.
"""

from __future__ import annotations

from typing import Any

from graphs.json_reading import Record, anything, listed, mapped, number, optional, text, wrong
from graphs.operands import Const, Literal, Operand, OperandTree, Param, Ref
from graphs.program import ModelUse, NetworkUse, Parameter, Program, Step
from graphs.values import Lora, Merge, ModelFile, Weights

Json = Any


def program_to_json(program: Program) -> dict[str, Json]:
    return {
        "parameters": {name: _parameter_to_json(p) for name, p in program.parameters.items()},
        "networks": {name: _network_to_json(use) for name, use in program.networks.items()},
        "models": {name: _model_to_json(use) for name, use in program.models.items()},
        "steps": [_step_to_json(step) for step in program.steps],
    }


def program_from_json(value: Json, where: str) -> Program:
    """Raises PlanError."""
    record = Record(value, where)
    program = Program(
        parameters=record.field("parameters", _parameters),
        networks=record.field("networks", _networks),
        models=record.field("models", _models),
        steps=record.field("steps", listed(_step)),
    )
    record.close()
    return program


# --- writing --------------------------------------------------------------------------------------------------------


def _parameter_to_json(p: Parameter) -> Json:
    options = None if p.options is None else list(p.options)
    return {"type": p.type, "default": p.default, "min": p.min, "max": p.max, "options": options}


def _network_to_json(use: NetworkUse) -> Json:
    return {"kind": use.kind, "weights": _weights_to_json(use.weights), "options": dict(use.options)}


def _model_to_json(use: ModelUse) -> Json:
    return {"weights": _weights_to_json(use.weights), "overrides": dict(use.overrides), "facts": dict(use.facts)}


def _weights_to_json(weights: Weights) -> Json:
    match weights:
        case ModelFile():
            return _file_to_json(weights)
        case Lora(of, file, strength):
            return {"of": _weights_to_json(of), "lora": _file_to_json(file), "strength": strength}
        case Merge(a, b, shares):
            rows = [list(share) for share in shares]
            return {"a": _weights_to_json(a), "b": _weights_to_json(b), "shares": rows}


def _file_to_json(file: ModelFile) -> Json:
    return {"kind": file.kind, "name": file.name}


def _step_to_json(step: Step) -> Json:
    return {
        "id": step.id,
        "op": step.op,
        "inputs": {name: _tree_to_json(tree) for name, tree in step.inputs.items()},
        "attrs": dict(step.attrs),
        "outputs": list(step.outputs),
        "networks": dict(step.networks),
        "model": step.model,
        "nodes": list(step.nodes),
        "frees": list(step.frees),
        "folded": dict(step.folded),
        "folded_when": list(step.folded_when),
    }


def _tree_to_json(tree: OperandTree) -> Json:
    return [_operand_to_json(operand) for operand in tree] if isinstance(tree, tuple) else _operand_to_json(tree)


def _operand_to_json(operand: Operand) -> Json:
    match operand:
        case Ref(name):
            return {"ref": name}
        case Param(name):
            return {"param": name}
        case Const(key):
            return {"const": key}
        case Literal(value):
            return {"value": value}


# --- reading --------------------------------------------------------------------------------------------------------


def _parameters(value: Json, where: str) -> dict[str, Parameter]:
    return {name: _parameter(name, item, f"{where}.{name}") for name, item in mapped(anything)(value, where).items()}


def _parameter(name: str, value: Json, where: str) -> Parameter:
    record = Record(value, where)
    parameter = Parameter(
        name=name,
        type=record.field("type", text),
        default=record.field("default", anything),
        min=record.field("min", optional(number)),
        max=record.field("max", optional(number)),
        options=record.field("options", optional(listed(anything))),
    )
    record.close()
    return parameter


def _networks(value: Json, where: str) -> dict[str, NetworkUse]:
    return {name: _network(name, item, f"{where}.{name}") for name, item in mapped(anything)(value, where).items()}


def _network(name: str, value: Json, where: str) -> NetworkUse:
    record = Record(value, where)
    use = NetworkUse(
        id=name,
        kind=record.field("kind", text),
        weights=record.field("weights", _weights),
        options=record.field("options", mapped(anything)),
    )
    record.close()
    return use


def _models(value: Json, where: str) -> dict[str, ModelUse]:
    return {name: _model(name, item, f"{where}.{name}") for name, item in mapped(anything)(value, where).items()}


def _model(name: str, value: Json, where: str) -> ModelUse:
    record = Record(value, where)
    use = ModelUse(
        id=name,
        weights=record.field("weights", _weights),
        overrides=record.field("overrides", mapped(anything)),
        facts=record.field("facts", mapped(anything)),
    )
    record.close()
    return use


def _weights(value: Json, where: str) -> Weights:
    record = Record(value, where)
    weights: Weights
    if "lora" in value:
        of, file = record.field("of", _weights), record.field("lora", _file)
        weights = Lora(of, file, record.field("strength", number))
    elif "shares" in value:
        a, b = record.field("a", _weights), record.field("b", _weights)
        weights = Merge(a, b, record.field("shares", listed(_share)))
    else:
        return _file(value, where)
    record.close()
    return weights


def _share(value: Json, where: str) -> tuple[str, float, float]:
    if not isinstance(value, list) or len(value) != 3:
        raise wrong(where, "a list of three", value)
    return text(value[0], f"{where}[0]"), number(value[1], f"{where}[1]"), number(value[2], f"{where}[2]")


def _file(value: Json, where: str) -> ModelFile:
    record = Record(value, where)
    file = ModelFile(kind=record.field("kind", text), name=record.field("name", text))
    record.close()
    return file


def _step(value: Json, where: str) -> Step:
    record = Record(value, where)
    step = Step(
        id=record.field("id", text),
        op=record.field("op", text),
        inputs=record.field("inputs", mapped(_tree)),
        attrs=record.field("attrs", mapped(anything)),
        outputs=record.field("outputs", listed(text)),
        networks=record.field("networks", mapped(text)),
        model=record.field("model", optional(text)),
        nodes=record.field("nodes", listed(text)),
        frees=record.field("frees", listed(text)),
        folded=record.field("folded", mapped(text)),
        folded_when=record.field("folded_when", listed(text)),
    )
    record.close()
    return step


def _tree(value: Json, where: str) -> OperandTree:
    return listed(_operand)(value, where) if isinstance(value, list) else _operand(value, where)


def _operand(value: Json, where: str) -> Operand:
    if isinstance(value, dict) and len(value) == 1:
        ((kind, content),) = value.items()
        if kind == "value":
            return Literal(content)
        if kind in _NAMED:
            return _NAMED[kind](text(content, f"{where}.{kind}"))
    raise wrong(where, 'one of {"ref"}, {"param"}, {"const"}, {"value"}', value)


_NAMED: dict[str, type[Ref] | type[Param] | type[Const]] = {"ref": Ref, "param": Param, "const": Const}
