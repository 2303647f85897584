"""Schemas: shipped facts, precedence, a user's dump, renames."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from graphs.definition import NodeDef
from graphs.errors import WorkflowError
from graphs.schemas import Schemas, builtin
from graphs.shipped_schemas import FactLines, partner_classes
from tools.make_schemas import PROSE, facts
from tools.make_schemas import main as make_schemas

REFERENCE = Path(__file__).parents[2] / "../shared/reference"
DUMPS = [REFERENCE / "object_info_0.33.json", REFERENCE / "object_info.json"]


def test_every_shipped_entry_parses() -> None:
    schemas = builtin()
    assert len(schemas) >= 639
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


def test_the_shipped_facts_are_what_the_tool_makes(tmp_path: Path) -> None:
    if not all(dump.is_file() for dump in DUMPS):
        pytest.skip(f"{DUMPS} are absent: the shipped facts are not compared with them")
    made = tmp_path / "schemas.json"
    make_schemas(DUMPS, made)
    assert made.read_text("utf-8") == (resources.files("graphs") / "schemas.json").read_text("utf-8")


def test_the_lines_of_the_shipped_facts_are_one_json_value() -> None:
    text = (resources.files("graphs") / "schemas.json").read_text("utf-8")
    lines = FactLines(text)
    assert dict(lines) == json.loads(text)
    assert list(lines) == sorted(lines)
    assert len(lines) >= 639


def test_facts_hold_no_prose() -> None:
    def texts(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            assert not PROSE & value.keys()
            for member in value.values():
                yield from texts(member)
        elif isinstance(value, list):
            for member in value:
                yield from texts(member)
        elif isinstance(value, str):
            yield value

    shipped = json.loads((resources.files("graphs") / "schemas.json").read_text("utf-8"))
    for entry in shipped.values():
        for section in entry["input"].values():
            for spec in section.values():
                options = spec[1:] if isinstance(spec, list) else []
                kept = [{k: v for k, v in part.items() if k != "default"} for part in options]
                assert all(len(text) <= 80 for text in texts(kept)), spec


def test_partner_classes_are_known_by_name_only() -> None:
    assert len(partner_classes()) >= 300
    assert "GeminiImage2Node" in partner_classes()
    assert not partner_classes() & set(builtin())


def test_order_of_dynamic_members_that_nobody_saw_is_marked() -> None:
    info = {
        "input": {
            "required": {
                "mode": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {"options": [{"key": "k", "inputs": {"required": {"a": ["INT"], "b": ["INT"]}}}]},
                ]
            }
        },
        "output": [],
    }
    (option,) = facts("A", info)["input"]["required"]["mode"][1]["options"]
    assert option["unordered"]
    (option,) = facts("SaveImageAdvanced", {**info, "input": {"required": {"format": _bit_depths()}}})["input"][
        "required"
    ]["format"][1]["options"]
    assert list(option["inputs"]["required"]) == ["bit_depth", "input_color_space"]
    assert "unordered" not in option


def _bit_depths() -> list[object]:
    members = {"input_color_space": ["COMBO", {"options": ["sRGB"]}], "bit_depth": ["COMBO", {"options": ["8-bit"]}]}
    return ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "png", "inputs": {"required": members}}]}]


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


def test_the_facts_are_of_the_newest_server_and_keep_older_classes() -> None:
    widgets = [i.name for i in builtin()["ImageScaleToTotalPixels"].inputs]
    assert widgets == ["image", "upscale_method", "megapixels", "resolution_steps"]
    assert builtin()["ResizeImageMaskNode"].inputs[1].type == "COMFY_DYNAMICCOMBO_V3"
    assert "Load3DAnimation" in builtin()  # removed from the server since
    assert [o.type for o in builtin()["SaveVideo"].outputs] == ["VIDEO"]
    index = builtin()["ImageFromBatch"].input("batch_index")
    assert index is not None
    assert index.min == -16384
