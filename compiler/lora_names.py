"""Under which names LoRA files speak of a module: three naming traditions, as data.

original: the checkpoint's own module path       input_blocks.1.1.transformer_blocks.0.attn1.to_q
diffusers: the path in the diffusers layout      down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q
A file flattens either with "_" behind "lora_unet_" (kohya), or writes it dotted behind "unet." (peft) and so on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from compiler.networks.unet_config import UNetConfig, input_specs, output_specs

_RES = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
    "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
_ENDS = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2", "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out", "out.2": "conv_out",
}  # fmt: skip

UNET_FLAT = ("lora_unet_",)
UNET_DOTTED = ("diffusion_model.", "unet.", "base_model.model.unet.", "base_model.model.", "")
TEXT_FLAT = ("lora_te_", "lora_te1_")
TEXT_DOTTED = (
    "text_encoder.",
    "text_encoders.clip_l.transformer.",
    "clip_l.transformer.",
    "base_model.model.text_encoder.",
)


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
        yield f"output_blocks.{n}.1", f"up_blocks.{level}.attentions.{index}"
        index += 1
        if spec.up:
            child = 2 if spec.depth else 1
            yield f"output_blocks.{n}.{child}.conv", f"up_blocks.{level}.upsamplers.0.conv"
            level, index = level + 1, 0


def diffusers_name(module: str, blocks: dict[str, str]) -> str | None:
    """The diffusers path of an original module path. blocks: dict(_blocks(config)), longest prefix wins."""
    if module in _ENDS:
        return _ENDS[module]
    for prefix in sorted((p for p in blocks if module == p or module.startswith(p + ".")), key=len, reverse=True):
        rest = module[len(prefix) :].removeprefix(".")
        if ".resnets." in blocks[prefix]:
            if rest in _RES:
                return f"{blocks[prefix]}.{_RES[rest]}"
            continue
        return f"{blocks[prefix]}.{rest}" if rest else blocks[prefix]
    return None


def unet_aliases(modules: Iterable[str], config: UNetConfig) -> dict[str, str]:
    """Every name a LoRA file may use -> the original module path."""
    blocks, aliases = dict(_blocks(config)), {}
    for module in modules:
        for name in {module, diffusers_name(module, blocks)} - {None}:
            assert name is not None
            aliases.update({prefix + name.replace(".", "_"): module for prefix in UNET_FLAT})
            aliases.update({prefix + name: module for prefix in UNET_DOTTED})
            # Before peft, diffusers wrote attention processors in place of the modules they replace.
            old = name.replace(".to_out.0", ".processor.to_out_lora").replace(".to_q", ".processor.to_q_lora")
            old = old.replace(".to_k", ".processor.to_k_lora").replace(".to_v", ".processor.to_v_lora")
            if old != name:
                aliases.update({f"unet.{old}": module, old: module})
    return aliases


def text_aliases(modules: Iterable[str]) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for module in modules:
        aliases.update({prefix + module.replace(".", "_"): module for prefix in TEXT_FLAT})
        aliases.update({prefix + module: module for prefix in TEXT_DOTTED})
    return aliases
