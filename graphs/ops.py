"""The instruction set of the runtime: what each op takes and gives. The functions are in runtime/ops.

Many nodes, few ops. A value at run time is one of
  latent   runtime.values.Latent: samples (B, 4, h, w) float32 unscaled, noise_mask or None, batch_index or None
  image    (B, H, W, 3) float32 in [0, 1]          image_u8  (B, H, W, 3) uint8
  mask     (B, H, W) float32 in [0, 1]
  embedding (1, 77*k, C) float32                   pooled    (1, P) float32
  sigmas   (n+1,) float32, descending              noise     like latent.samples, float32
  context  (B, T, K) text keys and values of every cross-attention, concatenated    time  (n, E) per-step embeddings
  files    tuple of runtime.values.SavedFile
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class OpSpec:
    """pure: no effect besides its outputs, equal inputs give equal outputs (prune and dedupe rely on it).

    foldable: pure and worth computing at compile time when it depends on constants and defaults only.
    optional, optional_networks: inputs and roles that a step may lack. numbered_networks: roles that a step has any
    number of, called "NAME.0", "NAME.1", ..."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    networks: tuple[str, ...] = ()
    pure: bool = True
    foldable: bool = False
    optional: tuple[str, ...] = ()
    optional_networks: tuple[str, ...] = ()
    numbered_networks: tuple[str, ...] = ()

    def calls(self, role: str) -> bool:
        """Whether a step of this op may call a network in that role."""
        name, _, number = role.rpartition(".")
        known = role in self.networks or role in self.optional_networks
        return known or (number.isdecimal() and name in self.numbered_networks)


_OPS = (
    # text
    OpSpec("encode_text", ("text",), ("embedding", "pooled"), ("clip",), foldable=True),
    OpSpec("project_context", ("embedding",), ("context",), ("unet_context",), foldable=True),
    # latents
    OpSpec("empty_latent", ("width", "height", "batch_size"), ("latent",)),
    OpSpec("set_noise_mask", ("latent", "mask"), ("latent",)),
    OpSpec("resize_latent", ("latent", "method", "width", "height", "crop"), ("latent",)),
    OpSpec("scale_latent", ("latent", "method", "factor"), ("latent",)),
    # sampling
    OpSpec(
        "make_sigmas",
        ("steps", "scheduler", "denoise", "sampler_name"),
        ("sigmas",),
        foldable=True,
        optional=("start_at_step", "end_at_step", "return_with_leftover_noise"),
    ),
    OpSpec("embed_time", ("sigmas",), ("time",), ("unet_time",), foldable=True),
    OpSpec("make_noise", ("latent", "seed"), ("noise",), optional=("add_noise",)),
    OpSpec(
        "sample",
        ("latent", "noise", "sigmas", "seed", "cfg", "sampler_name", "positive", "negative"),
        ("latent",),
        ("unet",),
        optional=(
            "positive_context",
            "negative_context",
            "time",
            "positive_masks",
            "negative_masks",
            "differential",
            "control_hints",
            "control_strengths",
            "control_starts",
            "control_ends",
            "control_contexts",
            "control_times",
        ),
        optional_networks=("unet_time",),
        numbered_networks=("controlnet", "controlnet_hint", "controlnet_time"),
    ),
    # pictures
    OpSpec("decode_latent", ("latent",), ("image",), ("vae_decoder",)),
    OpSpec("decode_latent_u8", ("latent",), ("image_u8",), ("vae_decoder_u8",)),
    OpSpec("encode_image", ("image",), ("latent",), ("vae_encoder",)),
    OpSpec("grey_out", ("image", "mask", "grow"), ("image", "mask")),
    OpSpec("image_to_u8", ("image",), ("image_u8",)),
    OpSpec("resize_image", ("image", "method", "width", "height", "crop"), ("image",)),
    OpSpec("scale_image", ("image", "method", "factor"), ("image",)),
    # masks
    OpSpec("grow_mask", ("mask", "expand", "tapered_corners"), ("mask",)),
    OpSpec("feather_mask", ("mask", "left", "top", "right", "bottom"), ("mask",)),
    OpSpec("invert_mask", ("mask",), ("mask",)),
    OpSpec("threshold_mask", ("mask", "value"), ("mask",)),
    OpSpec("solid_mask", ("value", "width", "height"), ("mask",)),
    OpSpec("crop_mask", ("mask", "x", "y", "width", "height"), ("mask",)),
    OpSpec("composite_mask", ("destination", "source", "x", "y", "operation"), ("mask",)),
    OpSpec("mask_to_image", ("mask",), ("image",)),
    OpSpec("image_to_mask", ("image", "channel"), ("mask",)),
    # files
    OpSpec("load_image", ("file",), ("image", "mask"), pure=False),
    OpSpec("load_mask", ("file", "channel"), ("mask",), pure=False),
    OpSpec("load_latent", ("file",), ("latent",), pure=False),
    OpSpec("save_image", ("image_u8", "filename_prefix"), ("files",), pure=False),
    OpSpec("preview_image", ("image_u8",), ("files",), pure=False),
    OpSpec("save_latent", ("latent", "filename_prefix"), ("files",), pure=False),
    # plumbing of primitive nodes
    OpSpec("identity", ("value",), ("value",)),
)

OPS: Mapping[str, OpSpec] = MappingProxyType({op.name: op for op in _OPS})
