"""A workflow as an SVG picture: layers from left to right, one box per node, one curve per link."""

from __future__ import annotations

from xml.sax.saxutils import escape

from graphs.graph import Graph

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 210, 44, 70, 22, 20


def to_svg(graph: Graph) -> str:
    """Nodes stand one layer right of the last node they take something from, in the graph's order within a layer."""
    layer: dict[str, int] = {}
    for node in graph.topological():
        layer[node.id] = 1 + max((layer[k.node] for k in node.links.values() if k.node in layer), default=-1)
    rows: dict[int, int] = {}
    place: dict[str, tuple[int, int]] = {}
    for node in graph.topological():
        column = layer[node.id]
        row = rows.get(column, 0)
        rows[column] = row + 1
        place[node.id] = (MARGIN + column * (BOX_WIDTH + GAP_X), MARGIN + row * (BOX_HEIGHT + GAP_Y))
    width = MARGIN * 2 + (max(rows, default=0) + 1) * (BOX_WIDTH + GAP_X) - GAP_X
    height = MARGIN * 2 + max(rows.values(), default=1) * (BOX_HEIGHT + GAP_Y) - GAP_Y
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for node in graph:
        x, y = place[node.id]
        for link in node.links.values():
            if link.node in place:
                parts.append(_curve(place[link.node], (x, y)))
    for node in graph:
        x, y = place[node.id]
        parts.append(
            f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" fill="#eef2f7" stroke="#4a5568"/>'
            f'<text x="{x + 10}" y="{y + 18}" fill="#718096">{escape(node.id)}</text>'
            f'<text x="{x + 10}" y="{y + 35}" fill="#1a202c">{escape(node.class_type[:28])}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _curve(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1 = start[0] + BOX_WIDTH, start[1] + BOX_HEIGHT // 2
    x2, y2 = end[0], end[1] + BOX_HEIGHT // 2
    middle = (x1 + x2) // 2
    curve = f"M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}"
    return f'<path d="{curve}" fill="none" stroke="#a0aec0" stroke-width="1.5"/>'
