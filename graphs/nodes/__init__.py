"""The nodes that comfyc compiles, by class_type. Adding one: its NodeDef in the file of its family, a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from graphs.node import NodeDef
from graphs.nodes.images import IMAGE_SCALE, IMAGE_SCALE_BY, LOAD_IMAGE, PREVIEW_IMAGE, SAVE_IMAGE
from graphs.nodes.latents import EMPTY_LATENT_IMAGE, LATENT_UPSCALE, LATENT_UPSCALE_BY, LOAD_LATENT, SAVE_LATENT
from graphs.nodes.loaders import CHECKPOINT_LOADER_SIMPLE, LORA_LOADER, LORA_LOADER_MODEL_ONLY, VAE_LOADER
from graphs.nodes.primitives import (
    PRIMITIVE_BOOLEAN,
    PRIMITIVE_FLOAT,
    PRIMITIVE_INT,
    PRIMITIVE_STRING,
    PRIMITIVE_STRING_MULTILINE,
)
from graphs.nodes.sampling import KSAMPLER, KSAMPLER_ADVANCED
from graphs.nodes.text import CLIP_SET_LAST_LAYER, CLIP_TEXT_ENCODE
from graphs.nodes.vae import VAE_DECODE, VAE_ENCODE

NODES: Mapping[str, NodeDef] = MappingProxyType(
    {
        "CheckpointLoaderSimple": CHECKPOINT_LOADER_SIMPLE,
        "CLIPSetLastLayer": CLIP_SET_LAST_LAYER,
        "CLIPTextEncode": CLIP_TEXT_ENCODE,
        "EmptyLatentImage": EMPTY_LATENT_IMAGE,
        "ImageScale": IMAGE_SCALE,
        "ImageScaleBy": IMAGE_SCALE_BY,
        "KSampler": KSAMPLER,
        "KSamplerAdvanced": KSAMPLER_ADVANCED,
        "LatentUpscale": LATENT_UPSCALE,
        "LatentUpscaleBy": LATENT_UPSCALE_BY,
        "LoadImage": LOAD_IMAGE,
        "LoadLatent": LOAD_LATENT,
        "LoraLoader": LORA_LOADER,
        "LoraLoaderModelOnly": LORA_LOADER_MODEL_ONLY,
        "PreviewImage": PREVIEW_IMAGE,
        "PrimitiveBoolean": PRIMITIVE_BOOLEAN,
        "PrimitiveFloat": PRIMITIVE_FLOAT,
        "PrimitiveInt": PRIMITIVE_INT,
        "PrimitiveString": PRIMITIVE_STRING,
        "PrimitiveStringMultiline": PRIMITIVE_STRING_MULTILINE,
        "SaveImage": SAVE_IMAGE,
        "SaveLatent": SAVE_LATENT,
        "VAEDecode": VAE_DECODE,
        "VAEEncode": VAE_ENCODE,
        "VAELoader": VAE_LOADER,
    }
)
