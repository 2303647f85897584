"""Under which names LoRA files speak of a module, as data. The names are those ComfyUI reads, no more.

original: the checkpoint's own module path       input_blocks.1.1.transformer_blocks.0.attn1.to_q
diffusers: the path in the diffusers layout      down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q
A file writes either flattened with "_" behind "lora_unet_" (kohya), the original dotted behind "diffusion_model.", or
the diffusers path dotted with "processor." before the attention's projections. peft's plain "unet....to_q" is not read
by ComfyUI either: its attention weights stay out of the picture there, and are reported here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from compiler.families.family import Encoder
from compiler.networks.unet_config import UNetConfig, input_specs, output_specs

_RES = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
    "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
_ENDS = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2", "input_blocks.0.0": "conv_in",
    "label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2",
    "out.0": "conv_norm_out", "out.2": "conv_out",
}  # fmt: skip

_UNET_FLAT = ("lora_unet_", "lycoris_")
_UNET_DOTTED = ("unet.", "")
_UNET_ORIGINAL = "diffusion_model."
# Only these of the text encoder have names in the two general traditions.
_TEXT_MODULES = tuple(
    f".{name}"
    for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2")
)
# How a module of the text encoder may begin, in any tradition, of any family.
_TEXT_STARTS = ("lora_te", "text_encoder", "clip_l", "clip_g", "lora_prior_te", "text_model.")
_SECOND_STARTS = ("lora_te2_", "text_encoder_2.", "clip_g.", "text_encoders.clip_g.")  # of a second text encoder


def speaks_of(name: str, encoder: Encoder | None) -> bool:
    """Whether a name in a LoRA file speaks of that text encoder; None: of the U-Net."""
    if encoder is None:
        return not name.startswith(_TEXT_STARTS)
    second = any(start in _SECOND_STARTS for start in encoder.lora_flat)
    return name.startswith(_TEXT_STARTS) and name.startswith(_SECOND_STARTS) == second


def unet_aliases(modules: Iterable[str], config: UNetConfig) -> dict[str, str]:
    """Every name a LoRA file may use -> the original module path. modules: original paths that have a weight."""
    blocks = dict(_blocks(config))
    aliases: dict[str, str] = {}
    for module in modules:
        aliases[_UNET_ORIGINAL + module] = module
        aliases[_UNET_FLAT[0] + module.replace(".", "_")] = module
        name = _diffusers_name(module, blocks)
        if name is not None:
            aliases.update({prefix + name.replace(".", "_"): module for prefix in _UNET_FLAT})
            dotted = name.replace(".to_", ".processor.to_").replace(".to_out.0", ".to_out")
            aliases.update({prefix + dotted: module for prefix in _UNET_DOTTED})
    return aliases


def text_aliases(modules: Iterable[str], encoder: Encoder) -> dict[str, str]:
    """Every name a LoRA file may use -> the module path inside the text encoder."""
    aliases: dict[str, str] = {}
    for module in modules:
        aliases[f"text_encoders.{encoder.name}.transformer.{module}"] = module
        if module.endswith(_TEXT_MODULES):
            aliases.update({prefix + module.replace(".", "_"): module for prefix in encoder.lora_flat})
            aliases.update({prefix + module: module for prefix in encoder.lora_dotted})
    return aliases


def _blocks(config: UNetConfig) -> Iterator[tuple[str, str]]:
    """(original prefix, diffusers prefix) of every res block, transformer and resampler."""
    level = index = 0
    for n, spec in enumerate(input_specs(config)):
        if spec.kind == "res":
            yield f"input_blocks.{n}.0", f"down_blocks.{level}.resnets.{index}"
            yield f"input_blocks.{n}.1", f"down_blocks.{level}.attentions.{index}"
            index += 1
        elif spec.kind == "down":
            yield f"input_blocks.{n}.0.op", f"down_blocks.{level}.downsamplers.0.conv"
            level, index = level + 1, 0
    last = "2" if config.middle_depth else "1"
    yield from (("middle_block.0", "mid_block.resnets.0"), (f"middle_block.{last}", "mid_block.resnets.1"))
    if config.middle_depth:
        yield "middle_block.1", "mid_block.attentions.0"
    level = index = 0
    for n, spec in enumerate(output_specs(config)):
        yield f"output_blocks.{n}.0", f"up_blocks.{level}.resnets.{index}"
        if spec.depth:
            yield f"output_blocks.{n}.1", f"up_blocks.{level}.attentions.{index}"
        index += 1
        if spec.up:
            yield f"output_blocks.{n}.{2 if spec.depth else 1}.conv", f"up_blocks.{level}.upsamplers.0.conv"
            level, index = level + 1, 0


def _diffusers_name(module: str, blocks: dict[str, str]) -> str | None:
    """The diffusers path of an original module path. blocks: dict(_blocks(config))."""
    if module in _ENDS:
        return _ENDS[module]
    parts = module.split(".")
    for cut in range(len(parts), 1, -1):
        prefix, rest = ".".join(parts[:cut]), ".".join(parts[cut:])
        if prefix not in blocks:
            continue
        if ".resnets." in blocks[prefix]:
            return f"{blocks[prefix]}.{_RES[rest]}" if rest in _RES else None
        return f"{blocks[prefix]}.{rest}" if rest else blocks[prefix]
    return None
