"""How model files that are not compiled are recognised, and which keys nobody needs. Data only."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Checkpoints carry more than the weights that we run: training state, tables that follow from the schedule, marks of
# the prediction, and projections of text encoders whose pooled vector is not read. Matched from the start of the key.
HARMLESS = re.compile(
    r"model_ema\.|betas$|alphas_cumprod|sqrt_|log_one_minus|posterior_|lvlb_weights$|logvar$|scale_factor$|"
    r".*position_ids$|.*logit_scale$|.*text_projection(\.weight)?$|.*\bloss\.|global_step$|epoch$|"
    r"optimizer|lr_scheduler|callbacks|hparams|hyper_parameters|loops\.|pytorch-lightning|"
    r"v_pred$|ztsnr$|cond_stage_model\.model_lora|denoiser\.sigmas$|first_stage_model\.model_ema\."
)

# (what the file is, a pattern that one of its keys matches, what to do). The first that matches is the answer.
_USE = "use a model of a family that is compiled with this workflow"
_FOREIGN: tuple[tuple[str, str, str], ...] = (
    ("Stable Diffusion 2 unCLIP", r"embedder\.model\.visual\.", _USE),
    ("Stable Diffusion 3", r"(model\.diffusion_model\.)?joint_blocks\.\d+\.context_block\.", _USE),
    ("Flux or a relative of it", r"(model\.diffusion_model\.)?double_blocks\.\d+\.", _USE),
    ("Stable Cascade", r"(model\.diffusion_model\.)?(clf\.1\.weight|clip_txt_mapper\.)", _USE),
    ("Wan", r"(model\.diffusion_model\.)?blocks\.\d+\.cross_attn\.", _USE),
    ("a video U-Net", r"model\.diffusion_model\..*\.time_stack\.", _USE),
    ("a ControlNet", r"(control_model\.)?zero_convs\.|controlnet_cond_embedding\.", "load it with a ControlNet loader"),
    ("a T2I-Adapter", r"(adapter\.)?body\.\d+\.(in_conv|block1|resnets)", "load it with a ControlNet loader"),
    ("a LoRA", r".*\.(lora_(up|down|A|B)|hada_w1_a|lokr_w[12](_a)?|oft_blocks|lora_linear_layer)\b",
     "load it with a LoraLoader"),
    ("a textual inversion", r"(emb_params|string_to_param\b.*)$", "write embedding:NAME into the prompt"),
    ("an upscale model", r"body\.\d+\.rdb1\.conv1\.", "load it with an upscale model loader"),
    ("a diffusers U-Net", r"(unet\.)?down_blocks\.\d+\.(resnets|attentions)\.",
     "single diffusers networks are not read; use the single-file checkpoint"),
)  # fmt: skip
# The same for what stands in the folder of ControlNets and is none that we compile.
_NO_CONTROL: tuple[tuple[str, str, str], ...] = (
    ("a Control-LoRA", r"lora_controlnet$", "Control-LoRAs are not compiled yet; use a full ControlNet"),
    ("a T2I-Adapter", r"((adapter\.)?body\.\d+\.(in_conv|block1|resnets)|adapter\.conv_in)",
     "T2I-Adapters are not compiled yet; use a ControlNet"),
    ("a ControlNet of several kinds in one (union)", r"(control_model\.)?(task_embedding$|transformer_layes\.)",
     "union ControlNets are not compiled yet; use one of a single kind"),
    ("a ControlNet for Stable Diffusion 3 or Flux", r"(controlnet_blocks|transformer_blocks|pos_embed_input)\b",
     "use one for the family of the model"),
    ("a LoRA", r".*\.(lora_(up|down|A|B)|hada_w1_a|lokr_w[12](_a)?|oft_blocks|lora_linear_layer)\b",
     "load it with a LoraLoader"),
    ("a textual inversion", r"(emb_params|string_to_param\b.*)$", "write embedding:NAME into the prompt"),
)  # fmt: skip
_COMPILED = tuple((name, re.compile(pattern), hint) for name, pattern, hint in _FOREIGN)
_CONTROL_COMPILED = tuple((name, re.compile(pattern), hint) for name, pattern, hint in _NO_CONTROL)


def foreign_kind(keys: Iterable[str]) -> tuple[str, str] | None:
    """What a file is whose family or kind is not compiled, and what to do with it; None where no mark is found."""
    return _first_match(keys, _COMPILED)


def control_kind(keys: Iterable[str]) -> tuple[str, str] | None:
    """What a file is that is no ControlNet which we compile, and what to do with it; None where no mark is found."""
    return _first_match(keys, _CONTROL_COMPILED)


def _first_match(keys: Iterable[str], marks: Iterable[tuple[str, re.Pattern[str], str]]) -> tuple[str, str] | None:
    listed = list(keys)
    for name, pattern, hint in marks:
        if any(pattern.match(key) for key in listed):
            return name, hint
    return None
