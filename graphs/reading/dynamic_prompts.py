"""Dynamic prompts: {a|b|{c|d}} chooses one, and // and /* */ comments vanish, as the front end does at queue time.

The choice is drawn from a seed and the node's id, so that it is the same at every reading, and noted as a warning.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from graphs.node import Node
from graphs.reading.findings import Findings, brief
from graphs.schemas import Schemas

_LINE = re.compile(r"[^\n\r\u2028\u2029]*")
_Pieces = list["str | _Pieces"]  # texts, and texts chosen inside them
_ESCAPED = re.compile(r"\\([{}|])")


def choose_texts(nodes: Mapping[str, Node], schemas: Schemas, seed: int, findings: Findings) -> dict[str, Node]:
    """The nodes with the dynamic texts of their classes resolved."""
    return {node_id: _chosen(node, schemas, seed, findings) for node_id, node in nodes.items()}


def _chosen(node: Node, schemas: Schemas, seed: int, findings: Findings) -> Node:
    schema = schemas.lookup(node.class_type)
    changed = dict(node.inputs)
    for input in schema.inputs if schema else ():
        text = node.inputs.get(input.name)
        if not input.dynamic_prompts or not isinstance(text, str):
            continue
        drawn_by = f"{seed}/{node.id}/{input.name}".encode("utf-8", "surrogatepass")
        result = resolve(text, random.Random(drawn_by))
        if result != text:
            changed[input.name] = result
            findings.warn(
                "dynamic_prompt",
                "comments were removed and one of each {a|b} was chosen",
                node_id=node.id,
                class_type=node.class_type,
                input_name=input.name,
                got=brief(result),
            )
    if changed == dict(node.inputs):
        return node
    return Node(node.id, node.class_type, changed, node.title, node.meta)


def resolve(text: str, draw: random.Random) -> str:
    """One concrete text. A backslash keeps the next character; \\{ \\} \\| become the plain character.

    Takes time linear in the text: iterative, and pieces are joined once at the end, for a hostile text nests
    hundreds of thousands of braces.
    """
    text = without_comments(text)
    if "{" not in text:
        return _ESCAPED.sub(r"\1", text)
    # One frame per open brace: the finished alternatives and the current one. Only what is chosen is kept.
    frames: list[tuple[list[_Pieces], _Pieces]] = [([], [])]
    at = 0
    while at < len(text):
        c = text[at]
        done, current = frames[-1]
        if c == "\\":
            current.append(text[at : at + 2])
            at += 1
        elif c == "{":
            frames.append(([], []))
        elif c == "}" and len(frames) > 1:
            frames.pop()
            frames[-1][1].append(draw.choice([*done, current]))
        elif c == "|" and len(frames) > 1:
            done.append(list(current))
            current.clear()
        else:
            current.append(c)
        at += 1
    while len(frames) > 1:  # a brace that is never closed ends with the text
        done, current = frames.pop()
        frames[-1][1].append(draw.choice([*done, current]))
    return _ESCAPED.sub(r"\1", _joined(frames[0][1]))


def _joined(pieces: _Pieces) -> str:
    found: list[str] = []
    stack = [iter(pieces)]
    while stack:
        piece = next(stack[-1], None)
        if piece is None:
            stack.pop()
        elif isinstance(piece, str):
            found.append(piece)
        else:
            stack.append(iter(piece))
    return "".join(found)


def without_comments(text: str) -> str:
    """The text without /* */ and // comments. One that is never closed is text."""
    kept: list[str] = []
    at, closed = 0, True
    while (slash := text.find("/", at)) >= 0:
        end = slash + 1
        if text.startswith("//", slash):
            end = _LINE.match(text, slash).end()  # type: ignore[union-attr]
            kept.append(text[at:slash])
        elif closed and text.startswith("/*", slash):
            close = text.find("*/", slash + 2)
            closed = close >= 0  # once there is none, there is none further on
            end = close + 2 if closed else end
            kept.append(text[at:slash] if closed else text[at:end])
        else:
            kept.append(text[at:end])
        at = end
    return "".join([*kept, text[at:]])
