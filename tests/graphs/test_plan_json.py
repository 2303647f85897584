"""Plans survive the way to disk and back; damaged ones say what is wrong."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.dims import Dim
from graphs.errors import PlanError
from graphs.json_form import to_json
from graphs.operands import Const, Literal, Param, Ref
from graphs.plan import PLAN_VERSION, EngineRef, NetworkBinding, PassRecord, Plan, Profile, WeightLayer, WeightRef
from graphs.plan_json import (
    CONSTANTS_FILE,
    PLAN_FILE,
    content_sum,
    load_plan,
    plan_from_json,
    plan_to_json,
    save_plan,
)
from graphs.program import NetworkUse, Parameter, Program, Step
from graphs.values import Lora, Merge, ModelFile

RECIPE = Lora(ModelFile("checkpoints", "sd15.safetensors"), ModelFile("loras", "a"), 0.5)
BINDING = NetworkBinding(
    EngineRef(
        "engine-1", "aa", 3, "null", "null 1", "fp32", "cpu", {"height": (8, 64, 128)}, ("sm89",), {"width": 320},
        {"x": ("float32", (Dim("batch"), Dim("height", 8), 4))},
    ),
    WeightRef((WeightLayer("weights-1", "bb", 4),), (("checkpoints/sd15.safetensors", "cc"),)),
)
TEXT = {"text": {"encoders": [{"name": "clip_l", "width": 8, "padding": 0}], "pooled": "clip_l"}}
PROGRAM = Program(
    steps=(
        Step("6.encode_text", "encode_text", {"text": Param("6.text")}, TEXT, ("6.embedding", "6.pooled"),
             {"clip_l": "clip"}, ("6",), (), ("clip",), {"6.embedding": "e"}, ("6.text",)),
        Step("7.identity", "identity", {"value": (Ref("6.embedding"), Const("e"), Literal([1, None]))}, {"a": 1},
             ("7.value",), {}, ("7",), ("6.embedding", "7.value")),
    ),
    parameters={
        "6.text": Parameter("6.text", "STRING", "fox"),
        "3.cfg": Parameter("3.cfg", "FLOAT", 8, 0.0, 100, (1,)),
    },
    networks={"clip": NetworkUse("clip", "clip_l", RECIPE, {"stop_layer": -2})},
)  # fmt: skip
PLAN = Plan(
    PROGRAM, {"clip": BINDING}, Profile(batch=(1, 2)), "null", "cpu", "comfyui-0.8",
    {"6": {"class_type": "CLIPTextEncode", "inputs": {"text": "füchse \u2028", "clip": ["4", 1]}}},
    {"nodes": []}, {"emb": "/models/emb.pt"}, (PassRecord("prune", "graph", 0.25, (("9", "unused"),)),), "0.1.0",
)  # fmt: skip


def constants(*names: str) -> bytes:
    """A safetensors file of empty tensors."""
    header = json.dumps({n: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in names}).encode()
    return len(header).to_bytes(8, "little") + header


def test_round_trip_on_disk(tmp_path: Path) -> None:
    save_plan(PLAN, constants("e"), tmp_path / "a" / "plan")
    assert load_plan(tmp_path / "a" / "plan") == PLAN
    assert sorted(os.listdir(tmp_path / "a" / "plan")) == [CONSTANTS_FILE, PLAN_FILE]
    assert os.listdir(tmp_path / "a") == ["plan"]  # nothing temporary is left


def test_constants_from_a_file_and_without(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(constants("e"))
    save_plan(PLAN, tmp_path / "c", tmp_path / "plan")
    assert load_plan(tmp_path / "plan") == PLAN
    bare = replace(PLAN, program=Program(()), bindings={})
    save_plan(bare, None, tmp_path / "plan")
    assert load_plan(tmp_path / "plan") == bare
    assert os.listdir(tmp_path / "plan") == [PLAN_FILE]


def test_the_file_is_readable_and_stable(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_plan(PLAN, constants("e"), tmp_path / name)
    text = (tmp_path / "one" / PLAN_FILE).read_text(encoding="utf-8")
    assert text == (tmp_path / "two" / PLAN_FILE).read_text(encoding="utf-8")
    assert list(json.loads(text))[:4] == ["version", "comfyc_version", "backend", "device"]
    assert all(len(line) < 140 for line in text.splitlines())


DECODE = {**to_json(Step("7.d", "decode_latent", {"latent": Ref("6.embedding")}, outputs=("7.image",)))}


def rewrite(plan: Path, change: Callable[[Any], object]) -> None:
    """Changes plan.json as somebody would who also mends its sum."""
    document = json.loads((plan / PLAN_FILE).read_text())
    del document["sha256"]
    change(document)
    (plan / PLAN_FILE).write_text(json.dumps({**document, "sha256": content_sum(document)}))


def _set(*path: str | int) -> Callable[[Any, Any], None]:
    def change(document: Any, value: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "value", "message"),
    [
        (_set("version"), 99, f"expected {PLAN_VERSION}, got 99; compile the workflow again"),
        (_set("version"), "1", f"a plan of another version: expected {PLAN_VERSION}, got '1'"),
        (_set("device"), "tpu", "device: damaged plan: expected cpu or cuda, got tpu"),
        (_set("compat"), "comfyui-9", "expected comfyui-0.8 or comfyui-0.3, got comfyui-9"),
        (_set("prompt", "6"), 3, "prompt.6: damaged plan: expected an object with class_type and inputs, got 3"),
        (_set("prompt"), [], "prompt: damaged plan: expected an object"),
        (_set("program", "parameters", "6.text", "default"), 3, "expected a default of type STRING, got 3"),
        (_set("program", "parameters", "3.cfg", "default"), True, "expected a default of type FLOAT, got True"),
        (_set("program", "steps", 1, "id"), "6.encode_text", "expected an id of its own"),
        (_set("program", "steps", 0, "outputs"), "ab", "expected a list, got 'ab'"),
        (_set("program", "steps", 1, "outputs"), ["6.pooled"], "expected a value of its own, got 6.pooled"),
        (_set("program", "steps", 0, "folded"), {"9": "e"}, "expected an output of the step, got 9"),
        (_set("program", "steps", 1, "frees"), ["9"], "expected a value that is there, got 9"),
        (_set("program", "steps", 0, "networks", "vae"), "clip", "expected a role of the op, got vae"),
        (_set("program", "steps", 0, "inputs", "wish"), {"value": 1}, "expected inputs of the op, got wish"),
        (_set("program", "steps", 1, "model"), "m0", "expected a model, got m0"),
        (_set("program", "networks", "clip", "weights", "file"), 3, "weights.file: damaged plan: expected an object"),
        (_set("program", "networks", "clip", "weights", "strength"), "1", "strength: damaged plan: expected a number"),
        (_set("bindings", "clip", "engine", "inputs", "x", 1, 0), "8*8", r"x.*: damaged plan: expected a size"),
        (_set("bindings", "clip", "weights", "layers"), [], "weights: damaged plan: .* got no layer of weights"),
        (_set("program", "steps", 0, "op"), 5, r"program.steps\[0\].op: damaged plan: expected a string"),
        (_set("program", "steps", 0, "op"), "dance", "6.encode_text: damaged plan: expected an op of this version"),
        (_set("program", "steps", 0, "inputs"), {}, "expected inputs text, got none"),
        (_set("program", "steps", 1, "op"), "decode_latent", "expected inputs latent, got none"),
        (_set("program", "steps", 1), DECODE, "expected a network in the role vae_decoder, got none"),
        (_set("program", "steps", 0, "extra"), 1, "expected no other field, got 'extra'"),
        (_set("program", "steps", 1, "inputs", "value"), {"ref": "9"}, "expected a value of an earlier step, got 9"),
        (_set("program", "steps", 1, "inputs", "value"), {"const": "x"}, "expected a constant, got x"),
        (_set("program", "steps", 1, "inputs", "value"), {"param": "x"}, "expected a parameter, got x"),
        (_set("program", "steps", 1, "inputs", "value"), {"wish": "x"}, "expected one of"),
        (_set("program", "steps", 1, "outputs"), [], "expected 1 outputs, got 0"),
        (_set("program", "parameters", "6.text"), None, "expected an object"),
        (_set("program", "parameters", "3.cfg", "min"), "low", "expected a number"),
        (_set("bindings"), {}, "expected an engine for the network, got clip"),
        (_set("bindings", "clip", "engine", "inputs"), {"x": [1]}, "expected a list of 2"),
        (_set("profile", "width"), [8, 4], r"expected \[smallest, largest\]"),
        (_set("constants", "sha256"), "0", "not the file that the plan was written with"),
        (_set("constants"), None, "expected a constant, got e"),
    ],
)
def test_damage_is_told(tmp_path: Path, change: Callable[[Any, Any], None], value: Any, message: str) -> None:
    save_plan(PLAN, constants("e"), tmp_path)
    rewrite(tmp_path, lambda document: change(document, value))
    with pytest.raises(PlanError, match=message):
        load_plan(tmp_path)


def test_a_missing_network_is_told(tmp_path: Path) -> None:
    lame = Step("1.project_context", "project_context", {"embedding": Const("e")}, {}, ("1.context",))
    save_plan(replace(PLAN, program=PROGRAM.with_steps((lame,))), constants("e"), tmp_path)
    with pytest.raises(PlanError, match="expected a network in the role context, got none"):
        load_plan(tmp_path)


@pytest.mark.parametrize("field", [*plan_to_json(PLAN), "constants"])
def test_a_missing_field_is_told(tmp_path: Path, field: str) -> None:
    save_plan(PLAN, constants("e"), tmp_path)
    rewrite(tmp_path, lambda document: document.pop(field))
    with pytest.raises(PlanError, match="another version" if field == "version" else f"field '{field}'"):
        load_plan(tmp_path)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    save_plan(PLAN, constants("e"), tmp_path)
    whole = (tmp_path / PLAN_FILE).read_bytes()
    for place in range(0, len(whole), 37):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        (tmp_path / PLAN_FILE).write_bytes(damaged)
        try:
            loaded = load_plan(tmp_path)
        except PlanError:
            continue
        assert loaded == PLAN  # a blank between two fields


def test_the_layout_of_the_file_does_not_count(tmp_path: Path) -> None:
    save_plan(PLAN, constants("e"), tmp_path)
    (tmp_path / PLAN_FILE).write_text(json.dumps(json.loads((tmp_path / PLAN_FILE).read_text()), indent=4))
    assert load_plan(tmp_path) == PLAN


@pytest.mark.parametrize("damage", [b"", b"\xff" * 40, constants("e")[:-3], b"\x08" + bytes(7) + b"[1, 2, 3"])
def test_constants_that_are_no_safetensors_file(tmp_path: Path, damage: bytes) -> None:
    save_plan(PLAN, damage, tmp_path)
    with pytest.raises(PlanError, match=r"cannot read .*constants\.safetensors"):
        load_plan(tmp_path)


def test_other_folders_are_not_plans(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="is not a plan"):
        load_plan(tmp_path)
    (tmp_path / PLAN_FILE).write_text("{")
    with pytest.raises(PlanError, match="cannot read"):
        load_plan(tmp_path)
    (tmp_path / PLAN_FILE).write_text("[]")
    with pytest.raises(PlanError, match="expected an object"):
        load_plan(tmp_path)


def test_changed_constants_are_refused(tmp_path: Path) -> None:
    save_plan(PLAN, constants("e"), tmp_path)
    (tmp_path / CONSTANTS_FILE).write_bytes(constants("f"))
    with pytest.raises(PlanError, match="not the file that the plan was written with"):
        load_plan(tmp_path)
    (tmp_path / CONSTANTS_FILE).unlink()
    with pytest.raises(PlanError, match="cannot read"):
        load_plan(tmp_path)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"")
    with pytest.raises(PlanError, match="something else than a plan"):
        save_plan(PLAN, constants("e"), tmp_path)
    with pytest.raises(PlanError, match="is a file"):
        save_plan(PLAN, constants("e"), tmp_path / "photo.png")
    assert os.listdir(tmp_path) == ["photo.png"]


def test_a_failed_write_leaves_the_old_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_plan(PLAN, constants("e"), tmp_path / "plan")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PlanError, match="No space left"):
        save_plan(replace(PLAN, device="cuda"), constants("e"), tmp_path / "plan")
    assert load_plan(tmp_path / "plan") == PLAN
    assert os.listdir(tmp_path) == ["plan"]


def test_writers_that_race_leave_one_whole_plan(tmp_path: Path) -> None:
    plans = [replace(PLAN, comfyc_version=str(i)) for i in range(8)]
    threads = [threading.Thread(target=save_plan, args=(p, constants("e"), tmp_path / "plan")) for p in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load_plan(tmp_path / "plan") in plans
    assert os.listdir(tmp_path) == ["plan"]


def test_a_plan_that_a_racing_writer_takes_away_is_not_taken_for_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer looks into the folder when the old plan is half deleted; the new one is in its place by then."""
    save_plan(PLAN, constants("e"), tmp_path / "plan")
    listdir = os.listdir

    def racing(path: Path) -> list[str]:
        monkeypatch.setattr(os, "listdir", listdir)
        os.rename(path, tmp_path / "aside")
        save_plan(PLAN, constants("e"), tmp_path / "plan")
        os.unlink(tmp_path / "aside" / "plan.json")
        return listdir(tmp_path / "aside")

    monkeypatch.setattr(os, "listdir", racing)
    save_plan(replace(PLAN, comfyc_version="another"), constants("e"), tmp_path / "plan")
    assert load_plan(tmp_path / "plan").comfyc_version == "another"


NAMES = st.text("abc.57:_", min_size=1, max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
OPERANDS = st.one_of(NAMES.map(Ref), NAMES.map(Param), NAMES.map(Const), JSON.map(Literal))
FILES = st.builds(ModelFile, NAMES, NAMES)
SHARES = st.lists(st.tuples(NAMES, st.floats(-2, 2), st.floats(-2, 2)), max_size=2).map(tuple)
RECIPES = st.recursive(
    FILES,
    lambda inner: st.builds(Lora, inner, FILES, st.floats(-2, 2)) | st.builds(Merge, inner, inner, SHARES),
    max_leaves=3,
)
NAME_LISTS = st.lists(NAMES, max_size=3).map(tuple)
STEPS = st.builds(
    Step, NAMES, NAMES, st.dictionaries(NAMES, OPERANDS | st.lists(OPERANDS, max_size=3).map(tuple), max_size=3),
    st.dictionaries(NAMES, JSON, max_size=2), NAME_LISTS, st.dictionaries(NAMES, NAMES, max_size=2), NAME_LISTS,
    NAME_LISTS, NAME_LISTS, st.dictionaries(NAMES, NAMES, max_size=2), NAME_LISTS,
)  # fmt: skip
RANGE_ENDS = st.none() | st.integers() | st.floats(allow_nan=False)
PARAMETERS = st.builds(
    Parameter, NAMES, NAMES, JSON, RANGE_ENDS, RANGE_ENDS, st.none() | st.lists(JSON, max_size=3).map(tuple)
)
NETWORKS = st.builds(NetworkUse, NAMES, NAMES, RECIPES, st.dictionaries(NAMES, JSON, max_size=2))
PROGRAMS = st.builds(
    Program,
    st.lists(STEPS, max_size=3).map(tuple),
    st.lists(PARAMETERS, max_size=3).map(lambda ps: {p.name: p for p in ps}),
    st.lists(NETWORKS, max_size=3).map(lambda ns: {n.id: n for n in ns}),
)


@settings(max_examples=60, deadline=None)
@given(PROGRAMS, st.dictionaries(NAMES, JSON, max_size=3))
def test_any_plan_is_the_same_after_json(program: Program, prompt: dict[str, Any]) -> None:
    plan = replace(PLAN, program=program, prompt=prompt)
    assert plan_from_json(json.loads(json.dumps(plan_to_json(plan))), "plan") == plan
