"""What `comfyc demo` does: installs the demo model, draws captions and shows every major path on one contact sheet."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from comfyc.wording import bytes_text, seconds_text

if TYPE_CHECKING:
    from comfyc.running import Opened
    from compiler.linking.link import Counts
    from runtime.backends.backend import Progress

CFG, NEGATIVE, SIDE = 4.0, "", 256  # what the demo model draws best with
FOLDER = Path(__file__).parent / "demo_model"
INPUTS = FOLDER / "inputs"
TEXT, SEED = "6.text", "3.seed"  # parameters that every workflow of the demo has


@dataclass(frozen=True)
class Panel:
    """One picture of the sheet. workflow: a file of demo_model/workflows; settings: NODE.INPUT -> value; beside: an
    input picture to show in a corner."""

    label: str
    workflow: str = "text_to_image"
    settings: Mapping[str, str] = field(default_factory=dict)
    beside: str | None = None


def caption(text: str, seed: int) -> Panel:
    return Panel(text, settings={TEXT: text, SEED: str(seed)})


PANELS = (
    caption("two red circles on a blue background", 1),
    caption("a small green square left of a yellow triangle on a black background", 4),
    caption("a large smiling yellow circle on a purple background", 5),
    caption("three pink hearts on a white background", 5),
    caption("a striped orange circle above a blue cross on a grey background", 2),
    caption("two white stars and a red heart on a green background", 3),
    Panel("image to image, from a scribble", "image_to_image", beside="sketch.png"),
    Panel("inpainting: a red heart into the right half", "inpaint", beside="hole.png"),
    Panel("LoRA: outlines", "lora"),
    Panel("ControlNet: five white stars on contours", "controlnet", beside="contours.png"),
    Panel("second checkpoint: two red circles, pastel", "second_checkpoint"),
    Panel("inversion: embedding:starry-night", "embedding"),
)


@dataclass(frozen=True)
class Shown:
    """What there is to look at. seconds: of the first picture by phase, and of the whole sheet where one was made."""

    models: Path
    pictures: tuple[Path, ...]
    sheet: Path | None
    seconds: Mapping[str, float]


class Demonstration:
    """Draws panels, keeping the plan open while panels share it. say: one line a phase, for people."""

    def __init__(self, output_dir: Path, backend: str, progress: Progress, say: Callable[[str], None]) -> None:
        self.output_dir, self.progress, self.say = output_dir, progress, say
        self.chosen = {"backend": backend, "precision": "auto"}
        self.models = self._install()
        self.seconds: dict[str, float] = {}
        self._open: tuple[str, Opened] | None = None

    def _install(self) -> Path:
        from comfyc.demo_model import install
        from runtime.store_settings import default_root

        began = time.perf_counter()
        models = install(default_root() / "demo-models")
        size = sum(path.stat().st_size for path in models.rglob("*.safetensors"))
        self.say(f"model     {seconds_text(time.perf_counter() - began):>8}  {models} ({bytes_text(size)})")
        return models

    def draw(self, panel: Panel, settings: Sequence[tuple[str, str]] = ()) -> Path:
        """The picture of a panel. Raises what compiling and running raise."""
        from comfyc.running import run_once

        began = time.perf_counter()
        opened = self._opened(panel, settings)
        ready = time.perf_counter()
        result = run_once(opened, self.output_dir, self.progress)
        ran = time.perf_counter() - ready
        load, run = (seconds_text(result.seconds[phase]) for phase in ("load", "run"))
        phases = f"load {load}, sample and decode {run}"
        self.say(f"picture   {seconds_text(time.perf_counter() - began):>8}  {panel.label} ({phases})")
        if not self.seconds:
            self.seconds = {"ready": round(ready - began, 3), "draw": round(ran, 3)}
        return next(Path(f.path).resolve() for f in result.files if f.kind == "images")

    def _opened(self, panel: Panel, settings: Sequence[tuple[str, str]]) -> Opened:
        from comfyc.running import open_workflow

        chosen = [*panel.settings.items(), *settings]
        if self._open is not None and self._open[0] == panel.workflow and not settings:
            opened = self._open[1]
            opened.params = dict(chosen)
            return opened
        self.close()
        workflow = FOLDER / "workflows" / f"{panel.workflow}.json"
        began = time.perf_counter()
        opened = open_workflow(workflow, chosen, [self.models], INPUTS, None, self.chosen, self.progress)
        self._open = (panel.workflow, opened)
        plan = opened.session.plan
        networks = ", ".join(sorted({use.kind for use in plan.program.networks.values()}))
        took = seconds_text(time.perf_counter() - began)
        self.say(f"compile   {took:>8}  {panel.workflow}: {_work(opened.counts)}")
        self.say(f"                    {len(plan.program.steps)} steps on {plan.backend}; networks {networks}")
        return opened

    def close(self) -> None:
        if self._open is not None:
            self._open[1].session.close()
            self._open = None


def _work(counts: Counts | None) -> str:
    """What compiling had to do."""
    if counts is None:
        return "found, compiled before"
    work = (
        (counts.exports, "exported", "export"),
        (counts.builds, "built", "build"),
        (counts.weights, "weight files", "weights"),
    )
    parts = [f"{n} {what} {seconds_text(counts.seconds.get(phase, 0.0))}" for n, what, phase in work if n]
    return ", ".join(parts) or "every engine was there"


def demonstrate(
    output_dir: Path, backend: str, text: str | None, settings: Sequence[tuple[str, str]], progress: Progress,
    say: Callable[[str], None],
) -> Shown:  # fmt: skip
    """Draws one caption (text, or any settings), or all panels and the contact sheet."""
    from comfyc.contact_sheet import contact_sheet

    began = time.perf_counter()
    demo = Demonstration(output_dir, backend, progress, say)
    sheet: Path | None = None
    pictures: tuple[Path, ...]
    try:
        if text is not None or settings:
            pictures = (demo.draw(caption(text, 1) if text is not None else PANELS[0], settings),)
        else:
            pictures = tuple(demo.draw(panel) for panel in PANELS)
            sheet = contact_sheet(output_dir / "demo_sheet.png", [
                (picture, panel.label, INPUTS / panel.beside if panel.beside else None)
                for picture, panel in zip(pictures, PANELS, strict=True)
            ])  # fmt: skip
    finally:
        demo.close()
    seconds = {**demo.seconds, "all": round(time.perf_counter() - began, 3)}
    return Shown(demo.models, pictures, sheet, seconds)
