"""Text that pictures carry: PNG and APNG chunks, the EXIF block of WebP. Reads headers and metadata only, no pixels.

Source: the PNG specification (tEXt, zTXt, iTXt), the WebP container specification, TIFF 6.0 (image file directories),
and where ComfyUI puts its keys: PNG text chunks "prompt" and "workflow", an APNG chunk "comf", EXIF tags whose text
starts with "prompt:" or "workflow:".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from graphs.errors import WorkflowError

PNG = b"\x89PNG\r\n\x1a\n"
MAX_TEXT = 16 * 2**20  # bytes of one text, after decompression
MAX_NAMES = 100  # texts that carry no workflow and are only named
KEPT = frozenset({"prompt", "workflow", "parameters"})  # the keywords whose text is looked at; others are skipped over
MAX_CHUNKS = 100_000
_TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"comf"})


def is_picture(head: bytes) -> bool:
    """Whether these first 12 bytes start a file that `picture_texts` reads."""
    return head.startswith(PNG) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def picture_texts(file: BinaryIO) -> dict[str, str]:
    """Keyword -> text of a PNG, APNG or WebP file, keywords in lower case, the first of each keyword.

    Texts of other keywords than KEPT are empty: they are neither unpacked nor held.
    Raises: WorkflowError when a text is larger than 16 MiB or cannot be decompressed.
    """
    head = file.read(12)
    file.seek(0)
    texts: dict[str, str] = {}
    for key, text in _png(file, texts) if head.startswith(PNG) else _webp(file):
        key = key.lower()
        if key in KEPT or len(texts) < MAX_NAMES:
            texts.setdefault(key[:80], text if key in KEPT else "")
    return texts


def _png(file: BinaryIO, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    file.seek(len(PNG))
    for _ in range(MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            return
        size, kind = struct.unpack(">I4s", header)
        if kind == b"IEND":
            return
        if kind not in _TEXT_CHUNKS:
            file.seek(size + 4, 1)
            continue
        start = file.tell()
        keyword = file.read(min(size, 80)).partition(b"\0")[0].decode("latin-1")  # a keyword has 1 to 79 bytes
        if keyword.lower() in KEPT - known.keys():
            file.seek(start)
            pair = _png_text(kind, _body(file, size))
            if pair:
                yield pair
        else:
            yield keyword, ""
        file.seek(start + size + 4)


def _png_text(kind: bytes, body: bytes) -> tuple[str, str] | None:
    keyword, found, rest = body.partition(b"\0")
    if not found:
        return None
    if kind == b"zTXt":
        text = _inflate(rest[1:]).decode("latin-1")
    elif kind == b"iTXt":
        if len(rest) < 2:
            return None
        compressed, rest = rest[0], rest[2:]
        _language, _, rest = rest.partition(b"\0")
        _translated, _, rest = rest.partition(b"\0")
        text = (_inflate(rest) if compressed else rest).decode("utf-8", "replace")
    else:  # tEXt is Latin-1 by the standard, but writers put UTF-8 there
        text = _utf8_or_latin1(rest)
    return keyword.decode("latin-1"), text


def _webp(file: BinaryIO) -> Iterator[tuple[str, str]]:
    file.seek(12)
    for _ in range(MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            return
        kind, size = struct.unpack("<4sI", header)
        if kind == b"EXIF":
            yield from _exif(_body(file, size))
            file.seek(size % 2, 1)
        else:
            file.seek(size + size % 2, 1)


def _exif(block: bytes) -> Iterator[tuple[str, str]]:
    """The ASCII values of image file directory 0, split at their first colon."""
    if block.startswith(b"Exif\0\0"):
        block = block[6:]
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return
    at = struct.unpack_from(order + "I", block, 4)[0]
    if at + 2 > len(block):
        return
    count = struct.unpack_from(order + "H", block, at)[0]
    read: set[str] = set()
    for i in range(count):
        entry = at + 2 + 12 * i
        if entry + 12 > len(block):
            return
        _tag, kind, size, where = struct.unpack_from(order + "HHII", block, entry)
        if kind not in (1, 2, 7):  # BYTE, ASCII, UNDEFINED
            continue
        start = entry + 8 if size <= 4 else where
        key, colon, _ = block[start : start + min(size, 80)].partition(b":")
        if not colon or not key.isalpha():
            continue
        name = key.decode("ascii")
        wanted = name.lower() in KEPT and name.lower() not in read  # entries may all point at the same megabytes
        read.add(name.lower())
        text = block[start + len(key) + 1 : start + size] if wanted else b""
        yield name, _utf8_or_latin1(text.rstrip(b"\0"))


def _body(file: BinaryIO, size: int) -> bytes:
    if size > MAX_TEXT:
        raise WorkflowError(f"the picture carries a text of {size} bytes; the limit is {MAX_TEXT}")
    return file.read(size)


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, MAX_TEXT)
    except zlib.error as error:
        raise WorkflowError(f"the picture carries a compressed text that is damaged ({error})") from None
    if inflater.unconsumed_tail:
        raise WorkflowError(f"the picture carries a text that unpacks to more than {MAX_TEXT} bytes")
    return text


def _utf8_or_latin1(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
