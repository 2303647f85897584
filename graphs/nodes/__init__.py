"""The nodes that comfyc compiles, by class_type. Adding one: its NodeDef in the file of its family, a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from graphs.definition import NodeDef
from graphs.nodes.controlnet import CONTROL_NET_APPLY, CONTROL_NET_APPLY_ADVANCED, CONTROL_NET_LOADER
from graphs.nodes.images import IMAGE_SCALE, IMAGE_SCALE_BY, LOAD_IMAGE, PREVIEW_IMAGE, SAVE_IMAGE
from graphs.nodes.inpaint import DIFFERENTIAL_DIFFUSION, SET_LATENT_NOISE_MASK, VAE_ENCODE_FOR_INPAINT
from graphs.nodes.latents import EMPTY_LATENT_IMAGE, LATENT_UPSCALE, LATENT_UPSCALE_BY, LOAD_LATENT, SAVE_LATENT
from graphs.nodes.loaders import CHECKPOINT_LOADER_SIMPLE, LORA_LOADER, LORA_LOADER_MODEL_ONLY, VAE_LOADER
from graphs.nodes.masks import (
    CROP_MASK,
    FEATHER_MASK,
    GROW_MASK,
    IMAGE_TO_MASK,
    INVERT_MASK,
    LOAD_IMAGE_MASK,
    MASK_COMPOSITE,
    MASK_PREVIEW,
    MASK_TO_IMAGE,
    SOLID_MASK,
    THRESHOLD_MASK,
)
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
        "ControlNetApply": CONTROL_NET_APPLY,
        "ControlNetApplyAdvanced": CONTROL_NET_APPLY_ADVANCED,
        "ControlNetLoader": CONTROL_NET_LOADER,
        "CropMask": CROP_MASK,
        "DifferentialDiffusion": DIFFERENTIAL_DIFFUSION,
        "EmptyLatentImage": EMPTY_LATENT_IMAGE,
        "FeatherMask": FEATHER_MASK,
        "GrowMask": GROW_MASK,
        "ImageScale": IMAGE_SCALE,
        "ImageScaleBy": IMAGE_SCALE_BY,
        "ImageToMask": IMAGE_TO_MASK,
        "InvertMask": INVERT_MASK,
        "KSampler": KSAMPLER,
        "KSamplerAdvanced": KSAMPLER_ADVANCED,
        "LatentUpscale": LATENT_UPSCALE,
        "LatentUpscaleBy": LATENT_UPSCALE_BY,
        "LoadImage": LOAD_IMAGE,
        "LoadImageMask": LOAD_IMAGE_MASK,
        "LoadLatent": LOAD_LATENT,
        "LoraLoader": LORA_LOADER,
        "LoraLoaderModelOnly": LORA_LOADER_MODEL_ONLY,
        "MaskComposite": MASK_COMPOSITE,
        "MaskPreview": MASK_PREVIEW,
        "MaskToImage": MASK_TO_IMAGE,
        "PreviewImage": PREVIEW_IMAGE,
        "PrimitiveBoolean": PRIMITIVE_BOOLEAN,
        "PrimitiveFloat": PRIMITIVE_FLOAT,
        "PrimitiveInt": PRIMITIVE_INT,
        "PrimitiveString": PRIMITIVE_STRING,
        "PrimitiveStringMultiline": PRIMITIVE_STRING_MULTILINE,
        "SaveImage": SAVE_IMAGE,
        "SaveLatent": SAVE_LATENT,
        "SetLatentNoiseMask": SET_LATENT_NOISE_MASK,
        "SolidMask": SOLID_MASK,
        "ThresholdMask": THRESHOLD_MASK,
        "VAEDecode": VAE_DECODE,
        "VAEEncode": VAE_ENCODE,
        "VAEEncodeForInpaint": VAE_ENCODE_FOR_INPAINT,
        "VAELoader": VAE_LOADER,
    }
)
