"""The error answers of a real server, recorded for bad prompts, against ours for the same prompts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from compiler.checking.check import check
from compiler.checking.server_errors import to_comfyui
from graphs.errors import Problem, WorkflowError
from graphs.graph import Graph
from graphs.node import Link, Node
from graphs.schemas import builtin

Json = Any

RECORDED = Path(__file__).parents[2] / "../shared/reference/api_transcripts/bad_prompts.json"
MODELS = ("sd15.safetensors", "sd15_b.safetensors", "sd15_inpaint.safetensors", "sdxl.safetensors")
FOLDERS = {"checkpoints": MODELS, "input": ("photo_64.png",)}
EQUAL = (
    "unknown_node",
    "wrong_literal_type",
    "numeric_string_is_converted",
    "wrong_link_type",
    "malformed_link",
    "value_too_small",
    "value_too_big",
    "value_not_in_list",
    "missing_model_file",
    "no_outputs",
    "empty_prompt",
    "missing_input_image",
    "one_good_one_bad_output",
    "extra_unknown_input_is_ignored",
    "missing_required_input",
    "missing_required_input_upstream",
    "float_for_int_and_negative_seed",
)


def recorded() -> dict[str, Json]:
    if not RECORDED.is_file():
        pytest.skip(f"the recorded answers are not here: {RECORDED}")
    answers: dict[str, Json] = json.loads(RECORDED.read_text("utf-8"))
    return answers


def graph_of(prompt: dict[str, Json]) -> Graph:
    """The prompt as it is, malformed links included, which the reader of files would refuse."""
    nodes = []
    for node_id, entry in prompt.items():
        inputs = {k: Link(*v) if isinstance(v, list) and len(v) == 2 else v for k, v in entry["inputs"].items()}
        nodes.append(Node(node_id, entry["class_type"], inputs))
    return Graph(nodes)


def answer_to(prompt: dict[str, Json]) -> dict[str, Json]:
    problems = check(graph_of(prompt), builtin(), FOLDERS, strict=True, compiling=False).problems
    return to_comfyui(problems, builtin(), FOLDERS)


def without_prose(answer: Json) -> Json:
    """The answer without tooltips and step widths, which our schemas leave out, and with sets sorted.

    Lengths of lists of choices are left out too: the recording server is older than our schemas and offers fewer
    samplers.
    """
    if isinstance(answer, str):
        return re.sub(r"\(list of length \d+\)", "(list of choices)", answer)
    if isinstance(answer, dict):
        kept = {k: v for k, v in answer.items() if k not in ("tooltip", "step")}
        return {k: sorted(v) if k == "dependent_outputs" else without_prose(v) for k, v in kept.items()}
    return [without_prose(item) for item in answer] if isinstance(answer, list) else answer


@pytest.mark.parametrize("case", EQUAL)
def test_answers_are_the_servers(case: str) -> None:
    exchange = recorded()[case]
    body = exchange["answer"]["body"]
    ours = answer_to(exchange["prompt"])
    assert without_prose(ours["node_errors"]) == without_prose(body["node_errors"])
    if exchange["answer"]["status"] == 400:
        assert ours["error"] == body["error"]
    else:
        assert ("error" in body) is False  # accepted: some output has no error


@pytest.mark.parametrize("case", ["link_to_missing_node", "link_output_out_of_range"])
def test_where_the_server_crashes_we_name_the_link(case: str) -> None:
    exchange = recorded()[case]
    answer = answer_to(exchange["prompt"])
    assert answer["error"] == exchange["answer"]["body"]["error"]
    (theirs,) = exchange["answer"]["body"]["node_errors"]
    (error,) = answer["node_errors"][theirs]["errors"]
    assert (error["type"], error["details"]) == ("bad_linked_input", "model")


@pytest.mark.parametrize("case", ["self_cycle", "two_node_cycle"])
def test_cycles(case: str) -> None:
    exchange = recorded()[case]
    with pytest.raises(WorkflowError) as error:
        graph_of(exchange["prompt"])
    assert to_comfyui(error.value.problems, builtin()) == exchange["answer"]["body"]


def test_warnings_are_no_errors_and_answers_are_json() -> None:
    warning = Problem("value_coerced", "2.7 is taken as 2", "1", "A", "x", severity="warning")
    assert to_comfyui([warning], builtin()) == {"error": None, "node_errors": {}}
    ours = Problem("unsupported", "comfyc does not compile this node class yet", "1", "A", dependent_outputs=("9",))
    answer = json.loads(json.dumps(to_comfyui([ours], builtin())))
    assert answer["node_errors"]["1"]["dependent_outputs"] == ["9"]
    assert "does not compile" in answer["node_errors"]["1"]["errors"][0]["message"]
