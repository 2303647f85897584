"""Where model files are: ComfyUI's folder layout over several roots."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from graphs.errors import ModelMissingError, UsageError
from runtime.file_names import match_name
from runtime.listing import Tree, tree
from runtime.model_kinds import EMBEDDING_SUFFIXES, KINDS, kind_of, noun_of, suffixes_of

log = logging.getLogger(__name__)

ENV = "COMFYC_MODELS"
_LONGEST = 255  # characters of a name that are compared: file systems take no more


@dataclass(frozen=True)
class Folders:
    """The folders of every kind, in search order, and ComfyUI's input and output folders where a root has them.

    Make one with `Folders.of(roots)` or `Folders.default()`. A root is one of
      a models folder           (has checkpoints/, vae/, loras/ ...)
      a ComfyUI installation    (has models/, input/, output/)
      an extra_model_paths.yaml (see runtime.extra_paths)
    """

    roots: tuple[Path, ...] = ()
    dirs: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    input_dir: Path | None = None
    output_dir: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "dirs", MappingProxyType(dict(self.dirs)))

    @classmethod
    def of(cls, roots: Iterable[str | os.PathLike[str]], *, input_dir: str | os.PathLike[str] | None = None) -> Folders:
        """Raises UsageError when a root does not exist or a yaml file cannot be read."""
        paths = tuple(Path(os.path.expanduser(r)) for r in roots)
        first: dict[str, list[Path]] = {}
        last: dict[str, list[Path]] = {}
        found_input: Path | None = None
        found_output: Path | None = None
        for root in paths:
            if root.suffix.lower() in (".yaml", ".yml"):
                from runtime.extra_paths import read_extra_paths

                for entry in read_extra_paths(root):
                    (first if entry.is_default else last).setdefault(entry.kind, []).append(entry.path)
                continue
            models, home = _models_folder(root)
            for kind, names in KINDS.items():
                last.setdefault(kind, []).extend(models / name for name in names)
            if home is not None:
                found_input = found_input or _existing(home / "input")
                found_output = found_output or _existing(home / "output")
        kinds = dict.fromkeys([*first, *last])
        dirs = {kind: _unique([*first.get(kind, []), *last.get(kind, [])]) for kind in kinds}
        chosen_input = Path(os.path.expanduser(input_dir)) if input_dir is not None else found_input
        return cls(paths, dirs, chosen_input, found_output)

    @classmethod
    def default(cls) -> Folders:
        """COMFYC_MODELS (several, separated as PATH is), else ./models; no folder at all gives an empty Folders."""
        if value := os.environ.get(ENV):
            return cls.of(part for part in value.split(os.pathsep) if part)
        return cls.of(["models"]) if Path("models").is_dir() else cls()

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self.dirs)

    def folders_of(self, kind: str) -> tuple[Path, ...]:
        """The folders of a kind that exist. kind may be an old name ("clip", "unet") or "input"."""
        kind = kind_of(kind)
        candidates = ((self.input_dir,) if self.input_dir else ()) if kind == "input" else self.dirs.get(kind, ())
        return tuple(d for d in candidates if os.path.isdir(d))  # Path.is_dir raises for a name that is too long

    def list(self, kind: str) -> tuple[str, ...]:
        """Every file of a kind as widgets write it: relative, with forward slashes, sorted, each name once.

        Of the input folder only what lies in it directly, which is what widgets offer; `find` knows the rest.
        """
        return _sorted(kind_of(kind), self._trees(kind))

    @property
    def files(self) -> Mapping[str, tuple[str, ...]]:
        """Every file that a widget may name, by kind ("input" among them where there is one); listed when asked for."""
        return _Files(self)

    def embeddings(self) -> Mapping[str, Path]:
        """Textual inversions by the name a text prompt uses (`embedding:NAME`), relative and without the suffix.

        The first folder wins, and of files in it that differ in their suffix alone .safetensors over .pt over .bin.
        """
        return _embeddings(self._trees("embeddings"))

    def find(self, kind: str, name: str) -> Path:
        """The file a widget means: the exact relative name, in the first folder that has it; a backslash is a slash.

        Else the one file whose name fits, as `runtime.file_names.match_name` decides; logs a warning.
        Raises ModelMissingError with near misses and the folders searched.
        """
        kind = kind_of(kind)
        wanted = name.replace("\\", "/").strip().removeprefix("./")
        if not wanted or wanted.startswith("/") or ".." in wanted.split("/") or (len(wanted) > 1 and wanted[1] == ":"):
            raise ModelMissingError(
                f"{name!r} is not a name inside the model folders",
                where=f"{noun_of(kind)}",
                expected="a relative name such as 'sd15/model.safetensors'",
                got=repr(name),
                hint="put the file into a model folder and write its name relative to it",
            )
        folders = self.folders_of(kind)
        for folder in folders:
            if os.path.isfile(folder / wanted):
                return folder / wanted
        trees = self._trees(kind, recursive=True)
        match = match_name(wanted, _sorted(kind, trees))
        if match.name is None:
            raise self._missing(kind, name, match.candidates or _near(_sorted(kind, trees), wanted))
        how = "the only file of that base name" if match.is_elsewhere else "the name differs in letter case or accents"
        log.warning("%s %r: not there; using %r, %s", noun_of(kind), name, match.name, how)
        return next(tree.folder / match.name for tree in trees if match.name in tree.files)

    def _trees(self, kind: str, *, recursive: bool | None = None) -> tuple[Tree, ...]:
        deep = kind_of(kind) != "input" if recursive is None else recursive
        return tuple(tree(folder, recursive=deep) for folder in self.folders_of(kind))

    def _missing(self, kind: str, name: str, near: tuple[str, ...]) -> ModelMissingError:
        searched = self.folders_of(kind)
        hints: list[str] = []
        if near:
            hints.append("there is " + ", ".join(repr(n) for n in near))
        if searched:
            hints.append("searched " + ", ".join(str(d) for d in searched))
            hints.append(f"put the file there, or name the right folder with --models DIR (or {ENV})")
        else:
            places = ", ".join(str(r) for r in self.roots) or "none was given and there is no ./models"
            hints.append(f"no folder for {noun_of(kind)} files in the model folders ({places})")
            hints.append(
                f"give --models (or {ENV}) a models folder, a ComfyUI folder or its extra_model_paths.yaml"
            )
        return ModelMissingError(f"{noun_of(kind)} {name!r} is not in the model folders", hint="; ".join(hints))


class _Files(Mapping[str, tuple[str, ...]]):
    """Lists a kind when it is first asked for: a workflow names files of two or three of twenty."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    def __getitem__(self, kind: str) -> tuple[str, ...]:
        if kind not in self:
            raise KeyError(kind)
        return _sorted(kind_of(kind), self._folders._trees(kind, recursive=True))

    def __contains__(self, kind: object) -> bool:
        return isinstance(kind, str) and (kind_of(kind) in self._folders.dirs or kind in self._extra)

    def __iter__(self) -> Iterator[str]:
        yield from (*self._folders.dirs, *self._extra)

    def __len__(self) -> int:
        return len(self._folders.dirs) + len(self._extra)

    @property
    def _extra(self) -> tuple[str, ...]:
        return ("input",) if self._folders.input_dir is not None else ()


def _models_folder(root: Path) -> tuple[Path, Path | None]:
    """(the models folder, the ComfyUI folder or None)."""
    if not os.path.exists(root):
        raise UsageError("the model folder does not exist", where=str(root), hint=f"check --models and {ENV}")
    if not os.path.isdir(root):
        raise UsageError(
            "is a file",
            where=str(root),
            expected="a models folder, a ComfyUI folder or an extra_model_paths.yaml",
            got=f"a {root.suffix or 'plain'} file",
            hint="give the folder that has checkpoints/, vae/, loras/ ... in it",
        )
    own_kinds = any(os.path.isdir(root / name) for names in KINDS.values() for name in names)
    if not own_kinds and os.path.isdir(root / "models"):
        return root / "models", root
    beside = root.parent
    is_installed = root.name == "models" and ((beside / "main.py").is_file() or (beside / "custom_nodes").is_dir())
    return root, beside if is_installed else None


@lru_cache(maxsize=256)
def _sorted(kind: str, trees: tuple[Tree, ...]) -> tuple[str, ...]:
    """Every name of the trees once, of the suffixes that count for the kind. Trees are told apart by identity."""
    suffixes = suffixes_of(kind)
    names = {n for t in trees for n in t.files if suffixes is None or os.path.splitext(n)[1].lower() in suffixes}
    return tuple(sorted(names, key=lambda n: (n.lower(), n)))


@lru_cache(maxsize=16)
def _embeddings(trees: tuple[Tree, ...]) -> Mapping[str, Path]:
    found: dict[str, Path] = {}
    for one in trees:
        for suffix in EMBEDDING_SUFFIXES:
            for name in one.files:
                stem, ending = os.path.splitext(name)
                if ending.lower() == suffix:
                    found.setdefault(stem, one.folder / name)
    return MappingProxyType(dict(sorted(found.items())))


def _near(names: tuple[str, ...], wanted: str) -> tuple[str, ...]:
    """Up to three names whose base name looks like the wanted one's."""
    by_base: dict[str, str] = {}
    for name in names:
        by_base.setdefault(name.rsplit("/", 1)[-1].lower(), name)
    close = difflib.get_close_matches(wanted.rsplit("/", 1)[-1].lower()[:_LONGEST], by_base, n=3, cutoff=0.55)
    return tuple(by_base[c] for c in close)


def _existing(path: Path) -> Path | None:
    return path if os.path.isdir(path) else None


def _unique(paths: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(paths))
