"""Problems that are nothing but a model file which is not there: the workflow itself is sound."""

from __future__ import annotations

from collections.abc import Sequence

from graphs.errors import ModelMissingError, Problem
from graphs.schemas import Schemas


def is_missing_model(problem: Problem, schemas: Schemas) -> bool:
    """Whether a widget names a file that its model folder does not have."""
    schema = schemas.lookup(problem.class_type) if problem.class_type else None
    declared = schema.input(problem.input_name) if schema and problem.input_name else None
    return problem.type == "value_not_in_list" and declared is not None and declared.folder not in (None, "input")


def missing_models_error(problems: Sequence[Problem]) -> ModelMissingError:
    """One error for all of them."""
    if len(problems) == 1:
        return ModelMissingError(f"a model file is missing: {problems[0]}")
    return ModelMissingError("\n  ".join((f"{len(problems)} model files are missing", *map(str, problems))))
