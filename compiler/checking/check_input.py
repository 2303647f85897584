"""The checks of one input: a link to an output, or a widget value. Names and order of the checks are the server's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from compiler.checking.coercion import Folders, choices, choose, converted, loses
from compiler.checking.hints import link_hint
from compiler.checking.server_errors import input_config
from graphs.definition import NodeDef
from graphs.errors import Problem
from graphs.graph import Graph
from graphs.node import COMBO, Input, Json, Link, Node

VALUE_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", COMBO})
# Types whose values only nodes make: a widget value in their place cannot be meant.
SOCKET_TYPES = frozenset(
    {"MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE", "MASK", "CONTROL_NET", "CLIP_VISION", "STYLE_MODEL"}
    | {"CLIP_VISION_OUTPUT", "GLIGEN", "UPSCALE_MODEL", "NOISE", "GUIDER", "SAMPLER", "SIGMAS", "HOOKS"}
    | {"AUDIO", "VIDEO"}
)
NAMES_SHOWN = 12
LONG_LIST = 20  # the server leaves longer lists out of its answer


def types_match(given: str, wanted: str) -> bool:
    """Whether an output of type `given` may be linked to an input of type `wanted`.

    Equal but for case; "*" matches all; a comma list matches by a common member; the dynamic types of V3 nodes
    (COMFY_MATCHTYPE_V3 ...) are decided when the node runs.
    """
    if given == wanted or wanted.startswith("COMFY_") or given.startswith("COMFY_"):
        return True
    left = {part.strip().casefold() for part in given.split(",")}
    right = {part.strip().casefold() for part in wanted.split(",")}
    return "*" in left or "*" in right or not left.isdisjoint(right)


@dataclass(frozen=True, slots=True)
class InputCheck:
    """What is the same for all inputs of a workflow. known: the schema of each of its classes, None when unknown."""

    graph: Graph
    known: Mapping[str, NodeDef | None]
    folders: Folders | None
    strict: bool

    def problems(self, node: Node, declared: Input, value: Json) -> Iterator[Problem]:
        """The problems of an input that is given."""
        if isinstance(value, Link):
            yield from self.link(node, declared, value)
        elif declared.type in VALUE_TYPES:
            yield from self._value(node, declared, value)
        elif declared.type in SOCKET_TYPES:
            message = "a link is a list of two, [node id, output slot]"
            if not isinstance(value, list):
                message = "only a link can give this"
            yield self._bad_link(node, declared, value, message, repr(value))

    def link(self, node: Node, declared: Input, link: Link) -> Iterator[Problem]:
        source, place = self.graph.nodes.get(link.node), [link.node, link.slot]
        if source is None:
            got = f"a link to node {link.node}"
            yield self._bad_link(node, declared, place, "the linked node is not in the workflow", got)
            return
        schema = self.known[source.class_type]
        if schema is None:
            return  # that class is reported already, or passes on whatever it gets
        if not 0 <= link.slot < len(schema.outputs):
            got = f"slot {link.slot} of node {source.id} ({source.class_type}), which has {len(schema.outputs)} outputs"
            yield self._bad_link(node, declared, place, "the linked node has no such output", got)
            return
        given = schema.outputs[link.slot].type
        if types_match(given, declared.type):
            return
        config = input_config(declared, self.folders)
        extra = {"input_name": declared.name, "input_config": config, "received_type": given, "linked_node": place}
        yield Problem(
            "return_type_mismatch",
            "the linked output is of another type",
            node.id,
            node.class_type,
            declared.name,
            expected=declared.type,
            got=f"{given} (slot {link.slot} of node {source.id}, {source.class_type})",
            hint=link_hint(source.id, schema, given, declared.type),
            details=f"{declared.name}, received_type({given}) mismatch input_type({config[0]})",
            extra_info=extra,
        )

    def _bad_link(self, node: Node, declared: Input, received: Json, message: str, got: str) -> Problem:
        config = input_config(declared, self.folders)
        return Problem(
            "bad_linked_input",
            message,
            node.id,
            node.class_type,
            declared.name,
            got=got,
            hint=f"link an output of type {declared.type}",
            details=declared.name,
            extra_info={"input_name": declared.name, "input_config": config, "received_value": received},
        )

    def _value(self, node: Node, declared: Input, given: Json) -> Iterator[Problem]:
        try:
            value = converted(declared.type, given)
        except (ValueError, TypeError, OverflowError) as error:
            extra = {**self._extra(declared, given), "exception_message": str(error)}
            yield Problem(
                "invalid_input_type",
                "the value cannot be read as its type",
                node.id,
                node.class_type,
                declared.name,
                expected=declared.type,
                got=repr(given),
                details=f"{declared.name}, {given}, {error}",
                extra_info=extra,
            )
            return
        if loses(given, value):
            message = f"{given!r} is taken as {value!r}"
            yield Problem("value_coerced", message, node.id, node.class_type, declared.name, severity="warning")
        if isinstance(value, int | float):
            outside = self._outside(node, declared, value)
            if outside is not None:
                yield outside
                return
        if declared.type == COMBO:
            yield from self._choice(node, declared, value)

    def _outside(self, node: Node, declared: Input, value: float) -> Problem | None:
        if declared.min is not None and value < declared.min:
            kind, message, expected = "value_smaller_than_min", "the value is too small", f"at least {declared.min}"
        elif declared.max is not None and value > declared.max:
            kind, message, expected = "value_bigger_than_max", "the value is too big", f"at most {declared.max}"
        else:
            return None
        return Problem(
            kind,
            message,
            node.id,
            node.class_type,
            declared.name,
            expected=expected,
            got=str(value),
            details=declared.name,
            extra_info=self._extra(declared, value),
        )

    def _choice(self, node: Node, declared: Input, value: Json) -> Iterator[Problem]:
        accepted = choices(declared, self.folders)
        if accepted is None or isinstance(value, list):
            return  # not known here, or a multiple choice
        choice = choose(declared, value, accepted)
        if value in accepted or (choice.found and not self.strict):
            if choice.elsewhere:
                message = f"{value!r} is not there; the file of that name in another folder, {choice.value!r}, is taken"
                yield Problem("file_elsewhere", message, node.id, node.class_type, declared.name, severity="warning")
            return
        suggestions = choice.suggestions or ((str(choice.value),) if choice.found else ())
        if suggestions:
            hint = f"did you mean {' or '.join(repr(s) for s in suggestions)}?"
        elif declared.folder is not None:
            hint = f"put the file into the '{declared.folder}' folder, or choose one that is there"
        else:
            hint = "choose one of those"
        yield self._not_in_list(node, declared, value, accepted, hint)

    def _not_in_list(self, node: Node, declared: Input, value: Json, accepted: tuple[Json, ...], hint: str) -> Problem:
        shown = ", ".join(str(entry) for entry in accepted[:NAMES_SHOWN]) or "nothing: the folder is empty"
        more = f" and {len(accepted) - NAMES_SHOWN} more" if len(accepted) > NAMES_SHOWN else ""
        listed = f"(list of length {len(accepted)})" if len(accepted) > LONG_LIST else str(list(accepted))
        kind, message = "value_not_in_list", "the value is not in the list"
        details, extra = f"{declared.name}: '{value}' not in {listed}", self._extra(declared, value)
        if len(accepted) > LONG_LIST:
            extra["input_config"] = None
        if declared.folder == "input":  # its nodes check this themselves, and the server reports it like that
            kind, message = "custom_validation_failed", "no such file in the input folder"
            details, extra = f"{declared.name} - Invalid image file: {value}", {"input_name": declared.name}
        return Problem(
            kind,
            message,
            node.id,
            node.class_type,
            declared.name,
            expected=f"one of {shown}{more}",
            got=repr(value),
            hint=hint,
            details=details,
            extra_info=extra,
        )

    def _extra(self, declared: Input, received: Json) -> dict[str, Json]:
        config = input_config(declared, self.folders)
        return {"input_name": declared.name, "input_config": config, "received_value": received}
