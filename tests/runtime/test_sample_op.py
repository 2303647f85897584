"""The sampling ops on engines whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from graphs.errors import RunError
from runtime.context import Interrupted, OpContext
from runtime.ops.guiding import entry, guide, place
from runtime.ops.sample import sample
from runtime.ops.schedule import embed_time, make_noise, make_sigmas, project_context, sampler
from runtime.sampling.batching import alone
from runtime.sampling.conditions import Condition
from runtime.sampling.noise import initial_noise
from runtime.values import Latent, Noise
from tests.runtime.sampling_fixtures import SD15, FakeModule, cfg_guider, context, sd15, text_eps, texts

POSITIVE, NEGATIVE = torch.full((1, 77, 8), 0.4), torch.full((1, 77, 8), -0.2)
EMPTY = Latent(torch.zeros(1, 4, 8, 8))


def whole() -> tuple[OpContext, FakeModule]:
    unet = FakeModule(text_eps)
    return context({"denoiser": unet}), unet


def run(
    here: OpContext,
    latent: Latent = EMPTY,
    sampler_name: str = "euler",
    cfg: float = 7.0,
    seed: int = 42,
    sigmas: Tensor | None = None,
    noise: Noise | None = None,
    entries: tuple[Condition, Condition] | None = None,
) -> Latent:
    if sigmas is None:
        sigmas = make_sigmas(here, 4, "normal", 1.0, sampler_name)
    if noise is None:
        noise = make_noise(here, latent, seed)
    positive, negative = texts(here, POSITIVE, NEGATIVE) if entries is None else entries
    guider = cfg_guider(here, positive, negative, cfg)
    return alone(sample(here, latent, noise, sigmas, sampler(here, sampler_name), guider))[0]


def test_a_run_by_hand_gives_the_same() -> None:
    here, _ = whole()
    model, x = sd15(), initial_noise((1, 4, 8, 8), 42)
    sigmas = make_sigmas(here, 4, "normal", 1.0, "euler")
    x = x * (1 + sigmas[0] ** 2) ** 0.5
    for sigma, sigma_next in pairwise(sigmas):
        time = model.timestep(sigma).float().reshape(1)
        scaled = x / (sigma**2 + 1) ** 0.5
        eps = [text_eps({"x": scaled, "timesteps": time, "context": text}) for text in (POSITIVE, NEGATIVE)]
        cond, uncond = (x - sigma * e for e in eps)
        denoised = uncond + 7.0 * (cond - uncond)
        x = x + (x - denoised) / sigma * (sigma_next - sigma)
    torch.testing.assert_close(run(here).samples, x / 0.18215, rtol=1e-5, atol=1e-5)


def test_joint_and_separate_guidance_agree_and_call_as_they_say() -> None:
    here, unet = whole()
    joint = run(here)
    assert [call["x"][0] for call in unet.calls] == [2] * 4
    unet.calls.clear()
    separate = run(replace(here, attrs={**here.attrs, "guidance": "separate"}))
    assert [call["x"][0] for call in unet.calls] == [1] * 8
    torch.testing.assert_close(joint.samples, separate.samples, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("denoise", [0.0, -1.0])
def test_no_denoise_leaves_the_latent_as_it_is(denoise: float) -> None:
    here, unet = whole()
    latent = Latent(torch.randn(1, 4, 8, 8), noise_mask=torch.ones(1, 1, 64, 64), batch_index=(3,))
    assert run(here, latent, sigmas=make_sigmas(here, 4, "normal", denoise, "euler")) is latent
    assert not unet.calls


def test_steps_outside_the_range_leave_the_latent_as_it_is() -> None:
    here, _ = whole()
    sigmas = make_sigmas(here, 4, "normal", 1.0, "euler", start_at_step=4, end_at_step=10000)
    assert run(here, sigmas=sigmas) is EMPTY


def test_a_run_split_in_two_equals_the_whole() -> None:
    here, _ = whole()
    first = run(here, sigmas=make_sigmas(here, 6, "normal", 1.0, "euler", 0, 4, "enable"))
    sigmas = make_sigmas(here, 6, "normal", 1.0, "euler", 4, 10000, "disable")
    second = run(here, first, sigmas=sigmas, noise=make_noise(here, first, 7, "disable"))
    at_once = run(here, sigmas=make_sigmas(here, 6, "normal", 1.0, "euler"))
    torch.testing.assert_close(second.samples, at_once.samples, rtol=1e-5, atol=1e-4)


def test_add_noise_disabled_is_zero_noise_of_the_latents_shape() -> None:
    here, _ = whole()
    for off in ("disable", False):
        assert torch.equal(make_noise(here, EMPTY, 3, off).samples, torch.zeros(1, 4, 8, 8))
    drawn = make_noise(here, EMPTY, 3, "enable")
    assert torch.equal(drawn.samples, initial_noise((1, 4, 8, 8), 3))
    assert drawn.seed == 3


def test_partial_denoise_starts_from_the_latent() -> None:
    here, _ = whole()
    latent = Latent(torch.full((1, 4, 8, 8), 10.0))
    sigmas = make_sigmas(here, 8, "normal", 0.25, "euler")
    noise = Noise(torch.zeros(1, 4, 8, 8), 42)
    seen: list[Tensor] = []

    def silent(inputs: Mapping[str, Tensor]) -> Tensor:
        seen.append(inputs["x"])
        return torch.zeros_like(inputs["x"])

    unet = FakeModule(silent)
    result = run(context({"denoiser": unet}), latent, sigmas=sigmas, noise=noise)
    torch.testing.assert_close(seen[0][0], 10.0 * 0.18215 / (1 + sigmas[0] ** 2) ** 0.5 * torch.ones(4, 8, 8))
    torch.testing.assert_close(result.samples, latent.samples)


@pytest.mark.parametrize("name", ["euler_ancestral", "lcm"])
def test_noise_in_the_loop_follows_the_compat_setting(name: str) -> None:
    unet = FakeModule(text_eps)
    old, new = (run(context({"denoiser": unet}, compat=c), sampler_name=name) for c in ("comfyui-0.3", "comfyui-0.8"))
    assert not torch.equal(old.samples, new.samples)


def test_brownian_noise_is_the_same_in_every_compat() -> None:
    unet = FakeModule(text_eps)
    old, new = (
        run(context({"denoiser": unet}, compat=c), sampler_name="dpmpp_sde") for c in ("comfyui-0.3", "comfyui-0.8")
    )
    assert torch.equal(old.samples, new.samples)


def mask(value: float = 1.0) -> Tensor:
    """1 on the right half of a 64 x 64 picture."""
    made = torch.zeros(1, 1, 64, 64)
    made[..., 32:] = value
    return made


def test_a_noise_mask_keeps_the_rest_and_stays_on_the_latent() -> None:
    here, _ = whole()
    latent = Latent(torch.linspace(-8, 8, 256).reshape(1, 4, 8, 8), noise_mask=mask(), batch_index=(0,))
    result = run(here, latent)
    torch.testing.assert_close(result.samples[..., :4], latent.samples[..., :4], rtol=1e-5, atol=1e-5)
    assert (result.samples[..., 4:] - latent.samples[..., 4:]).abs().max() > 1
    assert result.noise_mask is latent.noise_mask
    assert result.batch_index == (0,)


def test_a_full_noise_mask_changes_nothing() -> None:
    here, _ = whole()
    latent = Latent(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)))
    masked = replace(latent, noise_mask=torch.ones(1, 1, 64, 64))
    torch.testing.assert_close(run(here, latent).samples, run(here, masked).samples, rtol=1e-5, atol=1e-5)


def test_ddim_noises_the_kept_region_with_the_next_seed() -> None:
    """What the network sees at the first step in the kept region: the latent with that noise at that sigma."""
    seen: dict[str, Tensor] = {}
    latent = Latent(torch.zeros(1, 4, 8, 8), noise_mask=mask())
    for name in ("euler", "ddim"):
        calls: list[Tensor] = []

        def silent(inputs: Mapping[str, Tensor], calls: list[Tensor] = calls) -> Tensor:
            calls.append(inputs["x"])
            return torch.zeros_like(inputs["x"])

        run(context({"denoiser": FakeModule(silent)}), latent, sampler_name=name)
        seen[name] = calls[0][:1]
    sigma = sd15().sigmas[-1]
    for name, seed in (("euler", 42), ("ddim", 43)):
        expected = initial_noise((1, 4, 8, 8), seed) * sigma / (1 + sigma**2) ** 0.5
        torch.testing.assert_close(seen[name][..., :4], expected[..., :4], rtol=1e-4, atol=1e-5)
    assert torch.equal(seen["euler"][..., 4:], seen["ddim"][..., 4:])


def hoisted() -> tuple[OpContext, FakeModule, FakeModule]:
    """The same network cut in three: time and text parts outside."""
    core = FakeModule(lambda i: text_eps({"x": i["x"], "timesteps": i["time"][:, 0], "context": i["context_kv"] / 2}))
    time = FakeModule(lambda i: i["timesteps"].reshape(-1, 1).repeat(1, 3))
    text = FakeModule(lambda i: i["context"] * 2)
    return context({"denoiser": core, "denoiser_time": time, "time": time, "context": text}), core, time


def hoisted_entries(here: OpContext, sigmas: Tensor) -> tuple[Condition, Condition]:
    times = alone(embed_time(here, sigmas))
    positive, negative = (
        entry(here, context_kv=alone(project_context(here, text)), time=times) for text in (POSITIVE, NEGATIVE)
    )
    return positive, negative


@pytest.mark.parametrize(("name", "more_times"), [("euler", 0), ("dpm_2", 3)])
def test_the_hoisted_network_gives_the_same(name: str, more_times: int) -> None:
    here, core, time = hoisted()
    sigmas = make_sigmas(here, 4, "normal", 1.0, name)
    entries = hoisted_entries(here, sigmas)
    assert time.calls == [{"timesteps": (4,)}]
    time.calls.clear()
    got = run(here, sampler_name=name, sigmas=sigmas, entries=entries)
    assert core.calls[0] == {"x": (2, 4, 8, 8), "time": (2, 3), "context_kv": (2, 77, 8)}
    assert len(time.calls) == more_times, "sigmas off the schedule are embedded when they come, once each"
    torch.testing.assert_close(got.samples, run(whole()[0], sampler_name=name).samples, rtol=1e-5, atol=1e-5)


def test_a_table_of_another_schedule_does_no_harm() -> None:
    """What is not in it is embedded when it comes: a guider may serve two schedules."""
    here, _, time = hoisted()
    entries = hoisted_entries(here, make_sigmas(here, 7, "karras", 1.0, "euler"))
    time.calls.clear()
    got = run(here, entries=entries)
    assert 0 < len(time.calls) <= 4
    torch.testing.assert_close(got.samples, run(whole()[0]).samples, rtol=1e-5, atol=1e-5)


def test_steps_of_fractional_timesteps_stay_apart() -> None:
    """EDM models give their network log sigma / 4: many steps of a schedule lie between two whole numbers."""
    schedule = {"kind": "edm", "sigma_min": 0.002, "sigma_max": 120.0, "sigma_data": 1.0}
    edm = {**SD15, "prediction": "v", "schedule": schedule}
    plain, cut = replace(whole()[0], model=edm), replace(hoisted()[0], model=edm)
    sigmas = make_sigmas(cut, 12, "normal", 1.0, "euler")
    timesteps, rows = alone(embed_time(cut, sigmas))
    assert len(set(timesteps.tolist())) == 12
    assert torch.equal(rows[:, 0], timesteps)
    got = run(cut, sigmas=sigmas, entries=hoisted_entries(cut, sigmas))
    torch.testing.assert_close(got.samples, run(plain, sigmas=sigmas).samples, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("given", [{}, {"embedding": POSITIVE, "context_kv": POSITIVE}, {"context_kv": POSITIVE}])
def test_an_entry_with_a_part_missing_is_refused(given: dict[str, Tensor]) -> None:
    here, _, _ = hoisted()
    with pytest.raises(RunError, match="neither whole nor hoisted"):
        entry(here, **given)  # type: ignore[arg-type]


def test_embed_time_of_an_empty_schedule_has_no_rows() -> None:
    here, _, _ = hoisted()
    timesteps, rows = alone(embed_time(here, torch.empty(0)))
    assert (timesteps.shape, rows.shape) == ((0,), (0, 3))


def test_places_reach_the_entries() -> None:
    here, unet = whole()
    where = place(here, (32, 64, 0, 0), strength=0.5)
    positive = (entry(here, POSITIVE), entry(here, POSITIVE * 3, place=where))
    guider = cfg_guider(here, positive, texts(here, NEGATIVE), 7.0)
    sigmas, noise = make_sigmas(here, 2, "normal", 1.0, "euler"), make_noise(here, EMPTY, 1)
    alone(sample(here, EMPTY, noise, sigmas, sampler(here, "euler"), guider))
    assert sorted(call["x"] for call in unet.calls[:2]) == [(2, 4, 4, 8), (2, 4, 8, 8)]


def test_a_vector_and_more_channels_go_in_beside_text_and_latent() -> None:
    seen: list[dict[str, Tensor]] = []

    def answer(inputs: Mapping[str, Tensor]) -> Tensor:
        seen.append(dict(inputs))
        return text_eps({**inputs, "x": inputs["x"][:, :4]})

    here = context({"denoiser": FakeModule(answer)})
    concat = torch.arange(5.0).reshape(1, 5, 1, 1).expand(1, 5, 8, 8)
    positive = entry(here, POSITIVE, vector=torch.full((1, 6), 2.0), concat=concat, place=place(here, (32, 64, 0, 0)))
    negative = entry(here, NEGATIVE, vector=torch.full((1, 6), 3.0), concat=concat)
    run(here, Latent(torch.zeros(2, 4, 8, 8)), entries=(positive, negative))
    assert {tuple(call["x"].shape[1:]) for call in seen} == {(9, 8, 8), (9, 4, 8)}
    half = next(call for call in seen if call["x"].shape[2] == 4)
    assert half["vector"][:, 0].tolist() == [3, 3, 2, 2]
    assert half["x"][0, 4:, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_progress_is_reported_and_can_interrupt() -> None:
    reports: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        reports.append((done, total))
        if done == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(context({"denoiser": FakeModule(text_eps)}, progress=progress))
    assert reports == [(1, 4), (2, 4), (3, 4)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent": Latent(torch.ones(1, 16, 8, 8))}, r"node 3: the latent does not fit the model"),
        ({"sampler_name": "no_such"}, "unknown sampler"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        run(whole()[0], **change)


def test_an_empty_latent_takes_the_channels_of_the_model() -> None:
    assert torch.equal(run(whole()[0], Latent(torch.zeros(1, 16, 8, 8))).samples, run(whole()[0]).samples)


def test_unknown_guidance_is_refused() -> None:
    here, _ = whole()
    with pytest.raises(RunError, match="unknown guidance"):
        run(replace(here, attrs={**here.attrs, "guidance": "both"}))


@pytest.mark.parametrize(
    ("attrs", "numbers", "message"),
    [
        ({"kind": "magic"}, {"cfg": 7.0}, "unknown guider"),
        ({"kind": "cfg"}, {}, "has other numbers"),
        ({"kind": "basic"}, {}, "has other sides"),
        ({"kind": "cfg", "patches": ["sparkle"]}, {"cfg": 7.0}, "unknown patch"),
        ({"kind": "cfg", "patches": ["rescale_cfg"]}, {"cfg": 7.0}, "takes others"),
    ],
)
def test_guiders_that_do_not_exist_are_refused(attrs: dict[str, Any], numbers: dict[str, float], message: str) -> None:
    here, _ = whole()
    sides = {"positive": texts(here, POSITIVE), "negative": texts(here, NEGATIVE)}
    with pytest.raises(RunError, match=message):
        guide(replace(here, attrs=attrs), sides, numbers)


def test_an_engine_with_two_outputs_is_refused() -> None:
    class Two(FakeModule):
        def __call__(self, inputs: Any) -> dict[str, Tensor]:
            return {"eps": inputs["x"], "more": inputs["x"]}

    with pytest.raises(RunError, match="gives 2 outputs"):
        run(context({"denoiser": Two(text_eps)}))


def test_engines_that_reuse_their_output_buffer_do_no_harm() -> None:
    class Reusing(FakeModule):
        buffer: Tensor | None = None

        def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            answer = super().__call__(inputs)["eps"]
            if self.buffer is None or self.buffer.shape != answer.shape:
                self.buffer = torch.empty_like(answer)
            return {"eps": self.buffer.copy_(answer)}

    plain, _, _ = hoisted()
    roles = ("denoiser", "denoiser_time", "time", "context")
    reusing = context({role: Reusing(plain.module(role).answer) for role in roles})  # type: ignore[attr-defined]

    def sampled(here: OpContext) -> Tensor:
        sigmas = make_sigmas(here, 4, "normal", 1.0, "dpm_2")
        entries = hoisted_entries(here, sigmas)
        here = replace(here, attrs={**here.attrs, "guidance": "separate"})
        return run(here, sampler_name="dpm_2", sigmas=sigmas, entries=entries).samples

    assert torch.equal(sampled(plain), sampled(reusing))
