"""The files below a folder, remembered: a tree is walked again only when one of its directories has changed.

A directory counts as unchanged while its device, inode and times are what they were before it was read. The clock of a
file system is coarse, so a tree that changed within two seconds before it was read is not remembered. What a symbolic
link leads to can change without its directory, so links are followed anew each time.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

MAX_DIRECTORIES = 10_000  # of one tree: somebody named "/" as a model folder
MAX_FILES = 200_000
MAX_DEPTH = 64
MAX_PATHS = 8  # ways to one directory through links: more of them multiply
_SETTLED_NS = 2_000_000_000  # the coarsest clock, FAT's
_MAX_TREES = 1_000

_Stamp = tuple[int, ...]
_trees: dict[tuple[str, bool], Tree] = {}


@dataclass(frozen=True, eq=False)
class Tree:
    """files: relative names with forward slashes, those of a directory before those of its sub-folders, sorted.

    Hidden files and folders, pipes, devices and links that lead nowhere are not among them.
    """

    folder: Path
    files: tuple[str, ...]
    _watched: tuple[tuple[str, _Stamp], ...]
    _is_settled: bool

    def is_current(self) -> bool:
        return self._is_settled and all(_stamp(path) == stamp for path, stamp in self._watched)


def tree(folder: Path, *, recursive: bool = True) -> Tree:
    """The tree of a folder; empty where there is none. Walks only where something changed since the last call."""
    key = (os.path.abspath(folder), recursive)
    known = _trees.get(key)
    if known is None or not known.is_current():
        if len(_trees) >= _MAX_TREES:
            _trees.clear()
        known = _trees[key] = _Walk(key[0]).tree(folder, recursive)
    return known


def _stamp(path: str) -> _Stamp:
    """What changes with a directory's entries, or with where a link leads; empty where nothing can be reached."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFDIR:
        return (kind,)
    return (kind, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)


class _Walk:
    """One walk through a tree."""

    def __init__(self, root: str) -> None:
        self._root, self._started = root, time.time_ns()
        self._files: list[str] = []
        self._watched: list[tuple[str, _Stamp]] = []
        self._paths: Counter[_Stamp] = Counter()
        self._is_settled = True
        self._is_full = False

    def tree(self, folder: Path, recursive: bool) -> Tree:
        self._visit(self._root, "", (), recursive)
        if self._is_full:
            log.warning("%s holds more files or folders than a model folder can: the rest is left out", folder)
        return Tree(folder, tuple(self._files), tuple(self._watched), self._is_settled)

    def _visit(self, path: str, prefix: str, above: tuple[_Stamp, ...], recursive: bool) -> None:
        found = _stamp(path)
        self._watched.append((path, found))
        if len(found) < 5:
            return
        identity = found[1:3]
        self._paths[identity] += 1
        if identity in above or self._paths[identity] > MAX_PATHS:  # a link back up would go round for ever
            return
        if len(self._paths) > MAX_DIRECTORIES or len(self._files) > MAX_FILES or len(above) > MAX_DEPTH:
            self._is_full = True
            return
        self._is_settled &= max(found[3:]) < self._started - _SETTLED_NS
        files, folders = self._read(path)
        self._files.extend(prefix + name for name in files)
        if recursive:
            for name in folders:
                self._visit(os.path.join(path, name), f"{prefix}{name}/", (*above, identity), recursive)

    def _read(self, path: str) -> tuple[list[str], list[str]]:
        """Names of files and of folders, sorted. One that may not be read is empty, as for ComfyUI."""
        files, folders = [], []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_symlink():
                        kind = _stamp(entry.path)
                        if kind[:1] != (stat.S_IFDIR,):  # those of folders are watched when they are visited
                            self._watched.append((entry.path, kind))
                        is_file, is_folder = kind[:1] == (stat.S_IFREG,), kind[:1] == (stat.S_IFDIR,)
                    else:
                        is_file, is_folder = entry.is_file(), entry.is_dir()
                    if is_file:
                        files.append(entry.name)
                    elif is_folder:
                        folders.append(entry.name)
        except OSError as error:
            log.warning("%s cannot be read (%s)", path, error.strerror)
        return sorted(files), sorted(folders)
