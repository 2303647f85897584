"""Computes folded values: runs the steps behind them at compile time, with every parameter at its default."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from compiler.linking.link import Linker
from graphs.errors import RunError
from graphs.plan import NetworkBinding, Plan
from graphs.program import Program, Step
from runtime.artifacts import StoreArtifacts
from runtime.backends import backend
from runtime.context import OpContext
from runtime.engines import Modules
from runtime.executor import execute, select
from runtime.ops import op_function
from runtime.store import Store

PlanOf = Callable[[Program, Mapping[str, NetworkBinding]], Plan]  # a plan of this program with these bindings


class ConstantFolder:
    """A compiler.passes.driver.Folder. tensors: what constants.safetensors has to hold, by key."""

    def __init__(
        self, linker: Linker, store: Store, plan_of: PlanOf, embeddings: Mapping[str, Path]
    ) -> None:
        self._linker, self._store, self._plan_of, self._embeddings = linker, store, plan_of, embeddings
        self.tensors: dict[str, torch.Tensor] = {}

    def __call__(self, program: Program, wanted: Mapping[str, str]) -> Mapping[str, str | None]:
        instructions = select(program, keep=tuple(wanted), effects=False)
        called = {name for i in instructions for name in i.step.networks.values()}
        plan = self._plan_of(program, {name: self._linker.bind(program.networks[name]) for name in sorted(called)})
        modules = Modules(plan, StoreArtifacts(self._store), backend)
        try:
            with torch.inference_mode():
                outcome = execute(
                    instructions,
                    op=op_function,
                    context=lambda step: _context(step, plan, modules, self._embeddings),
                    params={name: parameter.default for name, parameter in program.parameters.items()},
                    constants=self.tensors,
                    keep=tuple(wanted),
                )
        finally:
            modules.close()
        return {name: self._keep(key, outcome.values[name]) for name, key in wanted.items()}

    def _keep(self, key: str, value: torch.Tensor | None) -> str | None:
        if value is None:
            return None
        if not torch.isfinite(value).all():
            hint = "is the checkpoint damaged?"
            raise RunError("a value computed while compiling is not finite", where=key, hint=hint)
        self.tensors[key] = value.detach().cpu().contiguous().clone()
        return key


def _context(step: Step, plan: Plan, modules: Modules, embeddings: Mapping[str, Path]) -> OpContext:
    nowhere = Path(tempfile.gettempdir())  # foldable ops are pure: they read and write no files
    return OpContext(
        attrs=step.attrs,
        module=lambda role: modules.get(step.networks[role]),
        device=torch.device(plan.device),
        compat=plan.compat,
        node=step.nodes[0] if step.nodes else step.id,
        progress=lambda done, total: None,
        input_dir=nowhere,
        output_dir=nowhere,
        temp_dir=nowhere,
        embeddings=embeddings,
        model=plan.program.models[step.model].facts if step.model is not None else {},
    )
