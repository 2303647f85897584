"""Ops that move values about."""

from __future__ import annotations

from typing import TypeVar

from runtime.context import OpContext

T = TypeVar("T")


def identity(context: OpContext, value: T) -> T:
    return value
