"""A saved torch.export program, run by torch on the CPU or an NVIDIA GPU: in float32 the reference.

An engine is the program without weights; the weight files are mapped in as its parameters when it is loaded. In fp16
and bf16 the program holds the casts (compiler/exporting/precision.py). No network code at run time.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch

from graphs.errors import DeviceError, PlanError, RunError, UsageError
from runtime.backends.archive_check import HoldsCodeError, without_code
from runtime.backends.backend import Availability, EngineSpec, LoadSpec, NetworkModel, Progress
from runtime.backends.saved_programs import load_program, named_arguments, on_device
from runtime.mapped import require_fit
from runtime.network_weights import NetworkWeights


class EagerModule:
    """weights: by name, in the order of the program's first placeholders; the user's inputs follow, by name."""

    def __init__(
        self, call: torch.fx.GraphModule, weights: dict[str, torch.Tensor], inputs: tuple[str, ...],
        outputs: tuple[str, ...], device: torch.device,
    ) -> None:
        self._call, self._weights, self._device = call, {n: w.to(device) for n, w in weights.items()}, device
        self._inputs, self._outputs = inputs, outputs

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        try:
            given = [inputs[name].to(self._device) for name in self._inputs]
        except KeyError as error:
            raise RunError("an input is missing", where="eager module", expected=", ".join(self._inputs)) from error
        try:
            with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
                results = self._call(*self._weights.values(), *given)
        except RuntimeError as error:
            raise RunError(f"torch: {error}", where="eager module") from error
        return dict(zip(self._outputs, results, strict=True))

    def set_weights(self, changed: Mapping[str, torch.Tensor]) -> None:
        for name, tensor in changed.items():
            require_fit(name, tensor, self._weights.get(name))
        self._weights |= {name: tensor.to(self._device) for name, tensor in changed.items()}

    def close(self) -> None:
        self._weights = {}


class EagerBackend:
    name = "eager"
    form = "exported-program"
    profiled = False
    weights_inside = False
    reentrant = True

    def available(self) -> Availability:
        devices = f"CPU and {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "CPU"
        return Availability(True, True, torch.__version__, f"torch on {devices}")

    def fingerprint(self, spec: EngineSpec) -> str:
        return f"eager torch-{torch.__version__.partition('+')[0]} {spec.precision}"

    def check(self, spec: EngineSpec) -> None:
        if spec.precision not in ("fp32", "fp16", "bf16"):
            raise UsageError("unknown precision", expected="fp32, fp16, bf16", got=spec.precision)
        if spec.device == "cuda" and not torch.cuda.is_available():
            raise DeviceError("torch sees no NVIDIA GPU", hint="install torch with CUDA and the NVIDIA driver")

    def build(self, model: NetworkModel, spec: EngineSpec, progress: Progress | None = None) -> bytes:
        self.check(spec)
        return _bundle(model)

    def load(self, engine: Path, weights: NetworkWeights, spec: LoadSpec) -> EagerModule:
        """Runs with torch's threads and torch's allocator; spec.threads and spec.arena are for other libraries."""
        program, inputs, outputs = _unbundle(engine.read_bytes())
        named = named_arguments(program)
        mapped = weights.tensors(spec.device)
        order = [n.name for n in program.graph.nodes if n.op == "placeholder"]
        try:
            ordered = {named[name]: mapped[named[name]] for name in order if name in named}
        except KeyError as error:
            raise PlanError(
                "the weight file lacks a weight of the network", where=str(weights), expected=str(error.args[0])
            ) from error
        if len(order) - len(ordered) != len(inputs):
            raise PlanError("the saved program has other inputs than its engine says", hint="compile the plan again")
        device = torch.device(spec.device)
        with torch.inference_mode(False):
            return EagerModule(on_device(program.graph_module, spec.device), ordered, inputs, outputs, device)


def _bundle(model: NetworkModel) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as bundle:
        for name, content in (
            ("program.pt2", model.graph),
            ("inputs", "\n".join(s.name for s in model.inputs).encode()),
            ("outputs", "\n".join(s.name for s in model.outputs).encode()),
        ):
            bundle.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return file.getvalue()


def _unbundle(engine: bytes) -> tuple[torch.export.ExportedProgram, tuple[str, ...], tuple[str, ...]]:
    try:
        with zipfile.ZipFile(io.BytesIO(engine)) as bundle:
            program = load_program(without_code(bundle.read("program.pt2")))
            inputs, outputs = (tuple(bundle.read(n).decode().splitlines()) for n in ("inputs", "outputs"))
    except HoldsCodeError as error:
        hint = "compile the plan again"
        raise PlanError("the engine holds code, and is not loaded", got=str(error), hint=hint) from None
    except (zipfile.BadZipFile, KeyError, UnpicklingError, RuntimeError, ValueError) as error:
        raise PlanError(
            f"not an engine of the eager backend: {error}", hint="compile the plan again with this version of torch"
        ) from error
    return program, inputs, outputs
