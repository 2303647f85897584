"""Which recorded cases comfyc does not compile yet, by its own word: the error that it gives, not a list kept here."""

from __future__ import annotations

from graphs.errors import CheckpointError, ComfycError, WorkflowError


def reason_not_yet(error: ComfycError) -> str | None:
    """Why the workflow is beyond what comfyc compiles; None where the error says something else.

    error: of a compile. Beyond: a node class or value that is known and not compiled, a model file of another family.
    """
    if isinstance(error, WorkflowError):
        unsupported = [p for p in error.problems if p.type.startswith("unsupported")]
        kinds = sorted({p.class_type or p.message for p in unsupported if p.type != "unsupported_value"})
        values = sorted({p.message for p in unsupported if p.type == "unsupported_value"})
        return ", ".join([*kinds, *values]) or None
    if isinstance(error, CheckpointError):
        return error.what + (f": expected {error.expected}, got {error.got}" if error.got else "")
    return None
