"""The kinds of model folder as ComfyUI names them: which sub-folders hold each kind, and which file suffixes count."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# kind -> the sub-folders of a models folder that hold it, in the order they are searched
KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "checkpoints": ("checkpoints",),
        "vae": ("vae",),
        "loras": ("loras",),
        "embeddings": ("embeddings",),
        "text_encoders": ("text_encoders", "clip"),
        "diffusion_models": ("diffusion_models", "unet"),
        "controlnet": ("controlnet", "t2i_adapter"),
        "upscale_models": ("upscale_models",),
        "latent_upscale_models": ("latent_upscale_models",),
        "vae_approx": ("vae_approx",),
        "clip_vision": ("clip_vision",),
        "style_models": ("style_models",),
        "gligen": ("gligen",),
        "hypernetworks": ("hypernetworks",),
        "photomaker": ("photomaker",),
        "classifiers": ("classifiers",),
        "model_patches": ("model_patches",),
        "audio_encoders": ("audio_encoders",),
        "configs": ("configs",),
        "diffusers": ("diffusers",),
    }
)

# names of older versions of ComfyUI (and of extra_model_paths.yaml files written for them)
OLD_NAMES: Mapping[str, str] = MappingProxyType(
    {"clip": "text_encoders", "unet": "diffusion_models", "t2i_adapter": "controlnet"}
)

MODEL_SUFFIXES = frozenset({".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl"})
EMBEDDING_SUFFIXES = (".safetensors", ".pt", ".bin")  # in the order in which ComfyUI tries them
SUFFIXES: Mapping[str, frozenset[str]] = MappingProxyType({"configs": frozenset({".yaml", ".yml"})})

# what people call a kind in a message
NOUNS: Mapping[str, str] = MappingProxyType(
    {
        "checkpoints": "checkpoint",
        "vae": "VAE",
        "loras": "LoRA",
        "embeddings": "embedding",
        "text_encoders": "text encoder",
        "diffusion_models": "diffusion model",
        "controlnet": "ControlNet",
        "upscale_models": "upscale model",
        "input": "input picture",
    }
)


def kind_of(name: str) -> str:
    """The present name of a kind: "unet" -> "diffusion_models"."""
    return OLD_NAMES.get(name, name)


def suffixes_of(kind: str) -> frozenset[str] | None:
    """The suffixes (lower case, with the dot) of files that count; None: any file."""
    return None if kind == "input" else SUFFIXES.get(kind, MODEL_SUFFIXES)


def noun_of(kind: str) -> str:
    return NOUNS.get(kind, kind.replace("_", " ").rstrip("s"))
