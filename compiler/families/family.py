"""A model family as one value: how its files are told, their parts, and the facts that sampling and text need.

A family is a row in a file of its own beside this one; compiler.families lists them. Nothing else in the compiler or
the runtime names a family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from compiler.networks.network import Config
from compiler.networks.shapes import Shapes

if TYPE_CHECKING:
    from torch import Tensor

Json = Any
END_TOKEN = 49407

# The noise schedule that Stable Diffusion 1, 2 and XL were trained with. Checkpoints do not carry it.
SCALED_LINEAR: Mapping[str, Json] = {
    "kind": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "timesteps": 1000,
}


class OpenFile(Protocol):
    """What a family may look at in an open file: compiler.models.checkpoint.Checkpoint."""

    @property
    def tensors(self) -> Mapping[str, Any]: ...

    def shapes(self, name: str) -> Shapes: ...

    def tensor(self, part: str, key: str) -> Tensor: ...


@dataclass(frozen=True)
class Part:
    """A kind of part that files have, wherever it lies in them. mark: a key that it must have. networks: role
    (graphs.roles) -> the kind of network that it plays it with; their weights make up the part. lacking: kinds that a
    file may lack -> the prefix of the keys that it has otherwise."""

    name: str
    mark: str
    config: Callable[[Shapes], Config]
    networks: Mapping[str, str] = field(hash=False)
    lacking: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Place:
    """Where a part lies in the files of a family: the prefix of its keys.

    inside: put before the rest of a key (files made by an early transformers lack a level). open_clip: the keys are in
    the layout of open_clip and are renamed to that of transformers.
    """

    part: Part
    prefix: str
    inside: str = ""
    open_clip: bool = False


@dataclass(frozen=True)
class Encoder:
    """A text encoder. name: of its part, and of its network. padding: the token behind the end of a prompt. pooled: its
    pooled vector is projected. lora_flat, lora_dotted: how LoRA files begin the names of its modules."""

    name: str
    activation: str = "quick_gelu"
    padding: int = END_TOKEN
    pooled: bool = False
    lora_flat: tuple[str, ...] = ("lora_te_", "lora_te1_")
    lora_dotted: tuple[str, ...] = ("text_encoder.",)


@dataclass(frozen=True)
class Text:
    """How a family reads a prompt: its encoders, side by side in width, the layer taken and whether the final norm
    follows. pooled: the encoder that gives the pooled vector."""

    encoders: tuple[Encoder, ...]
    layer: int = -1
    norm: bool = True

    @property
    def names(self) -> frozenset[str]:
        return frozenset(encoder.name for encoder in self.encoders)

    @property
    def pooled(self) -> str:
        return self.encoders[-1].name


@dataclass(frozen=True)
class Vector:
    """The vector condition: the pooled text, then a sinusoid of `width` channels of each number, in this order.

    Numbers are those that CLIPTextEncodeSDXL and its relative set; runtime.ops.vector knows their defaults.
    """

    numbers: tuple[str, ...]
    width: int = 256

    def recipe(self) -> dict[str, Json]:
        return {"numbers": list(self.numbers), "width": self.width}


@dataclass(frozen=True)
class Latent:
    """downscale: pixels of a side to a latent unit. A raw VAE latent z is sampled as (z - shift) * scale."""

    channels: int = 4
    downscale: int = 8
    scale: float = 1.0
    shift: float = 0.0

    def facts(self) -> dict[str, Json]:
        return {"channels": self.channels, "downscale": self.downscale, "scale": self.scale, "shift": self.shift}


@dataclass(frozen=True)
class Concat:
    """Channels that the U-Net takes behind the latent's: "mask" (1) or "image" (the latent's number). blank: the image
    where there is none, per channel. raw: the image is not scaled as the latent is."""

    channels: tuple[str, ...]
    blank: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    raw: bool = False

    def recipe(self) -> dict[str, Json]:
        return {"channels": list(self.channels), "blank": list(self.blank), "raw": self.raw}


# A picture of grey pixels as a scaled latent of Stable Diffusion 1, which inpainting models of every family are given.
# Source: the observed behaviour of ComfyUI.
INPAINT = Concat(("mask", "image"), (0.8223, -0.6876, 0.6364, 0.1380))
EDIT = Concat(("image",), raw=True)  # InstructPix2Pix


def eps(file: OpenFile) -> dict[str, Json]:
    """The prediction of families whose every model predicts the noise."""
    return {"prediction": "eps"}


@dataclass(frozen=True)
class Family:
    """name: as plans write it. title: as messages do. fits: whether a denoiser's config is of this family. places:
    where its files have their parts, the likeliest first; the parts say which networks play the roles of a workflow.
    heads: of every attention; None: 64 channels each. prediction: facts that a file's weights or marks decide
    ("prediction", parts of "schedule"). concat: by the number of extra input channels.
    side: pixels of a side that engines are tuned for where the profile allows it.
    """

    name: str
    title: str
    fits: Callable[[Any], bool]
    places: tuple[Place, ...]
    text: Text
    latent: Latent
    heads: int | None = None
    vector: Vector | None = None
    schedule: Mapping[str, Json] = field(default_factory=lambda: SCALED_LINEAR)
    prediction: Callable[[OpenFile], dict[str, Json]] = eps
    concat: Mapping[int, Concat] = field(default_factory=lambda: {5: INPAINT, 4: EDIT})
    side: int = 512

    @property
    def denoiser(self) -> Part:
        """The part that is sampled with: its config tells the family."""
        return next(place.part for place in self.places if "denoiser" in place.part.networks)

    def completed(self, config: Config) -> Config:
        """A denoiser's config with what its shapes do not say."""
        return config if self.heads is None else replace(config, heads=self.heads)
