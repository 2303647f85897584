"""Loaders: they build compile-time values. No loader exists at run time."""

from __future__ import annotations

from dataclasses import replace

from graphs.definition import Builder, NodeDef
from graphs.errors import Problem, WorkflowError
from graphs.node import COMBO, Input, Node, Output
from graphs.values import ClipValue, Lora, ModelFile, ModelValue, VaeValue, Weights

# VAELoader lists these beside the files of models/vae: assembled from several files, or no network at all.
BUILT_IN_VAES = ("taesd", "taesdxl", "taesd3", "taef1", "pixel_space")


def _lower_checkpoint(node: Node, b: Builder) -> None:
    file = ModelFile("checkpoints", b.constant("ckpt_name"))
    b.output(0, ModelValue(file))
    b.output(1, ClipValue(file))
    b.output(2, VaeValue(file))


CHECKPOINT_LOADER_SIMPLE = NodeDef(
    class_type="CheckpointLoaderSimple",
    display_name="Load Checkpoint",
    category="loaders",
    inputs=(Input("ckpt_name", COMBO, folder="checkpoints"),),
    outputs=(Output("MODEL", "MODEL"), Output("CLIP", "CLIP"), Output("VAE", "VAE")),
    lower=_lower_checkpoint,
)


def _lower_vae(node: Node, b: Builder) -> None:
    name = b.constant("vae_name")
    if name in BUILT_IN_VAES:
        raise WorkflowError(
            "this VAE is not compiled yet",
            (
                Problem(
                    "unsupported_value",
                    f"'{name}' is not compiled yet",
                    node_id=node.id,
                    class_type=node.class_type,
                    input_name="vae_name",
                    hint="choose a file of models/vae, or link the checkpoint's own VAE",
                ),
            ),
        )
    b.output(0, VaeValue(ModelFile("vae", name)))


VAE_LOADER = NodeDef(
    class_type="VAELoader",
    display_name="Load VAE",
    category="loaders",
    inputs=(Input("vae_name", COMBO, folder="vae"),),
    outputs=(Output("VAE", "VAE"),),
    lower=_lower_vae,
)


def _with_lora(weights: Weights, name: str, strength: float) -> Weights:
    """The weights with one LoRA on top; strength 0 merges nothing, and then the file is not needed either."""
    if strength == 0:
        return weights
    return Lora(weights, ModelFile("loras", name), float(strength))


def _lower_lora(node: Node, b: Builder) -> None:
    name, model, clip = b.constant("lora_name"), b.model(), b.clip()
    b.output(0, replace(model, weights=_with_lora(model.weights, name, b.constant("strength_model"))))
    b.output(1, replace(clip, weights=_with_lora(clip.weights, name, b.constant("strength_clip"))))


LORA_LOADER = NodeDef(
    class_type="LoraLoader",
    display_name="Load LoRA",
    category="loaders",
    inputs=(
        Input("model", "MODEL"),
        Input("clip", "CLIP"),
        Input("lora_name", COMBO, folder="loras"),
        Input("strength_model", "FLOAT", default=1.0, min=-100.0, max=100.0, step=0.01),
        Input("strength_clip", "FLOAT", default=1.0, min=-100.0, max=100.0, step=0.01),
    ),
    outputs=(Output("MODEL", "MODEL"), Output("CLIP", "CLIP")),
    lower=_lower_lora,
)


def _lower_lora_model_only(node: Node, b: Builder) -> None:
    name, model = b.constant("lora_name"), b.model()
    b.output(0, replace(model, weights=_with_lora(model.weights, name, b.constant("strength_model"))))


LORA_LOADER_MODEL_ONLY = NodeDef(
    class_type="LoraLoaderModelOnly",
    display_name="LoraLoaderModelOnly",
    category="loaders",
    inputs=(
        Input("model", "MODEL"),
        Input("lora_name", COMBO, folder="loras"),
        Input("strength_model", "FLOAT", default=1.0, min=-100.0, max=100.0, step=0.01),
    ),
    outputs=(Output("MODEL", "MODEL"),),
    lower=_lower_lora_model_only,
)
