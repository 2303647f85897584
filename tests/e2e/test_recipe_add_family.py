"""CONTRIBUTING.md's recipe "Add a family", followed literally in a copy of the compiler: its text makes a family."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from compiler.families import FAMILIES
from tests.e2e.commands import REPOSITORY

PROMPT = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "tall.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a fox"}},
    "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "4": {"class_type": "KSampler", "inputs": {
        "seed": 1, "steps": 1, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
        "model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0]}},
    "5": {"class_type": "SaveLatent", "inputs": {"samples": ["4", 0], "filename_prefix": "x"}},
}  # fmt: skip
# Writes a checkpoint of the new family and prints what it gives a program.
SCRIPT = """
import json
from pathlib import Path
from benchmarks.synthetic import NARROW_CLIP_G, NARROW_VAE, write_family
from compiler.families.tall import TALL
from compiler.linking.specialise import resolve
from compiler.lowering.lower import lower
from compiler.networks.unet_config import UNetConfig
from graphs.workflow import parse_api

unet = UNetConfig(model_channels=64, time_width=256, widths=(64, 128), res_blocks=(1, 1), depths=(0, 1),
                  context_width=128, heads=None, vector_width=128 + 512)
write_family(Path("tall.safetensors"), TALL, {"unet": unet, "vae": NARROW_VAE, "clip_g": NARROW_CLIP_G})
program = resolve(lower(parse_api(json.loads(Path("prompt.json").read_text()))), lambda file: Path(file.name))
(model,) = program.models.values()
(text,) = (step for step in program.steps if step.op == "encode_text")
vectors = [step.op for step in program.steps].count("make_vector")
print(json.dumps([dict(model.facts), sorted(text.networks), vectors]))
"""


def test_the_new_family_is_told_and_gives_its_facts(tmp_path: Path) -> None:
    contributing = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
    section = contributing.split("\n## Add a family\n")[1].split("\n## ")[0]
    row, line = (
        re.sub(r"^   ", "", block, flags=re.MULTILINE)
        for block in re.findall(r"^   ```python\n(.*?)^   ```$", section, re.MULTILINE | re.DOTALL)
    )
    shutil.copytree(REPOSITORY / "compiler", tmp_path / "compiler", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "compiler/families/tall.py").write_text(row)
    table = tmp_path / "compiler/families/__init__.py"
    text = table.read_text()
    before = next(known for known in text.splitlines() if known.startswith("FAMILIES"))
    assert line.strip().replace(", TALL)", ")") == before  # the recipe shows the table as it is, and one row more
    imports = "from compiler.families.tall import TALL\nfrom compiler.networks.network"
    table.write_text(text.replace(before, line.strip()).replace("from compiler.networks.network", imports))
    (tmp_path / "prompt.json").write_text(json.dumps(PROMPT))
    path = os.pathsep.join((str(tmp_path), str(REPOSITORY)))
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts, encoders, vectors = json.loads(done.stdout)
    assert (facts["family"], facts["latent"]["scale"]) == ("tall", 0.2)
    assert facts["vector"] == {"numbers": ["height", "width"], "width": 256}
    assert (encoders, vectors) == (["clip_g"], 2)


@pytest.mark.parametrize("name", sorted(family.name for family in FAMILIES))
def test_a_family_is_named_in_its_own_file_alone(name: str) -> None:
    sources = [*(REPOSITORY / "compiler").rglob("*.py"), *(REPOSITORY / "runtime").rglob("*.py")]
    naming = [file.name for file in sources if f'"{name}"' in file.read_text("utf-8")]
    assert len(naming) == 1, naming
