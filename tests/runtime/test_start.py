"""The runtime starts without the compiler's libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("networkx", "onnx", "onnxruntime", "transformers", "compiler", "PIL", "scipy", "tokenizers")


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sorted(m.partition('.')[0] for m in sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(out.stdout.split())


def test_importing_the_runtime_loads_no_compiler() -> None:
    assert loaded_after("import runtime, runtime.session").isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["graphs.plan_json", "graphs.nodes", "graphs.parameters"])
def test_the_language_needs_no_tensors(module: str) -> None:
    loaded = loaded_after(f"import {module}")
    assert loaded.isdisjoint({*HEAVY, "torch", "numpy", "safetensors", "runtime"})
