"""Where pictures are read and written, in ComfyUI's layout: folders, annotated names, counters."""

from __future__ import annotations

import difflib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from graphs.errors import RunError

_ANNOTATION = re.compile(r"^(?P<name>.*\S)\s*\[(?P<folder>input|output|temp)\]$", re.DOTALL)


def find_file(name: str, *, input_dir: Path, output_dir: Path, temp_dir: Path, where: str) -> Path:
    """The file a LoadImage or LoadLatent widget names: in input_dir, or by a suffix "[output]" or "[temp]" elsewhere.

    where: node, for messages. Raises RunError for a name outside its folder and for a file that is not there.
    """
    folders = {"input": input_dir, "output": output_dir, "temp": temp_dir}
    match = _ANNOTATION.match(name)
    folder, plain = (match["folder"], match["name"]) if match else ("input", name)
    path = inside(folders[folder], plain.replace("\\", "/"), where=where, what=f"the {folder} folder")
    if not path.is_file():
        raise RunError(f"'{plain}' is not in {folders[folder]}", where=where, hint=_hint(folders[folder], plain))
    return path


def inside(folder: Path, name: str, *, where: str, what: str) -> Path:
    """folder/name. Raises RunError where that leaves the folder (.., absolute names, NUL)."""
    root = os.path.abspath(folder)
    path = os.path.abspath(os.path.join(root, name))
    if "\0" in name or os.path.commonpath((root, path)) != root:
        raise RunError(f"'{name}' lies outside {what}", where=where, hint=f"use a name below {root}")
    return Path(path)


def _hint(folder: Path, name: str) -> str:
    present = sorted(p.name for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []
    close = difflib.get_close_matches(name, present, n=1)
    return f"did you mean '{close[0]}'?" if close else f"copy the file to {folder}"


@dataclass(frozen=True)
class SaveName:
    """folder: where the files go, made if need be. stem: their name up to the counter. subfolder: below the root."""

    folder: Path
    stem: str
    subfolder: str


def save_name(prefix: str, root: Path, *, width: int, height: int, where: str) -> SaveName:
    """What a filename_prefix means: tokens filled in, folders split off. width, height: pixels.

    Tokens: %width% %height% %year% %month% %day% %hour% %minute% %second%.
    Raises RunError for a prefix that leaves the root and where the folder cannot be made.
    """
    filled = os.path.normpath(_fill(prefix, width, height))
    inside(root, filled, where=where, what="the folder that pictures are saved to")
    subfolder, stem = os.path.split(filled)
    folder = Path(os.path.abspath(root)) / subfolder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {folder}: {error.strerror}", where=where) from error
    return SaveName(folder, stem, subfolder)


def _fill(prefix: str, width: int, height: int) -> str:
    now = time.localtime()
    tokens = {
        "%width%": str(width),
        "%height%": str(height),
        "%year%": str(now.tm_year),
        "%month%": f"{now.tm_mon:02}",
        "%day%": f"{now.tm_mday:02}",
        "%hour%": f"{now.tm_hour:02}",
        "%minute%": f"{now.tm_min:02}",
        "%second%": f"{now.tm_sec:02}",
    }
    for token, value in tokens.items():
        prefix = prefix.replace(token, value)
    return prefix


def next_counter(folder: Path, stem: str) -> int:
    """One more than the highest counter of any STEM_NNNNN_... in the folder, of whatever kind; 1 where none is."""
    start = os.path.normcase(stem) + "_"
    counters = [0]
    for name in os.listdir(folder):
        if os.path.normcase(name).startswith(start):
            digits = name[len(start) :].split("_")[0]
            counters.append(int(digits) if digits.isascii() and digits.isdigit() else 0)
    return max(counters) + 1


def write_new(
    name: SaveName, counter: int, suffix: str, data: bytes, *, stem: str | None = None, where: str
) -> tuple[Path, int]:
    """Writes STEM_00001_SUFFIX with the first free counter from `counter` on; two writers never take the same file.

    stem: in place of name.stem. Returns the path and the counter that was taken. Raises RunError (disk full, ...).
    """
    while True:
        path = name.folder / f"{name.stem if stem is None else stem}_{counter:05}_{suffix}"
        try:
            with open(path, "xb") as file:
                try:
                    file.write(data)
                    file.flush()
                except OSError:
                    path.unlink(missing_ok=True)
                    raise
            return path, counter
        except FileExistsError:
            counter += 1
        except OSError as error:
            hint = "free some space or choose another folder"
            raise RunError(f"cannot write {path}: {error.strerror}", where=where, hint=hint) from error
