"""Where each op of graphs.ops lives; the row of an interpreted node says where its function is.

Modules are imported on first use, so that a plan pays only for what it runs.

An op is called as function(context, **inputs), the inputs named as in its OpSpec, absent optional ones left out; an
input that the workflow gives as a list arrives as a tuple, and a group of inputs ("sides.positive", "sides.negative")
as one mapping by name. It returns its output, or a tuple where it has several; or, where it calls networks that other
runs may call too, it is a generator of such calls (runtime.sampling.batching) that returns them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from graphs.ops import OPS

Op = Callable[..., Any]

OPS_TABLE: Mapping[str, str] = MappingProxyType(
    {
        "encode_text": "runtime.ops.text:encode_text",
        "text_sizes": "runtime.ops.vector:text_sizes",
        "make_vector": "runtime.ops.vector:make_vector",
        "make_concat": "runtime.ops.concat:make_concat",
        "blank_latent": "runtime.ops.latent:blank_latent",
        "join_texts": "runtime.ops.embeddings:join_texts",
        "average_texts": "runtime.ops.embeddings:average_texts",
        "zero_text": "runtime.ops.embeddings:zero_text",
        "project_context": "runtime.ops.schedule:project_context",
        "empty_latent": "runtime.ops.latent:empty_latent",
        "set_noise_mask": "runtime.ops.inpaint:set_noise_mask",
        "resize_latent": "runtime.ops.latent:resize_latent",
        "scale_latent": "runtime.ops.latent:scale_latent",
        "make_sigmas": "runtime.ops.schedule:make_sigmas",
        "beta_sigmas": "runtime.ops.schedule:beta_sigmas",
        "turbo_sigmas": "runtime.ops.schedule:turbo_sigmas",
        "add_noise": "runtime.ops.noising:add_noise",
        "embed_time": "runtime.ops.schedule:embed_time",
        "make_noise": "runtime.ops.schedule:make_noise",
        "sampler": "runtime.ops.schedule:sampler",
        "place": "runtime.ops.guiding:place",
        "span": "runtime.ops.guiding:span",
        "control": "runtime.ops.guiding:control",
        "entry": "runtime.ops.guiding:entry",
        "guide": "runtime.ops.guiding:guide",
        "sample": "runtime.ops.sample:sample",
        "decode_latent": "runtime.ops.latent:decode_latent",
        "decode_latent_u8": "runtime.ops.latent:decode_latent_u8",
        "encode_image": "runtime.ops.latent:encode_image",
        "grey_out": "runtime.ops.inpaint:grey_out",
        "image_to_u8": "runtime.ops.image:image_to_u8",
        "quantize_image": "runtime.ops.pictures:quantize_image",
        "resize_image": "runtime.ops.image:resize_image",
        "scale_image": "runtime.ops.image:scale_image",
        "load_image": "runtime.ops.image:load_image",
        "load_mask": "runtime.ops.image:load_mask",
        "load_latent": "runtime.ops.files:load_latent",
        "save_image": "runtime.ops.files:save_image",
        "preview_image": "runtime.ops.files:preview_image",
        "save_latent": "runtime.ops.files:save_latent",
        "identity": "runtime.ops.plumbing:identity",
    }
)


def op_function(name: str) -> Op:
    """The function of an op. Raises KeyError for an op that does not exist."""
    place = OPS_TABLE.get(name) or OPS[name].place
    assert place is not None, f"{name} has no function"  # an op of graphs.ops must be in the table
    module, _, function = place.partition(":")
    found: Op = getattr(import_module(module), function)
    return found
