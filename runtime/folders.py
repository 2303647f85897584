"""Where model files are: ComfyUI's folder layout over several roots."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from graphs.errors import ModelMissingError, UsageError
from runtime.model_kinds import KINDS, kind_of, noun_of, suffixes_of

log = logging.getLogger(__name__)

ENV = "COMFYC_MODELS"


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
        paths = tuple(Path(r).expanduser() for r in roots)
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
        chosen_input = Path(input_dir).expanduser() if input_dir is not None else found_input
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
        return tuple(d for d in candidates if d.is_dir())

    def list(self, kind: str) -> tuple[str, ...]:
        """Every file of a kind as widgets write it: relative, with forward slashes, sorted, each name once."""
        return tuple(sorted({name for name, _ in self._files(kind)}, key=lambda n: (n.lower(), n)))

    def embeddings(self) -> dict[str, Path]:
        """Textual inversions by the name a text prompt uses (`embedding:NAME`): relative, without the suffix."""
        found: dict[str, Path] = {}
        for name, path in self._files("embeddings"):
            found.setdefault(name.rsplit(".", 1)[0], path)
        return dict(sorted(found.items()))

    def find(self, kind: str, name: str) -> Path:
        """The file a widget means.

        1. the exact relative name, the first folder that has it; a backslash counts as a slash
        2. the same relative name, letter case aside
        3. the same base name (letter case aside) in another sub-folder, if only one file has it; logs a warning
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
        for folder in self.folders_of(kind):
            if (folder / wanted).is_file():
                return folder / wanted
        files = list(self._files(kind))
        for found, path in files:
            if found.lower() == wanted.lower():
                log.warning("%s %r: using %r (letter case differs)", noun_of(kind), name, found)
                return path
        base = wanted.rsplit("/", 1)[-1].lower()
        same_base = {found: path for found, path in reversed(files) if found.rsplit("/", 1)[-1].lower() == base}
        if len(same_base) == 1:
            found, path = next(iter(same_base.items()))
            log.warning("%s %r: not there; using %r, the only file of that base name", noun_of(kind), name, found)
            return path
        raise self._missing(kind, name, wanted, tuple(sorted(same_base)) or self._near(files, wanted))

    def _files(self, kind: str) -> Iterator[tuple[str, Path]]:
        """(relative name, path) in search order; hidden files and folders are skipped, links are followed."""
        kind = kind_of(kind)
        suffixes = suffixes_of(kind)
        for folder in self.folders_of(kind):
            for path in _walk(folder, recursive=kind != "input"):
                if suffixes is None or path.suffix.lower() in suffixes:
                    yield path.relative_to(folder).as_posix(), path

    @staticmethod
    def _near(files: Iterable[tuple[str, Path]], wanted: str) -> tuple[str, ...]:
        by_base: dict[str, str] = {}
        for found, _ in files:
            by_base.setdefault(found.rsplit("/", 1)[-1].lower(), found)
        close = difflib.get_close_matches(wanted.rsplit("/", 1)[-1].lower(), by_base, n=3, cutoff=0.55)
        return tuple(by_base[c] for c in close)

    def _missing(self, kind: str, name: str, wanted: str, near: tuple[str, ...]) -> ModelMissingError:
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


def _models_folder(root: Path) -> tuple[Path, Path | None]:
    """(the models folder, the ComfyUI folder or None)."""
    if not root.exists():
        raise UsageError("the model folder does not exist", where=str(root), hint=f"check --models and {ENV}")
    if not root.is_dir():
        raise UsageError(
            "is a file",
            where=str(root),
            expected="a models folder, a ComfyUI folder or an extra_model_paths.yaml",
            got=f"a {root.suffix or 'plain'} file",
            hint="give the folder that has checkpoints/, vae/, loras/ ... in it",
        )
    own_kinds = any((root / name).is_dir() for names in KINDS.values() for name in names)
    if not own_kinds and (root / "models").is_dir():
        return root / "models", root
    beside = root.parent
    is_installed = root.name == "models" and ((beside / "main.py").is_file() or (beside / "custom_nodes").is_dir())
    return root, beside if is_installed else None


def _walk(folder: Path, *, recursive: bool) -> Iterator[Path]:
    seen: set[str] = set()
    for here, names, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:  # a link back up would go round for ever
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(n for n in names if not n.startswith(".")) if recursive else []
        for file in sorted(files):
            if not file.startswith("."):
                yield Path(here) / file


def _existing(path: Path) -> Path | None:
    return path if path.is_dir() else None


def _unique(paths: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(paths))
