"""What the restricted unpickler lets through, and that it runs nothing of what it does not."""

from __future__ import annotations

import copyreg
import os
import pickle
import struct
import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from wetoolkit_logs.unpickle import load, loads

from wetoolkit.errors import DataError

MARK = "/tmp/wetoolkit-unpickle-was-here"
PLAIN = st.one_of(
    hnp.boolean_dtypes(), hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(), hnp.floating_dtypes(), hnp.unicode_string_dtypes()
)


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def by_name(module: str, name: str, argument: bytes = b"") -> bytes:
    """A protocol 4 pickle that calls module.name (STACK_GLOBAL) with one text argument."""

    def text(value: bytes) -> bytes:
        return b"\x8c" + bytes([len(value)]) + value

    return b"\x80\x04" + text(module.encode()) + text(name.encode()) + b"\x93" + text(argument) + b"\x85R."


@pytest.mark.parametrize("protocol", range(2, 6))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_plain_arrays_come_through_unchanged(protocol: int, data: st.DataObject) -> None:
    array = data.draw(hnp.arrays(PLAIN, hnp.array_shapes(min_dims=0, min_side=0)))
    order = data.draw(st.sampled_from("CF"))
    array = np.asarray(array, order=order)
    written = pickle.dumps({"a": array}, protocol)
    back = np.asarray(loads(written, "x")["a"])
    assert back.dtype == pickle.loads(written)["a"].dtype  # numpy itself turns big-endian arrays into native ones
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("protocol", range(6))
def test_containers_and_scalars_come_through(protocol: int) -> None:
    value = {
        "set": {1, 2},
        "frozen": frozenset("ab"),
        "ordered": OrderedDict(a=1),
        "complex": 1 + 2j,
        "nested": [(1.5, "x", None, True), b"bytes", 10**30],
        "float": np.float64(0.1),
        "int": np.int32(-3),
        "text": np.str_("abc"),
    }
    assert loads(pickle.dumps(value, protocol), "x") == value


HOSTILE = {
    "os.system": pickle.dumps(Calls(os.system, f"touch {MARK}")),
    "posix.system as text opcodes": b"cposix\nsystem\n(V" + f"touch {MARK}".encode() + b"\ntR.",
    "eval": pickle.dumps(Calls(eval, f"open({MARK!r}, 'w')")),
    "exec": pickle.dumps(Calls(exec, f"open({MARK!r}, 'w')")),
    "getattr": pickle.dumps(Calls(getattr, [], "append")),
    "import": pickle.dumps(Calls(__import__, "os")),
    "subprocess": pickle.dumps(Calls(subprocess.Popen, ["touch", MARK])),
    "open": pickle.dumps(Calls(open, MARK, "w")),
    "codecs with another encoding": by_name("_codecs", "encode", b"x"),
    "dotted way to a method": by_name("numpy", "ndarray.tofile", MARK.encode()),
    "dotted way through an admitted module": by_name("collections", "OrderedDict.__init__.__globals__"),
    "numpy load": by_name("numpy", "load", b"x.npy"),
    "numpy test runner": by_name("numpy.testing._private.utils", "runstring", b"x"),
    "ndarray constructor": by_name("numpy", "ndarray", b"x"),
    "INST opcode": b"(V" + f"touch {MARK}".encode() + b"\nios\nsystem\n.",
    "persistent id": b"Pabc\n.",
    "binary persistent id": b"\x80\x04\x8c\x01aQ.",
    "object array": pickle.dumps(np.array([{}], object)),
    "record array": pickle.dumps(np.zeros(2, "i4,f8")),
    "dates": pickle.dumps(np.array(["2020-01-01"], "M8[D]")),
    "function with changed defaults": b"\x80\x02cnumpy._core.multiarray\nscalar\nN}V__defaults__\n)s\x86b.",
    "dtype with fields": (
        b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00i8K\x00K\x01\x87R(K\x03X\x01\x00\x00\x00<N(X\x01\x00\x00\x00at}"
        b"J\x08\x00\x00\x00J\x01\x00\x00\x00K\x00tb."
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_and_run_nothing(name: str) -> None:
    Path(MARK).unlink(missing_ok=True)
    with pytest.raises(DataError) as caught:
        loads(HOSTILE[name], "evil.pkl")
    assert not Path(MARK).exists()
    assert "evil.pkl" in str(caught.value)
    assert "way out" in str(caught.value)


def test_a_refusal_names_the_global() -> None:
    with pytest.raises(DataError, match=r"posix\.system"):
        loads(HOSTILE["os.system"], "evil.pkl")


@pytest.mark.parametrize("cached", [False, True])
def test_extension_codes_are_refused(cached: bool) -> None:
    copyreg.add_extension("os", "getcwd", 240)
    try:
        data = pickle.dumps(Calls(os.getcwd), 2)
        assert data.count(b"\x82\xf0") == 1 or b"getcwd" in data
        code = b"\x80\x02\x82\xf0)R."
        if cached:
            pickle.loads(code)  # puts os.getcwd into the cache that needs no find_class
        with pytest.raises(DataError, match=r"os\.getcwd"):
            loads(code, "evil.pkl")
    finally:
        copyreg.remove_extension("os", "getcwd", 240)


def test_raw_bytes_cannot_become_objects() -> None:
    """An array state whose dtype claims objects must not turn bytes into pointers."""
    good = pickle.dumps(np.arange(4, dtype=np.int64), 2)
    assert good.count(b"i8") == 1
    with pytest.raises(DataError, match="dtype 'O8'"):
        loads(good.replace(b"i8", b"O8"), "evil.pkl")


def test_array_shape_must_fit_its_bytes() -> None:
    good = pickle.dumps(np.arange(4, dtype=np.uint8), 2)
    bad = good.replace(b"K\x04\x85", b"K\x7f\x85")
    assert bad != good
    with pytest.raises(DataError, match="shape"):
        loads(bad, "evil.pkl")


@settings(max_examples=60, deadline=None)
@given(cut=st.floats(0, 0.999))
def test_a_truncated_file_is_a_data_error(cut: float) -> None:
    whole = pickle.dumps({"a": np.arange(1000.0), "b": ["text"] * 50})
    with pytest.raises(DataError, match=r"short\.pkl"):
        loads(whole[: int(cut * len(whole))], "short.pkl")


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200))
def test_noise_never_escapes_as_another_error(data: bytes) -> None:
    try:
        loads(data, "noise.pkl")
    except DataError as error:
        assert "noise.pkl" in str(error)


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 10**6), value=st.integers(0, 255))
def test_flipped_bytes_never_escape_as_another_error(place: int, value: int) -> None:
    whole = bytearray(pickle.dumps({"a": np.arange(20.0), "b": [np.float64(1), {"k": (1, 2)}]}, 4))
    whole[place % len(whole)] = value
    try:
        loads(bytes(whole), "flipped.pkl")
    except DataError as error:
        assert "flipped.pkl" in str(error)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 a zip", b"{}", struct.pack("<Q", 7) + b"{json}"])
def test_foreign_files_are_a_data_error(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "foreign.pkl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"foreign\.pkl"):
        load(path)


def test_size_limit_and_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "big.pkl"
    path.write_bytes(pickle.dumps(b"x" * 1000))
    with pytest.raises(DataError, match="at most 100"):
        load(path, limit=100)
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path / "none.pkl")
