"""schedule: the smallest peak for small programs, never a worse one, frees after the last use, effects in order."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.cost import Picture, cost, picture_sizes, value_sizes
from compiler.passes.driver import Context
from compiler.passes.order import Order
from compiler.passes.schedule import peak_bytes, schedule
from compiler.passes.verify import verify_program
from graphs.operands import Literal, Ref
from graphs.ops import OPS, OpSpec
from graphs.program import Parameter, Program
from tests.compiler.programs import program, step, text_to_image


def test_values_are_freed_after_their_last_use_and_results_stay() -> None:
    result = schedule(text_to_image(), Context())
    frees = {s.id: s.frees for s in result.value.steps}
    assert frees["6.encode_text"] == ("6.pooled",)  # nobody uses it
    assert frees["3.make_noise"] == ()
    assert frees["3.entry"] == ("6.embedding",)
    taken = {"5.latent", "3.sigmas", "3.noise", "3.sampler", "3.guider"}
    assert set(frees["3.sample"]) == {*taken, "3.denoised"}  # nobody uses that
    assert frees["8.decode_latent"] == ("3.latent",)
    assert frees["9.save_image"] == ("9.image_u8",)  # 9.files is what the run hands back
    assert list(verify_program(result.value, OPS)) == []
    assert schedule(result.value, Context()).changes == ()


def two_branches() -> Program:
    """Two decodes first, then two saves: both float images are alive at once."""
    steps = [step("empty_latent", {n: Literal(512) for n in ("width", "height", "batch_size")}, "1.latent")]
    for i in (2, 3):
        steps.append(step("decode_latent", {"latent": Ref("1.latent")}, f"{i}.image", networks={"vae_decoder": "v"}))
    for i in (2, 3):
        steps.append(
            step(
                "scale_image", {"image": Ref(f"{i}.image"), "method": Literal(0), "factor": Literal(0.5)}, f"1{i}.image"
            )
        )
    for i in (2, 3):
        steps.append(step("image_to_u8", {"image": Ref(f"1{i}.image")}, f"2{i}.image_u8"))
        steps.append(step("preview_image", {"image_u8": Ref(f"2{i}.image_u8")}, f"2{i}.files"))
    return program(steps)


def test_branches_are_finished_one_after_the_other() -> None:
    before = two_branches()
    result = schedule(before, Context())
    order = [s.id for s in result.value.steps]
    assert order.index("12.scale_image") < order.index("3.decode_latent") or order.index(
        "13.scale_image"
    ) < order.index("2.decode_latent")
    assert order.index("22.preview_image") < order.index("23.preview_image")  # effects keep their order
    assert peak_bytes(result.value, Context()) < peak_bytes(before, Context())
    assert "steps moved: peak of values" in result.changes[0].reason
    assert schedule(result.value, Context()).changes == ()


def test_an_order_that_is_as_good_is_left_alone() -> None:
    before = text_to_image()
    assert [s.id for s in schedule(before, Context()).value.steps] == [s.id for s in before.steps]


@st.composite
def orders(draw: st.DrawFn, most: int) -> Order:
    count = draw(st.integers(1, most))
    values = []
    for maker in range(count):
        later = list(range(maker + 1, count))
        users = draw(st.lists(st.sampled_from(later), unique=True, max_size=3)) if later else []
        values.append((draw(st.integers(0, 20)), maker, tuple(sorted(users))))
    effects = sorted(draw(st.sets(st.integers(0, count - 1), max_size=3)))
    kept = [(draw(st.integers(0, 9)), step) for step in effects]
    return Order(tuple(f"s{i}" for i in range(count)), values, kept, list(pairwise(effects)))


def allowed(order: Order, steps: tuple[int, ...] | list[int]) -> bool:
    place = {s: i for i, s in enumerate(steps)}
    return all(place[before] < place[s] for s, needed in enumerate(order._needs) for before in needed)


@settings(max_examples=60, deadline=None)
@given(orders(6))
def test_the_exact_search_finds_the_best_of_all_orders(order: Order) -> None:
    count = len(order._ids)
    best = min(order.peak(p) for p in permutations(range(count)) if allowed(order, p))
    exact = order.exact()
    assert exact is not None
    assert sorted(exact) == list(range(count))
    assert allowed(order, exact)
    assert order.peak(exact) == best


@settings(max_examples=60, deadline=None)
@given(orders(25))
def test_greedy_orders_are_orders(order: Order) -> None:
    for deep in (False, True):
        greedy = order.greedy(deep=deep)
        assert sorted(greedy) == list(range(len(order._ids)))
        assert allowed(order, greedy)


def wide(count: int) -> Program:
    """Many independent chains, listed level by level: the worst order there is."""
    levels = ("decode_latent", "scale_image", "image_to_u8")
    steps = [step("empty_latent", {n: Literal(64) for n in ("width", "height", "batch_size")}, "0.latent")]
    for op in levels:
        for i in range(count):
            name = {"decode_latent": "a.image", "scale_image": "b.image", "image_to_u8": "image_u8"}[op]
            inputs = {
                "decode_latent": {"latent": Ref("0.latent")},
                "scale_image": {"image": Ref(f"{i + 1}.a.image"), "method": Literal(0), "factor": Literal(0.5)},
                "image_to_u8": {"image": Ref(f"{i + 1}.b.image")},
            }[op]
            steps.append(step(op, inputs, f"{i + 1}.{name}"))  # type: ignore[arg-type]
    for i in range(count):
        steps.append(step("preview_image", {"image_u8": Ref(f"{i + 1}.image_u8")}, f"{i + 1}.files"))
    return program(steps)


@pytest.mark.parametrize("count", [30, 1000])
def test_large_programs_are_ordered_greedily_and_fast(count: int) -> None:
    before = wide(count)
    started = time.process_time()
    result = schedule(before, Context())
    assert time.process_time() - started < 4
    assert peak_bytes(result.value, Context()) < peak_bytes(before, Context()) / 3
    assert schedule(result.value, Context()).changes == ()
    previews = [s.id for s in result.value.steps if s.op == "preview_image"]
    assert previews == [s.id for s in before.steps if s.op == "preview_image"]


def test_sizes_and_ops_can_be_replaced() -> None:
    ops = {"a": OpSpec("a", (), ("x",)), "b": OpSpec("b", ("x",), ("y",), pure=False)}
    before = program([step("a", {}, "1.x"), step("a", {}, "2.x"), step("b", {"x": Ref("1.x")}, "3.y")])
    context = Context(ops=ops, sizes=lambda p: {"1.x": 10, "2.x": 100, "3.y": 1})
    assert peak_bytes(before, context) == 110
    result = schedule(before, context)
    assert [s.frees for s in result.value.steps] == [("1.x",), ("2.x",), ()] or peak_bytes(result.value, context) <= 110


def test_estimates_of_the_default_workflow() -> None:
    value = schedule(text_to_image(), Context()).value
    sizes = value_sizes(value)
    assert sizes["5.latent"] == 4 * 64 * 64 * 4
    assert sizes["8.image"] == 512 * 512 * 3 * 4
    assert sizes["9.image_u8"] == 512 * 512 * 3
    assert sizes["3.sigmas"] == 21 * 4
    found = cost(value)
    assert found.peak_step == "8.decode_latent"
    assert 300e6 < found.peak_bytes < 600e6
    assert found.flop["unet"] == pytest.approx(20 * 2 * 0.803e12, rel=0.01)
    assert found.flop["vae_decoder"] == pytest.approx(2.515e12, rel=0.01)


def test_picture_sizes_follow_the_program() -> None:
    steps = [
        step("empty_latent", {"width": Literal(256), "height": Literal(128), "batch_size": Literal(3)}, "1.latent"),
        step("scale_latent", {"latent": Ref("1.latent"), "method": Literal(0), "factor": Literal(2.0)}, "2.latent"),
        step("decode_latent", {"latent": Ref("2.latent")}, "3.image", networks={"vae_decoder": "v"}),
        step(
            "resize_image",
            {
                "image": Ref("3.image"),
                "method": Literal(0),
                "width": Literal(64),
                "height": Literal(0),
                "crop": Literal(0),
            },
            "4.image",
        ),
        step("load_image", {"file": Literal("a.png")}, "5.image", "5.mask"),
    ]
    found = picture_sizes(program(steps))
    assert found["2.scale_latent"] == found["3.decode_latent"] == Picture(3, 256, 512)
    assert found["4.resize_image"] == Picture(3, 32, 64)
    assert found["5.load_image"] == Picture(1, 512, 512)


@pytest.mark.parametrize("side", [0, -5, 10**30, float("nan"), float("inf"), None, "wide"])
def test_impossible_sizes_do_not_stop_an_estimate(side: object) -> None:
    steps = [
        step("empty_latent", {"width": Literal(side), "height": Literal(side), "batch_size": Literal(1)}, "1.latent"),
        step("scale_latent", {"latent": Ref("1.latent"), "method": Literal(0), "factor": Literal(side)}, "2.latent"),
        step(
            "resize_latent",
            {
                "latent": Ref("2.latent"),
                "method": Literal(0),
                "width": Literal(0),
                "height": Literal(side),
                "crop": Literal(0),
            },
            "3.latent",
        ),
    ]
    assert all(size >= 0 for size in value_sizes(program(steps)).values())


def test_sizes_take_defaults_of_parameters() -> None:
    value = text_to_image()
    wider = replace(value, parameters={**value.parameters, "5.width": Parameter("5.width", "INT", 1024)})
    assert value_sizes(wider)["5.latent"] == 2 * value_sizes(value)["5.latent"]


def test_a_network_is_released_after_its_last_call() -> None:
    result = schedule(text_to_image(), Context())
    steps = result.value.steps
    for place, one in enumerate(steps):
        later = {name for other in steps[place + 1 :] for name in other.networks.values()}
        held = {"unet"} if one.op == "sample" else set() if one.op == "guide" else set(one.networks.values())
        assert set(one.releases) == held - later
    assert list(verify_program(result.value, OPS)) == []
    early = replace(steps[0], releases=tuple(result.value.networks))
    broken = list(verify_program(result.value.with_steps((early, *steps[1:])), OPS))
    assert any("after it is released" in problem for problem in broken)


def test_networks_of_a_guider_are_released_after_the_sample_that_calls_them() -> None:
    releases = {s.id: s.releases for s in schedule(text_to_image(), Context()).value.steps if s.releases}
    assert releases["3.sample"] == ("unet",)
    assert "3.guide" not in releases
