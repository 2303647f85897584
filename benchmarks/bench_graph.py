"""How long do parse, check and the graph passes take, and do they grow linearly?

    python -m benchmarks.bench_graph [SIZE ...]

One core, no model files. The workflow is made of text-to-image pipelines with what real files have: loaders that
say the same, reroutes, a primitive, nodes that lead nowhere, values of
the wrong type. It is read from JSON text in the API form
and in the UI form. Prints a table and writes results/graph.json.
"""

from __future__ import annotations

import gc
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from compiler.checking.check import check
from compiler.passes.driver import Context
from compiler.pipeline import optimise_graph
from graphs.graph import Graph
from graphs.schemas import Schemas, builtin
from graphs.workflow import parse_api, parse_json, parse_ui

Json = Any

SIZES = (10, 100, 1_000, 10_000, 100_000)
RESULTS = Path(__file__).parent / "results" / "graph.json"
PHASES = ("json", "parse", "check", "passes")
PIPELINE_NODES = 12


def api_workflow(nodes: int) -> dict[str, Json]:
    """An API prompt of about that many nodes: pipelines of 12."""
    prompt: dict[str, Json] = {}
    for first in range(0, max(nodes, PIPELINE_NODES - 1), PIPELINE_NODES):
        for number, class_type, inputs in _pipeline(first):
            prompt[str(number)] = {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}
    return prompt


def _pipeline(n: int) -> Iterator[tuple[int, str, dict[str, Json]]]:
    model = f"model_{n // PIPELINE_NODES % 5}.safetensors"
    yield n, "CheckpointLoaderSimple", {"ckpt_name": model}
    yield n + 1, "CLIPTextEncode", {"text": f"picture number {n}", "clip": [str(n), 1]}
    yield n + 2, "CLIPTextEncode", {"text": "blurry", "clip": [str(n), 1]}
    yield n + 3, "EmptyLatentImage", {"width": 512, "height": "512", "batch_size": 1}
    yield n + 4, "PrimitiveInt", {"value": n}
    yield n + 5, "LoraLoader", {
        "model": [str(n), 0],
        "clip": [str(n), 1],
        "lora_name": "style.safetensors",
        "strength_model": 0.8,
        "strength_clip": 1,
    }
    yield n + 6, "KSampler", {
        "model": [str(n + 5), 0],
        "positive": [str(n + 1), 0],
        "negative": [str(n + 2), 0],
        "latent_image": [str(n + 3), 0],
        "seed": [str(n + 4), 0],
        "steps": 20,
        "cfg": 8,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1.0,
    }
    yield n + 7, "Reroute", {"": [str(n + 6), 0]}
    yield n + 8, "VAEDecode", {"samples": [str(n + 7), 0], "vae": [str(n), 2]}
    yield n + 9, "VAEDecode", {"samples": [str(n + 6), 0], "vae": [str(n), 2]}
    yield n + 10, "SaveImage", {"images": [str(n + 8), 0], "filename_prefix": "x"}
    yield n + 11, "ImageScaleBy", {"image": [str(n + 9), 0], "upscale_method": "area", "scale_by": 0.5}


def ui_workflow(nodes: int, schemas: Schemas) -> dict[str, Json]:
    """The same workflow as the frontend saves it."""
    prompt = api_workflow(nodes)
    links: list[list[Json]] = []
    saved = []
    for node_id, entry in prompt.items():
        reroute = entry["class_type"] == "Reroute"
        inputs: list[Json] = []
        widgets: list[Json] = []
        for name, value in entry["inputs"].items():
            if isinstance(value, list):
                links.append([len(links) + 1, int(value[0]), value[1], int(node_id), len(inputs), "*"])
                widget = {"widget": {"name": name}} if name == "seed" else {}
                inputs.append({"name": name, "type": "*", "link": len(links), **widget})
        if not reroute:
            for declared in schemas[entry["class_type"]].inputs:
                if declared.is_widget and not declared.hidden:
                    value = entry["inputs"].get(declared.name)
                    widgets.append(0 if isinstance(value, list) else value)
                    widgets += ["fixed"] if declared.control_after_generate else []
        kinds = ["*"] if reroute else [o.type for o in schemas[entry["class_type"]].outputs]
        saved.append(
            {
                "id": int(node_id),
                "type": entry["class_type"],
                "pos": [0, 0],
                "size": [200, 100],
                "mode": 0,
                "order": int(node_id),
                "inputs": inputs,
                "outputs": [{"name": kind, "type": kind, "links": []} for kind in kinds],
                "properties": {"Node name for S&R": entry["class_type"]},
                "widgets_values": widgets,
            }
        )
    last = len(saved)
    return {"last_node_id": last, "last_link_id": len(links), "nodes": saved, "links": links, "version": 0.4}


def measure(text: str, schemas: Schemas, parse: Callable[[Json], Graph]) -> dict[str, Json]:
    """Milliseconds of CPU by phase for a workflow given as JSON text: the wall clock measures other programs too."""
    times = [time.process_time()]

    def lap() -> None:
        times.append(time.process_time())

    data = parse_json(text.encode())
    lap()
    graph = parse(data)
    lap()
    checked = check(graph, schemas)
    graph = checked.graph
    lap()
    after, _ = optimise_graph(graph, Context(schemas=schemas))
    lap()
    spans = {name: 1e3 * (b - a) for name, a, b in zip(PHASES, times[:-1], times[1:], strict=True)}
    counts = {"nodes": len(graph), "nodes_after": len(after), "problems": len(checked.problems)}
    return {**counts, **spans, "total": sum(spans.values())}


def best(text: str, schemas: Schemas, parse: Callable[[Json], Graph], runs: int) -> dict[str, Json]:
    """The fastest of some runs: what the machine can do when nothing else disturbs it."""
    found = []
    for _ in range(runs):
        gc.collect()
        found.append(measure(text, schemas, parse))
    return min(found, key=lambda row: row["total"])


def main(sizes: tuple[int, ...] = SIZES) -> list[dict[str, Json]]:
    schemas = builtin()
    rows = []
    names = " ".join(f"{name:>8}" for name in (*PHASES, "total"))
    print(f"{'form':4} {'nodes':>7} {'after':>7} {names}  us/node")
    for size in sizes:
        runs = 5 if size <= 1_000 else 3 if size <= 10_000 else 1
        api, ui = json.dumps(api_workflow(size)), json.dumps(ui_workflow(size, schemas))
        forms: tuple[tuple[str, str, Callable[[Json], Graph]], ...] = (
            ("api", api, parse_api),
            ("ui", ui, lambda data: parse_ui(data, schemas)),
        )
        for form, text, parse in forms:
            row = {"form": form, "size": size, **best(text, schemas, parse, runs)}
            rows.append(row)
            spans = " ".join(f"{row[name]:8.1f}" for name in (*PHASES, "total"))
            each = 1e3 * row["total"] / row["nodes"]
            print(f"{form:4} {row['nodes']:7} {row['nodes_after']:7} {spans}  {each:7.1f}", flush=True)
    return rows


def machine() -> dict[str, str]:
    return {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}


if __name__ == "__main__":
    chosen = tuple(int(argument) for argument in sys.argv[1:]) or SIZES
    result = {"unit": "milliseconds of CPU", **machine(), "rows": main(chosen)}
    if chosen == SIZES:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        print(f"written to {RESULTS}")
