"""The instruction set of the runtime: what each op takes and gives. The functions are in runtime/ops.

Ops that are one node class each (masks, plain pictures, numbers) are not listed here: see graphs.rows.

Many nodes, few ops. A value at run time is one of
  latent   runtime.values.Latent: samples (B, 4, h, w) float32 unscaled, noise_mask or None, batch_index or None
  image    (B, H, W, 3) float32 in [0, 1]          image_u8  (B, H, W, 3) uint8
  mask     (B, H, W) float32 in [0, 1]
  embedding (1, 77*k, C) float32                   pooled    (1, P) float32
  sigmas   (n+1,) float32, descending              noise     runtime.values.Noise: like latent.samples, and its seed
  context  (B, T, K) text keys and values of every cross-attention, concatenated
  timesteps, time   (n,) and (n, E) float32: the embedding of each step of a schedule
  sizes    numbers by name                         vector    (1, V) float32, the vector condition
  concat   (B or 1, C, h, w) float32, channels beside the latent's
  place, span, control, entry, guider   the values of runtime.sampling.conditions       sampler   a SamplerDef
  files    tuple of runtime.values.SavedFile
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from graphs.definition import NodeDef
from graphs.rows import NodeTable, interpreted_inputs


@dataclass(frozen=True)
class OpSpec:
    """pure: no effect besides its outputs, equal inputs give equal outputs (prune and dedupe rely on it).

    foldable: pure and worth computing at compile time when it depends on constants and defaults only.
    optional, optional_networks: inputs and roles that a step may lack. numbered_networks: roles that a step has any
    number of, called "NAME.0", "NAME.1", ... groups: inputs that a step has any number of by name, called "GROUP.NAME"
    ("sides.positive"). carries: its networks are called by the steps that take its outputs. place: "module:function"
    of an op that is an interpreted node; the others are in runtime.ops."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    networks: tuple[str, ...] = ()
    pure: bool = True
    foldable: bool = False
    optional: tuple[str, ...] = ()
    optional_networks: tuple[str, ...] = ()
    numbered_networks: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    carries: bool = False
    place: str | None = None

    def calls(self, role: str) -> bool:
        """Whether a step of this op may call a network in that role."""
        name, _, number = role.rpartition(".")
        known = role in self.networks or role in self.optional_networks
        return known or (number.isdecimal() and name in self.numbered_networks)

    def takes(self, name: str) -> bool:
        """Whether a step of this op may have an input of that name."""
        group, dot, _ = name.partition(".")
        return name in self.inputs or name in self.optional or (bool(dot) and group in self.groups)


_OPS = (
    # text
    OpSpec("encode_text", ("text",), ("embedding", "pooled"), foldable=True, optional=("text_l",),
           optional_networks=("text.0", "text.1", "clip_l", "clip_g", "clip_h")),
    OpSpec("text_sizes", ("width", "height"), ("sizes",),
           optional=("crop_w", "crop_h", "target_width", "target_height", "ascore")),
    OpSpec("make_vector", ("pooled", "latent"), ("vector",), optional=("sizes",)),
    OpSpec("make_concat", ("latent",), ("concat",), optional=("image", "mask")),
    OpSpec("join_texts", ("embedding", "other"), ("embedding",), foldable=True),
    OpSpec("average_texts", ("embedding", "other", "share"), ("embedding",), foldable=True),
    OpSpec("zero_text", ("embedding",), ("embedding",), foldable=True),
    OpSpec("project_context", ("embedding",), ("context",), ("context",), foldable=True),
    # latents
    OpSpec("empty_latent", ("width", "height", "batch_size"), ("latent",)),
    OpSpec("blank_latent", ("latent",), ("latent",)),
    OpSpec("set_noise_mask", ("latent", "mask"), ("latent",)),
    OpSpec("resize_latent", ("latent", "method", "width", "height", "crop"), ("latent",)),
    OpSpec("scale_latent", ("latent", "method", "factor"), ("latent",)),
    # sampling
    OpSpec("make_sigmas", ("steps", "scheduler", "denoise", "sampler_name"), ("sigmas",), foldable=True,
           optional=("start_at_step", "end_at_step", "return_with_leftover_noise")),
    OpSpec("beta_sigmas", ("steps", "alpha", "beta"), ("sigmas",), foldable=True),
    OpSpec("turbo_sigmas", ("steps", "denoise"), ("sigmas",), foldable=True),
    OpSpec("add_noise", ("latent", "noise", "sigmas"), ("latent",)),
    OpSpec("embed_time", ("sigmas",), ("timesteps", "time"), ("time",), foldable=True, optional=("vector",)),
    OpSpec("make_noise", ("latent", "seed"), ("noise",), optional=("add_noise",)),
    OpSpec("sampler", ("name",), ("sampler",), groups=("numbers",)),
    OpSpec("place", (), ("place",), optional=("area", "strength", "mask", "mask_strength", "set_cond_area")),
    OpSpec("span", ("start", "end"), ("span",)),
    OpSpec("control", ("hint", "strength"), ("control",), ("controlnet", "controlnet_hint"),
           optional=("embedding", "vector", "span", "context_kv", "time"), optional_networks=("controlnet_time",),
           carries=True),
    OpSpec("entry", (), ("entry",), optional=("embedding", "context_kv", "vector", "time", "concat", "place", "span",
                                              "controls"), carries=True),
    OpSpec("guide", (), ("guider",), ("denoiser",), groups=("sides", "numbers", "patches"),
           optional_networks=("denoiser_time",), carries=True),
    OpSpec("sample", ("latent", "noise", "sigmas", "sampler", "guider"), ("latent", "denoised")),
    # pictures
    OpSpec("decode_latent", ("latent",), ("image",), ("vae_decoder",)),
    OpSpec("decode_latent_u8", ("latent",), ("image_u8",), ("vae_decoder_u8",)),
    OpSpec("encode_image", ("image",), ("latent",), ("vae_encoder",)),
    OpSpec("grey_out", ("image", "mask", "grow"), ("image", "mask")),
    OpSpec("quantize_image", ("image", "colors", "dither"), ("image",)),
    OpSpec("image_to_u8", ("image",), ("image_u8",)),
    OpSpec("resize_image", ("image", "method", "width", "height", "crop"), ("image",)),
    OpSpec("scale_image", ("image", "method", "factor"), ("image",)),
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


class InstructionSet(Mapping[str, OpSpec]):
    """The ops above, and one for each interpreted node class (graphs.rows), whose spec follows from its schema."""

    def __init__(self, own: tuple[OpSpec, ...]) -> None:
        self.own: Mapping[str, OpSpec] = MappingProxyType({op.name: op for op in own})
        self._made: dict[str, OpSpec] = {}

    def __getitem__(self, name: str) -> OpSpec:
        known = self.own.get(name) or self._made.get(name)
        if known is None:
            nodes = _nodes()
            known = self._made[name] = interpreted_spec(name, nodes[nodes.ops[name]])
        return known

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in _nodes().ops

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from _nodes().ops

    def __len__(self) -> int:
        return len(self.own) + len(_nodes().ops)


def interpreted_spec(name: str, node: NodeDef) -> OpSpec:
    """The op of an interpreted node: inputs and outputs as its schema calls them, outputs in lower case."""
    inputs, optional = interpreted_inputs(node)
    outputs = tuple(output.name.lower() for output in node.outputs)
    return OpSpec(name, inputs, outputs, optional=optional, place=node.place, foldable=node.folds)


def _nodes() -> NodeTable:
    from graphs.nodes.packs import node_table  # late: most plans run no interpreted op

    return node_table()


OPS = InstructionSet(_OPS)
