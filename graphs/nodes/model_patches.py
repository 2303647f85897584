"""Patches of a MODEL: functions that guidance goes through, and facts that take the place of the file's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graphs.definition import Builder
from graphs.errors import Problem, WorkflowError
from graphs.node import Json, Node
from graphs.rows import compiled
from graphs.values import ModelPatch, ModelValue

# Words of the widgets -> predictions of runtime.sampling.discrete and edm.
DISCRETE = {"eps": "eps", "v_prediction": "v", "x0": "x0", "lcm": "lcm"}
EDM = {"eps": "eps", "v_prediction": "v", "edm": "edm"}
SIGMA_DATA = {"edm": 0.5}  # of the others 1


def _patched(b: Builder, name: str, *operands: str) -> None:
    model = b.take("model", ModelValue)
    patch = ModelPatch(name, tuple(b.operand(operand) for operand in operands))
    b.output(0, replace(model, patches=(*model.patches, patch)))


def _lower_rescale(node: Node, b: Builder) -> None:
    _patched(b, "rescale_cfg", "multiplier")


def _lower_zero_star(node: Node, b: Builder) -> None:
    _patched(b, "cfg_zero_star")


def _overridden(b: Builder, facts: Mapping[str, Json]) -> None:
    model = b.take("model", ModelValue)
    b.output(0, replace(model, overrides={**model.overrides, **facts}))


def _prediction(node: Node, b: Builder, known: Mapping[str, str]) -> str:
    sampling = str(b.constant("sampling"))
    if sampling not in known:
        what, expected = "this kind of sampling is not compiled yet", ", ".join(known)
        problem = Problem("value_not_in_list", what, node.id, node.class_type, "sampling", expected, sampling)
        raise WorkflowError(what, (problem,))
    return known[sampling]


def _lower_discrete(node: Node, b: Builder) -> None:
    schedule = {"zero_terminal_snr": bool(b.constant("zsnr"))}
    _overridden(b, {"prediction": _prediction(node, b, DISCRETE), "schedule": schedule})


def _lower_edm(node: Node, b: Builder) -> None:
    prediction = _prediction(node, b, EDM)
    low, high = (float(b.constant(name)) for name in ("sigma_min", "sigma_max"))
    data = SIGMA_DATA.get(prediction, 1.0)
    schedule = {"kind": "edm", "sigma_min": low, "sigma_max": high, "sigma_data": data}
    _overridden(b, {"prediction": prediction, "schedule": schedule})


ROWS = (
    compiled("CFGZeroStar", _lower_zero_star),
    compiled("ModelSamplingContinuousEDM", _lower_edm),
    compiled("ModelSamplingDiscrete", _lower_discrete),
    compiled("RescaleCFG", _lower_rescale),
)
