"""Widget values that name a file: whether the folder has it, under that name or one that means the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from compiler.checking.findings import Findings, shown
from graphs.errors import ModelMissingError, Problem
from graphs.node import Input, Json, Node
from runtime.file_names import Match, match_name

Files = Mapping[str, Sequence[str]]  # model folder ("checkpoints", "input", ...) -> files, as paths inside it

CHOICES_SHOWN = 12
# VAELoader offers these small autoencoders where the folder vae_approx has both halves of one
TINY_VAES = ("taesd", "taesdxl", "taesd3", "taef1")
_OTHER_FOLDERS = (" [output]", " [temp]")
_ANNOTATIONS = (" [input]", *_OTHER_FOLDERS)  # LoadImage writes the folder behind the name


@dataclass
class KnownFiles:
    """The files by model folder, asked for when a node names one."""

    files: Files
    _names: dict[str, dict[str, None]] = field(default_factory=dict)
    _matches: dict[tuple[str, str], Match] = field(default_factory=dict)

    def names(self, folder: str) -> Mapping[str, None] | None:
        """In the folder's order, and quick to look up; None where the folder is not known here."""
        if folder not in self._names:
            if folder not in self.files:
                return None
            self._names[folder] = dict.fromkeys(self.files[folder])
            if folder == "vae":
                self._names[folder].update(dict.fromkeys(self._tiny_vaes()))
        return self._names[folder]

    def _tiny_vaes(self) -> list[str]:
        halves = {name.partition(".")[0] for name in self.files.get("vae_approx", ())}
        return [name for name in TINY_VAES if {f"{name}_encoder", f"{name}_decoder"} <= halves]

    def match(self, folder: str, wanted: str) -> Match:
        if (folder, wanted) not in self._matches:
            self._matches[folder, wanted] = match_name(wanted, self.names(folder) or ())
        return self._matches[folder, wanted]


def check_file(
    node: Node, declared: Input, value: Json, files: KnownFiles, findings: Findings, *, strict: bool
) -> Json:
    """The name of the file as the folder has it; a value that is reported stays as it is.

    value_not_in_list, custom_validation_failed (input folder), and file_elsewhere, a warning, where the only file of
    that name is in another sub-folder. strict: letter for letter, as a server.
    """
    folder, options = declared.folder or "", declared.options or ()
    wanted, annotation = _annotated(declared, value)
    names = files.names(folder)
    if names is None or value in options or annotation in _OTHER_FOLDERS:
        return value  # those folders are not known here
    if wanted in names:
        return value
    match = files.match(folder, wanted)
    if match.name is not None and not strict:
        found = match.name + annotation
        if match.is_elsewhere:
            message = f"{value!r} is not there; the file of that name in another folder, {found!r}, is taken"
            findings.add("file_elsewhere", message, node, declared.name, severity="warning")
        return found
    meant = ((match.name,) if match.name else match.candidates) or findings.similar(wanted, names)
    hint = f"put the file into the '{folder}' folder, or choose one that is there"
    if meant:
        hint = f"did you mean {' or '.join(repr(name) for name in meant[:3])}?"
    kind, message = "value_not_in_list", "the value is not in the list"
    if folder == "input":  # its nodes check this themselves, and the server reports it like that
        kind, message = "custom_validation_failed", "no such file in the input folder"
    findings.add(
        kind,
        message,
        node,
        declared.name,
        expected=listed((*options, *islice(names, CHOICES_SHOWN)), len(options) + len(names)),
        got=shown(value),
        hint=hint,
        received_value=value,
        folder=folder,
    )
    return value


def listed(choices: Sequence[Json], count: int | None = None) -> str:
    """The first of the choices. count: of all, where `choices` does not hold them."""
    more = (len(choices) if count is None else count) - CHOICES_SHOWN
    names = ", ".join(str(choice) for choice in choices[:CHOICES_SHOWN]) or "nothing: the folder is empty"
    return f"one of {names}" + (f" and {more} more" if more > 0 else "")


def is_missing_model(problem: Problem) -> bool:
    """Whether nothing is wrong but that a model folder does not have the file which a widget names."""
    return problem.type == "value_not_in_list" and problem.extra_info.get("folder") is not None


def missing_models_error(problems: Sequence[Problem]) -> ModelMissingError:
    """One error for all of them."""
    if len(problems) == 1:
        return ModelMissingError(f"a model file is missing: {problems[0]}")
    return ModelMissingError("\n  ".join((f"{len(problems)} model files are missing", *map(str, problems))))


def _annotated(declared: Input, value: Json) -> tuple[str, str]:
    """(the name, the folder written behind it)."""
    name = str(value)
    if declared.folder == "input":
        for annotation in _ANNOTATIONS:
            if name.endswith(annotation):
                return name[: -len(annotation)], annotation
    return name, ""
