"""Where pictures are read and written, in ComfyUI's layout: folders, annotated names, counters."""

from __future__ import annotations

import difflib
import logging
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from graphs.errors import RunError
from runtime.file_names import match_name
from runtime.listing import tree

log = logging.getLogger(__name__)

LONGEST = 255  # bytes of a file name
_COUNTER = len("_00001_.safetensors")  # at most this is put behind a prefix
_ANNOTATION = re.compile(r"^(?P<name>.*\S)\s*\[(?P<folder>input|output|temp)\]$", re.DOTALL)


def find_file(name: str, *, input_dir: Path, output_dir: Path, temp_dir: Path, where: str) -> Path:
    """The file a LoadImage or LoadLatent widget names: in input_dir, or by a suffix "[output]" or "[temp]" elsewhere.

    Else the one file whose name means the same (see runtime.file_names), with a warning, which is what `check` accepts.
    where: node, for messages. Raises RunError for a name outside its folder and for a file that is not there.
    """
    folders = {"input": input_dir, "output": output_dir, "temp": temp_dir}
    match = _ANNOTATION.match(name)
    folder, plain = (match["folder"], match["name"]) if match else ("input", name)
    path = inside(folders[folder], plain.replace("\\", "/"), where=where, what=f"the {folder} folder")
    if os.path.isfile(path):  # Path.is_file raises for names that are too long
        return path
    found = match_name(plain, tree(folders[folder]).files)
    if found.name is None:
        hint = _hint(folders[folder], plain, found.candidates)
        raise RunError(f"'{plain}' is not in {folders[folder]}", where=where, hint=hint)
    log.warning("%s: '%s' is not in %s; using '%s'", where, plain, folders[folder], found.name)
    return folders[folder] / found.name


def inside(folder: Path, name: str, *, where: str, what: str) -> Path:
    """folder/name. Raises RunError where that leaves the folder (.., absolute names, NUL)."""
    root = os.path.abspath(folder)
    path = os.path.abspath(os.path.join(root, name))
    if "\0" in name or os.path.commonpath((root, path)) != root:
        raise RunError(f"'{name}' lies outside {what}", where=where, hint=f"use a name below {root}")
    return Path(path)


def _hint(folder: Path, name: str, candidates: tuple[str, ...]) -> str:
    close = candidates or difflib.get_close_matches(name[:LONGEST], tree(folder).files, n=1)
    return f"did you mean {' or '.join(repr(c) for c in close[:3])}?" if close else f"copy the file to {folder}"


def check_save(prefix: str, root: Path, *, where: str) -> None:
    """Raises RunError where files of that prefix cannot be saved below the root, before there is something to save."""
    filled = os.path.normpath(_fill(prefix, 0, 0))
    inside(root, filled, where=where, what="the folder that pictures are saved to")
    try:
        longest = max(len(os.fsencode(part)) for part in Path(filled).parts or ("",))
    except UnicodeEncodeError:
        raise RunError(f"{prefix!r} is no name for a file", where=where, hint="it has half a character") from None
    if longest > LONGEST - _COUNTER:
        raise RunError(
            f"the file name would be too long: '{filled[:60]}...'",
            where=where,
            expected=f"at most {LONGEST - _COUNTER} bytes in filename_prefix",
            got=str(longest),
            hint="choose a shorter filename_prefix",
        )
    check_folder(Path(os.path.abspath(root)) / os.path.dirname(filled), where=where)


def check_folder(folder: Path, *, where: str) -> None:
    """Raises RunError where the folder is not one that can be made and written to."""
    present = folder
    while not os.path.lexists(present) and present != present.parent:
        present = present.parent
    if not os.path.isdir(present):
        raise RunError(f"cannot make the folder {folder}: {present} is a file", where=where)
    if not os.access(present, os.W_OK | os.X_OK):
        raise RunError(f"cannot write to the folder {present}", where=where, hint="choose another output folder")


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
    check_save(prefix, root, where=where)
    filled = os.path.normpath(_fill(prefix, width, height))
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
