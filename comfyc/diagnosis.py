"""What `comfyc doctor` looks at: one function per question, each answering with findings."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from comfyc.wording import bytes_text, count_text
from graphs.errors import ComfycError

if TYPE_CHECKING:
    from collections.abc import Sequence

OK, WARN, FAIL = "ok", "warn", "fail"

MIN_PYTHON = (3, 11)
WANTED_MEMORY_BYTES = 6 << 30  # an SD1.5 checkpoint in float32 and its activations
WANTED_DISK_BYTES = 8 << 30  # engines and weights of one checkpoint, with room to write them
CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "f16c", "fma", "asimd", "sve")


@dataclass(frozen=True)
class Finding:
    """One answer. status: "ok", "warn" (works, could be better) or "fail" (does not work); hint: what to do."""

    topic: str
    name: str
    status: str
    detail: str
    hint: str = ""


def version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def python_findings() -> Iterator[Finding]:
    status = OK if sys.version_info >= MIN_PYTHON else FAIL
    detail = f"{platform.python_version()} ({sys.executable})"
    yield Finding("python", "python", status, detail, "" if status == OK else "install Python 3.11 or newer")
    yield Finding("python", "system", OK, f"{platform.system()} {platform.release()} {platform.machine()}")


def torch_findings() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", "torch", FAIL, f"cannot be imported: {error}", "reinstall it: pip install torch")
        return
    yield Finding("torch", "torch", OK, f"{torch.__version__}, {count_text(torch.get_num_threads(), 'thread')}")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            detail = f"{device.name}, sm{device.major}{device.minor}, {bytes_text(device.total_memory)}"
            yield Finding("torch", f"cuda:{index}", OK, f"{detail}, {driver_version()}")
    elif _nvidia_present():
        yield Finding(
            "torch",
            "cuda",
            WARN,
            "there is an NVIDIA GPU but this torch cannot use it",
            "install a CUDA build of torch (and a driver that fits it)",
        )
    else:
        yield Finding("torch", "cuda", OK, "no NVIDIA GPU: the CPU is used")


def onnxruntime_findings() -> Iterator[Finding]:
    try:
        import runtime  # noqa: F401  sets what onnxruntime reads when it is imported
        import onnxruntime  # isort: skip
    except (ImportError, OSError) as error:
        yield Finding("onnxruntime", "onnxruntime", FAIL, f"cannot be imported: {error}", "pip install onnxruntime")
        return
    providers = ", ".join(p.removesuffix("ExecutionProvider") for p in onnxruntime.get_available_providers())
    yield Finding("onnxruntime", "onnxruntime", OK, f"{onnxruntime.__version__}, providers: {providers}")


def tensorrt_findings() -> Iterator[Finding]:
    from runtime.backends.tensorrt import TARGETS, TensorRtBackend

    state = TensorRtBackend().available()
    if not state.can_build:
        yield Finding("tensorrt", "tensorrt-rtx", OK, f"{state.reason}: no engines for GPUs are built", state.hint)
        return
    detail = f"{state.version}, builds engines for {', '.join(TARGETS)}; {state.reason}"
    yield Finding("tensorrt", "tensorrt-rtx", OK, detail)


def backend_findings() -> Iterator[Finding]:
    """What each backend of torch can do here, and on which device."""
    from runtime.backends import backend

    for name in ("eager", "inductor"):
        try:
            state = backend(name).available()
        except (ImportError, OSError) as error:
            yield Finding("backends", name, FAIL, f"cannot be used: {error}", "reinstall torch")
            continue
        can = {(True, True): "compiles and runs", (False, True): "runs, does not compile"}
        detail = can.get((state.can_build, state.can_run), "not usable here")
        yield Finding("backends", name, OK, f"{detail}: {state.reason}", "" if state.can_build else state.hint)


def machine_findings() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    flags = _cpu_flags()
    shown = " ".join(f for f in CPU_FLAGS if f in flags)
    slow = platform.machine() in ("x86_64", "AMD64") and bool(flags) and "avx2" not in flags
    yield Finding(
        "machine",
        "cpu",
        WARN if slow else OK,
        f"{count_text(cores, 'core')}{', ' + shown if shown else ''}",
        "without AVX2 expect it to be several times slower" if slow else "",
    )
    memory = _memory()
    if memory is None:
        yield Finding("machine", "memory", WARN, "cannot be read on this system")
    else:
        total, free = memory
        low = free < WANTED_MEMORY_BYTES
        yield Finding(
            "machine",
            "memory",
            WARN if low else OK,
            f"{bytes_text(free)} free of {bytes_text(total)}",
            f"full-size SD1.5 wants about {bytes_text(WANTED_MEMORY_BYTES)}" if low else "",
        )


def disk_finding(folder: Path) -> Finding:
    """Free space where the store is (or will be made)."""
    place = next((p for p in (folder, *folder.parents) if p.exists()), Path("/"))
    free = shutil.disk_usage(place).free
    low = free < WANTED_DISK_BYTES
    if not os.access(place, os.W_OK):
        return Finding("store", "folder", FAIL, f"{folder} may not be written", "set COMFYC_CACHE to a folder of yours")
    return Finding(
        "store",
        "disk",
        WARN if low else OK,
        f"{bytes_text(free)} free at {folder}",
        "make room, or set COMFYC_CACHE to a bigger disk" if low else "",
    )


def folder_findings(models: Sequence[Path]) -> Iterator[Finding]:
    from comfyc.sources import folders_of

    try:
        folders = folders_of(models)
    except ComfycError as error:
        yield Finding("models", "folders", FAIL, str(error), "give --models a folder that exists")
        return
    if not folders.roots:
        yield Finding(
            "models",
            "folders",
            WARN,
            "none: --models and COMFYC_MODELS are not set, there is no ./models",
            "point one of them at a models folder, a ComfyUI folder or its extra_model_paths.yaml",
        )
        return
    yield Finding("models", "folders", OK, ", ".join(str(r) for r in folders.roots))
    counts = {kind: len(folders.list(kind)) for kind in folders.kinds}
    for kind in ("checkpoints", "vae", "loras", "embeddings"):
        empty = kind == "checkpoints" and not counts.get(kind)
        yield Finding(
            "models",
            kind,
            WARN if empty else OK,
            count_text(counts.get(kind, 0), "file"),
            "put a Stable Diffusion 1.5 checkpoint into checkpoints/" if empty else "",
        )
    others = {k: n for k, n in counts.items() if n and k not in ("checkpoints", "vae", "loras", "embeddings")}
    if others:
        yield Finding("models", "others", OK, ", ".join(f"{k} {n}" for k, n in others.items()))


def _nvidia_present() -> bool:
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def driver_version(file: Path = Path("/proc/driver/nvidia/version")) -> str:
    """The NVIDIA driver's version, where the system says: "driver 580.159.04"."""
    try:
        text = file.read_text("utf-8", errors="replace")
    except OSError:
        text = _answer_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    found = re.search(r"\d{3}\.\d+(\.\d+)?", text)
    return f"driver {found[0]}" if found else "driver of unknown version"


def _answer_of(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _cpu_flags() -> frozenset[str]:
    """The CPU's feature names on Linux; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return frozenset()
    line = next((li for li in text.splitlines() if li.lower().startswith(("flags", "features"))), "")
    return frozenset(line.partition(":")[2].split())


def _memory() -> tuple[int, int] | None:
    """(total, available) bytes on Linux; None elsewhere. A container's limit counts."""
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    except OSError:
        return None
    sizes = {k: int(v.split()[0]) * 1024 for k, _, v in (line.partition(":") for line in lines) if v}
    total, free = sizes.get("MemTotal", 0), sizes.get("MemAvailable", 0)
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no limit
        return total, free
    return min(total, limit), min(free, max(0, limit - used))
