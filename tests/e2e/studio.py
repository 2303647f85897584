"""Pictures of the demo model, drawn through `comfyc.compile` and `comfyc.load` as a user's program draws them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import comfyc
from graphs.examples import example
from runtime.session import RunResult, Session

Json = Any
Nodes = dict[str, dict[str, Json]]
Picture = NDArray[np.float32]  # (256, 256, 3) in [0, 1]
SIDE, CFG, STEPS = 256, 4.0, 20


def node(class_type: str, **inputs: Json) -> dict[str, Json]:
    return {"class_type": class_type, "inputs": inputs}


def default(**changed: dict[str, Json]) -> Nodes:
    """The default workflow that ships, on the demo model; the named nodes get these inputs, or are added."""
    nodes: Nodes = json.loads(example("default", api=True).read_text("utf-8"))
    ours = {
        "4": {"ckpt_name": "shapes.safetensors"}, "5": {"width": SIDE, "height": SIDE}, "7": {"text": ""},
        "3": {"steps": STEPS, "cfg": CFG, "sampler_name": "euler", "scheduler": "normal"},
    }  # fmt: skip
    for name, inputs in ours.items():
        nodes[name]["inputs"] |= inputs
    for name, change in changed.items():
        nodes[name] = change if "class_type" in change else nodes[name] | {"inputs": nodes[name]["inputs"] | change}
    return nodes


class Studio:
    """Compiles each workflow once into one cache, and keeps the sessions open. models: as --models has it."""

    def __init__(self, models: Path, root: Path) -> None:
        self.models, self.root = models, root
        self.inputs, self.cache = root / "input", root / "cache"
        self.inputs.mkdir(parents=True)
        self._sessions: dict[str, Session] = {}
        self._pictures: dict[str, Picture] = {}

    def session(self, nodes: Nodes) -> Session:
        key = json.dumps(nodes, sort_keys=True)
        if key not in self._sessions:
            name = self.root / f"workflow-{len(self._sessions)}"
            name.with_suffix(".json").write_text(key, "utf-8")
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("COMFYC_CACHE", str(self.cache))
                plan = comfyc.compile(
                    name.with_suffix(".json"), name.with_suffix(".plan"), models=[self.models], backend="onnxruntime"
                )
                self._sessions[key] = comfyc.load(plan, models=[self.models])
        return self._sessions[key]

    def run(self, nodes: Nodes, params: Mapping[str, Json]) -> RunResult:
        return self.session(nodes).run(params, input_dir=self.inputs, output_dir=self.root / "output")

    def draw(self, nodes: Nodes, params: Mapping[str, Json]) -> Picture:
        """The one picture that SaveImage wrote. Drawn once for equal arguments."""
        key = json.dumps([nodes, dict(params)], sort_keys=True)
        if key not in self._pictures:
            self._pictures[key] = self.draw_anew(nodes, params)
        return self._pictures[key]

    def draw_anew(self, nodes: Nodes, params: Mapping[str, Json]) -> Picture:
        """The same, whatever was drawn before: for tests that break the code in between."""
        (file,) = self.run(nodes, params).files
        with Image.open(file.path) as picture:
            return np.asarray(picture.convert("RGB"), dtype=np.float32) / np.float32(255)

    def latent(self, nodes: Nodes, params: Mapping[str, Json], of: str = "3") -> Tensor:
        """What a node gives, as SaveLatent writes it: (1, 4, 32, 32)."""
        saved = {key: value for key, value in nodes.items() if key not in ("8", "9")}
        saved["9"] = node("SaveLatent", samples=[of, 0], filename_prefix="latent")
        used = {name: value for name, value in params.items() if name.partition(".")[0] in saved}
        (file,) = self.run(saved, used).files
        return load_file(file.path)["latent_tensor"]

    def put(self, name: str, picture: Picture, alpha: NDArray[np.uint8] | None = None) -> str:
        """Writes a picture into the input folder, and gives its name for LoadImage. alpha: 0 is what is masked."""
        image = Image.fromarray((picture * 255).round().astype(np.uint8))
        if alpha is not None:
            image.putalpha(Image.fromarray(alpha))
        image.save(self.inputs / name)
        return name

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()
