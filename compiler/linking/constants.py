"""Computes folded values: runs the steps behind them at compile time, with every parameter at its default."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from compiler.linking.link import Linker
from graphs.errors import RunError
from graphs.program import Program, Step
from runtime.context import OpContext
from runtime.engines import Engines, Leases
from runtime.executor import execute, select
from runtime.ops import op_function
from runtime.sampling.batching import alone


class ConstantFolder:
    """A compiler.passes.driver.Folder. tensors: what constants.safetensors has to hold, by key.

    engines: the pool that the networks are borrowed from. embeddings: see OpContext.
    """

    def __init__(self, linker: Linker, engines: Engines, compat: str, embeddings: Mapping[str, Path]) -> None:
        self._linker, self._engines = linker, engines
        self._compat, self._embeddings = compat, embeddings
        self.tensors: dict[str, torch.Tensor] = {}

    def __call__(self, program: Program, wanted: Mapping[str, str]) -> Mapping[str, str | None]:
        instructions = select(program, keep=tuple(wanted), effects=False)
        called = sorted({name for i in instructions for name in i.step.networks.values()})
        bindings = {name: self._linker.bind(program.networks[name]) for name in called}
        with self._engines.turn(bindings.values()), Leases(self._engines, bindings) as leases:
            run = execute(
                instructions,
                op=op_function,
                context=lambda step: self._context(step, program, leases),
                params={name: parameter.default for name, parameter in program.parameters.items()},
                constants=self.tensors,
                keep=tuple(wanted),
            )
            outcome = alone(run)
        return {name: self._keep(key, outcome.values[name]) for name, key in wanted.items()}

    def _keep(self, key: str, value: torch.Tensor | None) -> str | None:
        if value is None:
            return None
        if not torch.isfinite(value).all():
            hint = "is the checkpoint damaged?"
            raise RunError("a value computed while compiling is not finite", where=key, hint=hint)
        self.tensors[key] = value.detach().cpu().contiguous().clone()
        return key

    def _context(self, step: Step, program: Program, leases: Leases) -> OpContext:
        nowhere = Path(tempfile.gettempdir())  # foldable ops are pure: they read and write no files
        return OpContext(
            attrs=step.attrs,
            module=lambda role: leases.module(step.networks[role]),
            device=torch.device(self._engines.device),
            compat=self._compat,
            node=step.nodes[0] if step.nodes else step.id,
            progress=lambda done, total: None,
            input_dir=nowhere,
            output_dir=nowhere,
            temp_dir=nowhere,
            embeddings=self._embeddings,
            model=program.facts_of(step),
        )
