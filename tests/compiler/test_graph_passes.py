"""Every graph pass: before, after, changes; a second run changes nothing."""

from __future__ import annotations

import json
from typing import Any

from compiler.options import CompileOptions
from compiler.passes.dedupe import dedupe
from compiler.passes.dissolve_primitives import dissolve_primitives
from compiler.passes.dissolve_reroutes import dissolve_reroutes
from compiler.passes.driver import Context, PassFunction
from compiler.passes.prune import prune
from compiler.passes.verify import verify_graph_step
from graphs.definition import NodeDef
from graphs.graph import Graph
from graphs.schemas import builtin
from graphs.workflow import parse_api, to_api

Json = Any
IMPURE = NodeDef("Dice", pure=False)


class WithDice(dict[str, NodeDef]):
    """The shipped schemas and a class that is not pure."""

    def __missing__(self, class_type: str) -> NodeDef:
        return builtin()[class_type]

    def get(self, class_type: str, default: Any = None) -> Any:
        return IMPURE if class_type == "Dice" else builtin().get(class_type, default)


def context(*freeze: str) -> Context:
    return Context(schemas=WithDice(), options=CompileOptions(freeze=freeze))


def api(**nodes: tuple[str, dict[str, Json]]) -> Graph:
    """Nodes by id (n4 is "4"), each its class and inputs; a link is a list of id and slot."""
    entries = {i.removeprefix("n"): {"class_type": c, "inputs": inputs} for i, (c, inputs) in nodes.items()}
    return parse_api(entries)


def applied(run: PassFunction[Graph], before: Graph, *freeze: str) -> tuple[dict[str, Json], list[str]]:
    """API inputs by node id after the pass, and the changes as text, after checking what holds for every pass."""
    result = run(before, context(*freeze))
    assert list(verify_graph_step(before, result.value, context().schemas)) == []
    assert (result.value is before) == (not result.changes)
    again = run(result.value, context(*freeze))
    assert again.changes == ()
    assert again.value is result.value
    after = json.loads(json.dumps(to_api(result.value)))
    return {i: n["inputs"] for i, n in after.items()}, [f"{c.node}: {c.reason}" for c in result.changes]


LATENT: tuple[str, dict[str, Json]] = ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1})


def test_prune_drops_what_no_output_needs_and_reports_what_the_reader_dissolved() -> None:
    graph = api(n1=LATENT, n2=LATENT, n3=("SaveLatent", {"samples": ["1", 0], "filename_prefix": "x"}))
    graph = Graph(graph, workflow={"id": 7}, dissolved=[("4", "Note", "a note")])
    after, changes = applied(prune, graph)
    assert list(after) == ["1", "3"]
    assert changes == ["4: Note: a note", "2: EmptyLatentImage: no output node needs it"]
    assert prune(graph, context()).value.workflow == {"id": 7}


def test_prune_leaves_a_workflow_without_outputs_to_check() -> None:
    graph = api(n1=LATENT)
    assert prune(graph, context()).value is graph


def test_reroutes_are_dissolved_in_chains() -> None:
    graph = api(
        n9=("Reroute", {"": ["8", 0]}),
        n8=("Reroute", {"": ["1", 0]}),
        n1=LATENT,
        n3=("SaveLatent", {"samples": ["9", 0], "filename_prefix": ["7", 0]}),
        n7=("Reroute (rgthree)", {"*": "name"}),
    )
    after, changes = applied(dissolve_reroutes, graph)
    assert after["3"] == {"samples": ["1", 0], "filename_prefix": "name"}
    assert list(after) == ["1", "3"]
    assert changes == [
        "9: Reroute: passes on slot 0 of node 1",
        "8: Reroute: passes on slot 0 of node 1",
        "7: Reroute (rgthree): passes on 'name'",
    ]


def test_a_reroute_without_input_stays() -> None:
    graph = api(n1=("Reroute", {}), n3=("SaveLatent", {"samples": ["1", 0]}))
    assert applied(dissolve_reroutes, graph) == ({"1": {}, "3": {"samples": ["1", 0]}}, [])


def test_primitives_give_loaders_their_value_and_stay_parameters_of_the_rest() -> None:
    graph = api(
        n1=("PrimitiveFloat", {"value": 0.5}),
        n2=("LoraLoaderModelOnly", {"model": ["9", 0], "lora_name": "a", "strength_model": ["1", 0]}),
        n3=("KSampler", {"model": ["2", 0], "denoise": ["1", 0]}),
        n4=("PrimitiveString", {"value": "a.safetensors"}),
        n9=("CheckpointLoaderSimple", {"ckpt_name": ["4", 0]}),
    )
    after, changes = applied(dissolve_primitives, graph)
    assert list(after) == ["1", "2", "3", "9"]
    assert after["2"]["strength_model"] == 0.5
    assert after["3"]["denoise"] == ["1", 0]
    assert after["9"] == {"ckpt_name": "a.safetensors"}
    assert changes == [
        "2: 'strength_model' is 0.5, the value of node 1",
        "9: 'ckpt_name' is 'a.safetensors', the value of node 4",
        "4: PrimitiveString: its value went where it is used",
    ]


def test_a_frozen_primitive_goes_everywhere() -> None:
    graph = api(n1=("PrimitiveInt", {"value": 3}), n3=("KSampler", {"seed": ["1", 0], "steps": ["1", 0]}))
    after, _ = applied(dissolve_primitives, graph, "1.value")
    assert after == {"3": {"seed": 3, "steps": 3}}
    assert applied(dissolve_primitives, graph)[1] == []


def test_dedupe_merges_equal_loaders_and_what_hangs_on_them() -> None:
    graph = api(
        n5=("VAEDecode", {"samples": ["3", 0], "vae": ["1", 2]}),
        n1=("CheckpointLoaderSimple", {"ckpt_name": "a"}),
        n2=("CheckpointLoaderSimple", {"ckpt_name": "a"}),
        n4=("VAEDecode", {"samples": ["3", 0], "vae": ["2", 2]}),
        n3=LATENT,
        n6=("PreviewImage", {"images": ["4", 0]}),
        n7=("PreviewImage", {"images": ["5", 0]}),
    )
    after, changes = applied(dedupe, graph)
    assert list(after) == ["5", "1", "3", "6", "7"]  # of equals the first in the file stays
    assert after["6"] == after["7"] == {"images": ["5", 0]}
    assert changes == ["2: CheckpointLoaderSimple: the same as node 1", "4: VAEDecode: the same as node 5"]


def test_parameters_that_can_be_set_apart_are_not_merged() -> None:
    texts: dict[str, tuple[str, dict[str, Json]]] = {
        "n1": ("CheckpointLoaderSimple", {"ckpt_name": "a"}),
        "n6": ("CLIPTextEncode", {"text": "", "clip": ["1", 1]}),
        "n7": ("CLIPTextEncode", {"text": "", "clip": ["1", 1]}),
    }
    assert applied(dedupe, api(**texts))[1] == []
    assert applied(dedupe, api(**texts), "6.text")[1] == []
    after, changes = applied(dedupe, api(**texts), "6.text", "7.text")
    assert list(after) == ["1", "6"]
    assert changes == ["7: CLIPTextEncode: the same as node 6"]


def test_values_that_python_calls_equal_are_not() -> None:
    def loaders(one: Json, two: Json) -> Graph:
        return api(
            n1=("CLIPSetLastLayer", {"clip": ["9", 1], "stop_at_clip_layer": one}),
            n2=("CLIPSetLastLayer", {"clip": ["9", 1], "stop_at_clip_layer": two}),
        )

    for one, two in ((1, 1.0), (1, True), ("1", 1), ({"a": [1]}, {"a": [1.0]}), (None, "None")):
        assert applied(dedupe, loaders(one, two))[1] == []
    assert len(applied(dedupe, loaders({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}))[1]) == 1
    nan = float("nan")
    assert len(dedupe(loaders(nan, float("nan")), context()).changes) == 1


def test_outputs_impure_and_unknown_classes_are_never_merged() -> None:
    graph = api(
        n1=("PreviewImage", {"images": ["9", 0]}),
        n2=("PreviewImage", {"images": ["9", 0]}),
        n3=("Dice", {}),
        n4=("Dice", {}),
        n5=("NobodyKnowsThis", {"x": ["3", 0]}),
        n6=("NobodyKnowsThis", {"x": ["3", 0]}),
    )
    assert applied(dedupe, graph)[1] == []
