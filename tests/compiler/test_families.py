"""Files of each family: how they are told, what their parts are, and which facts they give a program."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.synthetic import (
    NARROW_CLIP,
    NARROW_CLIP_G,
    narrow_refiner,
    narrow_sd2,
    narrow_sdxl,
    narrow_unet,
    write_checkpoint,
    write_lora,
    write_refiner,
    write_sd2,
    write_sdxl,
)
from compiler.families import FAMILIES, SDXL, family_of
from compiler.linking.specialise import resolve
from compiler.lowering.lower import lower
from compiler.models.architecture import account, detect
from compiler.models.checkpoint import open_checkpoint
from compiler.models.lora_names import text_aliases, unet_aliases
from compiler.models.weights_tree import merged
from compiler.networks.unet_config import UNetConfig
from graphs.errors import CheckpointError
from graphs.program import ModelUse, Program
from graphs.values import ModelFile
from graphs.workflow import parse_api
from tests.compiler.eager_networks import by_path, recipe_of

REAL = {
    "sd15": UNetConfig(),
    "sd2": UNetConfig(context_width=1024, heads=None, linear_projection=True),
    "sdxl": UNetConfig(widths=(320, 640, 1280), res_blocks=(2, 2, 2), depths=(0, 2, 10), middle_depth=10,
                       context_width=2048, heads=None, linear_projection=True, vector_width=2816),
    "sdxl_refiner": UNetConfig(model_channels=384, time_width=1536, widths=(384, 768, 1536, 1536),
                               depths=(0, 4, 4, 0), middle_depth=4, context_width=1280, heads=None,
                               linear_projection=True, vector_width=2560),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("families")
    write_checkpoint(found / "sd15.safetensors")
    write_sd2(found / "sd2.safetensors")
    write_sd2(found / "sd2v.safetensors", velocity=True)
    write_sdxl(found / "sdxl.safetensors")
    write_refiner(found / "sdxl_refiner.safetensors")
    for channels in (8, 9):
        write_sdxl(found / f"sdxl{channels}.safetensors", in_channels=channels)
    for marks in (("v_pred",), ("v_pred", "ztsnr")):
        write_sdxl(found / f"{'_'.join(marks)}.safetensors", marks=marks)
    return found


@pytest.mark.parametrize("name", REAL)
def test_the_published_shapes_are_of_one_family_each(name: str) -> None:
    fitting = [family.name for family in FAMILIES if family.fits(REAL[name])]
    assert fitting == [name]


@pytest.mark.parametrize(("context", "vector"), [(1024, 1536), (1024, 2048)])
def test_unclip_is_of_none(context: int, vector: int) -> None:
    unclip = UNetConfig(context_width=context, heads=None, linear_projection=True, vector_width=vector)
    assert family_of("unet", unclip) is None


PARTS = {
    "sd15": {"unet": narrow_unet(), "clip_l": NARROW_CLIP},
    "sd2": narrow_sd2(),
    "sdxl": narrow_sdxl(),
    "sdxl_refiner": narrow_refiner(),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_file_gives_the_configs_that_it_was_made_from_and_every_key_is_used(name: str, folder: Path) -> None:
    opened = open_checkpoint(folder / f"{name}.safetensors")
    found = detect(opened)
    assert found.family is not None
    assert found.family.name == name
    for part, config in PARTS[name].items():
        assert found.parts[part] == config, part
    report = account(opened, found)
    assert (report.missing, report.misshapen, report.unknown) == ((), (), ())


def test_an_open_clip_encoder_holds_the_tensors_of_the_layout_of_transformers(folder: Path) -> None:
    opened = open_checkpoint(folder / "sdxl.safetensors")
    stored = load_file(folder / "sdxl.safetensors")
    prefix, width = "conditioner.embedders.1.model.", NARROW_CLIP_G.width
    rows = stored[f"{prefix}transformer.resblocks.1.attn.in_proj_weight"]
    for third, name in enumerate("qkv"):
        tensor = opened.tensor("clip_g", f"text_model.encoder.layers.1.self_attn.{name}_proj.weight")
        assert torch.equal(tensor, rows[third * width : (third + 1) * width])
    projection = opened.tensor("clip_g", "text_projection.weight")
    assert torch.equal(projection, stored[f"{prefix}text_projection"].T)


def facts_of(file: Path, **overrides: object) -> dict[str, object]:
    use = ModelUse("m0", ModelFile("checkpoints", str(file)), overrides)
    return dict(resolve(Program((), models={"m0": use}), by_path).models["m0"].facts)


@pytest.mark.parametrize(
    ("name", "prediction", "zero_snr"),
    [
        ("sd15", "eps", False), ("sd2", "eps", False), ("sd2v", "v", False), ("sdxl", "eps", False),
        ("v_pred", "v", False), ("v_pred_ztsnr", "v", True), ("sdxl_refiner", "eps", False),
    ],
)  # fmt: skip
def test_the_prediction_is_read_from_the_file(name: str, prediction: str, zero_snr: bool, folder: Path) -> None:
    facts = facts_of(folder / f"{name}.safetensors")
    schedule = facts["schedule"]
    assert isinstance(schedule, dict)
    assert (facts["prediction"], schedule.get("zero_terminal_snr", False)) == (prediction, zero_snr)
    assert schedule["beta_end"] == 0.012  # the marks add to the family's schedule


def test_overrides_go_before_what_the_file_says(folder: Path) -> None:
    assert facts_of(folder / "sd2v.safetensors", prediction="eps")["prediction"] == "eps"


def test_latents_vectors_and_further_channels_are_facts(folder: Path) -> None:
    sd15, sdxl, refiner, inpaint, edit = (
        facts_of(folder / f"{name}.safetensors") for name in ("sd15", "sdxl", "sdxl_refiner", "sdxl9", "sdxl8")
    )
    assert [facts["latent"]["scale"] for facts in (sd15, sdxl, refiner)] == [0.18215, 0.13025, 0.13025]  # type: ignore[index]
    assert (sd15["vector"], sd15["concat"], sdxl["concat"]) == (None, None, None)
    names = ["height", "width", "crop_h", "crop_w", "target_height", "target_width"]
    assert sdxl["vector"] == {"numbers": names, "width": 256}
    assert refiner["vector"] == {"numbers": [*names[:4], "ascore"], "width": 256}
    assert [facts["concat"]["channels"] for facts in (inpaint, edit)] == [["mask", "image"], ["image"]]  # type: ignore[index]
    assert (inpaint["input_channels"], edit["input_channels"]) == (9, 8)


def test_a_file_of_more_channels_than_any_model_has_is_refused(tmp_path: Path) -> None:
    write_sdxl(tmp_path / "x.safetensors", in_channels=6)
    with pytest.raises(CheckpointError, match="takes 6 channels"):
        facts_of(tmp_path / "x.safetensors")


def text(name: str, stop: int | None = None) -> Program:
    """The program of one prompt of a checkpoint."""
    clip: list[object] = ["1", 1]
    nodes: dict[str, object] = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": name}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "4": {"class_type": "KSampler", "inputs": {
            "seed": 1, "steps": 1, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
            "model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0]}},
        "5": {"class_type": "SaveLatent", "inputs": {"samples": ["4", 0], "filename_prefix": "x"}},
    }  # fmt: skip
    if stop is not None:
        nodes["6"] = {"class_type": "CLIPSetLastLayer", "inputs": {"clip": clip, "stop_at_clip_layer": stop}}
        clip = ["6", 0]
    nodes["2"] = {"class_type": "CLIPTextEncode", "inputs": {"clip": clip, "text": "a fox"}}
    return lower(parse_api(nodes))


@pytest.mark.parametrize(
    ("name", "stop", "expected"),
    [
        ("sd15", None, {"clip_l": {"stop_layer": -1, "norm": True}}),
        ("sd15", -2, {"clip_l": {"stop_layer": -2, "norm": True}}),
        ("sd2", None, {"clip_h": {"stop_layer": -2, "norm": True}}),
        ("sdxl", None, {name: {"stop_layer": -2, "norm": False} for name in ("clip_l", "clip_g")}),
        ("sdxl", -1, {name: {"stop_layer": -1, "norm": False} for name in ("clip_l", "clip_g")}),
        ("sdxl_refiner", None, {"clip_g": {"stop_layer": -2, "norm": False}}),
    ],
)
def test_a_prompt_goes_to_the_encoders_of_the_family(
    name: str, stop: int | None, expected: dict[str, object], folder: Path
) -> None:
    program = resolve(text(str(folder / f"{name}.safetensors"), stop), by_path)
    step = next(step for step in program.steps if step.op == "encode_text")
    assert {role: dict(program.networks[name].options) for role, name in step.networks.items()} == expected
    assert step.attrs["text"]["pooled"] == list(expected)[-1]
    paddings = {"clip_l": 49407, "clip_g": 0, "clip_h": 0}
    assert [(e["name"], e["padding"]) for e in step.attrs["text"]["encoders"]] == [(n, paddings[n]) for n in expected]


def test_only_models_with_a_vector_condition_get_one(folder: Path) -> None:
    for name, count in (("sd15", 0), ("sdxl", 2)):
        program = resolve(text(str(folder / f"{name}.safetensors")), by_path)
        assert [step.op for step in program.steps].count("make_vector") == count
        entries = [step for step in program.steps if step.op == "entry"]
        assert ["vector" in entry.inputs for entry in entries] == [count > 0] * 2


def test_an_inpainting_model_is_shown_the_latent_where_the_workflow_shows_it_nothing(folder: Path) -> None:
    program = resolve(text(str(folder / "sdxl9.safetensors")), by_path)
    shown = [step for step in program.steps if step.op == "make_concat"]
    sample = next(step for step in program.steps if step.op == "sample")
    assert [step.inputs["latent"] for step in shown] == [sample.inputs["latent"]] * 2
    assert all("concat" in step.inputs for step in program.steps if step.op == "entry")


# --- LoRA names


def test_a_lora_in_the_names_of_both_encoders_and_of_two_layouts(folder: Path, tmp_path: Path) -> None:
    base, unet = folder / "sdxl.safetensors", narrow_sdxl()["unet"]
    texts = {"clip_l": NARROW_CLIP, "clip_g": NARROW_CLIP_G}
    for start in ("lora_unet_input_blocks", "lora_unet_down_blocks"):
        file = tmp_path / f"{start}.safetensors"
        write_lora(file, unet=unet, texts=texts, start=start)
        for part in ("unet", *texts):
            plain, changed = (merged(recipe_of(base, *uses), part, by_path) for uses in ((), ((file, 1.0),)))
            different = [key for key in plain if not torch.equal(plain[key]().float(), changed[key]().float())]
            attention = ".attn" if part == "unet" else "self_attn"
            assert different, (start, part)
            assert all(attention in key for key in different)


def test_the_second_encoder_has_names_of_its_own(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoders = {encoder.name: encoder for encoder in SDXL.text.encoders}
    module = "text_model.encoder.layers.0.self_attn.q_proj"
    first, second = (text_aliases([module], encoders[name]) for name in ("clip_l", "clip_g"))
    flat = module.replace(".", "_")
    assert {f"lora_te1_{flat}", f"text_encoder.{module}"} <= first.keys()
    assert {f"lora_te2_{flat}", f"text_encoder_2.{module}"} <= second.keys()
    assert first.keys().isdisjoint(second.keys())


def test_block_names_of_sdxl_in_the_layout_of_diffusers() -> None:
    names = unet_aliases(
        ["input_blocks.4.1.transformer_blocks.0.attn1.to_q", "output_blocks.2.1.proj_in", "output_blocks.2.2.conv",
         "label_emb.0.0"], REAL["sdxl"]
    )  # fmt: skip
    assert names["lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"].startswith("input_blocks.4.1")
    assert names["lora_unet_up_blocks_0_attentions_2_proj_in"] == "output_blocks.2.1.proj_in"
    assert names["lora_unet_up_blocks_0_upsamplers_0_conv"] == "output_blocks.2.2.conv"
    assert names["lora_unet_add_embedding_linear_1"] == "label_emb.0.0"
    assert names["lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"].startswith("input_blocks.4.1")


def test_text_encoders_of_files_of_their_own_are_told_by_their_layers(tmp_path: Path) -> None:
    for layers, name in ((12, "clip_l"), (24, "clip_h"), (32, "clip_g")):
        keys = {"text_model.embeddings.token_embedding.weight": torch.zeros(8, 64)}
        keys |= {f"text_model.encoder.layers.{n}.mlp.fc1.weight": torch.zeros(4, 64) for n in range(layers)}
        save_file(keys, tmp_path / f"{name}.safetensors")
        assert open_checkpoint(tmp_path / f"{name}.safetensors").text_parts == (name,)
