"""SDXL workflows through compile and run, on narrow synthetic models: both CPU backends, LoRA, ControlNet, refiner."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.synthetic import (
    NARROW_CLIP,
    NARROW_CLIP_G,
    narrow_sdxl,
    write_controlnet,
    write_lora,
    write_refiner,
    write_sdxl,
    write_sdxl_embedding,
)
from compiler.compile import CompileResult, compile_workflow, write
from compiler.options import CompileOptions
from graphs.plan import Profile
from graphs.workflow import parse_api
from runtime.folders import Folders
from runtime.session import Session
from runtime.store import Store

pytestmark = pytest.mark.timeout(900)  # each exports networks of its own

Json = Any
Nodes = dict[str, dict[str, Json]]
PROFILE = Profile(batch=(1, 2), height=(64, 96), width=(64, 96))


def node(class_type: str, **inputs: Json) -> dict[str, Json]:
    return {"class_type": class_type, "inputs": inputs}


class Machine:
    """Compiles and runs prompts in one store. latent(): what the node "s" saved."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, Store(root / "store")
        self.folders = Folders.of([root])
        self._count = 0

    def compile(self, nodes: Mapping[str, Json], backend: str = "onnxruntime") -> CompileResult:
        options = CompileOptions(backend=backend, precision="fp32", profile=PROFILE)
        return compile_workflow(parse_api(nodes), options, folders=self.folders, store=self.store)

    def latent(self, nodes: Mapping[str, Json], backend: str = "onnxruntime", **params: Json) -> Tensor:
        """params: by name with the dot written as two underscores."""
        return self.latents(self.compile(nodes, backend), params)[0]

    def latents(self, result: CompileResult, *runs: Mapping[str, Json]) -> list[Tensor]:
        self._count += 1
        write(result, self.root / f"plan{self._count}")
        found: list[Tensor] = []
        with Session.open(self.root / f"plan{self._count}", store=self.store) as session:
            for params in runs:
                named = {name.replace("__", "."): value for name, value in params.items()}
                (file,) = session.run(named, input_dir=self.root / "input", output_dir=self.root / "output").files
                found.append(load_file(file.path)["latent_tensor"])
        return found


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    root = tmp_path_factory.mktemp("sdxl")
    models, unet = root / "models", narrow_sdxl()["unet"]
    write_sdxl(models / "checkpoints/xl.safetensors")
    write_sdxl(models / "checkpoints/inpaint.safetensors", in_channels=9)
    write_sdxl(models / "checkpoints/edit.safetensors", in_channels=8)
    write_refiner(models / "checkpoints/refiner.safetensors")
    write_controlnet(models / "controlnet/net.safetensors", unet=unet)
    texts = {"clip_l": NARROW_CLIP, "clip_g": NARROW_CLIP_G}
    write_lora(models / "loras/style.safetensors", unet=unet, texts=texts, start="lora_unet_input")
    write_sdxl_embedding(models / "embeddings/word.safetensors")
    (root / "input").mkdir()
    random = np.random.default_rng(0)
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:, :32] = 255  # the right half is to be painted
    picture = Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8))
    picture.putalpha(Image.fromarray(alpha))
    picture.save(root / "input/photo.png")
    return Machine(root)


def prompt(checkpoint: str = "xl.safetensors", **changes: dict[str, Json]) -> Nodes:
    """Text to latent at 64 pixels and two steps; nodes may be added, replaced, or given other inputs."""
    nodes: Nodes = {
        "c": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "p": node("CLIPTextEncode", clip=["c", 1], text="a red fox"),
        "n": node("CLIPTextEncode", clip=["c", 1], text=""),
        "e": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "k": node(
            "KSampler", model=["c", 0], positive=["p", 0], negative=["n", 0], latent_image=["e", 0], seed=1, steps=2,
            cfg=5.0, sampler_name="euler", scheduler="normal", denoise=1.0,
        ),
        "s": node("SaveLatent", samples=["k", 0], filename_prefix="x"),
    }  # fmt: skip
    for name, change in changes.items():
        nodes[name] = change if "class_type" in change else {**nodes[name], "inputs": nodes[name]["inputs"] | change}
    return nodes


def sized(**changes: Json) -> dict[str, Json]:
    given = {"clip": ["c", 1], "width": 64, "height": 64, "crop_w": 0, "crop_h": 0, "target_width": 64,
             "target_height": 64, "text_g": "a red fox", "text_l": "a red fox"}  # fmt: skip
    return node("CLIPTextEncodeSDXL", **given | changes)


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference, in standard deviations of the second."""
    return float((one - other).abs().max() / other.std())


def test_both_backends_agree(machine: Machine) -> None:
    assert apart(machine.latent(prompt(), "onnxruntime"), machine.latent(prompt(), "eager")) < 1e-4


def test_the_sizes_of_a_prompt_are_parameters_of_the_plan_and_change_the_picture(machine: Machine) -> None:
    result = machine.compile(prompt(p=sized()))
    assert {"p.width", "p.crop_h", "p.target_width", "p.text_l"} <= result.plan.program.parameters.keys()
    same, cropped, other = machine.latents(result, {}, {"p__crop_w": 512}, {"p__text_l": "a blue hare"})
    plain = machine.latent(prompt())
    assert apart(same, plain) < 1e-5  # the sizes of the latent are what a plain prompt has
    assert apart(cropped, plain) > 1e-2
    assert apart(other, plain) > 1e-2


def test_a_lora_changes_the_model_and_both_encoders(machine: Machine) -> None:
    plain = machine.latent(prompt())
    found = []
    for model, clip in ((1.0, 0.0), (0.0, 1.0)):
        loader = node("LoraLoader", model=["c", 0], clip=["c", 1], lora_name="style.safetensors",
                      strength_model=model, strength_clip=clip)  # fmt: skip
        nodes = prompt(l=loader, p={"clip": ["l", 1]}, n={"clip": ["l", 1]}, k={"model": ["l", 0]})
        found.append(machine.latent(nodes))
    assert all(apart(latent, plain) > 1e-2 for latent in found)
    assert apart(*found) > 1e-2


def test_a_control_net_takes_the_vector_too(machine: Machine) -> None:
    nodes = prompt(
        h=node("LoadImage", image="photo.png"),
        l=node("ControlNetLoader", control_net_name="net.safetensors"),
        a=node("ControlNetApply", conditioning=["p", 0], control_net=["l", 0], image=["h", 0], strength=1.0),
        k={"positive": ["a", 0]},
        p=sized(),
    )
    result = machine.compile(nodes)
    controlled, without, cropped = machine.latents(result, {}, {"a__strength": 0.0}, {"p__crop_w": 512})
    assert apart(without, machine.latent(prompt())) < 1e-5
    assert apart(controlled, without) > 1e-2
    assert apart(cropped, controlled) > 1e-2
    assert apart(machine.latent(nodes, "eager"), controlled) < 1e-4


def handed_over() -> Nodes:
    """Three steps, the last two of them the refiner's."""
    shared = {"noise_seed": 1, "steps": 3, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal"}
    base = node("KSamplerAdvanced", model=["c", 0], positive=["p", 0], negative=["n", 0], latent_image=["e", 0],
                add_noise="enable", start_at_step=0, end_at_step=1, return_with_leftover_noise="enable", **shared)
    refine = node("KSamplerAdvanced", model=["r", 0], positive=["rp", 0], negative=["rn", 0], latent_image=["b", 0],
                  add_noise="disable", start_at_step=1, end_at_step=10000, return_with_leftover_noise="disable",
                  **shared)  # fmt: skip
    encoder = {"clip": ["r", 1], "width": 64, "height": 64}
    return prompt(
        r=node("CheckpointLoaderSimple", ckpt_name="refiner.safetensors"),
        rp=node("CLIPTextEncodeSDXLRefiner", text="a red fox", ascore=6.0, **encoder),
        rn=node("CLIPTextEncodeSDXLRefiner", text="", ascore=2.5, **encoder),
        b=base,
        k=refine,
    )


def test_the_refiner_goes_on_where_the_base_stops(machine: Machine) -> None:
    result = machine.compile(handed_over())
    assert {use.facts["family"] for use in result.plan.program.models.values()} == {"sdxl", "sdxl_refiner"}
    whole, scored, other = machine.latents(result, {}, {"rp__ascore": 1.0}, {"p__text": "a blue hare"})
    assert apart(scored, whole) > 1e-4  # the score is one number of five; equal runs agree bit for bit
    assert apart(other, whole) > 1e-3
    assert apart(machine.latent(handed_over(), "eager"), whole) < 1e-4


def test_a_plain_prompt_has_the_scores_of_its_side(machine: Machine) -> None:
    plain = {**handed_over(), "rp": node("CLIPTextEncode", clip=["r", 1], text="a red fox"),
             "rn": node("CLIPTextEncode", clip=["r", 1], text="")}  # fmt: skip
    assert apart(machine.latent(plain), machine.latent(handed_over())) < 1e-5


def test_a_textual_inversion_for_both_encoders(machine: Machine) -> None:
    assert apart(machine.latent(prompt(p={"text": "embedding:word"})), machine.latent(prompt(p={"text": ""}))) > 1e-2


def shown(checkpoint: str, conditioning: dict[str, Json]) -> Nodes:
    given = {"positive": ["p", 0], "negative": ["n", 0], "vae": ["c", 2], "pixels": ["h", 0]}
    conditioning = {**conditioning, "inputs": given | conditioning["inputs"]}
    return prompt(
        checkpoint, h=node("LoadImage", image="photo.png"), i=conditioning,
        k={"positive": ["i", 0], "negative": ["i", 1], "latent_image": ["i", 2]},
    )  # fmt: skip


def test_an_inpainting_model_is_shown_the_picture_and_the_mask(machine: Machine) -> None:
    asked = node("InpaintModelConditioning", mask=["h", 1], noise_mask=True)
    painted = machine.latent(shown("inpaint.safetensors", asked))
    whole = machine.latent(shown("inpaint.safetensors", {**asked, "inputs": {**asked["inputs"], "noise_mask": False}}))
    photo = prompt(h=node("LoadImage", image="photo.png"), k=node("VAEEncode", pixels=["h", 0], vae=["c", 2]))
    kept = machine.latent({**photo, "c": node("CheckpointLoaderSimple", ckpt_name="inpaint.safetensors")})
    torch.testing.assert_close(painted[..., :3], kept[..., :3], rtol=1e-3, atol=1e-3)  # outside the mask
    assert apart(whole[..., :3], kept[..., :3]) > 1e-2
    # measured: 1.2e-4, most of it from the VAE's encoder
    assert apart(machine.latent(shown("inpaint.safetensors", asked), "eager"), painted) < 1e-3


def test_an_inpainting_model_without_a_picture_is_given_a_blank_one(machine: Machine) -> None:
    assert torch.isfinite(machine.latent(prompt("inpaint.safetensors"))).all()


def test_instruct_pix2pix_is_shown_the_picture(machine: Machine) -> None:
    seen = machine.latent(shown("edit.safetensors", node("InstructPixToPixConditioning")))
    assert seen.shape == (1, 4, 8, 8)
    assert apart(machine.latent(prompt("edit.safetensors")), seen) > 1e-2


def test_a_second_run_of_the_same_architecture_exports_nothing(machine: Machine) -> None:
    machine.compile(prompt())
    again = machine.compile(json.loads(json.dumps(prompt())))
    assert (again.counts.exports, again.counts.builds, again.counts.weights) == (0, 0, 0)
