"""The noise path of a model, from its facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from graphs.errors import RunError
from runtime.sampling.discrete import discrete
from runtime.sampling.edm import edm
from runtime.sampling.flow import flow

if TYPE_CHECKING:
    from runtime.sampling.model_sampling import ModelSampling

Json = Any

# schedule["kind"] -> what makes a model sampling of the schedule and the prediction
KINDS: Mapping[str, Callable[[Mapping[str, Json], str], ModelSampling]] = MappingProxyType(
    {"scaled_linear": discrete, "linear": discrete, "edm": edm, "flow": flow, "flux": flow}
)


def model_sampling(facts: Mapping[str, Json]) -> ModelSampling:
    """From the facts of a model (see runtime.context).

    Raises RunError for a schedule or prediction that this runtime does not know."""
    schedule = facts.get("schedule", {})
    kind = schedule.get("kind")
    if kind not in KINDS:
        raise RunError("unknown noise schedule", expected=", ".join(KINDS), got=repr(kind), hint="recompile")
    return KINDS[kind](schedule, str(facts.get("prediction")))
