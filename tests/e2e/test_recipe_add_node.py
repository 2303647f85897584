"""CONTRIBUTING.md's recipe "Add a node", followed literally: its own text makes a node pack, which is then used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from PIL import Image

from graphs.errors import UsageError
from graphs.nodes import NODES
from graphs.nodes.packs import joined
from tests.e2e.commands import REPOSITORY

ROWS = "from graphs.rows import interpreted, op\n"
RUN = """
import sys
from pathlib import Path
from compiler.lowering.lower import lower
from graphs.plan import Plan, Profile
from graphs.plan_json import save_plan
from graphs.schemas import builtin
from graphs.workflow import read_workflow, to_api
from runtime.session import Session

here = Path(sys.argv[1])
graph = read_workflow(here / "workflow.json", builtin())
plan = Plan(lower(graph), {}, Profile(), "eager", "cpu", "comfyui-0.8", to_api(graph), comfyc_version="test")
save_plan(plan, None, here / "half.plan")
with Session.open(here / "half.plan") as session:
    for file in session.run(input_dir=here, output_dir=here / "output", temp_dir=here / "temp").files:
        print(file.path)
"""


def _blocks(language: str) -> list[str]:
    """The code blocks of that language in the section "Add a node", without their indentation."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
    section = text.split("\n## Add a node\n")[1].split("\n## ")[0]
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", section, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A folder with the pack as an installed distribution, the workflow and a picture."""
    rows, functions = _blocks("python")
    (tmp_path / "half_pack.py").write_text(rows)
    (tmp_path / "half_pack_ops.py").write_text(functions)
    (toml,) = _blocks("toml")
    (line,) = (li for li in toml.splitlines() if "=" in li and not li.startswith("["))
    info = tmp_path / "half_pack-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: half-pack\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[comfyc.nodes]\n" + line.replace('"', "") + "\n")
    (workflow,) = _blocks("json")
    (tmp_path / "workflow.json").write_text(workflow)
    Image.new("RGB", (64, 48), (250, 128, 4)).save(tmp_path / "photo.png")
    return tmp_path


def _python(pack: Path, *args: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(pack), str(REPOSITORY)))
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COMFYC_CACHE": str(pack / "cache")}
    env.pop("COMFYC_MODELS", None)
    return subprocess.run([sys.executable, *args], cwd=pack, env=env, capture_output=True, text=True, check=False)


def test_the_new_node_lowers_and_runs(pack: Path) -> None:
    done = _python(pack, "-c", RUN, str(pack))
    assert done.returncode == 0, done.stderr
    (file,) = done.stdout.split()
    with Image.open(file) as picture:
        assert picture.size == (32, 24)
        assert picture.getpixel((0, 0)) == (125, 128, 4)


def test_the_command_line_knows_the_new_node(pack: Path) -> None:
    done = _python(pack, "-m", "comfyc", "check", "workflow.json")
    assert (done.returncode, done.stdout) == (0, "workflow.json: ok\n"), done.stderr
    without = subprocess.run(
        [sys.executable, "-m", "comfyc", "check", str(pack / "workflow.json")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert without.returncode == 3
    assert "ImageHalf" in without.stdout


def test_the_example_is_not_one_of_our_own_nodes() -> None:
    assert "ImageHalf" not in NODES
    assert len(json.loads(_blocks("json")[0])) == 4


@pytest.mark.parametrize("class_type", sorted(c for c, row in NODES.rows.items() if row.op is not None))
def test_an_interpreted_node_is_one_function_and_one_line(class_type: str) -> None:
    """No table of nodes or ops mentions it but that of its family, in one line."""
    row = NODES.rows[class_type]
    assert row.place is not None
    tables = [*(REPOSITORY / "graphs/nodes").glob("*.py"), REPOSITORY / "runtime/ops/__init__.py"]
    lines = [line.strip() for file in tables for line in file.read_text("utf-8").splitlines()]
    folds = ", folds=True" if row.folds else ""
    assert [line for line in lines if f":{row.op}\"" in line] == [f'interpreted("{class_type}", "{row.place}"{folds}),']


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_library", "cannot be loaded: ModuleNotFoundError"),
        ("ROWS = 3", "is no table of nodes"),
        ("ROWS = ('ImageHalf',)", "is no table of nodes"),
        ("from graphs.nodes.masks import ROWS", "defines CropMask, which is there already"),
        (f"{ROWS}ROWS = (op('Mine', 'scale_image'),)", "brings no schema for Mine"),
        (f"{ROWS}ROWS = (op('Mine', 'scale_image', schema=3),)", "has a damaged schema for Mine"),
        (f"{ROWS}ROWS = (interpreted('Mine', 'x:grow_mask', schema={{}}),)", "defines the op grow_mask, which is"),
    ],
)
def test_a_bad_pack_is_named(code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"pack_{abs(hash(code))}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("bad", f"pack_{abs(hash(code))}:ROWS", "comfyc.nodes")
    with pytest.raises(UsageError, match=f"node pack 'bad'.*{message}"):
        joined(NODES, [entry])
