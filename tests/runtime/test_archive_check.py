"""An engine of the eager backend that somebody else wrote: nothing in it runs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from graphs.errors import PlanError
from runtime.backends.archive_check import HoldsCodeError, without_code
from runtime.backends.backend import LoadSpec
from runtime.backends.eager import EagerBackend
from runtime.network_weights import NetworkWeights

Json = Any


class Code:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.mkdir, (str(self.path),))


@pytest.fixture(scope="module")
def archive() -> bytes:
    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.linear(x) + torch.tensor([1.0, 2.0, 3.0])
            return y.repeat(2, 1)

    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(Small(), (torch.zeros(2, 3),), dynamic_shapes={"x": {0: batch}})
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


def changed(archive: bytes, change: Callable[[str, bytes], bytes], **more: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as before, zipfile.ZipFile(file, "w") as after:
        for name in before.namelist():
            after.writestr(name, change(name, before.read(name)))
        for name, data in more.items():
            after.writestr(f"archive/data/constants/{name}", data)
    return file.getvalue()


def test_our_own_are_taken(archive: bytes) -> None:
    program = torch.export.load(io.BytesIO(without_code(archive)))
    given = torch.ones(2, 3)
    assert torch.equal(program.module()(given), torch.export.load(io.BytesIO(archive)).module()(given))


def test_pickles_are_looked_into(archive: bytes, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for protocol in (0, 2, 4):
        code = pickle.dumps(Code(mark), protocol)
        inputs = changed(archive, lambda name, data, code=code: code if name.endswith(".pt") else data)  # type: ignore[misc]
        with pytest.raises(HoldsCodeError, match=r"model\.pt is more than tensors"):
            without_code(inputs)

        def as_pickle(name: str, data: bytes, code: bytes = code) -> bytes:
            if name.endswith("weights_config.json"):
                table: Json = json.loads(data)
                for entry in table["config"].values():
                    entry["use_pickle"] = True
                return json.dumps(table).encode()
            return code if name.endswith("weight_0") else data

        with pytest.raises(HoldsCodeError, match="is more than tensors"):
            without_code(changed(archive, as_pickle))
    assert not mark.exists()


@pytest.mark.parametrize("member", ["custom_obj_0", "opaque_obj_0", "opaque_obj/x", "tensor_0", "TENSOR_0", "model.pt"])
def test_members_that_ours_do_not_have(archive: bytes, member: str) -> None:
    with pytest.warns(UserWarning, match="Duplicate") if member == "tensor_0" else contextlib.nullcontext():
        more = changed(archive, lambda name, data: data, **{member: b""})
    with pytest.raises(HoldsCodeError, match="which ours do not have"):
        without_code(more)


def test_a_compiled_library_is_not_loaded(archive: bytes) -> None:
    """torch.export.load loads what lies under data/aotinductor."""
    with pytest.raises(HoldsCodeError, match="which ours do not have"):
        without_code(changed(archive, lambda name, data: data, **{"../aotinductor/model/a.so": b""}))
    with pytest.raises(HoldsCodeError, match="which ours do not have"):
        without_code(archive_with(archive, "archive/data/aotinductor/model/a.so", b""))


def archive_with(archive: bytes, member: str, content: bytes) -> bytes:
    file = io.BytesIO(archive)
    with zipfile.ZipFile(file, "a") as members:
        members.writestr(member, content)
    return file.getvalue()


def test_a_table_names_tensors_alone(archive: bytes) -> None:
    def evil(name: str, data: bytes) -> bytes:
        return data.replace(b'"tensor_0"', b'"opaque_obj/x"') if name.endswith("constants_config.json") else data

    with pytest.raises(HoldsCodeError, match="names 'opaque_obj/x'"):
        without_code(changed(archive, evil))


def in_graph(archive: bytes, old: str, new: str) -> bytes:
    def evil(name: str, data: bytes) -> bytes:
        return data.replace(old.encode(), new.encode()) if name.endswith("model.json") else data

    found = changed(archive, evil)
    assert len(found) != len(archive)
    return found


def test_names_become_source_and_have_to_be_names(archive: bytes, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"x=__import__('os').makedirs('{mark}', exist_ok=True)"
    evil = in_graph(archive, '"x"', f'"{code}"')
    torch.export.load(io.BytesIO(evil))
    assert mark.exists()  # it would run
    mark.rmdir()
    with pytest.raises(HoldsCodeError, match="has the name"):
        without_code(evil)
    assert not mark.exists()


@pytest.mark.parametrize(
    "target",
    ["torch.os.system", "torch.ops.aten.from_file.default", "torch.ops.aten.save.default", "torch.load", "#x:y"],
)
def test_a_graph_calls_operators_on_tensors_alone(archive: bytes, target: str) -> None:
    with pytest.raises(HoldsCodeError, match="calls"):
        without_code(in_graph(archive, "torch.ops.aten.repeat.default", target))


def test_a_container_imports_nothing(archive: bytes) -> None:
    for old, new in (("builtins.dict", "collections.defaultdict"), ("builtins.tuple", "x.Y")):
        with pytest.raises(HoldsCodeError, match="container"):
            without_code(in_graph(archive, old, new))


def test_guards_are_code_and_left_out(archive: bytes) -> None:
    """Networks whose inputs share a batch, as text encoders do, have some."""
    guarded = without_code(in_graph(archive, '"guards_code": []', '"guards_code": ["open(1)"]'))
    assert b"open(1)" not in guarded
    assert guarded == without_code(archive)


EVIL = ("eval(s0)", "().__class__", "open(s0)", "s0; s1", "exec(chr(1))", "preview(s0)", "Symbol('s0').x")


@pytest.mark.parametrize("formula", EVIL)
def test_formulas_name_sizes_alone(archive: bytes, formula: str) -> None:
    def evil(name: str, data: bytes) -> bytes:
        return data.replace(b'"expr_str": "', f'"expr_str": "{formula} + '.encode()) if name.endswith(".json") else data

    assert changed(archive, evil) != archive
    with pytest.raises(HoldsCodeError, match="formula"):
        without_code(changed(archive, evil))


def test_the_backend_refuses(archive: bytes, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = pickle.dumps(Code(mark))
    evil = changed(archive, lambda name, data: code if name.endswith(".pt") else data)
    engine = tmp_path / "engine"
    with zipfile.ZipFile(engine, "w") as bundle:
        bundle.writestr("program.pt2", evil)
        bundle.writestr("inputs", "x")
        bundle.writestr("outputs", "y")
    with pytest.raises(PlanError, match="holds code"):
        EagerBackend().load(engine, NetworkWeights([]), LoadSpec())
    assert not mark.exists()


def test_bounds_of_sizes_stand_under_their_formula() -> None:
    """A picture is eight times as high as its latent; the hint of a ControlNet is such an input."""

    class Hint(torch.nn.Module):
        def forward(self, x: torch.Tensor, hint: torch.Tensor) -> torch.Tensor:
            return x + hint[:, ::8]

    size = torch.export.Dim("size", min=2, max=64)
    shapes = {"x": {1: size}, "hint": {1: 8 * size}}
    program = torch.export.export(Hint(), (torch.zeros(1, 4), torch.zeros(1, 32)), dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(program, file)
    read = torch.export.load(io.BytesIO(without_code(file.getvalue())))
    assert torch.equal(read.module()(torch.ones(1, 6), torch.ones(1, 48)), torch.full((1, 6), 2.0))
