"""Reads ComfyUI's extra_model_paths.yaml."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from graphs.errors import UsageError
from runtime.model_kinds import kind_of


@dataclass(frozen=True)
class ExtraPath:
    """One folder of one kind. is_default: searched before the other roots."""

    kind: str
    path: Path
    is_default: bool = False


def read_extra_paths(file: Path) -> tuple[ExtraPath, ...]:
    """Sections with an optional base_path (~ and $VARIABLES allowed, relative to the file), then kind: one path a line.

    Raises UsageError naming the file when it cannot be read or is not of that form.
    """
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(file), hint="check --models") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f"{file}, line {line + 1}" if line is not None else str(file)
        raise UsageError(
            "is not valid YAML", where=where, hint="see ComfyUI's extra_model_paths.yaml.example"
        ) from error
    if document is None:
        return ()
    if not isinstance(document, dict):
        raise UsageError(
            "is not an extra_model_paths.yaml",
            where=str(file),
            expected="sections, each a mapping",
            got=type(document).__name__,
        )
    found: list[ExtraPath] = []
    for section, content in document.items():
        if content is None:
            continue
        if not isinstance(content, dict):
            raise UsageError(
                f"section '{section}' is not a mapping",
                where=str(file),
                expected="kind: path lines",
                got=type(content).__name__,
            )
        found.extend(_section(file, str(section), content))
    return tuple(found)


def _section(file: Path, section: str, content: dict[object, object]) -> list[ExtraPath]:
    base = file.resolve().parent
    if (raw := content.get("base_path")) is not None:
        base = base / _expand(str(raw))
    is_default = bool(content.get("is_default", False))
    found: list[ExtraPath] = []
    for kind, lines in content.items():
        if kind in ("base_path", "is_default") or lines is None:
            continue
        if not isinstance(lines, str | list):
            raise UsageError(
                f"section '{section}', '{kind}' is not a path",
                where=str(file),
                expected="one path a line",
                got=type(lines).__name__,
            )
        for line in lines.splitlines() if isinstance(lines, str) else map(str, lines):
            if text := line.strip():
                found.append(ExtraPath(kind_of(str(kind)), base / _expand(text), is_default))
    return found


def _expand(text: str) -> str:
    return os.path.expandvars(os.path.expanduser(text.strip().replace("\\", "/")))
