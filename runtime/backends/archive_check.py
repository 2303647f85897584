"""Whether an archive of torch.export holds code: torch's reader unpickles what it says, and evaluates its formulas.

Looked at before torch.export.load: every pickle has to load as plain tensors, no member may be an object of a class,
and formulas of symbolic sizes may name sizes and functions of sizes alone.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import torch

Json = Any

_OBJECTS = ("custom_obj", "opaque")  # members that are unpickled without a question
_QUOTED = re.compile(r"'\w+'")  # the name of a symbol
_FORMULA = re.compile(r"[\w\s+\-*/(),<>=&|~%.]*")
_WORD = re.compile(r"[A-Za-z_]\w*")
_SYMBOL = re.compile(r"[suz]\w{0,3}\d+")
# Of sympy and of torch's own functions on sizes; sympy evaluates what it is given with all of Python's.
_FUNCTIONS = (
    "Symbol Integer Rational Float Add Mul Pow Max Min Mod PythonMod Abs floor ceiling FloorDiv CeilDiv CleanDiv"
    " IntTrueDiv FloatTrueDiv TruncToInt TruncToFloat CeilToInt FloorToInt RoundToInt ToFloat PowByNatural FloatPow"
    " ModularIndexing Identity Where LShift RShift Eq Ne Lt Le Gt Ge Equality Unequality LessThan StrictLessThan"
    " GreaterThan StrictGreaterThan And Or Not Piecewise ExprCondPair true false oo int_oo Infinity NegativeInfinity"
    " One Zero Half NegativeOne positive nonnegative integer real finite True False"
)
_KNOWN = frozenset(_FUNCTIONS.split())


class HoldsCodeError(Exception):
    """What in the archive would run."""


def refuse_code(archive: bytes) -> None:
    """Raises HoldsCodeError; zipfile.BadZipFile, KeyError, ValueError for what is no archive."""
    with zipfile.ZipFile(io.BytesIO(archive)) as members:
        names = members.namelist()
        if not any(name.endswith("/archive_format") and members.read(name) == b"pt2" for name in names):
            raise HoldsCodeError("it is not an archive of the present form")
        for name in names:
            folder, _, base = name.rpartition("/")
            if base.startswith(_OBJECTS):
                raise HoldsCodeError(f"{name} is an object")
            if base.endswith(".pt"):
                _refuse_pickle(members.read(name), name)
            if base.endswith(".json"):
                content = json.loads(members.read(name))
                _refuse_formulas(content, name)
                for path in _pickled(content):
                    _refuse_pickle(members.read(f"{folder}/{path}"), path)


def _refuse_pickle(data: bytes, name: str) -> None:
    """torch's reader takes the careful unpickler first and, where that fails, the one that runs code."""
    if not data:
        return
    try:
        torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # torch raises a dozen classes
        raise HoldsCodeError(f"{name} is more than tensors") from None


def _pickled(content: Json) -> Iterator[str]:
    """The members that a table of weights or constants says are pickles."""
    for item in _dicts(content):
        if item.get("use_pickle") is not False and "use_pickle" in item:
            yield str(item.get("path_name"))


def _refuse_formulas(value: Json, name: str) -> None:
    for formula in _formulas(value):
        plain = _QUOTED.sub("", formula)
        words = (word for word in _WORD.findall(plain) if word not in _KNOWN and not _SYMBOL.fullmatch(word))
        if not _FORMULA.fullmatch(plain) or any(words):
            raise HoldsCodeError(f"{name} has the formula {formula[:60]!r}")


def _formulas(content: Json) -> Iterator[str]:
    for item in _dicts(content):
        if isinstance(formula := item.get("expr_str"), str):
            yield formula


def _dicts(content: Json) -> Iterator[dict[str, Json]]:
    stack = [content]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
