"""The codec: what goes in comes out, by type hints, and nothing else is ever built."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import IntEnum, StrEnum
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wetoolkit.codec import decode, dump_block, encode, load_block
from wetoolkit.errors import StoreError, ValidationError
from wetoolkit.testing.fakes import Toy, ToyDataset, ToyDatasetConfig, ToyWorld
from wetoolkit.types import Array, Failure, Ref, Scenario


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    SMALL = 1


@dataclass(frozen=True)
class Inner:
    values: Array
    label: str | None = None


P = TypeVar("P")


@dataclass(frozen=True)
class Outer(Generic[P]):
    world: P
    colour: Colour
    size: Size
    pair: tuple[float, int]
    names: tuple[str, ...]
    parts: tuple[Inner, ...]
    mixed: Mapping[str, float | str]
    arrays: Mapping[str, Array]
    flag: bool
    extra: Inner | None = None
    steps: list[int] = field(default_factory=list)


def equal(a: Any, b: Any) -> bool:
    """Deep equality with types, dtypes and NaN."""
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
        )
    if is_dataclass(a):
        return type(a) is type(b) and all(equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


dtypes = st.sampled_from([np.float64, np.float32, np.int64, np.int32, np.uint8, np.bool_])
arrays = dtypes.flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
inners = st.builds(Inner, arrays, st.none() | st.text())
outers = st.builds(
    Outer, world=inners, colour=st.sampled_from(Colour), size=st.sampled_from(Size), pair=st.tuples(st.floats(), st.integers()),
    names=st.lists(st.text()).map(tuple), parts=st.lists(inners, max_size=3).map(tuple),
    mixed=st.dictionaries(st.text().filter(lambda t: t[:1] != "$"), st.floats() | st.text()),
    arrays=st.dictionaries(st.text(max_size=3).filter(lambda t: t[:1] != "$"), arrays, max_size=3),
    flag=st.booleans(), extra=st.none() | inners, steps=st.lists(st.integers()),
)  # fmt: skip


@given(st.lists(outers, max_size=3))
def test_blocks_come_back_as_they_were(values: list[Outer[Inner]]) -> None:
    data = dump_block(values, {"n": len(values)})
    back, facts = load_block(data, Outer, Inner)
    assert equal(values, back) and facts == {"n": len(values)}
    assert data == dump_block(values, {"n": len(values)})


def test_views_are_stored_by_content() -> None:
    matrix = np.arange(12.0).reshape(3, 4)
    for view in (matrix.T, matrix[:, ::2], matrix[::-1], matrix.astype(">f8")):
        (back,), _ = load_block(dump_block([Inner(view)]), Inner)
        np.testing.assert_array_equal(back.values, view)


def test_equal_arrays_are_stored_once() -> None:
    big = np.random.default_rng(0).normal(size=10_000)
    one, many = len(dump_block([Inner(big)])), len(dump_block([Inner(big.copy()) for _ in range(50)]))
    assert many < 1.2 * one
    other = len(dump_block([Inner(big), Inner(big.view(np.int64))]))  # equal bytes of another type are another array
    assert other > 1.9 * one


def test_scenarios_need_their_world() -> None:
    dataset = ToyDataset(ToyDatasetConfig())
    scenario = dataset.load(dataset.index("train")[0])
    data = dump_block([scenario])
    assert equal(load_block(data, Scenario, Toy.world)[0][0], scenario)
    with pytest.raises(StoreError, match="world's class"):
        load_block(data, Scenario)


def test_failures_keep_the_types_of_their_evidence() -> None:
    failure = Failure(Ref("a", "train", "l"), "collision", 3, 0.25, {"ttc": 1.0, "who": "7", "gap": float("inf")})
    assert equal(load_block(dump_block([failure]), Failure)[0][0], failure)


@pytest.mark.parametrize(
    ("tree", "field_name"),
    [
        ({"label": None}, "Inner.values"),
        ({"values": {"$array": "gone"}, "label": None}, "Inner.values"),
        ({"values": 3, "label": None}, "Inner.values"),
        ({"values": {"$array": "a"}, "label": 3}, "Inner.label"),
        ({"values": {"$array": "a"}, "other": 1}, "Inner.other"),
        ([], "Inner"),
    ],
)
def test_a_mismatch_names_its_field(tree: Any, field_name: str) -> None:
    with pytest.raises(StoreError) as error:
        decode(Inner, {"a": np.zeros(1)}, tree)
    assert error.value.context["field"] == field_name


@pytest.mark.parametrize(
    "value", [object(), {1: 2.0}, np.array(["a"]), np.array([None]), np.zeros(1, complex), {"$array": 1}, b"x"]
)
def test_what_is_not_known_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="cannot be stored"):
        encode({"value": value} if not isinstance(value, dict) else value)


@given(st.integers(0, 400), st.integers(0, 255))
def test_cut_or_altered_files_are_errors_of_ours_or_other_values(place: int, byte: int) -> None:
    data = dump_block([Inner(np.arange(4.0), "x")])
    with pytest.raises(StoreError):
        load_block(data[: min(place, len(data) - 1)], Inner)
    altered = bytearray(data)
    altered[min(place, len(data) - 1)] = byte
    with suppress(StoreError):
        load_block(bytes(altered), Inner)


def test_keys_with_slashes_do_not_collide() -> None:
    value = replace(_outer(), arrays={"a/b": np.zeros(2), "a": np.ones(2), "a~1b": np.full(2, 3.0)})
    assert equal(load_block(dump_block([value]), Outer, Inner)[0][0], value)


def _outer() -> Outer[Inner]:
    return Outer(Inner(np.zeros(1)), Colour.RED, Size.SMALL, (1.0, 2), (), (), {}, {}, True)


def test_world_is_the_toy() -> None:
    world = ToyWorld(np.zeros((3, 2), np.float32), np.zeros((1, 3, 2), np.float32), np.ones((1, 3), bool))
    assert equal(decode(ToyWorld, *encode(world)), world)


@dataclass(frozen=True)
class Drive:
    kind: Literal["tracked", "legged", 2]


def test_literals_are_read_and_nothing_else_in_their_place():
    for kind in ("tracked", 2):
        assert decode(Drive, *encode(Drive(kind))).kind == kind
    for wrong in ("winged", "2", 2.0, None):
        with pytest.raises(StoreError, match="one of 'tracked', 'legged', 2"):
            decode(Drive, {}, {"kind": wrong})
