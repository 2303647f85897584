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
    todo = [(text, 1.0, False)]  # (text, weight, whether it may hold groups no more), the next one last
    while todo:
        piece, weight, plain = todo.pop()
        if plain:
            done.append((_unhide(piece), weight))
            continue
        inner: list[tuple[str, float, bool]] = []
        for part in _groups(piece):
            if len(part) >= 2 and part[0] == "(" and part[-1] == ")":
                inner.append((*_weigh(part[1:-1], weight), False))
            else:
                inner.append((part, weight, True))
        todo.extend(reversed(inner))
    return done


def _weigh(group: str, weight: float) -> tuple[str, float]:
    """The text of a group (without its parentheses) and its weight."""
    colon = group.rfind(":")
    if colon > 0:
        try:
            return group[:colon], float(group[colon + 1 :])
        except ValueError:
            pass  # no number behind the colon: it is part of the text
    return group, weight * GROUP_FACTOR


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
