"""Finds or makes the engine and the weights of each network of a program, in the store.

    config, form, precision      -> exported graph   (one per architecture)
    exported graph, engine spec  -> engine           (one per architecture, backend and profile; per weight file
                                                      where a backend can only build engines with the weights inside)
    files, initializer table     -> weight files     (one per checkpoint, one of factors per LoRA, one per merge)

So a second checkpoint of an architecture, or another LoRA strength, exports nothing and, where weights stay outside,
builds nothing.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import struct
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from compiler.exporting.export import Exported, Initializer, emit, form_version, trace
from compiler.linking.casting import FindFile
from compiler.linking.engine_sizes import network_profile
from compiler.linking.known import Known, identity
from compiler.linking.specialise import ResolvedNetwork, resolve_network
from compiler.linking.weights import materialise
from compiler.models.weights_tree import layered, weights_hash
from graphs.plan import EngineRef, NetworkBinding, Profile, WeightRef
from graphs.program import NetworkUse
from runtime import tensor_header
from runtime.artifacts import StoreArtifacts
from runtime.backends.backend import Backend, EngineSpec, NetworkModel, Progress, TensorSpec
from runtime.store import Sink, Store, key_of

log = logging.getLogger(__name__)

Json = Any


@dataclass(frozen=True)
class Target:
    """What engines are made for. parts: part of a checkpoint ("vae") -> its precision, where it is another."""

    backend: Backend
    precision: str
    device: str
    profile: Profile
    targets: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)

    def precision_of(self, part: str) -> str:
        return self.parts.get(part, self.precision)

    def check(self) -> None:
        """Refuses what the backend cannot build for. Raises UsageError, DeviceError."""
        self.backend.check(EngineSpec(precision=self.precision, device=self.device, targets=self.targets))


@dataclass
class Counts:
    """What a link had to do, as opposed to find: tests and reports count it."""

    exports: int = 0
    builds: int = 0
    weights: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, phase: str, seconds: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds


class Linker:
    """Binds networks one by one, each once. counts: to count into, when several linkers share them. known: what was
    bound before, by this linker and others. Not thread-safe."""

    def __init__(
        self, target: Target, store: Store, find: FindFile, progress: Progress | None = None,
        counts: Counts | None = None, known: Known | None = None,
    ) -> None:  # fmt: skip
        self._target, self._store, self._find = target, store, find
        self._progress = progress
        self._known = known if known is not None else Known()
        sizes = target.profile if target.backend.profiled else None
        built_for = (target.backend.name, target.precision, target.device, sizes, target.targets)
        self._decides = (store.root, *built_for)
        self.counts = counts if counts is not None else Counts()

    def bind(self, use: NetworkUse) -> NetworkBinding:
        """Raises ModelMissingError, CheckpointError, ExportError, BuildError, DeviceError, StoreError;
        KeyboardInterrupt where the progress callback cancels."""
        key = (self._decides, identity(use, self._find))
        binding = self._known.get(key, self._store)
        if binding is None:
            binding = self._bind(use)
            self._known.put(key, binding)
        return binding

    def _bind(self, use: NetworkUse) -> NetworkBinding:
        network = resolve_network(use, self._find)
        exported, graph_key = self._export(network)
        hashes = weights_hash(use.weights, self._find)
        self._report("weights", use.id)
        started = time.perf_counter()
        before = self._store.made
        weights = self._weights(network, exported, hashes)
        self.counts.weights += self._store.made - before
        self.counts.add("weights", time.perf_counter() - started)
        engine = self._build(network, exported, graph_key, weights)
        return NetworkBinding(engine, weights)

    def _weights(
        self, network: ResolvedNetwork, exported: Exported, hashes: tuple[tuple[str, str], ...]
    ) -> WeightRef:
        layers = layered(network.use.weights, network.definition.part, self._find)
        return materialise(exported.initializers, layers, self._store, hashes)

    def _export(self, network: ResolvedNetwork) -> tuple[Exported, str]:
        form, precision = self._target.backend.form, self._target.precision_of(network.definition.part)
        key = key_of("graph", network.use.kind, repr(network.config), form, precision, _code_hash(), form_version(form))

        def make(sink: Sink) -> None:
            self._report("export", network.use.id)
            started = time.perf_counter()
            sink.write(_packed(_export(network, form, precision)))
            self.counts.exports += 1
            self.counts.add("export", time.perf_counter() - started)

        entry, _ = self._store.get_or_make(key, make)
        inputs, outputs = network.definition.inputs(network.config), network.definition.outputs(network.config)
        return _unpacked(entry.path.read_bytes(), form, precision, inputs, outputs), key

    def _build(self, network: ResolvedNetwork, exported: Exported, graph_key: str, weights: WeightRef) -> EngineRef:
        target = self._target
        spec = EngineSpec(
            precision=target.precision_of(network.definition.part),
            device=target.device,
            profile=network_profile(
                network.definition, network.config, target.profile, network.architecture.family
            ),
            targets=target.targets,
        )
        fingerprint = target.backend.fingerprint(spec)
        sizes = json.dumps(spec.profile, sort_keys=True) if target.backend.profiled else ""
        made_of = [[layer.sha256, layer.strength] for layer in weights.layers]
        inside = json.dumps(made_of) if target.backend.weights_inside else ""
        key = key_of("engine", graph_key, fingerprint, sizes, json.dumps(target.targets), inside)

        def make(sink: Sink) -> None:
            self._report("build", network.use.id)
            started = time.perf_counter()
            with StoreArtifacts(self._store).weights(weights) as layers:
                files = layers.files() if target.backend.weights_inside else layers.whole
                model = NetworkModel(network.use.kind, exported.graph, exported.inputs, exported.outputs, files)
                sink.write(target.backend.build(model, spec, self._progress))
            self.counts.builds += 1
            self.counts.add("build", time.perf_counter() - started)

        entry, _ = self._store.get_or_make(key, make)
        return EngineRef(
            key=entry.key,
            sha256=entry.sha256,
            size_bytes=entry.size_bytes,
            backend=target.backend.name,
            fingerprint=fingerprint,
            precision=spec.precision,
            device=spec.device,
            profile=spec.profile if target.backend.profiled else {},
            targets=spec.targets,
            architecture={"kind": network.use.kind, **_plain(asdict(network.config))},
            inputs={s.name: (s.dtype, s.shape) for s in exported.inputs},
            outputs={s.name: (s.dtype, s.shape) for s in exported.outputs},
        )

    def _report(self, phase: str, what: str) -> None:
        """Tells how far the link is; a refusal cancels it."""
        if self._progress is not None and not self._progress(f"{phase} {what}", 0, 0):
            raise KeyboardInterrupt


def _export(network: ResolvedNetwork, form: str, precision: str) -> Exported:
    import torch

    definition, config = network.definition, network.config
    with torch.device("meta"):
        module = definition.module(config)
    inputs, outputs = definition.inputs(config), definition.outputs(config)
    return emit(trace(module, inputs), form, inputs, outputs, precision)


@functools.cache
def _code_hash() -> str:
    """Hash of the exporter's source, part of each graph's key: graphs made by other code are not reused."""
    compiler = Path(__file__).parent.parent
    files = [Path(tensor_header.__file__)]
    for folder in ("exporting", "exporting/onnx", "networks"):
        files += sorted((compiler / folder).glob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _packed(exported: Exported) -> bytes:
    table = json.dumps([asdict(i) for i in exported.initializers]).encode()
    return struct.pack("<Q", len(table)) + table + exported.graph


def _unpacked(
    blob: bytes, form: str, precision: str, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> Exported:
    (length,) = struct.unpack_from("<Q", blob)
    rows = json.loads(blob[8 : 8 + length])
    table = tuple(Initializer(**{**row, "shape": tuple(row["shape"])}) for row in rows)
    return Exported(form, precision, blob[8 + length :], table, inputs, outputs)


def _plain(value: Json) -> Json:
    """Tuples as lists: what JSON gives back."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value
