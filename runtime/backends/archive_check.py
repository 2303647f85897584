"""Whether an archive of torch.export holds code. torch's reader unpickles, loads shared libraries, evaluates formulas,
and writes Python source with the names that an archive gives; a graph may call what opens files.

So nothing but what our own archives have gets to it. Members: those of one program, its tensors and its sample inputs,
which are packed anew, so that torch reads the bytes that were looked at. Every pickle has to load as plain tensors. In
the graph: operators on tensors and sizes, names that are identifiers, formulas of sizes alone, tuples, lists and
dictionaries; guards and notes of where an operator came from are left out.
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

_MEMBER = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/version|\.data/serialization_id"
    r"|models/model\.json|data/sample_inputs/model\.pt"
    r"|data/weights/(model_weights_config\.json|weight_\d+)|data/constants/(model_constants_config\.json|tensor_\d+)"
)
_PAYLOAD = re.compile(r"(weight|tensor)_\d+")
_TARGET = re.compile(
    r"torch\.ops\.aten\.(?!save\b|from_file\b|_print\b|warn\b)\w+\.\w+|(_operator|math)\.\w+|torch\.sym_\w+"
)
_NAME = re.compile(r"[\w.]*")
_CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")
_FREE = frozenset(
    {"as_string", "expr_str", "in_spec", "out_spec", "torch_version"}
)  # looked at apart, or only compared
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


def without_code(archive: bytes) -> bytes:
    """The archive, packed anew. Raises HoldsCodeError; BadZipFile, KeyError, ValueError for what is no archive."""
    checked = io.BytesIO()
    seen: set[str] = set()
    with zipfile.ZipFile(io.BytesIO(archive)) as members, zipfile.ZipFile(checked, "w", zipfile.ZIP_STORED) as packed:
        for entry in members.infolist():
            root, _, name = entry.filename.partition("/")
            if not _MEMBER.fullmatch(name) or f"{root}/{name}".lower() in seen:
                raise HoldsCodeError(f"it has a member {entry.filename[:80]!r}, which ours do not have")
            seen.add(f"{root}/{name}".lower())
            content = members.read(entry)
            packed.writestr(zipfile.ZipInfo(entry.filename), _checked(name, content, members, root))
    if len({name.partition("/")[0] for name in seen}) != 1 or not any(n.endswith("/archive_format") for n in seen):
        raise HoldsCodeError("it is not an archive of the present form")
    return checked.getvalue()


def _checked(name: str, content: bytes, members: zipfile.ZipFile, root: str) -> bytes:
    """The member, without notes where it is a graph."""
    if name == "archive_format" and content != b"pt2":
        raise HoldsCodeError("it is not an archive of the present form")
    if name.endswith(".pt"):
        _refuse_pickle(content, name)
    if name.endswith("_config.json"):
        for item in _dicts(json.loads(content)):
            if "path_name" in item and not _PAYLOAD.fullmatch(str(item["path_name"])):
                raise HoldsCodeError(f"{name} names {str(item['path_name'])[:60]!r}")
            if item.get("use_pickle", False) is not False:
                path = f"{name.rpartition('/')[0]}/{item.get('path_name')}"
                _refuse_pickle(members.read(f"{root}/{path}"), path)
    if name == "models/model.json":
        graph = json.loads(content)
        _refuse_graph(graph, name)
        return json.dumps(graph).encode()
    return content


def _refuse_pickle(data: bytes, name: str) -> None:
    """torch's reader takes the careful unpickler first and, where that fails, the one that runs code."""
    if not data:
        return
    try:
        torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # torch raises a dozen classes
        raise HoldsCodeError(f"{name} is more than tensors") from None


def _refuse_graph(graph: Json, name: str) -> None:
    """Takes the notes out, and raises HoldsCodeError for what is left that could run."""
    if isinstance(graph, dict) and "guards_code" in graph:
        graph["guards_code"] = []  # Python on sizes, of networks whose inputs share a batch
    for item in _dicts(graph):
        if "metadata" in item:
            item["metadata"] = {}
        target = item.get("target")
        if isinstance(target, str) and not _TARGET.fullmatch(target):
            raise HoldsCodeError(f"{name} calls {target[:60]!r}")
        if isinstance(formula := item.get("expr_str"), str):
            _refuse_formula(formula, name)
        for key, value in item.items():
            if not _NAME.fullmatch(key) and not _is_formula(key):  # sizes have bounds by their formula: "8*s89"
                raise HoldsCodeError(f"{name} has the name {key[:60]!r}")
            if key in ("in_spec", "out_spec") and isinstance(value, str):
                _refuse_containers(value, name)
            texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
            strange = [t for t in texts if isinstance(t, str) and not _NAME.fullmatch(t)]
            if strange and key not in _FREE:
                raise HoldsCodeError(f"{name} has the name {strange[0][:60]!r}")


def _refuse_containers(spec: str, name: str) -> None:
    """torch imports the modules of other containers, and of enumerations among their keys."""
    for item in _dicts(json.loads(spec)):
        if item.get("type") not in _CONTAINERS or "__enum__" in str(item.get("context")):
            raise HoldsCodeError(f"{name} has the container {str(item)[:60]}")


def _refuse_formula(formula: str, name: str) -> None:
    if not _is_formula(formula):
        raise HoldsCodeError(f"{name} has the formula {formula[:60]!r}")


def _is_formula(formula: str) -> bool:
    """Whether it is of sizes alone."""
    plain = _QUOTED.sub("", formula)
    words = (word for word in _WORD.findall(plain) if word not in _KNOWN and not _SYMBOL.fullmatch(word))
    return _FORMULA.fullmatch(plain) is not None and not any(words)


def _dicts(content: Json) -> Iterator[dict[str, Json]]:
    stack = [content]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
