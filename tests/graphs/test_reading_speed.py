"""Reading grows about linearly. Bounds are ten times what an idle core needs: they catch loops in loops, not noise."""

from __future__ import annotations

import json
import time
from typing import Any

from graphs.schemas import builtin
from graphs.workflow import read_workflow
from tests.graphs.ui_files import node, ui


def samplers_api(count: int) -> dict[str, Any]:
    links = [{"model": [str(i - 1), 0], "latent_image": [str(max(i - 3, 0)), 0]} if i else {} for i in range(count)]
    fixed = {"steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    return {str(i): {"class_type": "KSampler", "inputs": {"seed": i, **fixed, **links[i]}} for i in range(count)}


def samplers_ui(count: int) -> dict[str, Any]:
    values = ["randomize", 20, 8, "euler", "normal", 1]
    nodes = [node(i, "KSampler", [("latent_image:LATENT", i or None)], ["LATENT"], [i, *values]) for i in range(count)]
    return ui(nodes, [[i, i - 1, 0, i, 0, "LATENT"] for i in range(1, count)])


def seconds(file: dict[str, Any], expected: int) -> float:
    data = json.dumps(file).encode()
    began = time.process_time()
    assert len(read_workflow(data)) == expected
    return time.process_time() - began


def test_ten_thousand_api_nodes() -> None:
    assert seconds(samplers_api(10_000), 10_000) < 3.0


def test_a_thousand_and_ten_thousand_ui_nodes() -> None:
    len(builtin())  # loading the schemas is not part of it
    assert seconds(samplers_ui(1_000), 1_000) < 2.0
    assert seconds(samplers_ui(10_000), 10_000) < 20.0
