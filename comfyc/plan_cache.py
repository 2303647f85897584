"""Plans of workflows that were run directly, by content: a second run of the same workflow compiles nothing."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfyc import __version__

if TYPE_CHECKING:
    from compiler.options import CompileOptions
    from graphs.graph import Graph
    from graphs.node import NodeDef
    from runtime.folders import Folders

log = logging.getLogger(__name__)

Json = Any


def plan_key(graph: Graph, options: CompileOptions, folders: Folders, schemas: Mapping[str, NodeDef]) -> str:
    """A name for everything that decides a plan: the nodes, the options, the model files, this comfyc.

    Model files count by path, size and time of change, so that making the key reads none of them.
    """
    from graphs.workflow import to_api

    parts: dict[str, Json] = {
        "comfyc": __version__,
        "prompt": to_api(graph),
        "workflow": graph.workflow,
        "options": asdict(options),
        "models": _model_files(graph, folders, schemas),
    }
    if "embedding:" in json.dumps(parts["prompt"]):
        parts["embeddings"] = {name: _identity(path) for name, path in folders.embeddings().items()}
    text = json.dumps(parts, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _model_files(graph: Graph, folders: Folders, schemas: Mapping[str, NodeDef]) -> dict[str, Json]:
    """What each model-file widget means here. A missing file is left to the compiler, which says where it looked."""
    from graphs.errors import ModelMissingError

    found: dict[str, Json] = {}
    for node in graph:
        if node.class_type not in schemas:
            continue
        for declared in schemas[node.class_type].inputs:
            value = node.widgets.get(declared.name)
            if declared.folder in (None, "input") or not isinstance(value, str):
                continue
            try:
                found[f"{node.id}.{declared.name}"] = _identity(folders.find(str(declared.folder), value))
            except ModelMissingError:
                found[f"{node.id}.{declared.name}"] = None
    return found


def _identity(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return str(path.resolve()), stat.st_size, stat.st_mtime_ns
