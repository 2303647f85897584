"""Roles become networks of whatever family a file is: nodes, lowering and passes name none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import compiler.networks
from benchmarks.synthetic import narrow_unet, write_checkpoint, write_controlnet
from compiler.families.family import Part
from compiler.linking import casting
from compiler.linking.casting import cast
from compiler.lowering.lower import lower
from compiler.models.architecture import Architecture
from compiler.networks import NETWORKS
from compiler.options import CompileOptions
from compiler.passes import forms
from compiler.passes.driver import Context
from compiler.pipeline import optimise_program
from graphs.errors import CheckpointError
from graphs.examples import example
from graphs.program import Program
from graphs.roles import ROLES
from graphs.schemas import builtin
from graphs.workflow import read_workflow


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("casting") / "model.safetensors"
    write_checkpoint(path)
    return path


@pytest.fixture
def other_family(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A family with another denoiser, which has no other forms, and another decoder, which has."""
    networks = {
        **NETWORKS,
        "dit": replace(NETWORKS["unet"], kind="dit", part="dit", forms={}),
        "wide_decoder": replace(NETWORKS["vae_decoder"], kind="wide_decoder", part="wide", forms={"u8": "wide_u8"}),
    }
    parts = {
        "dit": Part("dit", "x", lambda shapes: None, {"denoiser": "dit"}),
        "wide": Part("wide", "y", lambda shapes: None, {"decoder": "wide_decoder"}),
        "control": Part(
            "control", "z", lambda shapes: None, {"control": "controlnet", "control_hint": "controlnet_hint"}
        ),
    }
    monkeypatch.setattr(compiler.networks, "NETWORKS", networks)
    monkeypatch.setattr(casting, "NETWORKS", networks)
    monkeypatch.setattr(casting, "PARTS", parts)
    monkeypatch.setattr(casting, "architecture_of", lambda *_: Architecture(None, dict.fromkeys(parts)))
    forms.forms_of.cache_clear()
    yield
    forms.forms_of.cache_clear()


def lowered(name: str) -> Program:
    return lower(read_workflow(example(name), builtin()))


def kinds(program: Program, file: Path) -> dict[str, str]:
    """Role of a step -> kind of network, after casting and all passes."""
    program, _ = optimise_program(cast(program, lambda _: file), Context(options=CompileOptions()))
    calls = (call for step in program.steps for call in step.networks.items())
    return {role: program.networks[name].kind for role, name in calls}


@pytest.mark.parametrize("name", ["default", "image_to_image", "inpaint", "controlnet", "lora", "two_pass"])
def test_lowering_names_roles_alone(name: str) -> None:
    assert {use.kind for use in lowered(name).networks.values()} <= ROLES.keys()


def test_a_stable_diffusion_file_plays_every_role_of_a_workflow(file: Path) -> None:
    assert kinds(lowered("default"), file) == {
        "clip_l": "clip_l",
        "context": "unet_context",
        "time": "unet_time",
        "denoiser": "unet_core",
        "denoiser_time": "unet_time",
        "vae_decoder_u8": "vae_decoder_u8",
    }


@pytest.mark.usefixtures("other_family")
def test_a_denoiser_that_does_not_come_apart_is_called_whole(file: Path) -> None:
    found = kinds(lowered("default"), file)
    assert found == {"clip_l": "clip_l", "denoiser": "dit", "vae_decoder_u8": "wide_u8"}


@pytest.mark.usefixtures("other_family")
def test_a_controlnet_on_a_denoiser_that_takes_none_is_refused(file: Path) -> None:
    with pytest.raises(CheckpointError, match="ControlNets on this model"):
        cast(lowered("controlnet"), lambda _: file)


def test_a_denoiser_takes_residuals_where_its_own_guider_has_controlnets(file: Path, tmp_path: Path) -> None:
    control = tmp_path / "control.safetensors"
    write_controlnet(control, unet=narrow_unet(32))
    program = cast(lowered("controlnet"), lambda wanted: control if wanted.kind == "controlnet" else file)
    assert sorted(use.kind for use in program.networks.values() if use.kind != "clip_l") == [
        "controlnet", "controlnet_hint", "unet_control", "vae_decoder",
    ]  # fmt: skip
    assert cast(program, lambda _: file) == program  # there is no role left


def test_a_file_without_the_part_is_refused(tmp_path: Path) -> None:
    text_and_vae = tmp_path / "text.safetensors"
    write_checkpoint(text_and_vae, parts=("vae", "clip_l"))
    with pytest.raises(CheckpointError, match=r"holds no denoiser \(U-Net\)") as raised:
        cast(lowered("default"), lambda _: text_and_vae)
    assert raised.value.hint == "use a full checkpoint, or the loader of that part"
