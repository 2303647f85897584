"""What is read from ControlNet files, and what is said of files that are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.synthetic import (
    narrow_sdxl,
    narrow_unet,
    write_checkpoint,
    write_controlnet,
    write_embedding,
    write_lora,
)
from compiler.families import SD1, SD2, SDXL
from compiler.models.architecture import COMPILED, detect
from compiler.models.checkpoint import open_checkpoint
from compiler.models.control_file import detect_control, require_fit
from compiler.networks.controlnet import ControlNetConfig
from compiler.networks.unet_config import UNetConfig
from graphs.errors import CheckpointError

UNET = narrow_unet()
SHALLOW = UNetConfig(
    model_channels=32, time_width=128, widths=(32, 64, 64), res_blocks=(1, 2, 1), depths=(0, 1, 1), context_width=64
)


def refusal(path: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        detect_control(open_checkpoint(path))
    return caught.value


@pytest.mark.parametrize("unet", [UNET, SHALLOW])
@pytest.mark.parametrize("prefix", ["", "control_model."])
def test_the_architecture_is_that_of_the_encoder(unet: UNetConfig, prefix: str, tmp_path: Path) -> None:
    write_controlnet(tmp_path / "c.safetensors", unet=unet, prefix=prefix)
    found = detect_control(open_checkpoint(tmp_path / "c.safetensors"))
    assert found.parts == {"controlnet": ControlNetConfig(unet)}
    assert found.family is SD1


def test_a_pickle_reads_like_safetensors(tmp_path: Path) -> None:
    write_controlnet(tmp_path / "c.safetensors", unet=SHALLOW)
    torch.save(load_file(tmp_path / "c.safetensors"), tmp_path / "c.pth")
    assert detect_control(open_checkpoint(tmp_path / "c.pth")).parts["controlnet"] == ControlNetConfig(SHALLOW)


def test_the_layout_of_diffusers_names_the_same_tensors(tmp_path: Path) -> None:
    write_controlnet(tmp_path / "c.safetensors", unet=UNET)
    original = load_file(tmp_path / "c.safetensors")
    save_file({_diffusers_name(key): tensor for key, tensor in original.items()}, tmp_path / "d.safetensors")
    opened = open_checkpoint(tmp_path / "d.safetensors")
    assert detect_control(opened).parts["controlnet"] == ControlNetConfig(UNET)
    assert opened.names["controlnet"].keys() == original.keys()
    for key, tensor in original.items():
        assert torch.equal(opened.tensor("controlnet", key), tensor), key
    with pytest.raises(CheckpointError, match=r"a ControlNet.*load it with a ControlNet loader"):
        detect(opened)


def _diffusers_name(key: str) -> str:
    """Written down block by block for four levels of two res blocks: input block n is resnet (n-1) % 3 of level
    (n-1) // 3, or its downsampler."""
    res = {"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
           "out_layers.3": "conv2", "skip_connection": "conv_shortcut"}  # fmt: skip
    head, number, *rest = key.split(".")
    tail = ".".join(rest)
    if head == "time_embed":
        return f"time_embedding.linear_{int(number) // 2 + 1}.{tail}"
    if head == "zero_convs":
        return f"controlnet_down_blocks.{number}.{rest[1]}"
    if head == "middle_block_out":
        return f"controlnet_mid_block.{tail}"
    if head == "input_hint_block":
        names = {"0": "conv_in", "14": "conv_out"} | {str(2 * i + 2): f"blocks.{i}" for i in range(6)}
        return f"controlnet_cond_embedding.{names[number]}.{tail}"
    if head == "input_blocks" and number == "0":
        return f"conv_in.{rest[1]}"
    if head == "middle_block":
        if number == "1":
            return f"mid_block.attentions.0.{tail}"
        return f"mid_block.resnets.{int(number) // 2}.{res[tail.rpartition('.')[0]]}.{rest[-1]}"
    level, place = divmod(int(number) - 1, 3)
    inside = ".".join(rest[1:])
    if place == 2:
        return f"down_blocks.{level}.downsamplers.0.conv.{rest[-1]}"
    if rest[0] == "1":
        return f"down_blocks.{level}.attentions.{place}.{inside}"
    return f"down_blocks.{level}.resnets.{place}.{res[inside.rpartition('.')[0]]}.{rest[-1]}"


def test_a_bare_control_net_is_no_checkpoint(tmp_path: Path) -> None:
    write_controlnet(tmp_path / "c.safetensors", unet=SHALLOW)
    with pytest.raises(CheckpointError, match=r"a ControlNet.*load it with a ControlNet loader"):
        detect(open_checkpoint(tmp_path / "c.safetensors"))


def test_a_checkpoint_may_carry_a_control_net(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "sd.safetensors", unet=SHALLOW)
    write_controlnet(tmp_path / "c.safetensors", unet=SHALLOW, prefix="control_model.")
    both = {**load_file(tmp_path / "sd.safetensors"), **load_file(tmp_path / "c.safetensors")}
    save_file(both, tmp_path / "both.safetensors")
    opened = open_checkpoint(tmp_path / "both.safetensors")
    assert detect_control(opened).parts["controlnet"] == ControlNetConfig(SHALLOW)
    assert detect(opened).parts["unet"] == SHALLOW


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "sd.safetensors", unet=SHALLOW)
    assert "a checkpoint; load it with a checkpoint loader" in str(refusal(tmp_path / "sd.safetensors"))
    write_lora(tmp_path / "lora.safetensors", unet=UNET)
    assert "a LoRA; load it with a LoraLoader" in str(refusal(tmp_path / "lora.safetensors"))
    write_embedding(tmp_path / "e.safetensors")
    assert "a textual inversion" in str(refusal(tmp_path / "e.safetensors"))


@pytest.mark.parametrize(
    ("keys", "got"),
    [
        (("lora_controlnet", "zero_convs.0.0.weight", "input_blocks.1.0.in_layers.2.up"), "a Control-LoRA"),
        (("controlnet_cond_embedding.conv_in.weight", "task_embedding"), "several kinds in one"),
        (("body.0.in_conv.weight", "conv_in.weight"), "a T2I-Adapter"),
        (("adapter.body.0.resnets.0.block1.weight",), "a T2I-Adapter"),
        (("controlnet_blocks.0.weight",), "Stable Diffusion 3 or Flux"),
        (("something",), "1 tensors: something"),
    ],
)
def test_other_kinds_are_named(keys: tuple[str, ...], got: str, tmp_path: Path) -> None:
    save_file({key: torch.zeros(1) for key in keys}, tmp_path / "x.safetensors")
    error = refusal(tmp_path / "x.safetensors")
    assert got in str(error.got)
    assert error.expected == f"a ControlNet for {COMPILED}"
    assert error.hint


def test_control_nets_of_other_families_are_told_by_their_encoder(tmp_path: Path) -> None:
    sd2 = UNetConfig(model_channels=32, time_width=128, widths=(32, 64), res_blocks=(1, 1), depths=(1, 1),
                     context_width=1024, heads=None, linear_projection=True)  # fmt: skip
    for family, unet in ((SD2, sd2), (SDXL, narrow_sdxl()["unet"])):
        write_controlnet(tmp_path / f"{family.name}.safetensors", unet=unet)
        found = detect_control(open_checkpoint(tmp_path / f"{family.name}.safetensors"))
        assert (found.family, found.parts) == (family, {"controlnet": ControlNetConfig(unet)})
    unclip = replace(sd2, vector_width=2048)
    write_controlnet(tmp_path / "unclip.safetensors", unet=unclip)
    assert "a ControlNet of another family" in str(refusal(tmp_path / "unclip.safetensors"))


def test_missing_and_misshapen_weights_are_listed(tmp_path: Path) -> None:
    write_controlnet(tmp_path / "c.safetensors", unet=SHALLOW)
    tensors = load_file(tmp_path / "c.safetensors")
    del tensors["middle_block_out.0.bias"]
    tensors["zero_convs.1.0.weight"] = torch.zeros(3, 3, 1, 1)
    save_file(tensors, tmp_path / "d.safetensors")
    text = str(refusal(tmp_path / "d.safetensors"))
    assert "1 missing: controlnet: middle_block_out.0.bias" in text
    assert "1 of another shape: controlnet: zero_convs.1.0.weight [3, 3, 1, 1]" in text


def test_it_must_fit_the_model() -> None:
    require_fit(ControlNetConfig(UNET), UNET, "c")
    wide = narrow_unet(64)
    for control, unet in ((wide, UNET), (SHALLOW, UNET), (narrow_unet(context_width=128), UNET)):
        with pytest.raises(CheckpointError, match="does not fit the model"):
            require_fit(ControlNetConfig(control), unet, "c")
