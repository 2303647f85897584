"""The JSON form of plans and programs, derived from their dataclasses by cattrs.

A field of a dataclass is a field of an object. Only these have a form of their own:
  operand      {"ref": name}, {"param": name}, {"const": key} or {"value": JSON}; several of them a list
  weights      {"kind", "name"} of a file, {"of", "file", "strength"}, {"a", "b", "shares"}
  size         a number or the text of a Dim, "height*8"
  parameters, networks, models   objects by the name that each has, which does not stand in it again
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, TypeVar, get_args, get_origin

from cattrs import BaseValidationError, Converter
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from graphs.dims import Size, size_from_json, size_to_json
from graphs.errors import PlanError
from graphs.operands import Const, Literal, Operand, OperandTree, Param, Ref
from graphs.program import ModelUse, NetworkUse, Parameter
from graphs.values import Lora, Merge, ModelFile, Weights

Json = Any
T = TypeVar("T")

HINT = "compile the workflow again"
# Of the values of a mapping: the field that is its key, and left out in JSON.
KEYS = {Parameter: "name", NetworkUse: "id", ModelUse: "id"}
_NAMED: Mapping[str, type[Ref] | type[Param] | type[Const]] = {"ref": Ref, "param": Param, "const": Const}


class Wrong(ValueError):  # noqa: N818  named by what is wrong
    """A value that cannot be read: what was expected in its place."""

    def __init__(self, expected: str, value: Json = None, *, got: str | None = None) -> None:
        super().__init__(expected)
        shown = repr(value) if got is None else got
        self.expected, self.got = expected, shown if len(shown) < 80 else shown[:77] + "..."


def to_json(value: Json) -> Json:
    """The JSON form of a plan, a program or a part of one; fields in the order of their class."""
    return _converter.unstructure(value)


def from_json(document: Json, kind: type[T], where: str) -> T:
    """The value of a JSON form. Raises PlanError saying where, what was expected and what is there."""
    try:
        return _converter.structure(document, kind)
    except (BaseValidationError, Wrong, RecursionError) as error:
        place, expected, got = _first(error, where)
        raise PlanError("damaged plan", where=place, expected=expected, got=got, hint=HINT) from None


def _first(error: BaseException, place: str) -> tuple[str, str, str]:
    """Where the first problem is, what was expected there and what there is."""
    if isinstance(error, ClassValidationError):
        inside, others = error.group_exceptions()
        return _first(inside[0][0], f"{place}.{inside[0][1].name}") if inside else _first(others[0], place)
    if isinstance(error, IterableValidationError):
        items, others = error.group_exceptions()
        if not items:
            return _first(others[0], place)
        index = items[0][1].index
        return _first(items[0][0], f"{place}[{index}]" if isinstance(index, int) else f"{place}.{index}")
    if isinstance(error, ForbiddenExtraKeysError):
        return place, "no other field", ", ".join(f"'{name}'" for name in sorted(error.extra_fields))
    if isinstance(error, Wrong):
        return place, error.expected, error.got
    return place, "a value that can be read", str(error)


# --- readers --------------------------------------------------------------------------------------------------------


def _exactly(kind: type[T], expected: str) -> Callable[[Json, Any], T]:
    def read(value: Json, _: Any) -> T:
        if type(value) is not kind:
            raise Wrong(expected, value)
        return value

    return read


def _number(value: Json, _: Any) -> float:
    """An int stays an int: JSON tells 1 from 1.0, and so do ranges of parameters."""
    if type(value) not in (int, float):
        raise Wrong("a number", value)
    number: float = value
    return number


def _number_or_none(value: Json, _: Any) -> float | None:
    return None if value is None else _number(value, _)


def _size(value: Json, _: Any) -> Size:
    try:
        if type(value) in (int, str):
            return size_from_json(value)
    except ValueError:
        pass
    raise Wrong("a size", value)


def _operand(value: Json, _: Any) -> Operand:
    if isinstance(value, dict) and len(value) == 1:
        ((kind, content),) = value.items()
        if kind == "value":
            return Literal(content)
        if kind in _NAMED and isinstance(content, str):
            return _NAMED[kind](content)
    raise Wrong('one of {"ref"}, {"param"}, {"const"}, {"value"}', value)


def _tree(value: Json, _: Any) -> OperandTree:
    return tuple(_operand(item, _) for item in value) if isinstance(value, list) else _operand(value, _)


def _weights(value: Json, _: Any) -> Weights:
    kind: Any = Lora if "of" in _object(value) else Merge if "shares" in value else ModelFile
    weights: Weights = _converter.structure(value, kind)
    return weights


def _object(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise Wrong("an object", value)
    return value


def _listed(value: Json, length: int | None = None) -> list[Json]:
    if not isinstance(value, list):
        raise Wrong("a list", value)
    if length is not None and len(value) != length:
        raise Wrong(f"a list of {length}", value)
    return value


def _read_dataclass(converter: Converter, kind: Any) -> Callable[[Json, Any], Any]:
    """Every field must be there, whether the class has a default for it or not."""
    names = [field.name for field in fields(kind)]
    read = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)

    def whole(value: Json, _: Any) -> Any:
        missing = [name for name in names if name not in _object(value)]
        if missing:
            raise Wrong(f"a field '{missing[0]}'", got="none")
        return read(value, kind)

    return whole


def _read_tuple(converter: Converter, kind: Any) -> Callable[[Json, Any], Any]:
    """Of equal items, tuple[X, ...], or of a fixed number."""
    items = get_args(kind)
    if items[-1] is Ellipsis:
        return lambda value, _: tuple(converter.structure(_listed(value), list[items[0]]))  # type: ignore[valid-type]
    readers = [(converter.get_structure_hook(item), item) for item in items]
    return lambda value, _: tuple(
        read(part, item) for (read, item), part in zip(readers, _listed(value, len(readers)), strict=True)
    )


def _read_mapping(converter: Converter, kind: Any) -> Callable[[Json, Any], Any]:
    key, item = get_args(kind)
    name = KEYS.get(item)

    def read(value: Json, _: Any) -> Any:
        entries = _object(value)
        if name is not None:
            entries = {k: {**v, name: k} if isinstance(v, dict) else v for k, v in entries.items()}
        return converter.structure(entries, dict[key, item])  # type: ignore[valid-type]

    return read


# --- writers --------------------------------------------------------------------------------------------------------


def _write_dataclass(converter: Converter, kind: Any) -> Callable[[Any], Json]:
    hidden: dict[str, Any] = {KEYS[kind]: override(omit=True)} if kind in KEYS else {}
    return make_dict_unstructure_fn(kind, converter, **hidden)


def _write_tree(tree: OperandTree) -> Json:
    if isinstance(tree, tuple):
        return [_write_tree(operand) for operand in tree]
    if isinstance(tree, Literal):
        return {"value": tree.value}
    name = next(name for name, kind in _NAMED.items() if isinstance(tree, kind))
    return {name: tree.key if isinstance(tree, Const) else tree.name}


def _is(origin: Any, kind: Any) -> bool:
    return get_origin(kind) is origin


def _make() -> Converter:
    c = Converter(unstruct_collection_overrides={tuple: list})
    for kind, words in ((str, "a string"), (int, "a whole number"), (bool, "true or false")):
        c.register_structure_hook(kind, _exactly(kind, words))
    c.register_structure_hook(float, _number)
    c.register_structure_hook(float | int | None, _number_or_none)
    c.register_structure_hook(Size, _size)
    c.register_structure_hook(OperandTree, _tree)
    c.register_structure_hook(Weights, _weights)
    for origin, read in ((tuple, _read_tuple), (Mapping, _read_mapping)):
        c.register_structure_hook_factory(partial(_is, origin), partial(read, c))
    c.register_structure_hook_factory(is_dataclass, partial(_read_dataclass, c))
    c.register_unstructure_hook_factory(is_dataclass, partial(_write_dataclass, c))
    c.register_unstructure_hook(Size, size_to_json)
    c.register_unstructure_hook(OperandTree, _write_tree)
    c.register_unstructure_hook(Weights, lambda weights: c.unstructure(weights))
    return c


_converter = _make()
