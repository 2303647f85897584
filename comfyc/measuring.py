"""What `comfyc bench` does: runs a plan again and again, and says how long pictures take and where the time goes."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from graphs.errors import RunError, UsageError

if TYPE_CHECKING:
    from comfyc.running import Opened
    from graphs.program import Program, Step
    from runtime.backends.backend import Progress

PHASES = ("load", "text", "sample", "decode", "save", "other")
_PHASE_OF = {
    "encode_text": "text", "project_context": "text", "make_vector": "text", "sample": "sample",
    "decode_latent": "decode", "decode_latent_u8": "decode", "save_image": "save", "preview_image": "save",
    "save_latent": "save",
}  # fmt: skip
_SIZES = ("width", "height", "batch_size")  # parameters of the nodes that make empty latents


@dataclass(frozen=True)
class Measured:
    """One run. seconds: from the request to the files on disk. phases: seconds of PHASES. steps: of sampling."""

    seconds: float
    phases: Mapping[str, float]
    pictures: tuple[Path, ...]
    steps: int


@dataclass(frozen=True)
class Measurement:
    """open_s: from the plan or the workflow to the open plan. first: the run that loads engines. runs: those after the
    warm-up. Peak bytes: of this process so far; of torch's allocator on the GPU, None on a CPU."""

    plan: str
    backend: str
    device: str
    open_s: float
    first: Measured
    runs: tuple[Measured, ...]
    peak_host_bytes: int | None
    peak_device_bytes: int | None
    params: Mapping[str, object] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Pictures of a run."""
        return max(1, len(self.runs[0].pictures))

    def per_image(self, share: float) -> float:
        """Seconds a picture that this share of the runs needed at most."""
        return quantile([run.seconds / self.images for run in self.runs], share)

    @property
    def images_per_s(self) -> float:
        return self.images * len(self.runs) / sum(run.seconds for run in self.runs)

    def phase(self, name: str) -> float:
        """Median seconds of a run."""
        return quantile([run.phases.get(name, 0.0) for run in self.runs], 0.5)

    @property
    def step_ms(self) -> float | None:
        """Milliseconds of a sampling step; None where nothing is sampled."""
        steps = self.runs[0].steps
        return 1000 * self.phase("sample") / steps if steps else None

    @property
    def first_picture_s(self) -> float:
        return self.open_s + self.first.seconds


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def sized(program: Program, width: int | None, height: int | None, batch: int | None) -> dict[str, int]:
    """Values for the parameters of the empty latents of a plan. Raises UsageError where a plan has none to set."""
    wanted = {k: v for k, v in zip(_SIZES, (width, height, batch), strict=True) if v is not None}
    found = {name: wanted[key] for name in program.parameters if (key := name.rpartition(".")[2]) in wanted}
    missing = sorted(set(wanted) - {name.rpartition(".")[2] for name in found})
    if missing:
        raise UsageError(
            "the plan has no parameter for that", expected="an empty latent with " + " and ".join(missing),
            got=", ".join(sorted(program.parameters)), hint="leave out --size and --batch, or use --set",
        )  # fmt: skip
    return found


def measure(
    opened: Opened, open_s: float, output_dir: Path, *, repeat: int, warmup: int, progress: Progress | None = None
) -> Measurement:
    """Runs a plan once, then `warmup` times, then `repeat` times. Raises what runs raise."""
    from runtime.memory import peak_rss_bytes

    session = opened.session
    reset_peak(session.engines.device)
    rows = [_run(opened, output_dir, progress) for _ in range(1 + warmup + repeat)]
    return Measurement(
        plan=str(opened.plan_dir), backend=session.plan.backend, device=device_name(session.engines.device),
        open_s=open_s, first=rows[0], runs=tuple(rows[1 + warmup :]), peak_host_bytes=peak_rss_bytes(),
        peak_device_bytes=peak_device_bytes(session.engines.device), params=dict(opened.params),
    )  # fmt: skip


def _run(opened: Opened, output_dir: Path, progress: Progress | None) -> Measured:
    """On a GPU each step waits for the one before, so that phases are what the GPU does in them."""
    session = opened.session
    cuda = session.engines.device.startswith("cuda")
    marks: list[tuple[str, float, float]] = []  # phase, when it began, seconds spent loading by then
    steps: dict[str, int] = {}

    def before(step: Step) -> None:
        _wait(cuda)
        marks.append((_PHASE_OF.get(step.op, "other"), time.perf_counter(), session.engines.load_s))

    def report(what: str, done: int, total: int) -> bool:
        if what.startswith("sample "):
            steps[what] = total
        return progress is None or progress(what, done, total)

    began = time.perf_counter()
    result = session.run(
        opened.params, input_dir=opened.input_dir, output_dir=output_dir, temp_dir=output_dir.parent / "temp",
        progress=report, on_step=before,
    )  # fmt: skip
    _wait(cuda)
    marks.append(("", time.perf_counter(), session.engines.load_s))
    phases = dict.fromkeys(PHASES, 0.0)
    for (phase, start, loaded), (_, end, then_loaded) in itertools.pairwise(marks):
        phases["load"] += then_loaded - loaded
        phases[phase] += end - start - (then_loaded - loaded)
    pictures = tuple(Path(f.path) for f in result.files if f.kind == "images")
    return Measured(marks[-1][1] - began, phases, pictures, sum(steps.values()))


def distance(picture: Path, reference: Path) -> dict[str, float]:
    """psnr_db (infinite for equal pictures) over 8-bit pixels, and the largest difference of one. Raises UsageError
    for pictures of different sizes, RunError for a file that is no picture."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        ours, theirs = (np.asarray(Image.open(p).convert("RGB"), np.float64) for p in (picture, reference))
    except (OSError, UnidentifiedImageError) as error:
        raise RunError(f"the reference picture cannot be read: {error}", where=str(reference)) from error
    if ours.shape != theirs.shape:
        sizes = [f"{s[1]}x{s[0]}" for s in (ours.shape, theirs.shape)]
        raise UsageError(
            "the reference picture has another size", where=str(reference), expected=sizes[0], got=sizes[1]
        )
    error_squared = float(((ours - theirs) ** 2).mean())
    psnr = 10 * math.log10(255**2 / error_squared) if error_squared else math.inf
    return {"psnr_db": psnr, "largest": float(abs(ours - theirs).max())}


def device_name(device: str) -> str:
    """With the GPU's own name: "cuda (NVIDIA H100 80GB HBM3)"."""
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device


def _wait(cuda: bool) -> None:
    if cuda:
        import torch

        torch.cuda.synchronize()


def reset_peak(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def peak_device_bytes(device: str) -> int | None:
    """Of torch's allocator, in which networks of the torch backends live; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    import torch

    return int(torch.cuda.max_memory_allocated(device))
