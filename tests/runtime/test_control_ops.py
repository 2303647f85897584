"""What ControlNets add in a sample step, on engines whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from runtime.context import OpContext
from runtime.ops.controlnet import ControlNets, ResidualShape, fit_hint
from runtime.ops.engine_calls import TimeTable
from runtime.ops.sample import embed_time, make_noise, make_sigmas, project_context, sample
from runtime.sampling.control import Control, ControlInput
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


def control_input(index: int = 0, strength: float = 1.0, text: float = 0.0, rows: int = 1, entries: int = 1) -> Any:
    control = Control(index, strength, 100.0, 0.0)
    return ControlInput(control, torch.full((rows, 7, 5), text), entries)


def nets(*hints: Tensor) -> tuple[ControlNets, dict[str, FakeModule]]:
    modules: dict[str, FakeModule] = {}
    for index in range(len(hints)):
        modules[f"controlnet.{index}"] = FakeControl(text_eps)
        modules[f"controlnet_hint.{index}"] = hint_engine()
    return ControlNets(context(modules), SHAPES, hints, [False] * len(hints)), modules


def test_residuals_are_scaled_and_add() -> None:
    found, _ = nets(torch.full((1, 72, 96, 3), 0.5), torch.full((1, 8, 8, 3), 0.25))
    x = torch.zeros(1, 4, 9, 12)
    one = found.residuals(x, TIME, [control_input(0, 0.5, text=1.0)])
    assert [tuple(t.shape) for t in one.values()] == [(1, 2, 9, 12), (1, 3, 5, 6), (1, 3, 3, 3)]
    assert [torch.unique(t).tolist() for t in one.values()] == [[0.75], [1.5], [2.25]]
    both = found.residuals(x, TIME, [control_input(0, 0.5, text=1.0), control_input(1, 2.0)])
    assert [torch.unique(t).tolist() for t in both.values()] == [[1.25], [2.5], [3.75]]


def test_nothing_is_computed_for_no_control() -> None:
    found, modules = nets(torch.ones(1, 8, 8, 3))
    nothing = found.residuals(torch.zeros(2, 4, 9, 12), TIME, [])
    assert [tuple(t.shape) for t in nothing.values()] == [(2, 2, 9, 12), (2, 3, 5, 6), (2, 3, 3, 3)]
    assert all(not t.any() for t in nothing.values())
    assert [module.calls for module in modules.values()] == [[], []]


def test_a_hint_is_embedded_once_a_size() -> None:
    found, modules = nets(torch.rand(1, 100, 50, 3))
    for size in ((9, 12), (9, 12), (4, 4), (9, 12)):
        found.residuals(torch.zeros(2, 4, *size), TIME, [control_input(rows=2, entries=2)])
    assert [call["hint_image"] for call in modules["controlnet_hint.0"].calls] == [(1, 72, 96, 3), (1, 32, 32, 3)]
    assert {call["hint"] for call in modules["controlnet.0"].calls} == {(2, 3, 9, 12), (2, 3, 4, 4)}


def test_hints_of_a_batch_go_round_the_samples_of_each_entry() -> None:
    hints = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 16, 16, 3)
    found, _ = nets(hints)
    four = found.residuals(torch.zeros(8, 4, 2, 2), TIME, [control_input(rows=8, entries=2)])
    assert four["control_0"][:, 0, 0, 0].tolist() == [0, 1, 2, 0, 0, 1, 2, 0]
    two = found.residuals(torch.zeros(2, 4, 2, 2), TIME, [control_input(rows=2)])
    assert two["control_0"][:, 0, 0, 0].tolist() == [0, 1]


class NoisyControl(FakeModule):
    """The same noise at every call."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(3)
        return {f"control_{n}": torch.randn(s.of(inputs["x"]), generator=random) for n, s in enumerate(SHAPES)}


def test_averaged_residuals_are_the_same_all_over() -> None:
    here = context({"controlnet.0": NoisyControl(text_eps), "controlnet_hint.0": hint_engine()})
    plain, averaged = (
        ControlNets(here, SHAPES, [torch.rand(1, 16, 16, 3)], [flag]).residuals(
            torch.zeros(1, 4, 8, 8), TIME, [control_input(strength=2.0)]
        )
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
    table = TimeTable(context({"t": engine}), "t", {7: torch.full((4,), 70.0)})
    assert table.batch(torch.tensor(7), 2, torch.device("cpu")).tolist() == [[70.0] * 4] * 2
    assert not engine.calls
    for _ in range(2):
        assert table.batch(torch.tensor(8), 1, torch.device("cpu")).tolist() == [[8.0] * 4]
    assert len(engine.calls) == 1


# --- the sample op with ControlNets

POSITIVE, NEGATIVE = torch.full((1, 77, 5), 0.4), torch.full((1, 77, 5), -0.2)
EMPTY = Latent(torch.zeros(1, 4, 8, 8))


def controlled_eps(inputs: Mapping[str, Tensor]) -> Tensor:
    return text_eps(inputs) + 0.1 * inputs["control_0"].mean(dim=(1, 2, 3)).reshape(-1, 1, 1, 1)


def whole() -> tuple[OpContext, dict[str, FakeModule]]:
    modules = {
        "unet": FakeModule(controlled_eps),
        "controlnet.0": FakeControl(text_eps),
        "controlnet_hint.0": hint_engine(),
    }
    attrs: dict[str, Any] = {
        "controls": [{"averaged": False}],
        "residuals": [[s.channels, s.halvings] for s in SHAPES],
        "positive": [{"controls": [[0, True]]}],
    }
    return context(modules, **attrs), modules


def run(here: OpContext, strength: float = 1.0, start: float = 0.0, end: float = 1.0, **inputs: Any) -> Tensor:
    sigmas = make_sigmas(here, 4, "normal", 1.0, "euler")
    given: dict[str, Any] = {
        "control_hints": (torch.full((1, 64, 64, 3), 0.5),),
        "control_strengths": (strength,),
        "control_starts": (start,),
        "control_ends": (end,),
    }
    noise = make_noise(here, EMPTY, 1)
    result = sample(here, EMPTY, noise, sigmas, 1, 5.0, "euler", POSITIVE, NEGATIVE, **given, **inputs)
    return result.samples


def test_a_shared_control_acts_on_both_sides_in_one_call_of_each_network() -> None:
    here, modules = whole()
    controlled = run(here)
    assert [call["x"][0] for call in modules["unet"].calls] == [2] * 4
    assert [call["x"][0] for call in modules["controlnet.0"].calls] == [2] * 4
    assert len(modules["controlnet_hint.0"].calls) == 1
    assert (run(here, strength=0.5) - controlled).abs().mean() > 1e-3


def test_strength_0_and_an_empty_range_call_no_control_net() -> None:
    here, modules = whole()
    still = run(here, strength=0.0)
    assert torch.equal(run(here, start=0.97, end=0.98), still)
    assert modules["controlnet.0"].calls == modules["controlnet_hint.0"].calls == []
    assert {tuple(call) for call in modules["unet"].calls} == {
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
    assert len(modules["controlnet.0"].calls) == expected


def test_the_hoisted_form_gives_the_same() -> None:
    here, modules = whole()
    expected = run(here)

    def with_context(engine: FakeModule) -> FakeModule:
        return FakeModule(
            lambda given: engine.answer(
                {**given, "context": given["context_kv"], "timesteps": given["time"].reshape(-1)}
            )
        )

    core = with_context(modules["unet"])
    time = FakeModule(lambda given: given["timesteps"][:, None])
    parts = {
        **modules,
        "unet": core,
        "unet_time": time,
        "controlnet_time.0": time,
        "unet_context": FakeModule(lambda g: g["context"]),
    }
    hoisted = context(parts, **here.attrs)
    table = embed_time(hoisted, make_sigmas(here, 4, "normal", 1.0, "euler"))
    texts = tuple(project_context(hoisted, text) for text in (POSITIVE, NEGATIVE))
    found = run(
        hoisted, positive_context=(texts[0],), negative_context=(texts[1],), time=table, control_contexts=texts,
        control_times=(table,),
    )  # fmt: skip
    torch.testing.assert_close(found, expected)
    assert modules["controlnet.0"].calls[-1].keys() == {"x", "hint", "time", "context_kv"}
