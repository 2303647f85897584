"""Nothing in the loop looks at the device: with x on torch's meta device, where there is nothing to see, all runs.

dpm_adaptive is the exception: the size of its steps depends on the sample (see its docstring).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from runtime.ops.guiding import entry, guide, place, span
from runtime.ops.sample import sample
from runtime.ops.schedule import make_noise, make_sigmas, sampler
from runtime.sampling.batching import alone
from runtime.sampling.samplers import SAMPLERS
from runtime.values import Latent
from tests.runtime.sampling_fixtures import SD15, FakeModule, context

META = torch.device("meta")
LOOKS = ("dpm_adaptive",)


def eps(inputs: Mapping[str, Tensor]) -> Tensor:
    return torch.empty_like(inputs["x"])


FLOW = {
    **SD15, "prediction": "flow",
    "schedule": {"kind": "flow", "shift": 3.0, "multiplier": 1000.0, "timesteps": 1000},
}  # fmt: skip


def run(name: str, facts: Mapping[str, Any] = SD15) -> Latent:
    """A batch of two with every kind of entry, a noise mask, differential diffusion and a patched guidance."""
    here = replace(context({"denoiser": FakeModule(eps)}), device=META, model=facts)
    text = torch.zeros(1, 77, 8, device=META)
    mask = torch.zeros(1, 64, 64)
    mask[:, 16:32, 16:40] = 1.0
    places = (
        place(here, (32, 64, 0, 0), strength=0.5),
        place(here, mask=mask.to(META), mask_strength=0.5),
        place(here, mask=mask, set_cond_area="mask bounds"),  # bounds are read before the loop, from a host mask
    )
    positive = (*(entry(here, text, place=p) for p in places), entry(here, text, span=span(here, 0.2, 0.8)))
    attrs = {"kind": "cfg", "patches": ["differential_diffusion", "rescale_cfg", "cfg_zero_star"], "guidance": "joint"}
    sides = {"positive": positive, "negative": (entry(here, text),)}
    guider = guide(replace(here, attrs=attrs), sides, {"cfg": 7.0}, {"0": (0.9,), "1": (0.7,)})
    latent = Latent(torch.zeros(2, 4, 8, 8, device=META), noise_mask=mask[None].to(META))
    sigmas = make_sigmas(here, 6, "karras", 1.0, name)
    return alone(sample(here, latent, make_noise(here, latent, 1), sigmas, sampler(here, name), guider))[0]


@pytest.mark.parametrize("facts", [SD15, FLOW], ids=["discrete", "flow"])
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in LOOKS])
def test_the_sampler_does_not_look_at_the_device(name: str, facts: Mapping[str, Any]) -> None:
    result = run(name, facts)
    assert result.samples.device == META
    assert result.samples.shape == (2, 4, 8, 8)


def test_all_samplers_but_the_named_one_are_tested() -> None:
    assert len(SAMPLERS) == 44
    for name in LOOKS:
        with pytest.raises((RuntimeError, NotImplementedError)):
            run(name)
