"""Resizing equals the recorded pictures and latents of ComfyUI, to the bit where it is 8-bit."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from graphs.errors import RunError
from runtime.context import OpContext
from runtime.ops.image import image_to_u8, load_image, resize_image, scale_image
from runtime.ops.latent import resize_latent, scale_latent
from runtime.ops.resize import resample
from runtime.values import Latent
from tests.runtime.op_context import context

DATA = Path(__file__).parents[1] / "parity" / "data"
GOLDENS = DATA / "goldens"
# ImageScaleToTotalPixels is a node of its own: test_recorded_nodes.py
PICTURES = sorted(p.name for p in GOLDENS.glob("image_scale_*") if p.name != "image_scale_total_pixels")
LATENTS = sorted(p.name for p in GOLDENS.glob("latent_*scale_*"))


@pytest.fixture
def ctx(tmp_path: Path) -> OpContext:
    (tmp_path / "input").symlink_to(DATA / "inputs")
    return context(tmp_path)


def nodes(case: str) -> dict[str, dict[str, Any]]:
    """Inputs by class; of the nodes that the output hangs on."""
    prompt = json.loads((GOLDENS / case / "workflow.json").read_text())
    return {node["class_type"]: node["inputs"] for node in prompt.values()} | {"by_id": prompt}


def test_the_recorded_cases_are_all_there() -> None:
    assert len(PICTURES) == 10
    assert len(LATENTS) == 4


@pytest.mark.parametrize("case", PICTURES)
@pytest.mark.parametrize("threads", [1, 2])
def test_pictures_equal_comfyui(case: str, threads: int, ctx: OpContext) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        _compare_picture(case, ctx)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def _compare_picture(case: str, ctx: OpContext) -> None:
    found = nodes(case)
    how = found.get("ImageScale") or found["ImageScaleBy"]
    image, _ = load_image(ctx, found["by_id"][how["image"][0]]["inputs"]["image"])
    if "scale_by" in how:
        resized = scale_image(ctx, image, how["upscale_method"], how["scale_by"])
    else:
        resized = resize_image(ctx, image, how["upscale_method"], how["width"], how["height"], how["crop"])
    with Image.open(GOLDENS / case / "output_00.png") as picture:
        golden = np.asarray(picture)
    assert image_to_u8(ctx, resized)[0].tolist() == golden.tolist()


@pytest.mark.parametrize("case", LATENTS)
def test_latents_equal_comfyui(case: str, ctx: OpContext) -> None:
    """The source is the encoding of the same picture in another case."""
    source = Latent(load_file(GOLDENS / "vae_roundtrip" / "latent.safetensors")["latent_tensor"])
    found = nodes(case)
    if "LatentUpscaleBy" in found:
        how = found["LatentUpscaleBy"]
        result = scale_latent(ctx, source, how["upscale_method"], how["scale_by"])
    else:
        how = found["LatentUpscale"]
        result = resize_latent(ctx, source, how["upscale_method"], how["width"], how["height"], how["crop"])
    golden = load_file(GOLDENS / case / "latent.safetensors")["latent_tensor"]
    assert result.samples.shape == golden.shape
    assert float((result.samples - golden).abs().max()) <= 1e-6 * float(golden.std())


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [(0, 0, (30, 45)), (90, 0, (60, 90)), (0, 20, (20, 30)), (0, 1, (1, 2)), (1, 0, (1, 1)), (7, 200, (200, 7))],
)
def test_a_side_of_zero_keeps_the_aspect_of_pictures(
    ctx: OpContext, width: int, height: int, shape: tuple[int, int]
) -> None:
    image = torch.rand(2, 30, 45, 3)
    assert resize_image(ctx, image, "bilinear", width, height, "disabled").shape == (2, *shape, 3)


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [(0, 0, (16, 24)), (64, 0, (8, 8)), (0, 200, (25, 37)), (8, 8, (8, 8)), (520, 264, (33, 65)), (519, 271, (33, 64))],
)
def test_latent_sizes_are_pixels_of_at_least_64(
    ctx: OpContext, width: int, height: int, shape: tuple[int, int]
) -> None:
    latent = Latent(torch.rand(1, 4, 16, 24), noise_mask=torch.ones(1, 1, 128, 192), batch_index=(3,))
    resized = resize_latent(ctx, latent, "nearest-exact", width, height, "disabled")
    assert resized.samples.shape == (1, 4, *shape)
    assert resized.noise_mask is latent.noise_mask
    assert resized.batch_index == (3,)


def test_factors_round_half_to_even(ctx: OpContext) -> None:
    assert scale_image(ctx, torch.rand(1, 5, 7, 3), "area", 0.5).shape == (1, 2, 4, 3)  # 2.5 and 3.5
    assert scale_latent(ctx, Latent(torch.rand(1, 4, 5, 7)), "bislerp", 0.5).samples.shape == (1, 4, 2, 4)


def test_center_crop_keeps_the_aspect_of_the_target(ctx: OpContext) -> None:
    ramp = torch.arange(20.0).reshape(1, 1, 20, 1).expand(1, 10, 20, 3)
    cropped = resize_image(ctx, ramp, "nearest-exact", 10, 10, "center")
    assert cropped[0, 0, :, 0].tolist() == [float(v) for v in range(5, 15)]


def test_nothing_is_resized_to_nothing(ctx: OpContext) -> None:
    with pytest.raises(RunError, match="cannot resize to 0 x 0"):
        scale_image(ctx, torch.rand(1, 8, 8, 3), "bilinear", 0.01)
    with pytest.raises(RunError, match="unknown resize method: expected nearest-exact"):
        resample(torch.rand(1, 3, 8, 8), 4, 4, "magic")


def slerp_in_double(a: torch.Tensor, b: torch.Tensor, t: float) -> torch.Tensor:
    """The textbook formula, on one pair of vectors."""
    a, b = a.double(), b.double()
    angle = torch.acos((a / a.norm()) @ (b / b.norm()))
    turned = torch.sin((1 - t) * angle) * a / a.norm() + torch.sin(t * angle) * b / b.norm()
    direction: torch.Tensor = turned / torch.sin(angle)
    length: torch.Tensor = a.norm() * (1 - t) + b.norm() * t
    return direction * length


def test_bislerp_turns_directions_and_mixes_lengths() -> None:
    torch.manual_seed(0)
    pair = torch.randn(1, 4, 1, 2)
    wide = resample(pair, 1, 4, "bislerp")  # at -0.25, 0.25, 0.75, 1.25: the ends are clamped
    a, b = pair[0, :, 0, 0], pair[0, :, 0, 1]
    for place, t in ((1, 0.25), (2, 0.75)):
        assert torch.allclose(wide[0, :, 0, place].double(), slerp_in_double(a, b, t), atol=1e-5)
    assert torch.allclose(wide[0, :, 0, 0], a, atol=1e-6)
    assert torch.allclose(wide[0, :, 0, 3], b, atol=1e-6)


def test_bislerp_of_equal_opposite_and_zero_vectors_is_finite() -> None:
    a = torch.tensor([1.0, 2.0, 3.0, 4.0])
    for b, middle in ((a, a), (-a, torch.zeros(4)), (torch.zeros(4), None)):
        pair = torch.stack([a, b], dim=1).reshape(1, 4, 1, 2)
        result = resample(pair, 1, 3, "bislerp")
        assert torch.isfinite(result).all()
        if middle is not None:
            assert torch.allclose(result[0, :, 0, 1], middle, atol=1e-6)


def test_bislerp_of_the_same_size_changes_nothing() -> None:
    x = torch.randn(2, 4, 5, 6)
    assert torch.allclose(resample(x, 5, 6, "bislerp"), x, atol=1e-6)


def test_resizing_leaves_the_number_of_threads_alone() -> None:
    """Of the process too: threads that begin while two sessions resize get as many as before."""
    x, before = torch.rand(1, 3, 64, 64), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        busy = [Thread(target=lambda: [resample(x, 80, 80, "bilinear") for _ in range(200)]) for _ in range(2)]
        for thread in busy:
            thread.start()
        seen = set()
        while any(thread.is_alive() for thread in busy):
            seen.add(_threads_of_a_new_thread())
        assert seen | {_threads_of_a_new_thread(), torch.get_num_threads()} == {2}
    finally:
        torch.set_num_threads(before)


def _threads_of_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as fresh:
        return fresh.submit(torch.get_num_threads).result()
