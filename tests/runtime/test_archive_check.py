"""An engine of the eager backend that somebody else wrote: nothing in it runs."""

from __future__ import annotations

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
from runtime.backends.archive_check import HoldsCodeError, refuse_code
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
    refuse_code(archive)


def test_pickles_are_looked_into(archive: bytes, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for protocol in (0, 2, 4):
        code = pickle.dumps(Code(mark), protocol)
        inputs = changed(archive, lambda name, data, code=code: code if name.endswith(".pt") else data)  # type: ignore[misc]
        with pytest.raises(HoldsCodeError, match=r"model\.pt is more than tensors"):
            refuse_code(inputs)

        def as_pickle(name: str, data: bytes, code: bytes = code) -> bytes:
            if name.endswith("weights_config.json"):
                table: Json = json.loads(data)
                for entry in table["config"].values():
                    entry["use_pickle"] = True
                return json.dumps(table).encode()
            return code if name.endswith("weight_0") else data

        with pytest.raises(HoldsCodeError, match="is more than tensors"):
            refuse_code(changed(archive, as_pickle))
    with pytest.raises(HoldsCodeError, match="is an object"):
        refuse_code(changed(archive, lambda name, data: data, custom_obj_0=b""))
    assert not mark.exists()


EVIL = ("eval(s0)", "().__class__", "open(s0)", "s0; s1", "exec(chr(1))", "preview(s0)", "Symbol('s0').x")


@pytest.mark.parametrize("formula", EVIL)
def test_formulas_name_sizes_alone(archive: bytes, formula: str) -> None:
    def evil(name: str, data: bytes) -> bytes:
        return data.replace(b'"expr_str": "', f'"expr_str": "{formula} + '.encode()) if name.endswith(".json") else data

    assert changed(archive, evil) != archive
    with pytest.raises(HoldsCodeError, match="formula"):
        refuse_code(changed(archive, evil))


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
