"""Pickles of strangers (.ckpt, .pt, .pth, .bin): plain tensors and containers, no code, and a word on anything else.

torch's own message for a file it does not take ends in the advice to load it with code allowed. Nobody who was sent a
file should be told that, so none of torch's words are passed on.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_ZIP = b"PK\x03\x04"


class NotPlainError(Exception):
    """Why a file is not loaded, in words for people: "it is a web page"."""


def load_plain(path: Path, *, allowed: Sequence[Any] = (), max_bytes: int | None = None, mmap: bool = False) -> Any:
    """What torch.save wrote. allowed: more globals that are harmless, as torch.serialization.safe_globals takes them.

    max_bytes: of the file, unpacked. mmap: map a zip rather than read it. Raises NotPlainError.
    """
    try:
        what = foreign_kind(path)
        if what is not None:
            raise NotPlainError(f"it is {what}")
        is_zip = _starts_with(path, _ZIP)
        if max_bytes is not None and _unpacked_bytes(path, is_zip) > max_bytes:
            raise NotPlainError(f"it has more than {max_bytes} bytes")
        with torch.serialization.safe_globals(list(allowed)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of a pickle's protocol arrives as an exception
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and is_zip)
    except NotPlainError:
        raise
    except OSError as error:
        raise NotPlainError(f"it cannot be read: {error.strerror or 'damaged'}") from None
    except Exception as error:  # a damaged pickle makes torch raise a dozen classes that share no base but Exception
        found = _GLOBAL.search(str(error))
        if found is not None:
            raise NotPlainError(f"it needs code to load ({found[1]})") from None
        raise NotPlainError("it is damaged, or no file of tensors") from None


def foreign_kind(path: Path) -> str | None:
    """What a file is that was given the name of a model file; None where its first bytes do not say. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(1024)
    text = start.lstrip().lower()
    if not start:
        return "empty"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, perhaps a sign-in or error page instead of the download"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, the file itself was not fetched (git lfs pull)"
    length = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and 2 <= length < path.stat().st_size:
        return "a safetensors file: give it that suffix"
    return None


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _unpacked_bytes(path: Path, is_zip: bool) -> int:
    if not is_zip:
        return path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        return sum(info.file_size for info in archive.infolist())
