"""Frozen dataclasses <-> flat arrays and JSON, and from there to safetensors. No pickle, and no name is ever imported from a file.

Writing looks at the values, reading follows the type hints of the class that is asked for, so a file cannot choose what is built.
Known: nested dataclasses, arrays, bool, int, float, str, enums, ``Literal``, ``Optional``, unions of scalars, tuples and mappings
from str.
Type variables (the ``W`` of ``Scenario[W]``) stand for the ``world`` class that the reader passes. Equal arrays are stored once.
Pictures are stored as they are compressed, one after the other; a field with ``base.UNSTORED`` is left out.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import safetensors
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from wetoolkit.errors import StoreError, ValidationError
from wetoolkit.types import Array, Picture

FORMAT = "wetoolkit-1"  # version of the layout below
MENDED = "if a run made it here, remove it: the run makes it again; else give the file that its stage writes"
_ARRAY = "$array"  # {"$array": key}: an array; everything else in the tree is plain JSON
_FLOAT = "$float"  # {"$float": "nan"}: a number that JSON does not know
_PICTURES = "$pictures"  # {"$pictures": [bytes, ends]}: a row of compressed pictures, each [N] as an array, where each one ends
_OWN = (_ARRAY, _FLOAT, _PICTURES)

T = TypeVar("T")
Json = Any


def encode(value: object, prefix: str = "") -> tuple[dict[str, Array], Json]:
    """Arrays by key and a JSON tree that refers to them; keys start with ``prefix``. ``ValidationError`` for what is not known."""
    packer = _Packer()
    return packer.arrays, packer.pack(value, prefix or "value")


def decode(cls: type[T], arrays: Mapping[str, Array], tree: Json, world: type | None = None) -> T:
    """The ``cls`` that was encoded. ``StoreError`` names the field that is missing, unknown or of another type."""
    value: T = _unpack(cls, tree, arrays, world, cls.__name__)
    return value


def dump_block(values: Iterable[object], facts: Mapping[str, Json] | None = None) -> bytes:
    """The bytes of a safetensors file that holds many values and some JSON ``facts`` about them. Equal input, equal bytes."""
    packer = _Packer()
    trees = [packer.pack(value, str(number)) for number, value in enumerate(values)]
    header = {"format": FORMAT, "values": trees, "facts": dict(facts or {})}
    # One metadata entry only: the order of several is not fixed by safetensors.
    return save_tensors(packer.arrays, metadata={"wetoolkit": json.dumps(header, separators=(",", ":"), allow_nan=False)})


def load_block(data: bytes, cls: type[T], world: type | None = None, source: str = "") -> tuple[list[T], dict[str, Json]]:
    """What ``dump_block`` wrote: the values, as ``cls``, and the facts. ``StoreError`` names the file ``source``."""
    header = read_header(data, source)
    try:
        arrays = load_tensors(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"not a complete safetensors file: {error}", file=source, way_out=MENDED) from error
    return [decode(cls, arrays, tree, world) for tree in header["values"]], header["facts"]


def read_header(data: bytes, source: str = "") -> dict[str, Json]:
    """The JSON header of a block, from the file's first bytes (all of its safetensors header must be among them)."""
    try:
        length = int.from_bytes(data[:8], "little")
        header: dict[str, Json] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["wetoolkit"])
        if not (isinstance(header["values"], list) and isinstance(header["facts"], dict)):
            raise ValueError(header)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError("not an artefact of this toolkit, or cut short", file=source, way_out=MENDED) from error
    if header.get("format") != FORMAT:
        raise StoreError(f"format {header.get('format')!r}, this toolkit reads {FORMAT!r}", file=source, way_out=MENDED)
    return header


def digest(*values: object) -> str:
    """SHA-256 of values bit by bit: names, types, shapes and bytes of every array, and all that is no array. Equal values, equal
    digests, on every machine; 0.0 and -0.0 differ."""
    found = hashlib.sha256()
    for number, value in enumerate(values):
        arrays, tree = encode(value, str(number))
        found.update(json.dumps(tree, sort_keys=True).encode())
        for name in sorted(arrays):
            array = arrays[name]
            found.update(f"{name} {array.dtype.str} {array.shape}".encode())
            found.update(array.tobytes())
    return found.hexdigest()


class _Packer:
    """Collects the arrays of one file; equal ones (a map that many scenes share) only once."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self._seen: dict[bytes, str] = {}

    def pack(self, value: object, path: str) -> Json:
        """The JSON tree of ``value``; its arrays go to ``self.arrays`` under ``path``."""
        if isinstance(value, np.ndarray):
            return self._pack_pictures(value, path) if value.dtype == object else {_ARRAY: self._keep(value, path)}
        if isinstance(value, Enum):
            return self.pack(value.value, path)
        if isinstance(value, np.generic):
            return self.pack(value.item(), path)
        if isinstance(value, float) and not math.isfinite(value):
            return {_FLOAT: str(value)}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if is_dataclass(value) and not isinstance(value, type):
            stored = [item.name for item in fields(value) if item.metadata.get("stored", True)]
            return {name: self.pack(getattr(value, name), f"{path}/{name}") for name in stored}
        if isinstance(value, Mapping):
            return self._pack_mapping(value, path)
        if isinstance(value, tuple | list):
            return [self.pack(item, f"{path}/{number}") for number, item in enumerate(value)]
        raise ValidationError(
            f"{type(value).__name__} cannot be stored", field=path, way_out="use dataclasses, arrays, scalars, tuples, str mappings"
        )

    def _pack_pictures(self, value: Array, path: str) -> Json:
        if value.ndim != 1 or not all(isinstance(item, Picture) for item in value):
            raise ValidationError(
                f"objects of shape {value.shape} cannot be stored", field=path, way_out="use numbers, or rows of pictures"
            )
        data = np.frombuffer(b"".join(item.data for item in value), np.uint8)
        ends = np.cumsum([len(item.data) for item in value], dtype=np.int64)
        return {_PICTURES: [self.pack(data, f"{path}/bytes"), self.pack(ends, f"{path}/ends")]}

    def _pack_mapping(self, value: Mapping[Any, object], path: str) -> Json:
        bad = [key for key in value if not isinstance(key, str) or key in _OWN]
        if bad:
            raise ValidationError(f"key {bad[0]!r} cannot be stored", field=path, way_out="use plain strings as keys")
        return {key: self.pack(item, f"{path}/{_escape(key)}") for key, item in value.items()}

    def _keep(self, array: Array, path: str) -> str:
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            raise ValidationError(
                f"an array of {array.dtype} cannot be stored", field=path, way_out="use numbers or a tuple of str"
            )
        solid = np.require(array, array.dtype.newbyteorder("="), ["C"])  # safetensors would write the memory of a view as it lies
        digest = hashlib.sha256(f"{solid.dtype}{solid.shape}".encode() + solid.tobytes()).digest()
        key = self._seen.setdefault(digest, path)
        self.arrays.setdefault(key, solid)
        return key


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")  # as in JSON pointers, so that keys cannot collide


@lru_cache(maxsize=256)
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _unpack(hint: Any, tree: Json, arrays: Mapping[str, Array], world: type | None, path: str) -> Any:
    origin = get_origin(hint) or hint
    if isinstance(hint, TypeVar):
        if world is None:
            raise StoreError("the world's class is not known", field=path, way_out="pass world=domain.world")
        return _unpack(world, tree, arrays, None, path)
    if origin in (Union, UnionType):
        return _unpack_union(get_args(hint), tree, arrays, world, path)
    if origin is np.ndarray:
        return _array(tree, arrays, path)
    if is_dataclass(origin) and isinstance(origin, type):
        return _unpack_dataclass(origin, tree, arrays, world, path)
    if origin is Literal:
        known = any(type(tree) is type(value) and tree == value for value in get_args(hint))
        _expect(known, path, f"one of {', '.join(map(repr, get_args(hint)))}", tree)
        return tree
    if isinstance(origin, type) and issubclass(origin, Enum):
        return _guard(lambda: origin(tree), path, origin, tree)
    if isinstance(origin, type) and origin is not str and issubclass(origin, Sequence):
        return _unpack_sequence(origin, get_args(hint), tree, arrays, world, path)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        item = (get_args(hint) or (str, Any))[1]
        _expect(isinstance(tree, dict), path, "a mapping", tree)
        return {key: _unpack(item, value, arrays, world, f"{path}.{key}") for key, value in tree.items()}
    return _scalar(hint, tree, path)


def _unpack_dataclass(cls: type, tree: Json, arrays: Mapping[str, Array], world: type | None, path: str) -> Any:
    _expect(isinstance(tree, dict), path, cls.__name__, tree)
    known = {item.name: item for item in fields(cls) if item.init}
    unknown = sorted(set(tree) - set(known))
    _expect(not unknown, f"{path}.{unknown[0] if unknown else ''}", f"one of {', '.join(known)}", "an unknown field")
    values = {}
    for name, item in known.items():
        if name in tree:
            values[name] = _unpack(_hints(cls)[name], tree[name], arrays, world, f"{path}.{name}")
        else:
            optional = item.default is not MISSING or item.default_factory is not MISSING
            _expect(optional, f"{path}.{name}", "a value", "nothing")
    return cls(**values)


def _unpack_union(arms: tuple[Any, ...], tree: Json, arrays: Mapping[str, Array], world: type | None, path: str) -> Any:
    if tree is None and NoneType in arms:
        return None
    rest = [arm for arm in arms if arm is not NoneType]
    if len(rest) == 1:
        return _unpack(rest[0], tree, arrays, world, path)
    exact = [arm for arm in rest if arm is type(tree)]
    for arm in [*exact, *rest]:
        try:
            return _unpack(arm, tree, arrays, world, path)
        except StoreError:
            continue
    raise StoreError(f"{tree!r} is none of {rest}", field=path, way_out="the file was written for another version of this class")


def _unpack_sequence(
    origin: type, args: tuple[Any, ...], tree: Json, arrays: Mapping[str, Array], world: type | None, path: str
) -> Any:
    _expect(isinstance(tree, list), path, "a list", tree)
    if origin is tuple and args and args[-1] is not Ellipsis:
        _expect(len(tree) == len(args), path, f"{len(args)} items", f"{len(tree)}")
        hints = args
    else:
        hints = ((args or (Any,))[0],) * len(tree)
    pairs = zip(hints, tree, strict=True)
    items = [_unpack(item, value, arrays, world, f"{path}[{number}]") for number, (item, value) in enumerate(pairs)]
    return items if origin is list else tuple(items)


def _array(tree: Json, arrays: Mapping[str, Array], path: str) -> Array:
    if isinstance(tree, dict) and _PICTURES in tree:
        return _pictures(tree[_PICTURES], arrays, path)
    _expect(isinstance(tree, dict) and _ARRAY in tree, path, "an array", tree)
    key = tree[_ARRAY]
    _expect(key in arrays, path, f"the array {key!r}", "no such array in the file")
    return arrays[key]


def _pictures(tree: Json, arrays: Mapping[str, Array], path: str) -> Array:
    _expect(isinstance(tree, list) and len(tree) == 2, path, "bytes and ends", tree)
    data, ends = (_array(part, arrays, path) for part in tree)
    marks = [0, *ends.tolist()]
    _expect(data.dtype == np.uint8 and marks == sorted(marks) and marks[-1] == len(data), path, "ends that rise to the last", marks)
    rows = np.empty(len(ends), object)
    rows[:] = [Picture(data[a:b].tobytes()) for a, b in pairwise(marks)]
    return rows


def _scalar(hint: Any, tree: Json, path: str) -> Any:
    if isinstance(tree, dict) and _FLOAT in tree:
        _expect(hint in (float, Any), path, str(hint), tree)
        return _guard(lambda: float(tree[_FLOAT]), path, float, tree)
    if hint is float:
        _expect(isinstance(tree, int | float) and not isinstance(tree, bool), path, "a number", tree)
        return float(tree)
    if hint in (bool, int, str, NoneType):
        _expect(type(tree) is hint, path, hint.__name__, tree)
        return tree
    if hint in (Any, object):
        _expect(tree is None or isinstance(tree, bool | int | float | str), path, "a scalar", tree)
        return tree
    raise StoreError(f"{hint} cannot be read from a file", field=path, way_out="give the field a type that wetoolkit.codec knows")


def _guard(make: Any, path: str, kind: type, tree: Json) -> Any:
    try:
        return make()
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"{tree!r} is no {kind.__name__}", field=path, way_out="the file was written for another version"
        ) from error


def _expect(holds: bool, path: str, asked: str, found: object) -> None:
    if not holds:
        text = repr(found)
        raise StoreError(
            f"{asked} was asked, found {text[:80]}", field=path, way_out="the file was written for another version of this class"
        )
