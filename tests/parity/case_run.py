"""One recorded case through comfyc's own compile and run."""

from __future__ import annotations

import gc
import math
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from comfyc.running import Opened, compiled, open_plan, run_once
from graphs.errors import ComfycError
from tests.parity.cases import INPUTS, Case
from tests.parity.comparison import Distance, compare
from tests.parity.eight_bit import Conversions, Flip, explained, observed
from tests.parity.kept_engines import kept_engines
from tests.parity.layouts.files import layout_of
from tests.parity.make_ckpt import write, write_stand_in
from tests.parity.not_yet import reason_not_yet

OK, OFF, NOT_YET = "ok", "off", "not yet"


@dataclass(frozen=True)
class Result:
    """One case: how near, and the seconds that compiling (engines may come from the store) and running took.

    reason: of `not yet`, as comfyc's error says it. flips: values beside an 8-bit step that had to be put on its other
    side (tests/parity/eight_bit.py), of `eight_bit` values that the run converted; latent_as_run: the distance without
    that. peak_rss_bytes: of the process that compiled and ran the case, where it had one of its own; None elsewhere.
    """

    case: str
    status: str
    distance: Distance
    compile_seconds: float = 0.0
    run_seconds: float = 0.0
    reason: str = ""
    flips: tuple[str, ...] = ()
    eight_bit: int = 0
    latent_as_run: float = 0.0
    peak_rss_bytes: int | None = None

    def off(self, problem: str) -> Result:
        return replace(self, status=OFF, distance=replace(self.distance, problem=problem))


def run_case(case: Case, backend: str, models: Path) -> Result:
    """Compiles and runs one case in scratch folders; an error of comfyc counts as out of bounds, or as `not yet`."""
    missing = [name for name in case.files if not (models / name).is_file()]
    with tempfile.TemporaryDirectory(prefix="comfyc-parity-") as scratch:
        folder = Path(scratch)
        began = time.perf_counter()
        try:
            if missing:
                return _without_files(case, missing, models, folder)
            options = {"backend": backend, "precision": "fp32", "compat": case.compat}
            plan = compiled(case.workflow, folder / "plan", [models], **options)
        except ComfycError as error:
            reason = reason_not_yet(error)
            nothing = Result(case.id, NOT_YET, Distance(), time.perf_counter() - began, reason=reason or "")
            return nothing if reason else nothing.off(_said(error))
        ready = time.perf_counter()
        result = _run(case, plan, models, folder)
    gc.collect()
    return replace(result, compile_seconds=ready - began)


def _said(error: ComfycError) -> str:
    return f"{type(error).__name__}: {error}"


def _without_files(case: Case, missing: list[str], models: Path, folder: Path) -> Result:
    """`not yet` where comfyc refuses the case for another reason than the absent files, told by stand-ins for them."""
    for name in missing:
        if name.endswith(".safetensors"):
            write_stand_in(folder / "stand-ins" / name, layout_of(name))
        else:
            write(folder / "stand-ins", name)
    compiled(case.workflow, folder / "plan", [models, folder / "stand-ins"], backend="null", compat=case.compat)
    return Result(case.id, OFF, Distance(problem=f"{', '.join(missing)} not in {models}: see tests/parity/prepare.py"))


def _run(case: Case, plan: Path, models: Path, folder: Path) -> Result:
    began = finished = time.perf_counter()
    conversions = Conversions()
    flips: tuple[Flip, ...] = ()
    try:
        with open_plan(plan, (), [models], INPUTS, kept_engines()) as opened:
            with observed() as conversions:
                distance = as_run = _distance(case, opened, folder / "output")
            finished = time.perf_counter()
            if not distance.within(case) and conversions.near:
                again = partial(_distance, case, opened, folder / "again")
                distance, flips = explained(case, distance, again, conversions.near)
    except ComfycError as error:
        distance = as_run = Distance(math.inf, 255, 0.0, problem=_said(error))
    return Result(
        case.id, OK if distance.within(case) else OFF, distance, run_seconds=max(0.0, finished - began),
        flips=tuple(map(str, flips)), eight_bit=conversions.values, latent_as_run=as_run.latent,
    )  # fmt: skip


def _distance(case: Case, opened: Opened, output: Path) -> Distance:
    shutil.rmtree(output, ignore_errors=True)  # names are numbered: a second run starts afresh
    files = run_once(opened, output).files
    latents = [Path(f.path) for f in files if f.kind == "latents"]
    return compare(case, latents, [Path(f.path) for f in files if f.kind == "images"])
