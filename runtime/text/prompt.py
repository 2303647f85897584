"""Prompt syntax: round parentheses give a piece of text a weight. Source: the observed behaviour of ComfyUI.

  (red fox)       the weight around it times 1.1; groups nest
  (red fox:1.3)   exactly 1.3, whatever is around it; the colon is the last one in the group
  \\( and \\)       parentheses that mean themselves
A parenthesis that is never closed makes the rest of its piece plain text. Square brackets and BREAK mean nothing.
"""

from __future__ import annotations

import re

GROUP_FACTOR = 1.1

_PAREN = re.compile(r"[()]")
# Escaped parentheses are hidden from the grammar behind two control characters each.
_HIDDEN = (("\\)", "\x00\x01", ")"), ("\\(", "\x00\x02", "("))


def weighted_pieces(text: str) -> list[tuple[str, float]]:
    """The pieces of a prompt in order, each with its weight; parentheses that meant a weight are gone.

    Raises nothing: malformed text is text.
    """
    for escaped, hidden, _ in _HIDDEN:
        text = text.replace(escaped, hidden)
    done: list[tuple[str, float]] = []
    for part in _groups(text):
        if _is_group(part, 0, len(part)):
            done += _pieces_of_group(part)
        else:
            done.append((_unhide(part), 1.0))
    return done


def _is_group(text: str, start: int, end: int) -> bool:
    return end - start >= 2 and text[start] == "(" and text[end - 1] == ")"


def _pieces_of_group(text: str) -> list[tuple[str, float]]:
    """Of a text that begins with "(" and ends with ")", in time linear in its length: groups may nest as deep as they
    like. One that is never closed is a group as well where the text ends with a parenthesis."""
    closing, previous = _structure(text)
    done: list[tuple[str, float]] = []
    todo = [(0, len(text), 1.0, True)]  # (start, end, weight, whether it is a group), the next one last
    while todo:
        start, end, weight, is_group = todo.pop()
        if not is_group:
            done.append((_unhide(text[start:end]), weight))
            continue
        end, weight = _weigh(text, start + 1, end - 1, previous[end - 1] + 1, weight)
        inner: list[tuple[int, int, float, bool]] = []
        at = start + 1
        while at < end:
            opening = text.find("(", at, end)
            if opening != at:
                inner.append((at, end if opening < 0 else opening, weight, False))
            if opening < 0:
                break
            at = closing.get(opening, end) + 1
            if at > end:  # never closed in here: all the rest
                at = end
            inner.append((opening, at, weight, _is_group(text, opening, at)))
        todo.extend(reversed(inner))
    return done


def _structure(text: str) -> tuple[dict[int, int], dict[int, int]]:
    """The place of the ")" that closes each "(", and that of the parenthesis before each one."""
    closing: dict[int, int] = {}
    previous: dict[int, int] = {}
    opened: list[int] = []
    last = -1
    for match in _PAREN.finditer(text):
        at = match.start()
        previous[at] = last
        if match[0] == "(":
            opened.append(at)
        elif opened:
            closing[opened.pop()] = at
        last = at
    return closing, previous


def _weigh(text: str, start: int, end: int, last: int, weight: float) -> tuple[int, float]:
    """Where the text of the group text[start:end] ends, and its weight. last: where its last part without parentheses
    begins, behind whose last colon the weight may stand."""
    colon = text.rfind(":", max(start, last), end)
    if colon > start:
        try:
            return colon, float(text[colon + 1 : end])
        except ValueError:
            pass  # no number behind the colon: it is part of the text
    return end, weight * GROUP_FACTOR


def _groups(text: str) -> list[str]:
    """Cuts before each parenthesis that opens at depth 0 and behind each that returns to it. A stray ")" makes the
    depth negative, and what follows up to the end one part."""
    parts: list[str] = []
    start = depth = 0
    for match in _PAREN.finditer(text):
        at = match.start()
        if match[0] == "(":
            if depth == 0 and at > start:
                parts.append(text[start:at])
                start = at
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                parts.append(text[start : at + 1])
                start = at + 1
    if start < len(text):
        parts.append(text[start:])
    return parts


def _unhide(text: str) -> str:
    for _, hidden, meant in _HIDDEN:
        text = text.replace(hidden, meant)
    return text
