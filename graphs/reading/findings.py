"""What reading one file found: problems that stop it, warnings, and nodes that were resolved away."""

from __future__ import annotations

from graphs.errors import Problem, WorkflowError

LIMIT = 1000  # per kind: a hostile file must not fill the memory with complaints


class Findings:
    """Collects everything wrong with a file so that it is reported at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.dissolved: list[tuple[str, str, str]] = []

    def problem(
        self,
        type: str,
        message: str,
        *,
        node_id: str | None = None,
        class_type: str | None = None,
        input_name: str | None = None,
        expected: str | None = None,
        got: str | None = None,
        hint: str | None = None,
    ) -> None:
        if len(self.problems) < LIMIT:
            self.problems.append(Problem(type, message, node_id, class_type, input_name, expected, got, hint))

    def warn(
        self,
        type: str,
        message: str,
        *,
        node_id: str | None = None,
        class_type: str | None = None,
        input_name: str | None = None,
        got: str | None = None,
        hint: str | None = None,
    ) -> None:
        if len(self.warnings) < LIMIT:
            self.warnings.append(
                Problem(type, message, node_id, class_type, input_name, None, got, hint, severity="warning")
            )

    def note(self, type: str, message: str, *, node_id: str | None = None, class_type: str | None = None) -> None:
        """What was decided as everyone would expect: for those who ask."""
        if len(self.warnings) < LIMIT:
            self.warnings.append(Problem(type, message, node_id, class_type, severity="info"))

    def dissolve(self, node_id: str, class_type: str, reason: str) -> None:
        self.dissolved.append((node_id, class_type, reason))

    def raise_problems(self) -> None:
        """Raises: WorkflowError with all problems, if there are any."""
        if self.problems:
            n = len(self.problems)
            raise WorkflowError(f"the workflow has {n} problem{'s' if n > 1 else ''}", tuple(self.problems))


def brief(value: object, limit: int = 60) -> str:
    """A value of an untrusted file, short enough for a message."""
    if isinstance(value, str):
        text = repr(value[: limit + 1])
    elif isinstance(value, list | tuple):
        text = f"a list of {len(value)}"
    elif isinstance(value, dict):
        text = f"an object of {len(value)} keys"
    elif isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 256:
        text = f"an integer of {value.bit_length()} bits"
    else:
        text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
