"""What ControlNets add in a sample step, on engines whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from runtime.context import OpContext
from runtime.ops.controlnet import ControlNets, ResidualShape, fit_hint
from runtime.ops.engine_calls import TimeTables
from runtime.ops.guiding import control, entry, guide, span
from runtime.ops.sample import sample
from runtime.ops.schedule import embed_time, make_noise, make_sigmas, project_context, sampler
from runtime.sampling.batching import alone
from runtime.sampling.conditions import Condition, Control, Text
from runtime.sampling.control import Acting
from runtime.sampling.entries import Entry
from runtime.sampling.latent_format import LatentFormat
from runtime.sampling.rows import Rows
from runtime.values import Latent
from tests.runtime.sampling_fixtures import FakeModule, context, sd15, text_eps

SHAPES = (ResidualShape(2, 0), ResidualShape(3, 1), ResidualShape(3, 2))
TIME = torch.tensor(500)


class FakeControl(FakeModule):
    """Residual n is n + 1 times the mean of hint and text, in the shapes of SHAPES."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.calls.append({name: tuple(tensor.shape) for name, tensor in inputs.items()})
        text = inputs["context"] if "context" in inputs else inputs["context_kv"]
        value = (inputs["hint"].mean(dim=(1, 2, 3)) + text.mean(dim=(1, 2))).reshape(-1, 1, 1, 1)
        return {f"control_{n}": (n + 1) * value.expand(shape.of(inputs["x"])) for n, shape in enumerate(SHAPES)}


def hint_engine() -> FakeModule:
    return FakeModule(lambda inputs: inputs["hint_image"].movedim(-1, 1)[:, :, ::8, ::8])


Modules = dict[str, FakeModule]


class Nets:
    """ControlNets with these hints, and the engines of each."""

    def __init__(self, *hints: Tensor, control: type[FakeModule] = FakeControl, averaged: bool = False) -> None:
        self.modules: list[Modules] = [
            {"controlnet": control(text_eps), "controlnet_hint": hint_engine()} for _ in hints
        ]
        self.controls = tuple(
            Control(modules.__getitem__, hint, Text(torch.zeros(1, 7, 5)), 1.0, averaged=averaged)
            for modules, hint in zip(self.modules, hints, strict=True)
        )
        self.nets = ControlNets(self.controls, SHAPES, LatentFormat())

    def residuals(self, x: Tensor, *acting: Acting, entries: int = 1, text: float = 0.0) -> dict[str, Tensor]:
        controls = tuple(replace(c, text=Text(torch.full((1, 7, 5), text))) for c in self.controls)
        entry = Entry(Text(torch.zeros(1, 7, 5)), controls=controls)
        return alone(self.nets.residuals(x, TIME, Rows((entry,) * entries, x.shape[0] // entries, acting)))


def acts(index: int = 0, strength: float = 1.0) -> Acting:
    return Acting(index, strength, 100.0, 0.0)


def test_residuals_are_scaled_and_add() -> None:
    found = Nets(torch.full((1, 72, 96, 3), 0.5), torch.full((1, 8, 8, 3), 0.25))
    x = torch.zeros(1, 4, 9, 12)
    one = found.residuals(x, acts(0, 0.5), text=1.0)
    assert [tuple(t.shape) for t in one.values()] == [(1, 2, 9, 12), (1, 3, 5, 6), (1, 3, 3, 3)]
    assert [torch.unique(t).tolist() for t in one.values()] == [[0.75], [1.5], [2.25]]
    both = found.residuals(x, acts(0, 0.5), acts(1, 2.0), text=1.0)
    assert [torch.unique(t).tolist() for t in both.values()] == [[3.25], [6.5], [9.75]]


def test_nothing_is_computed_for_no_control() -> None:
    found = Nets(torch.ones(1, 8, 8, 3))
    nothing = found.residuals(torch.zeros(2, 4, 9, 12))
    assert [tuple(t.shape) for t in nothing.values()] == [(2, 2, 9, 12), (2, 3, 5, 6), (2, 3, 3, 3)]
    assert all(not t.any() for t in nothing.values())
    assert [module.calls for module in found.modules[0].values()] == [[], []]


def test_a_hint_is_embedded_once_a_size() -> None:
    found = Nets(torch.rand(1, 100, 50, 3))
    for size in ((9, 12), (9, 12), (4, 4), (9, 12)):
        found.residuals(torch.zeros(2, 4, *size), acts(), entries=2)
    (modules,) = found.modules
    assert [call["hint_image"] for call in modules["controlnet_hint"].calls] == [(1, 72, 96, 3), (1, 32, 32, 3)]
    assert {call["hint"] for call in modules["controlnet"].calls} == {(2, 3, 9, 12), (2, 3, 4, 4)}


def test_hints_of_a_batch_go_round_the_samples_of_each_entry() -> None:
    hints = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 16, 16, 3)
    found = Nets(hints)
    four = found.residuals(torch.zeros(8, 4, 2, 2), acts(), entries=2)
    assert four["control_0"][:, 0, 0, 0].tolist() == [0, 1, 2, 0, 0, 1, 2, 0]
    two = found.residuals(torch.zeros(2, 4, 2, 2), acts())
    assert two["control_0"][:, 0, 0, 0].tolist() == [0, 1]


def test_channels_that_an_entry_adds_are_not_for_control_nets() -> None:
    found = Nets(torch.ones(1, 8, 8, 3))
    found.residuals(torch.zeros(1, 9, 9, 12), acts())
    assert found.modules[0]["controlnet"].calls[0]["x"] == (1, 4, 9, 12)


class NoisyControl(FakeModule):
    """The same noise at every call."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(3)
        return {f"control_{n}": torch.randn(s.of(inputs["x"]), generator=random) for n, s in enumerate(SHAPES)}


def test_averaged_residuals_are_the_same_all_over() -> None:
    hint = torch.rand(1, 16, 16, 3)
    plain, averaged = (
        Nets(hint, control=NoisyControl, averaged=flag).residuals(torch.zeros(1, 4, 8, 8), acts(strength=2.0))
        for flag in (False, True)
    )
    for name, residual in plain.items():
        torch.testing.assert_close(averaged[name], residual.mean(dim=(2, 3), keepdim=True).expand_as(residual))


def test_hints_are_cut_to_the_aspect_and_taken_by_the_nearest_pixel() -> None:
    wide = torch.arange(12.0).reshape(1, 1, 12, 1).expand(1, 4, 12, 3)
    fitted = fit_hint(wide, 8, 8)
    assert fitted.shape == (1, 8, 8, 3)
    assert fitted[0, 0, :, 0].tolist() == [4, 4, 5, 5, 6, 6, 7, 7]
    with_alpha = torch.rand(1, 8, 8, 4)
    assert torch.equal(fit_hint(with_alpha, 8, 8), with_alpha[..., :3])


def test_a_time_table_grows_for_what_is_not_in_it() -> None:
    engine = FakeModule(lambda inputs: inputs["timesteps"][:, None].expand(-1, 4))
    tables = TimeTables(lambda: engine, torch.device("cpu"))
    text = Text(torch.zeros(1, 7, 5), times=(torch.tensor([7.0]), torch.full((1, 4), 70.0)))
    assert alone(tables.batch(torch.tensor(7), (text,), 2)).tolist() == [[70.0] * 4] * 2
    assert not engine.calls
    for _ in range(2):
        assert alone(tables.batch(torch.tensor(7.25), (text, text), 1)).tolist() == [[7.25] * 4] * 2
    assert len(engine.calls) == 1


def test_texts_with_vectors_of_their_own_have_tables_of_their_own() -> None:
    engine = FakeModule(lambda inputs: inputs["timesteps"][:, None] + inputs["vector"])
    tables = TimeTables(lambda: engine, torch.device("cpu"))
    nothing = (torch.zeros(0), torch.zeros(0, 2))
    texts = tuple(Text(torch.zeros(1, 7, 5), torch.full((1, 2), value), nothing) for value in (10.0, 20.0))
    assert alone(tables.batch(torch.tensor(1), texts, 2))[:, 0].tolist() == [11, 11, 21, 21]


# --- the sample op with ControlNets

POSITIVE, NEGATIVE = torch.full((1, 77, 5), 0.4), torch.full((1, 77, 5), -0.2)
EMPTY = Latent(torch.zeros(1, 4, 8, 8))
HINT = torch.full((1, 64, 64, 3), 0.5)


def controlled_eps(inputs: Mapping[str, Tensor]) -> Tensor:
    return text_eps(inputs) + 0.1 * inputs["control_0"].mean(dim=(1, 2, 3)).reshape(-1, 1, 1, 1)


def whole() -> tuple[OpContext, Modules]:
    modules = {
        "denoiser": FakeModule(controlled_eps),
        "controlnet": FakeControl(text_eps),
        "controlnet_hint": hint_engine(),
    }
    return context(modules, residuals=[[s.channels, s.halvings] for s in SHAPES], kind="cfg"), modules


def entries_of(here: OpContext, strength: float, start: float, end: float, **how: Any) -> list[Condition]:
    """Both sides; the control is named on the positive one and shared. how: what both take besides their text."""
    made = []
    for text, acting in ((POSITIVE, [[0, True]]), (NEGATIVE, [])):
        given = {"embedding": text} if not how else {**how, "context_kv": alone(project_context(here, text))}
        net = control(here, HINT, strength, span=span(here, start, end), **given)
        attrs = {**here.attrs, "acting": acting}
        made.append(entry(replace(here, attrs=attrs), controls=(net,), **given))
    return made


def run(here: OpContext, strength: float = 1.0, start: float = 0.0, end: float = 1.0, **how: Any) -> Tensor:
    sigmas = make_sigmas(here, 4, "normal", 1.0, "euler")
    positive, negative = entries_of(here, strength, start, end, **how)
    guider = guide(here, {"positive": (positive,), "negative": (negative,)}, {"cfg": 5.0})
    noise = make_noise(here, EMPTY, 1)
    return alone(sample(here, EMPTY, noise, sigmas, sampler(here, "euler"), guider))[0].samples


def test_a_shared_control_acts_on_both_sides_in_one_call_of_each_network() -> None:
    here, modules = whole()
    controlled = run(here)
    assert [call["x"][0] for call in modules["denoiser"].calls] == [2] * 4
    assert [call["x"][0] for call in modules["controlnet"].calls] == [2] * 4
    assert len(modules["controlnet_hint"].calls) == 1
    assert (run(here, strength=0.5) - controlled).abs().mean() > 1e-3


def test_strength_0_and_an_empty_range_call_no_control_net() -> None:
    here, modules = whole()
    still = run(here, strength=0.0)
    assert torch.equal(run(here, start=0.97, end=0.98), still)
    assert modules["controlnet"].calls == modules["controlnet_hint"].calls == []
    assert {tuple(call) for call in modules["denoiser"].calls} == {
        ("x", "timesteps", "context", "control_0", "control_1", "control_2")
    }


def test_a_range_is_that_of_the_steps_sigmas() -> None:
    here, modules = whole()
    sigmas = make_sigmas(here, 4, "normal", 1.0, "euler")
    start, end = 0.2, 0.7
    high, low = sd15().percent_to_sigma(start), sd15().percent_to_sigma(end)
    run(here, start=start, end=end)
    expected = sum(1 for sigma in sigmas[:-1].tolist() if low <= sigma <= high)
    assert 0 < expected < 4
    assert len(modules["controlnet"].calls) == expected


def test_the_hoisted_form_gives_the_same() -> None:
    here, modules = whole()
    expected = run(here)

    def with_context(engine: FakeModule) -> FakeModule:
        return FakeModule(
            lambda given: engine.answer(
                {**given, "context": given["context_kv"], "timesteps": given["time"].reshape(-1)}
            )
        )

    core = with_context(modules["denoiser"])
    time = FakeModule(lambda given: given["timesteps"][:, None])
    parts = {
        **modules,
        "denoiser": core,
        "denoiser_time": time,
        "controlnet_time": time,
        "time": time,
        "context": FakeModule(lambda g: g["context"]),
    }
    hoisted = context(parts, **here.attrs)
    table = alone(embed_time(hoisted, make_sigmas(here, 4, "normal", 1.0, "euler")))
    torch.testing.assert_close(run(hoisted, time=table), expected)
    assert modules["controlnet"].calls[-1].keys() == {"x", "hint", "time", "context_kv"}
