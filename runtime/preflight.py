"""What can be known to fail before anything runs: input files that are not there, places that cannot be written to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from graphs.operands import Literal, Param
from graphs.program import Step
from runtime.files import check_folder, check_save, find_file

Json = Any

READERS = frozenset({"load_image", "load_mask", "load_latent"})
WRITERS = frozenset({"save_image", "save_latent"})


def preflight(
    steps: Iterable[Step], params: Mapping[str, Json], *, input_dir: Path, output_dir: Path, temp_dir: Path
) -> None:
    """Raises RunError, UsageError (see runtime.files) for the first step that would fail for its file names."""
    for step in steps:
        where = f"node {step.nodes[0]}" if step.nodes else step.id
        if step.op in READERS:
            name = _known(step, "file", params)
            if name is not None:
                find_file(name, input_dir=input_dir, output_dir=output_dir, temp_dir=temp_dir, where=where)
        elif step.op in WRITERS:
            prefix = _known(step, "filename_prefix", params)
            check_save(prefix if prefix is not None else "", output_dir, where=where)
        elif step.op == "preview_image":
            check_folder(Path(os.path.abspath(temp_dir)), where=where)


def _known(step: Step, name: str, params: Mapping[str, Json]) -> str | None:
    """The text of an input; None where a step computes it."""
    match step.inputs.get(name):
        case Param(parameter):
            return str(params[parameter])
        case Literal(value):
            return str(value)
    return None
