"""Read workflows: every form that ComfyUI and its front ends write -> Graph, and back to the API form.

    read_workflow(path or bytes)   a JSON file, or a picture that carries a workflow
    parse_api(obj), parse_ui(obj)  JSON that is already loaded
    to_api(graph)                  what a ComfyUI server's /prompt takes

Everything a file says wrong is reported at once in one WorkflowError; what was resolved away is in Graph.dissolved and
what was decided for the user in Graph.warnings.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from graphs.errors import Problem, WorkflowError
from graphs.graph import Graph
from graphs.reading.api_format import find_api, parse_api, to_api
from graphs.reading.json_text import MAX_TEXT, parse_json
from graphs.reading.picture import is_picture, picture_texts
from graphs.reading.ui_format import find_ui
from graphs.reading.ui_to_graph import ReadOptions, parse_ui
from graphs.schemas import Schemas

__all__ = ["ReadOptions", "parse_api", "parse_json", "parse_ui", "read_workflow", "to_api"]

Json = Any


def read_workflow(
    source: str | os.PathLike[str] | bytes, schemas: Schemas | None = None, *, options: ReadOptions | None = None
) -> Graph:
    """The Graph of a workflow file: API or UI JSON in any envelope, PNG, APNG or WebP.

    A picture that carries both forms is read from its API form, which is what made the picture; the UI form is kept
    in Graph.workflow. options.prefer_ui turns that around.

    Raises: WorkflowError with all problems; where is the path.
    """
    if isinstance(source, bytes):
        return _read(io.BytesIO(source), schemas, options or ReadOptions())
    path = Path(source)
    try:
        with path.open("rb") as file:
            return _read(file, schemas, options or ReadOptions())
    except OSError as error:
        raise WorkflowError(f"cannot be read ({error.strerror or error})", where=str(path)) from None
    except WorkflowError as error:
        if error.where is not None:
            raise
        raise WorkflowError(error.what, error.problems, where=str(path), hint=error.hint) from None


def _read(file: BinaryIO, schemas: Schemas | None, options: ReadOptions) -> Graph:
    head = file.read(12)
    file.seek(0)
    if is_picture(head):
        return _read_picture(picture_texts(file), schemas, options)
    return _read_json(parse_json(file.read(MAX_TEXT + 1)), schemas, options)


def _read_json(obj: Json, schemas: Schemas | None, options: ReadOptions) -> Graph:
    api, ui = find_api(obj), find_ui(obj)
    if isinstance(obj, Mapping) and isinstance(obj.get("nodes"), list):
        api = None  # a UI file may hold anything in its other keys
    if ui is not None and (api is None or options.prefer_ui):
        return parse_ui(ui, schemas, options=options)
    return parse_api(obj, workflow=ui)


def _read_picture(texts: Mapping[str, str], schemas: Schemas | None, options: ReadOptions) -> Graph:
    forms: dict[str, Json] = {}
    failures: list[Problem] = []
    for key in ("prompt", "workflow"):
        if key in texts:
            try:
                forms[key] = _unwrapped(parse_json(texts[key]))
            except WorkflowError as error:
                failures += [Problem(p.type, f"the picture's {key}: {p.message}") for p in error.problems]
    api, ui = find_api(forms.get("prompt")), find_ui(forms.get("workflow"))
    api = api if api is not None else find_api(forms.get("workflow"))
    if ui is not None and (api is None or options.prefer_ui):
        return parse_ui(ui, schemas, options=options)
    if api is not None:
        return parse_api(api, workflow=ui)
    if failures:
        raise WorkflowError("the picture's workflow cannot be read", tuple(failures))
    if "parameters" in texts:
        raise WorkflowError(
            "the picture carries the generation parameters of another program (A1111, Forge), no workflow",
            hint="open it in ComfyUI, which rebuilds a workflow from them, and save that",
        )
    found = ", ".join(sorted(texts)[:10])
    raise WorkflowError(
        f"the picture carries no workflow (its texts: {found})" if found else "the picture carries no workflow",
        hint="pictures lose it when they are edited, or sent through services that strip metadata",
    )


def _unwrapped(value: Json) -> Json:
    """JSON that was encoded twice, as some saving nodes do."""
    for _ in range(2):
        if isinstance(value, str):
            value = parse_json(value)
    return value
