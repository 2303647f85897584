"""What to do about a problem of a workflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from graphs.definition import NodeDef
from graphs.node import Input

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


def link_hint(source_id: str, source: NodeDef, given: str, wanted: str) -> str:
    """How to get a value of the wanted type: another output of the same node, a node between, or another link."""
    for slot, output in enumerate(source.outputs):
        if output.type.casefold() == wanted.casefold():
            return f"its slot {slot} is {output.type}: link that"
    between = CONVERTERS.get((wanted.upper(), given.upper()))
    if between is not None:
        article = "an" if between[0] in "AEIOU" else "a"
        return f"put {article} {between} between them"
    return f"link an output of type {wanted}; slot is of node {source_id}"


def missing_hint(declared: Input) -> str:
    if declared.is_widget:
        return f"set '{declared.name}'" + (f" to one of {_few(declared.options)}" if declared.options else "")
    return f"link an output of type {declared.type}"


def unknown_class_hint(class_type: str, known: Iterable[str]) -> str:
    """Names that look like it, else how to make it known."""
    by_fold = {name.casefold(): name for name in known}
    close = get_close_matches(class_type.casefold(), by_fold, n=2, cutoff=0.75)
    if close:
        return f"did you mean {' or '.join(by_fold[name] for name in close)}?"
    return "remove or bypass the node, or add its schema from the /object_info of a server that has it"


def _few(options: Iterable[object]) -> str:
    names = [str(option) for option in options]
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
