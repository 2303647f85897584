"""Exports that all tests of a run share, whatever stores they fill.

An export is a function of a network's kind, config, form and precision, and a trace one of kind and config alone: most
of what a compile of a narrow network costs, and many tests compile the same few. A test still has its own store, and
counts an export where its store lacks one. Compiles in child processes trace for themselves.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from compiler.exporting.export import Exported, trace
from compiler.linking import link
from compiler.linking.specialise import ResolvedNetwork
from compiler.networks import NETWORKS
from compiler.networks.network import Config
from runtime.backends.backend import TensorSpec
from runtime.store import Sink, Store, key_of

_KEPT = 12  # traces: a few tens of megabytes each


@lru_cache(_KEPT)
def traced(kind: str, config: Config) -> ExportedProgram:
    """A network without weights, for tests that want it in several forms or precisions."""
    definition = NETWORKS[kind]
    with torch.device("meta"):
        module = definition.module(config)
    return trace(module, definition.inputs(config))


class SharedExports:
    """folder: of all workers of a run."""

    def __init__(self, folder: Path) -> None:
        self._store = Store(folder, max_bytes=1 << 30)
        self._export, self._trace = link._export, trace
        self._traces: OrderedDict[tuple[str, str], ExportedProgram] = OrderedDict()
        self._traced = ("", "")  # kind and config of the network whose export is made

    def put_in(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(link, "_export", self.export)
        patch.setattr(link, "trace", self.trace)

    def export(self, network: ResolvedNetwork, form: str, precision: str) -> Exported:
        def make(sink: Sink) -> None:
            self._traced = network.use.kind, repr(network.config)
            sink.write(pickle.dumps(self._export(network, form, precision)))

        key = key_of("graph", network.use.kind, repr(network.config), form, precision, link._code_hash())
        exported = pickle.loads(self._store.get_or_make(key, make)[0].path.read_bytes())
        assert isinstance(exported, Exported)
        return exported

    def trace(self, module: nn.Module, inputs: Sequence[TensorSpec]) -> ExportedProgram:
        found = self._traces.pop(self._traced, None) or self._trace(module, inputs)
        self._traces[self._traced] = found
        if len(self._traces) > _KEPT:
            self._traces.popitem(last=False)
        return found
