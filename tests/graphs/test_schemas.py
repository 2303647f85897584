"""Schemas: shipped facts, precedence, a user's dump, renames."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from graphs.definition import NodeDef
from graphs.errors import WorkflowError
from graphs.schemas import Schemas, builtin
from tools.make_schemas import facts

DUMP = Path(__file__).parents[2] / "../shared/reference/object_info.json"


def test_every_shipped_entry_parses() -> None:
    schemas = builtin()
    assert len(schemas) >= 382
    assert all(isinstance(schemas[c], NodeDef) for c in schemas)


def test_widget_order_and_ranges_of_the_ksampler() -> None:
    ksampler = builtin()["KSampler"]
    names = " ".join(i.name for i in ksampler.inputs)
    assert names == "model seed steps cfg sampler_name scheduler positive negative latent_image denoise"
    seed = ksampler.input("seed")
    assert seed is not None
    assert (seed.min, seed.max, seed.control_after_generate) == (0, 2**64 - 1, True)
    assert [o.type for o in ksampler.outputs] == ["LATENT"]


def test_file_combos_name_their_folder_not_somebody_elses_files() -> None:
    ckpt = builtin()["CheckpointLoaderSimple"].input("ckpt_name")
    assert ckpt is not None
    assert (ckpt.type, ckpt.folder, ckpt.options) == ("COMBO", "checkpoints", None)
    assert builtin()["SaveImage"].output_node


def test_renamed_class_is_found() -> None:
    found = builtin().lookup("ConditioningAverage ")
    assert found is not None
    assert found.class_type == "ConditioningAverage"
    assert builtin().lookup("NoSuchNode") is None


def test_object_info_adds_and_overrides_but_never_what_is_lowered() -> None:
    lowered = {"A": NodeDef("A", output_node=True)}
    dump = {"A": {"input": {}, "output": []}, "B": {"input": {"required": {"x": [["p", "q"], {}]}}, "output": ["INT"]}}
    schemas = Schemas({"B": {"input": {}, "output": []}}, lowered).with_object_info(dump)
    assert schemas["A"].output_node
    x = schemas["B"].input("x")
    assert x is not None
    assert (x.type, x.options) == ("COMBO", ("p", "q"))


def test_a_bad_dump_names_every_bad_class() -> None:
    with pytest.raises(WorkflowError) as error:
        builtin().with_object_info({"A": 3, "B": {"input": {"required": {"x": 5}}}, "C": {"input": {}, "output": []}})
    assert {p.class_type for p in error.value.problems} == {"A", "B"}
    with pytest.raises(WorkflowError):
        builtin().with_object_info([1])


def test_the_shipped_facts_are_what_the_tool_makes() -> None:
    if not DUMP.is_file():
        pytest.skip(f"{DUMP} is absent: the shipped facts are not compared with it")
    dump = json.loads(DUMP.read_text("utf-8"))
    shipped = json.loads((resources.files("graphs.nodes") / "schemas.json").read_text("utf-8"))
    assert shipped == {name: facts(name, info) for name, info in dump.items()}
    assert list(shipped) == sorted(shipped)


def test_facts_are_free_of_prose_and_of_files_of_one_disk() -> None:
    inputs = {
        "ckpt_name": [["mine.safetensors"], {"tooltip": "Pick one."}],
        "n": ["INT", {"default": 1, "tooltip": "?"}],
    }
    info = {"input": {"required": inputs}, "input_order": {"required": ["n", "ckpt_name"]}, "output": ["MODEL"]}
    assert facts("A", {**info, "description": "A node."}) == {
        "input": {"required": {"n": ["INT", {"default": 1}], "ckpt_name": ["COMBO", {"folder": "checkpoints"}]}},
        "output": ["MODEL"],
    }


def test_newer_facts_add_to_the_shipped_ones() -> None:
    widgets = [i.name for i in builtin()["ImageScaleToTotalPixels"].inputs]
    assert widgets == ["image", "upscale_method", "megapixels", "resolution_steps"]
    assert builtin()["ResizeImageMaskNode"].inputs[1].type == "COMFY_DYNAMICCOMBO_V3"
