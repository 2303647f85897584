"""Links: whether they lead to an output that there is, and whether its type is one that the input takes."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.checking.findings import Findings, shown
from compiler.checking.structure import Structure
from graphs.definition import NodeDef
from graphs.node import Input, Json, Link, Node

# Types whose values only nodes make: a widget value in their place cannot be meant.
SOCKET_TYPES = frozenset(
    {"MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE", "MASK", "CONTROL_NET", "CLIP_VISION", "STYLE_MODEL"}
    | {"CLIP_VISION_OUTPUT", "GLIGEN", "UPSCALE_MODEL", "NOISE", "GUIDER", "SAMPLER", "SIGMAS", "HOOKS"}
    | {"AUDIO", "VIDEO"}
)

# (wanted, given) -> the node class that makes the one out of the other.
CONVERTERS: Mapping[tuple[str, str], str] = {
    ("LATENT", "IMAGE"): "VAEEncode",
    ("IMAGE", "LATENT"): "VAEDecode",
    ("IMAGE", "MASK"): "MaskToImage",
    ("MASK", "IMAGE"): "ImageToMask",
    ("CONDITIONING", "STRING"): "CLIPTextEncode",
    ("CONDITIONING", "CLIP"): "CLIPTextEncode",
    ("CLIP_VISION_OUTPUT", "CLIP_VISION"): "CLIPVisionEncode",
    ("SIGMAS", "MODEL"): "BasicScheduler",
    ("GUIDER", "MODEL"): "CFGGuider",
    ("SAMPLER", "COMBO"): "KSamplerSelect",
    ("NOISE", "INT"): "RandomNoise",
    ("VIDEO", "IMAGE"): "CreateVideo",
}


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


def check_link(structure: Structure, node: Node, declared: Input, link: Link, findings: Findings) -> None:
    """bad_linked_input, return_type_mismatch."""
    source = structure.graph.nodes.get(link.node)
    if source is None:
        got, message = f"a link to node {link.node}", "the linked node is not in the workflow"
        _bad_link(node, declared, [link.node, link.slot], message, got, findings)
        return
    schema = structure.known[source.class_type]
    if schema is None:
        return  # that class is reported already, or passes on whatever it gets
    if not 0 <= link.slot < len(schema.outputs):
        got = f"slot {link.slot} of node {source.id} ({source.class_type}), which has {len(schema.outputs)} outputs"
        _bad_link(node, declared, [link.node, link.slot], "the linked node has no such output", got, findings)
        return
    given = schema.outputs[link.slot].type
    if not types_match(given, declared.type):
        findings.add(
            "return_type_mismatch",
            "the linked output is of another type",
            node,
            declared.name,
            expected=declared.type,
            got=f"{given} (slot {link.slot} of node {source.id}, {source.class_type})",
            hint=_other_link(source.id, schema, given, declared.type),
            received_type=given,
            linked_node=[link.node, link.slot],
        )


def check_no_link(node: Node, declared: Input, value: Json, findings: Findings) -> None:
    """A widget value where only a node can give one."""
    if declared.type in SOCKET_TYPES:
        is_list = isinstance(value, list)
        message = "a link is a list of two, [node id, output slot]" if is_list else "only a link can give this"
        _bad_link(node, declared, value, message, shown(value), findings)


def _bad_link(node: Node, declared: Input, received: Json, message: str, got: str, findings: Findings) -> None:
    hint = f"link an output of type {declared.type}"
    findings.add("bad_linked_input", message, node, declared.name, got=got, hint=hint, received_value=received)


def _other_link(source_id: str, source: NodeDef, given: str, wanted: str) -> str:
    """How to get a value of the wanted type: another output of the same node, a node between, or another link."""
    for slot, output in enumerate(source.outputs):
        if output.type.casefold() == wanted.casefold():
            return f"its slot {slot} is {output.type}: link that"
    between = CONVERTERS.get((wanted.upper(), given.upper()))
    if between is not None:
        article = "an" if between[0] in "AEIOU" else "a"
        return f"put {article} {between} between them"
    return f"link an output of type {wanted}; slot is of node {source_id}"
