"""Bytes or text of an untrusted file -> a JSON value, or one clear error."""

from __future__ import annotations

import json
from typing import Any

from graphs.errors import Problem, WorkflowError

Json = Any

MAX_TEXT = 16 * 2**20  # bytes; the largest public workflow is under 3 MiB, and JSON may take 25 times its size
MAX_DEPTH = 200  # nesting; real files stay under 20
# Python's reader accepts NaN, Infinity and -Infinity, as front ends write them; undefined is seen in hand-made files.


def parse_json(data: bytes | str) -> Json:
    """Raises: WorkflowError (problem bad_json) with line and column."""
    if len(data) > MAX_TEXT:
        raise _bad(f"the JSON has {len(data)} bytes; the limit is {MAX_TEXT}")
    text = _decode(data) if isinstance(data, bytes) else data
    text = text.lstrip("\ufeff \t\r\n").rstrip(" \t\r\n\x00")
    if not text:
        raise _bad("the file is empty")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise _bad(f"line {error.lineno}, column {error.colno}: {error.msg}", _hint(text)) from None
    except RecursionError:
        raise _bad(f"the JSON is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:  # an integer of thousands of digits
        raise _bad(str(error).partition(";")[0]) from None
    if type(value) in (dict, list) and _too_deep(value):
        raise _bad(f"the JSON is nested deeper than {MAX_DEPTH} levels")
    return value


def _too_deep(value: Json) -> bool:
    """Whether lists and objects nest deeper than MAX_DEPTH, level by level: no recursion on what a stranger wrote."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return False
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)
            if type(child) is dict or type(child) is list
        ]
    return True


def _decode(data: bytes) -> str:
    for bom, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"", "utf-8-sig")):
        if data.startswith(bom):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError as error:
                raise _bad(f"the text is not {encoding} (byte {error.start})") from None
    raise AssertionError("the last encoding fits every start")


def _hint(text: str) -> str | None:
    if "Steps: " in text and "Sampler: " in text:
        return "this looks like the generation parameters of another program, not a ComfyUI workflow"
    if text[:1] not in "[{":
        return "expected a workflow JSON, or a PNG or WebP picture that carries one"
    return None


def _bad(message: str, hint: str | None = None) -> WorkflowError:
    return WorkflowError("the file is no JSON that can be read", (Problem("bad_json", message, hint=hint),))
