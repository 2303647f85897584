"""Reads ComfyUI's extra_model_paths.yaml."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from graphs.errors import UsageError
from runtime.model_kinds import kind_of

MAX_BYTES = 100_000  # the largest in use have a few thousand
MAX_DEPTH, MAX_ALIASES, MAX_KEYS = 20, 200, 2_000


@dataclass(frozen=True)
class ExtraPath:
    """One folder of one kind. is_default: searched before the other roots."""

    kind: str
    path: Path
    is_default: bool = False


class _Loader(yaml.SafeLoader):
    """YAML within bounds: aliases and merges multiply what a few hundred bytes hold, and nesting is a call each."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._aliases += self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > MAX_DEPTH or self._aliases > MAX_ALIASES:
            raise yaml.YAMLError("nested too deeply, or too many aliases")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MAX_KEYS:
            raise yaml.YAMLError("too many merged keys")


def read_extra_paths(file: Path) -> tuple[ExtraPath, ...]:
    """Sections with an optional base_path (~ and $VARIABLES allowed, relative to the file), then kind: one path a line.

    Raises UsageError naming the file when it cannot be read or is not of that form.
    """
    hint = "see ComfyUI's extra_model_paths.yaml.example"
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError("is too large for an extra_model_paths.yaml", where=str(file), hint=hint)
        document = yaml.load(data.decode("utf-8-sig"), _Loader)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(file), hint="check --models") from error
    except UsageError:
        raise
    except Exception as error:  # PyYAML lets through whatever int(), datetime() and its own recursion raise
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f"{file}, line {line + 1}" if line is not None else str(file)
        raise UsageError("is not valid YAML", where=where, hint=hint) from error
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
        if not isinstance(raw, str):
            got = type(raw).__name__
            raise UsageError(f"section '{section}', 'base_path' is not a path", where=str(file), got=got)
        base = base / _expand(raw)
    is_default = content.get("is_default") is True
    found: list[ExtraPath] = []
    for kind, lines in content.items():
        if kind in ("base_path", "is_default") or lines is None:
            continue
        if not isinstance(kind, str) or not (isinstance(lines, str) or _is_texts(lines)):
            raise UsageError(
                f"section '{section}', '{kind}' is not a path",
                where=str(file),
                expected="one path a line",
                got=type(lines).__name__,
            )
        for line in lines.splitlines() if isinstance(lines, str) else lines:
            if text := line.strip():
                found.append(ExtraPath(kind_of(kind), base / _expand(text), is_default))
    return found


def _is_texts(lines: object) -> TypeGuard[list[str]]:
    return isinstance(lines, list) and all(isinstance(line, str) for line in lines)


def _expand(text: str) -> str:
    return os.path.expandvars(os.path.expanduser(text.strip().replace("\\", "/")))
