"""Numbers as people read them."""

from __future__ import annotations


def bytes_text(size_bytes: int) -> str:
    """1536 -> "1.5 KiB"."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def seconds_text(seconds: float) -> str:
    """0.0123 -> "12 ms", 75 -> "1 min 15 s"."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def count_text(number: int, noun: str) -> str:
    """(1, "file") -> "1 file", (3, "file") -> "3 files"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
