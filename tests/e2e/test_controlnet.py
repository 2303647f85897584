"""ControlNet and inpainting workflows through compile and run, on narrow synthetic models."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.synthetic import write_checkpoint, write_controlnet, write_embedding
from compiler.compile import CompileResult, compile_workflow, write
from compiler.options import CompileOptions
from graphs.errors import CheckpointError, ModelMissingError
from graphs.plan import Profile
from graphs.workflow import parse_api
from runtime.folders import Folders
from runtime.session import RunResult, Session
from runtime.store import Store
from tests.small_unet import SMALL, WIDER

Json = Any
Picture = NDArray[np.int64]
PROFILE = Profile(batch=(1, 2), height=(64, 96), width=(64, 96))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("comfy")
    write_checkpoint(root / "models/checkpoints/sd.safetensors", unet=SMALL)
    write_controlnet(root / "models/controlnet/a.safetensors", unet=SMALL)
    write_controlnet(root / "models/controlnet/b.safetensors", unet=SMALL, seed=1, prefix="control_model.")
    write_controlnet(root / "models/controlnet/b_shuffle.safetensors", unet=SMALL, seed=1)
    write_controlnet(root / "models/controlnet/wide.safetensors", unet=WIDER)
    write_embedding(root / "models/embeddings/style.safetensors", vectors=3)
    (root / "input").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    Image.fromarray(noise).save(root / "input/hint.png")
    alpha = np.zeros((64, 96), np.uint8)
    alpha[:, :48] = 255  # the right half is to be painted
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8))
    picture.putalpha(Image.fromarray(alpha))
    picture.save(root / "input/photo.png")
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def prompt(**changes: Json) -> dict[str, Json]:
    """A small text to image; nodes may be added or replaced. Conditionings are nodes "p" and "n"."""
    nodes: dict[str, Json] = {
        "c": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd.safetensors"}},
        "p": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["c", 1], "text": "a fox"}},
        "n": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["c", 1], "text": ""}},
        "e": {"class_type": "EmptyLatentImage", "inputs": {"width": 96, "height": 64, "batch_size": 1}},
        "k": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["c", 0], "positive": ["p", 0], "negative": ["n", 0], "latent_image": ["e", 0], "seed": 1,
                "steps": 3, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
            },
        },
        "d": {"class_type": "VAEDecode", "inputs": {"samples": ["k", 0], "vae": ["c", 2]}},
        "s": {"class_type": "SaveImage", "inputs": {"images": ["d", 0], "filename_prefix": "x"}},
    }  # fmt: skip
    for name, change in changes.items():
        nodes[name] = {**nodes.get(name, {}), **change}
    return nodes


def node(class_type: str, **inputs: Json) -> dict[str, Json]:
    return {"class_type": class_type, "inputs": inputs}


def sampled(positive: list[Json], negative: list[Json] | None = None, latent: list[Json] | None = None) -> Json:
    inputs = prompt()["k"]["inputs"]
    return {"inputs": {**inputs, "positive": positive, "negative": negative or ["n", 0],
                       "latent_image": latent or ["e", 0]}}  # fmt: skip


def applied(net: str = "a.safetensors", **inputs: Json) -> dict[str, Json]:
    """A ControlNetApply on the positive side."""
    return prompt(
        h=node("LoadImage", image="hint.png"),
        l=node("ControlNetLoader", control_net_name=net),
        a=node("ControlNetApply", **{"conditioning": ["p", 0], "control_net": ["l", 0], "image": ["h", 0],
                                     "strength": 1.0, **inputs}),
        k=sampled(["a", 0]),
    )  # fmt: skip


def advanced(**inputs: Json) -> dict[str, Json]:
    """A ControlNetApplyAdvanced on both sides."""
    given = {"positive": ["p", 0], "negative": ["n", 0], "control_net": ["l", 0], "image": ["h", 0], "strength": 1.0,
             "start_percent": 0.0, "end_percent": 1.0}  # fmt: skip
    return {
        **applied(),
        "a": node("ControlNetApplyAdvanced", **given | inputs),
        "k": prompt(k=sampled(["a", 0], ["a", 1]))["k"],
    }


class Machine:
    """Compiles and runs prompts in one store, and keeps what was made."""

    def __init__(self, models: Path, store: Store, root: Path, backend: str = "onnxruntime") -> None:
        self._models, self._store, self._root, self._backend = models, store, root, backend
        self._folders = Folders.of([models])
        self._made: dict[str, Picture] = {}
        self.runs = 0

    def compile(self, nodes: Mapping[str, Json], **options: Json) -> CompileResult:
        chosen = CompileOptions(backend=self._backend, precision="fp32", profile=PROFILE, **options)
        return compile_workflow(parse_api(nodes), chosen, folders=self._folders, store=self._store)

    def open(self, result: CompileResult) -> Session:
        self.runs += 1
        write(result, self._root / f"plan{self.runs}")
        session = Session.open(self._root / f"plan{self.runs}", store=self._store)
        session.embeddings = self._folders.embeddings
        return session

    def picture(self, session: Session, **params: Json) -> Picture:
        """params: by name with the dot written as two underscores."""
        return np.asarray(Image.open(self.run(session, **params).files[0].path)).astype(np.int64)

    def run(self, session: Session, **params: Json) -> RunResult:
        named = {name.replace("__", "."): value for name, value in params.items()}
        return session.run(named, input_dir=self._models / "input", output_dir=self._root / "output")

    def make(self, nodes: Mapping[str, Json], **options: Json) -> Picture:
        """The picture with every parameter at its default; made once for equal prompts."""
        key = json.dumps([nodes, options], sort_keys=True)
        if key not in self._made:
            with self.open(self.compile(nodes, **options)) as session:
                self._made[key] = self.picture(session)
        return self._made[key]


@pytest.fixture(scope="module")
def machine(models: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(models, store, tmp_path_factory.mktemp("runs"))


def latent_of(machine: Machine, nodes: Mapping[str, Json]) -> Tensor:
    """What the sampler gives, as SaveLatent writes it: (1, 4, 8, 12)."""
    saved = {**nodes, "s": node("SaveLatent", samples=["k", 0], filename_prefix="x")}
    with machine.open(machine.compile(saved)) as session:
        file = machine.run(session).files[0]
    return load_file(file.path)["latent_tensor"]


def difference(one: Picture, other: Picture) -> float:
    return float(np.abs(one - other).mean())


def test_a_control_net_changes_the_picture_as_its_hint_says(machine: Machine) -> None:
    plain = machine.make(prompt())
    with machine.open(machine.compile(applied())) as session:
        controlled = machine.picture(session)
        assert difference(controlled, plain) > 1
        assert difference(machine.picture(session, h__image="photo.png"), controlled) > 0.2
        assert difference(machine.picture(session, a__strength=0.0), plain) == 0


def test_strength_and_range_are_parameters_and_build_nothing(machine: Machine) -> None:
    machine.compile(advanced())
    compiled = machine.compile(advanced(strength=0.5, start_percent=0.1))
    assert (compiled.counts.exports, compiled.counts.builds, compiled.counts.weights) == (0, 0, 0)
    assert {"a.strength", "a.start_percent", "a.end_percent", "h.image"} <= compiled.plan.program.parameters.keys()
    plain = machine.make(prompt())
    with machine.open(compiled) as session:
        half = machine.picture(session)
        full = machine.picture(session, a__strength=1.0, a__start_percent=0.0)
        assert difference(half, full) > 0.5
        assert difference(machine.picture(session, a__start_percent=0.9, a__end_percent=0.91), plain) == 0
        quarter = machine.picture(session, a__strength=0.25)
        assert difference(quarter, plain) < difference(full, plain)


def test_the_same_on_both_sides_however_it_is_said(machine: Machine) -> None:
    """ControlNetApply shares with the negative side; Advanced with one output linked does not."""
    both = machine.make(advanced())
    assert difference(machine.make(applied()), both) == 0
    one = {**advanced(), "k": prompt(k=sampled(["a", 0]))["k"]}
    assert difference(machine.make(one), both) > 0.2


def test_a_vae_that_is_not_needed_is_ignored(machine: Machine) -> None:
    assert difference(machine.make(advanced(vae=["c", 2])), machine.make(advanced())) == 0


def chained(second: str) -> dict[str, Json]:
    return applied() | {
        "l2": node("ControlNetLoader", control_net_name=second),
        "a2": node("ControlNetApply", conditioning=["a", 0], control_net=["l2", 0], image=["h", 0], strength=0.7),
        "k": prompt(k=sampled(["a2", 0]))["k"],
    }


def test_chained_control_nets_add(machine: Machine) -> None:
    compiled = machine.compile(chained("b.safetensors"))
    cores = [use for use in compiled.plan.program.networks.values() if use.kind == "controlnet_core"]
    assert len(cores) == 2
    keys = {compiled.plan.bindings[use.id].engine.key for use in cores}
    assert len(keys) == 1  # one engine, two sets of weights
    with machine.open(compiled) as session:
        two = machine.picture(session)
        first = machine.picture(session, a2__strength=0.0)
        second = machine.picture(session, a__strength=0.0)
    assert difference(first, machine.make(applied())) == 0
    assert difference(second, machine.make(applied("b.safetensors", strength=0.7))) == 0
    assert min(difference(two, first), difference(two, second)) > 0.5


def test_the_shuffle_control_net_is_averaged_over_the_picture(machine: Machine) -> None:
    assert difference(machine.make(applied("b_shuffle.safetensors")), machine.make(applied("b.safetensors"))) > 0.2


def test_no_optional_pass_changes_the_picture(machine: Machine) -> None:
    for nodes in (advanced(), chained("b.safetensors")):
        assert np.abs(machine.make(nodes, level=0) - machine.make(nodes)).max() <= 1


def test_a_batch_and_another_size_are_controlled_alike(machine: Machine, models: Path, tmp_path: Path) -> None:
    size = {"e.width": 80, "e.height": 64}
    with machine.open(machine.compile(applied())) as session:
        one = machine.picture(session, **{name.replace(".", "__"): value for name, value in size.items()})
        assert one.shape == (64, 80, 3)
        two = session.run({"e.batch_size": 2, **size}, input_dir=models / "input", output_dir=tmp_path)
        assert len(two.files) == 2
        first = np.asarray(Image.open(two.files[0].path)).astype(np.int64)
        assert np.abs(first - one).max() <= 1


def test_eager_makes_the_same_picture(models: Path, store: Store, tmp_path: Path, machine: Machine) -> None:
    other = Machine(models, store, tmp_path, "eager")
    assert np.abs(other.make(applied()) - machine.make(applied())).max() <= 1


def test_a_control_net_of_another_architecture_is_refused(machine: Machine) -> None:
    with pytest.raises(
        CheckpointError, match=r"wide.safetensors: the ControlNet does not fit the model: expected .* 32"
    ):
        machine.compile(applied("wide.safetensors"))


# --- inpainting


MASKED = {
    "i": node("LoadImage", image="photo.png"),
    "v": node("VAEEncode", pixels=["i", 0], vae=["c", 2]),
    "m": node("SetLatentNoiseMask", samples=["v", 0], mask=["i", 1]),
}


def test_a_noise_mask_keeps_what_it_leaves_out(machine: Machine) -> None:
    painted = latent_of(machine, prompt(**MASKED, k=sampled(["p", 0], latent=["m", 0])))
    untouched = sampled(["p", 0], latent=["v", 0])
    untouched["inputs"]["denoise"] = 0.0
    original = latent_of(machine, prompt(**MASKED, k=untouched))
    torch.testing.assert_close(painted[..., :6], original[..., :6], rtol=1e-4, atol=1e-4)
    assert (painted[..., 6:] - original[..., 6:]).abs().mean() > 1


def test_inpainting_starts_from_grey(machine: Machine) -> None:
    inpainted = prompt(
        i=node("LoadImage", image="photo.png"),
        v=node("VAEEncodeForInpaint", pixels=["i", 0], vae=["c", 2], mask=["i", 1], grow_mask_by=6),
        k=sampled(["p", 0], latent=["v", 0]),
    )
    with machine.open(machine.compile(inpainted)) as session:
        assert difference(machine.picture(session), machine.picture(session, v__grow_mask_by=32)) > 0.2


def test_control_net_and_mask_go_together(machine: Machine) -> None:
    nodes = applied() | MASKED
    controlled, without = (
        latent_of(machine, nodes | {"k": prompt(k=sampled([side, 0], latent=["m", 0]))["k"]}) for side in "ap"
    )
    torch.testing.assert_close(controlled[..., :6], without[..., :6], rtol=1e-4, atol=1e-4)
    assert (controlled[..., 6:] - without[..., 6:]).abs().mean() > 0.1


# --- textual inversion


def test_an_embedding_in_a_prompt_changes_the_picture(
    machine: Machine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("runtime"), "propagate", True)  # the command line takes its lines aside
    caplog.set_level(logging.WARNING, "runtime")
    with machine.open(machine.compile(prompt())) as session:
        plain = machine.picture(session)
        styled = machine.picture(session, p__text="a fox, embedding:style")
        weighted = machine.picture(session, p__text="a fox, (embedding:style:0.4)")
        assert difference(styled, plain) > 0.2
        assert difference(weighted, styled) > 0.05
        assert [r for r in caplog.records if r.name.startswith("runtime")] == []
        missing = machine.picture(session, p__text="a fox, embedding:none_of_that_name")
        assert difference(missing, machine.picture(session, p__text="a fox,")) == 0
        assert "none_of_that_name" in caplog.text


def test_a_plan_names_the_embeddings_of_its_prompts_and_travels(machine: Machine) -> None:
    result = machine.compile(prompt(p=node("CLIPTextEncode", text="a fox, embedding:style", clip=["c", 1])))
    assert dict(result.plan.embeddings) == {"style": "embeddings/style.safetensors"}
    with machine.open(result) as session:
        styled = machine.picture(session)
        session.embeddings = dict  # another machine, without the file
        assert difference(machine.picture(session), styled) == 0  # folded when it was compiled
        with pytest.raises(ModelMissingError, match=r"'style' is not in .*expected embeddings/style.safetensors"):
            machine.picture(session, p__text="two foxes, embedding:style")


def test_explain_says_what_becomes_of_each_node(tmp_path: Path) -> None:
    from tests.e2e.commands import comfyc as command

    (tmp_path / "w.json").write_text(json.dumps(advanced()))
    report = json.loads(command("explain", tmp_path / "w.json", "--json").stdout)
    fates = {row["class_type"]: (row["fate"], row["why"]) for row in report["nodes"]}
    assert fates["ControlNetLoader"][0] == fates["ControlNetApplyAdvanced"][0] == "compiled"
    assert "control_core" in fates["KSampler"][1]
    assert "control_core" in report["networks"].values()
