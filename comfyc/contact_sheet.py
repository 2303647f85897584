"""Pictures side by side with a line of text under each: what `comfyc demo` leaves to look at."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_COLUMNS, _SIDE, _GAP, _TEXT_HEIGHT = 4, 256, 14, 44
_PAPER, _INK = (246, 245, 242), (40, 40, 46)
_INSET = 80  # edge of an input picture shown in a corner


def contact_sheet(path: Path, entries: Sequence[tuple[Path, str, Path | None]]) -> Path:
    """entries: picture, label, and an input picture that it was made from. Writes a PNG; returns its resolved path."""
    rows = -(-len(entries) // _COLUMNS)
    cell_width, cell_height = _SIDE + _GAP, _SIDE + _TEXT_HEIGHT + _GAP
    sheet = Image.new("RGB", (_COLUMNS * cell_width + _GAP, rows * cell_height + _GAP), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for number, (picture, label, source) in enumerate(entries):
        x = _GAP + number % _COLUMNS * cell_width
        y = _GAP + number // _COLUMNS * cell_height
        _paste(sheet, picture, (x, y), _SIDE)
        if source is not None:
            corner = (x + (_SIDE - _INSET) // 2, y + _SIDE - _INSET - 6)
            draw.rectangle((corner[0] - 2, corner[1] - 2, corner[0] + _INSET + 1, corner[1] + _INSET + 1), fill="white")
            _paste(sheet, source, corner, _INSET)
        text = "\n".join(textwrap.wrap(label, 40)[:2])
        draw.multiline_text((x, y + _SIDE + 5), text, fill=_INK, font=font, spacing=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return path.resolve()


def _paste(sheet: Image.Image, picture: Path, at: tuple[int, int], side: int) -> None:
    """Transparent parts, such as the hole of an inpainting input, show grey."""
    with Image.open(picture) as opened:
        layer = opened.convert("RGBA")
    ground = Image.new("RGBA", layer.size, (205, 205, 205, 255))
    flat = Image.alpha_composite(ground, layer).convert("RGB")
    if flat.size != (side, side):
        flat = flat.resize((side, side), Image.Resampling.LANCZOS)
    sheet.paste(flat, at)
