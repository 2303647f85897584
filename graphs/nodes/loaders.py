"""Loaders: they build compile-time values. No loader exists at run time."""

from __future__ import annotations

from dataclasses import replace

from graphs.definition import Builder
from graphs.node import Node
from graphs.rows import compiled
from graphs.values import ClipValue, Lora, ModelFile, ModelValue, VaeValue, Weights

# VAELoader lists these beside the files of models/vae: assembled from several files, or no network at all.
BUILT_IN_VAES = ("taesd", "taesdxl", "taesd3", "taef1", "pixel_space")


def _lower_checkpoint(node: Node, b: Builder) -> None:
    file = ModelFile("checkpoints", b.constant("ckpt_name"))
    b.output(0, ModelValue(file))
    b.output(1, ClipValue((file,)))
    b.output(2, VaeValue(file))


def _lower_vae(node: Node, b: Builder) -> None:
    name = b.constant("vae_name")
    if name in BUILT_IN_VAES:
        hint = "choose a file of models/vae, or link the checkpoint's own VAE"
        raise b.unsupported("vae_name", f"'{name}' is not compiled yet", hint)
    b.output(0, VaeValue(ModelFile("vae", name)))


def _lower_text_encoder(node: Node, b: Builder) -> None:
    b.output(0, ClipValue((ModelFile("text_encoders", b.constant("clip_name")),)))


def _lower_two_text_encoders(node: Node, b: Builder) -> None:
    kind = b.constant("type")
    if kind != "sdxl":
        hint = "the two text encoders of SDXL are compiled; choose type sdxl"
        raise b.unsupported("type", f"'{kind}' is not compiled yet", hint)
    names = (b.constant("clip_name1"), b.constant("clip_name2"))
    b.output(0, ClipValue(tuple(ModelFile("text_encoders", name) for name in names)))


def _lower_unet(node: Node, b: Builder) -> None:
    kind = b.constant("weight_dtype")
    if kind != "default":
        hint = "choose default; `--precision` says what engines compute in"
        raise b.unsupported("weight_dtype", f"'{kind}' is not compiled yet", hint)
    b.output(0, ModelValue(ModelFile("diffusion_models", b.constant("unet_name"))))


def _with_lora(weights: Weights, name: str, strength: float) -> Weights:
    """The weights with one LoRA on top; strength 0 merges nothing, and then the file is not needed either."""
    if strength == 0:
        return weights
    return Lora(weights, ModelFile("loras", name), float(strength))


def _lower_lora(node: Node, b: Builder) -> None:
    name, model, clip = b.constant("lora_name"), b.take("model", ModelValue), b.take("clip", ClipValue)
    b.output(0, replace(model, weights=_with_lora(model.weights, name, b.constant("strength_model"))))
    strength = b.constant("strength_clip")
    b.output(1, replace(clip, weights=tuple(_with_lora(weights, name, strength) for weights in clip.weights)))


def _lower_lora_model_only(node: Node, b: Builder) -> None:
    name, model = b.constant("lora_name"), b.take("model", ModelValue)
    b.output(0, replace(model, weights=_with_lora(model.weights, name, b.constant("strength_model"))))


ROWS = (
    compiled("CheckpointLoaderSimple", _lower_checkpoint),
    compiled("CLIPLoader", _lower_text_encoder),
    compiled("DualCLIPLoader", _lower_two_text_encoders),
    compiled("LoraLoader", _lower_lora),
    compiled("LoraLoaderModelOnly", _lower_lora_model_only),
    compiled("UNETLoader", _lower_unet),
    compiled("VAELoader", _lower_vae),
)
