"""One entry of a server's /object_info answer -> NodeDef. The shipped data file has the same shape, less its prose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphs.definition import NodeDef
from graphs.errors import Problem, WorkflowError
from graphs.node import COMBO, Input, Output

Json = Any  # a JSON value

# Options that have a field of their own in Input; every other one goes to Input.extra.
_FIELDS = {"default", "min", "max", "step", "round", "options", "folder", "multiline", "tooltip"}
_FIELDS |= {"dynamicPrompts", "forceInput", "control_after_generate"}
_UPLOADS = ("image_upload", "audio_upload", "video_upload", "file_upload")


def node_def(class_type: str, info: Json) -> NodeDef:
    """The schema of one class.

    info: {"input": {"required": {name: spec}, "optional": ..., "hidden": ...}, "input_order": {...}, "output": [...],
    "output_name": [...], "output_is_list": [...], "output_node": bool}. spec: [type or list of options, {options}].
    Raises: WorkflowError naming the class and the input that cannot be understood.
    """
    if not isinstance(info, Mapping) or not isinstance(info.get("input", {}), Mapping):
        raise _bad(class_type, None, "an object with 'input' and 'output'", info)
    inputs = tuple(_input(class_type, name, spec, section) for section, name, spec in _specs(class_type, info))
    return NodeDef(
        class_type=class_type,
        inputs=inputs,
        outputs=tuple(_outputs(class_type, info)),
        output_node=bool(info.get("output_node", False)),
        display_name=str(info.get("display_name") or ""),
        category=str(info.get("category") or ""),
        deprecated=bool(info.get("deprecated", False)),
    )


def input_def(class_type: str, name: str, spec: Json, *, required: bool = True) -> Input:
    """The schema of one input from its [type, options] pair; also used for the members of dynamic inputs."""
    return _input(class_type, name, spec, "required" if required else "optional")


def _specs(class_type: str, info: Mapping[str, Json]) -> Iterator[tuple[str, str, Json]]:
    order = info.get("input_order")
    for section in ("required", "optional", "hidden"):
        members = info.get("input", {}).get(section) or {}
        if not isinstance(members, Mapping):
            raise _bad(class_type, section, "an object of inputs", members)
        listed = order.get(section) if isinstance(order, Mapping) else None
        ordered = [n for n in listed if isinstance(n, str) and n in members] if isinstance(listed, list) else []
        for name in dict.fromkeys([*ordered, *members]):
            yield section, name, members[name]


def _input(class_type: str, name: str, spec: Json, section: str) -> Input:
    if isinstance(spec, str):  # hidden inputs: "PROMPT", "UNIQUE_ID"
        spec = [spec]
    if not isinstance(spec, list) or not spec:
        raise _bad(class_type, name, "a pair of type and options", spec)
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], Mapping) else {}
    kind, choices = spec[0], options.get("options")
    if isinstance(kind, list):
        kind, choices = COMBO, kind
    if not isinstance(kind, str):
        raise _bad(class_type, name, "a type name or a list of options", kind)
    combo = kind == COMBO and isinstance(choices, list)
    control = options.get("control_after_generate", False)
    extra = {k: v for k, v in options.items() if k not in _FIELDS}
    if isinstance(control, str):
        extra["control_after_generate"] = control
    if isinstance(choices, list) and not combo:
        extra["options"] = choices
    return Input(
        name=name,
        type=kind,
        required=section == "required",
        default=options.get("default"),
        min=_number(options.get("min")),
        max=_number(options.get("max")),
        step=_number(options.get("step")),
        round=_number(options.get("round")),
        options=tuple(choices) if combo and isinstance(choices, list) else None,
        folder=options.get("folder") if isinstance(options.get("folder"), str) else None,
        multiline=bool(options.get("multiline", False)),
        dynamic_prompts=bool(options.get("dynamicPrompts", False)),
        force_input=bool(options.get("forceInput", False)),
        control_after_generate=bool(control),
        upload=next((u.removesuffix("_upload") for u in _UPLOADS if options.get(u)), None),
        hidden=section == "hidden",
        extra=extra,
    )


def _outputs(class_type: str, info: Mapping[str, Json]) -> Iterator[Output]:
    types = info.get("output") or []
    names = info.get("output_name") or []
    lists = info.get("output_is_list") or []
    if not all(isinstance(x, list) for x in (types, names, lists)):
        raise _bad(class_type, None, "'output', 'output_name' and 'output_is_list' as lists", types)
    for i, kind in enumerate(types):
        text = COMBO if isinstance(kind, list) else str(kind)
        name = names[i] if i < len(names) and isinstance(names[i], str) else text
        yield Output(name, text, bool(lists[i]) if i < len(lists) else False)


def _number(value: Json) -> float | int | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _bad(class_type: str, input_name: str | None, expected: str, got: Json) -> WorkflowError:
    problem = Problem(
        "bad_object_info",
        "schema entry cannot be understood",
        class_type=class_type,
        input_name=input_name,
        expected=expected,
        got=repr(got)[:80],
    )
    return WorkflowError(f"the schema of class {class_type!r} cannot be understood", (problem,))
