"""Every exception that means "the user or their machine did something that cannot work".

    ComfycError                 exit code 1
    |-- UsageError              2   a wrong option, a bad --set
    |-- WorkflowError           3   the workflow cannot be read or does not check; carries Problems
    |-- ModelMissingError       4   a checkpoint, LoRA, VAE, embedding is not in the model folders
    |-- DeviceError             5   no device, driver or library for the backend that was asked for
    |-- CheckpointError         1   a model file is damaged, or is of the wrong architecture
    |-- PassError               1   a pass broke an invariant (names the pass)
    |-- ExportError             1   a network cannot be expressed in ONNX
    |-- BuildError              1   an engine could not be built
    |-- StoreError              1   the engine and weight store: disk full, damaged entry
    |-- PlanError               1   a plan is damaged, of another version, or does not fit this machine
    `-- RunError                1   a step failed while running

The message answers: where, what, expected and got, what to do. Anything that is not a ComfycError is a bug of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

Json = Any  # a JSON value


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a workflow, in the shape of ComfyUI's own error answers.

    type: ComfyUI's error type ("required_input_missing", "value_not_in_list", "return_type_mismatch",
    "missing_node_type", ...) or one of ours ("cycle", "ambiguous_widgets", "bad_json").
    severity: "error"; "warning" is reported and does not stop a compile; "info" is for those who ask (-v).
    details, extra_info, dependent_outputs: the rest of the server's answer (see compiler.checking.server_errors).
    """

    type: str
    message: str
    node_id: str | None = None
    class_type: str | None = None
    input_name: str | None = None
    expected: str | None = None
    got: str | None = None
    hint: str | None = None
    severity: str = "error"
    details: str | None = None
    extra_info: Mapping[str, Json] = field(default_factory=dict, hash=False, repr=False)
    dependent_outputs: tuple[str, ...] = ()  # the output nodes that cannot run because of it

    def __str__(self) -> str:
        where = ""
        if self.node_id is not None:
            where = f"node {self.node_id}"
            if self.class_type:
                where += f" ({self.class_type})"
            if self.input_name:
                where += f", input '{self.input_name}'"
            where += ": "
        text = where + self.message
        if self.expected is not None or self.got is not None:
            text += f": expected {self.expected}, got {self.got}" if self.expected is not None else f": got {self.got}"
        return f"{text}; {self.hint}" if self.hint else text


class ComfycError(Exception):
    """Base of everything the command line prints as one line.

    where: file, node or step; what: what is wrong; expected/got: the two sides; hint: what to do.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        got: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.what, self.where, self.expected, self.got, self.hint = what, where, expected, got, hint
        text = f"{where}: {what}" if where else what
        if expected is not None:
            text += f": expected {expected}"
            if got is not None:
                text += f", got {got}"
        elif got is not None:
            text += f": got {got}"
        if hint:
            text += f"; {hint}"
        super().__init__(text)


class UsageError(ComfycError):
    exit_code = 2


class WorkflowError(ComfycError):
    """All problems of one workflow at once."""

    exit_code = 3

    def __init__(
        self,
        what: str,
        problems: tuple[Problem, ...] = (),
        *,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.problems = problems
        super().__init__(what, where=where, hint=hint)

    def __str__(self) -> str:
        head = super().__str__()
        return "\n".join([head, *(f"  {p}" for p in self.problems)]) if self.problems else head


class ModelMissingError(ComfycError):
    exit_code = 4


class DeviceError(ComfycError):
    exit_code = 5


class CheckpointError(ComfycError):
    pass


class PassError(ComfycError):
    pass


class ExportError(ComfycError):
    pass


class BuildError(ComfycError):
    pass


class StoreError(ComfycError):
    pass


class PlanError(ComfycError):
    pass


class RunError(ComfycError):
    pass
