"""Sixteen float32 at once inside numba kernels: a vector type over LLVM's own, and a mask beside it.

numba has no vector type and LLVM does not vectorise a loop with an early way out. LLVM splits sixteen lanes into what the
machine has, so the type works on every one. No operation carries a fast-math flag but the quotient: what forward and backward
both compute has equal bits in both.
"""

# mypy: disable-error-code="no-untyped-call,misc,unused-ignore"
# numba's and llvmlite's own parts are not typed.

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, register_model
from numba.np import arrayobj

from wetoolkit_splat.cpu_plain import EXP2, ROUND

LANES = 16
WORD, BYTES = ir.IntType(32), 4
FLOAT_VECTOR = ir.VectorType(ir.FloatType(), LANES)
WORD_VECTOR = ir.VectorType(WORD, LANES)
MASK_VECTOR = ir.VectorType(ir.IntType(1), LANES)
Builder = Any


class Lanes(types.Type):
    """Sixteen values of one kind."""


FLOATS = Lanes("float32x16")
MASK = Lanes("boolx16")


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    """Held as LLVM's vector."""

    def __init__(self, manager: Any, kind: Lanes) -> None:
        super().__init__(manager, kind, FLOAT_VECTOR if kind == FLOATS else MASK_VECTOR)


def instruction(function: Callable[..., Any]) -> Any:
    """A function that kernels call and that writes LLVM itself."""
    return intrinsic(function)


def _operator(function: Any, result: Lanes, operand: Lanes, emit: Callable[[Builder, Any, Any], Any]) -> None:
    """Make ``function`` work on two vectors."""

    class Template(ConcreteTemplate):
        cases = [signature(result, operand, operand)]  # noqa: RUF012

    infer_global(function)(Template)
    lower_builtin(function, operand, operand)(lambda context, builder, sig, args: emit(builder, *args))


_operator(operator.add, FLOATS, FLOATS, lambda builder, a, b: builder.fadd(a, b))
_operator(operator.sub, FLOATS, FLOATS, lambda builder, a, b: builder.fsub(a, b))
_operator(operator.mul, FLOATS, FLOATS, lambda builder, a, b: builder.fmul(a, b))
_operator(operator.ge, MASK, FLOATS, lambda builder, a, b: builder.fcmp_ordered(">=", a, b))
_operator(operator.gt, MASK, FLOATS, lambda builder, a, b: builder.fcmp_ordered(">", a, b))
_operator(operator.lt, MASK, FLOATS, lambda builder, a, b: builder.fcmp_ordered("<", a, b))
_operator(operator.and_, MASK, MASK, lambda builder, a, b: builder.and_(a, b))


def _all(value: float) -> ir.Constant:
    return ir.Constant(FLOAT_VECTOR, [value] * LANES)


def _words(value: int) -> ir.Constant:
    return ir.Constant(WORD_VECTOR, [value] * LANES)


def _call(builder: Builder, name: str, args: Sequence[Any]) -> Any:
    """One of LLVM's intrinsics that takes and returns vectors of one type."""
    kind = ir.FunctionType(args[0].type, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"{name}.v16f32"), args)


def _pointer(context: Any, builder: Builder, kind: Any, array: Any, offset: Any, element: Any) -> Any:
    data = arrayobj.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), element.as_pointer())


@instruction
def load(typing: Any, array: Any, offset: Any) -> Any:
    """Sixteen floats of a contiguous array from a flat offset on."""

    def emit(context: Any, builder: Builder, sig: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, sig.args[0], args[0], args[1], FLOAT_VECTOR), align=BYTES)

    return FLOATS(array, types.intp), emit


@instruction
def store(typing: Any, array: Any, offset: Any, value: Any) -> Any:
    """Sixteen floats into a contiguous array from a flat offset on."""

    def emit(context: Any, builder: Builder, sig: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, sig.args[0], args[0], args[1], FLOAT_VECTOR), align=BYTES)
        return context.get_dummy_value()

    return types.void(array, types.intp, FLOATS), emit


@instruction
def prefetch(typing: Any, array: Any, offset: Any) -> Any:
    """Ask for the line of cache that holds a flat offset."""

    def emit(context: Any, builder: Builder, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, sig.args[0], args[0], args[1], ir.IntType(8))
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, WORD, WORD, WORD])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, WORD(0), WORD(3), WORD(1)])  # to read; keep near; data
        return context.get_dummy_value()

    return types.void(array, types.intp), emit


@instruction
def splat(typing: Any, value: Any) -> Any:
    """One float32 in every lane."""

    def emit(context: Any, builder: Builder, sig: Any, args: Any) -> Any:
        none = ir.Constant(FLOAT_VECTOR, ir.Undefined)
        return builder.shuffle_vector(builder.insert_element(none, args[0], WORD(0)), none, _words(0))

    return FLOATS(types.float32), emit


@instruction
def ramp(typing: Any) -> Any:
    """0, 1, ..., 15."""
    return FLOATS(), lambda context, builder, sig, args: ir.Constant(FLOAT_VECTOR, [float(lane) for lane in range(LANES)])


@instruction
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once."""
    return FLOATS(FLOATS, FLOATS, FLOATS), lambda context, builder, sig, args: _call(builder, "llvm.fma", args)


@instruction
def least(typing: Any, a: Any, b: Any) -> Any:
    """The smaller one in each lane."""

    def emit(context: Any, builder: Builder, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return FLOATS(FLOATS, FLOATS), emit


@instruction
def select(typing: Any, mask: Any, a: Any, b: Any) -> Any:
    """a where the mask holds, else b."""
    return FLOATS(MASK, FLOATS, FLOATS), lambda context, builder, sig, args: builder.select(*args)


@instruction
def any_of(typing: Any, mask: Any) -> Any:
    """Whether the mask holds anywhere."""

    def emit(context: Any, builder: Builder, sig: Any, args: Any) -> Any:
        bits = ir.IntType(LANES)
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], bits), bits(0))

    return types.boolean(MASK), emit


@instruction
def quotient(typing: Any, a: Any, b: Any) -> Any:
    """a / b to about 23 bits: LLVM may take the machine's estimate of 1 / b and refine it."""
    return FLOATS(FLOATS, FLOATS), lambda context, builder, sig, args: builder.fdiv(*args, flags=("arcp", "contract"))


@instruction
def exp2(typing: Any, x: Any) -> Any:
    """2^x for x in [-100, 100]; anything at all outside."""

    def emit(context: Any, builder: Builder, sig: Any, args: Any) -> Any:
        shifted = builder.fadd(args[0], _all(ROUND))
        rest = builder.fsub(args[0], builder.fsub(shifted, _all(ROUND)))
        value = _all(EXP2[-1])
        for factor in EXP2[-2::-1]:
            value = _call(builder, "llvm.fma", [value, rest, _all(factor)])
        power = builder.shl(builder.bitcast(shifted, WORD_VECTOR), _words(23))
        return builder.bitcast(builder.add(builder.bitcast(value, WORD_VECTOR), power), FLOAT_VECTOR)

    return FLOATS(FLOATS), emit


def _halves(builder: Builder, a: Any, b: Any, block: int) -> Any:
    """Sums of neighbouring blocks of ``block`` lanes: those of a in the even blocks, those of b in the odd ones."""
    low = [lane if lane // block % 2 == 0 else lane - block + LANES for lane in range(LANES)]
    first, second = (ir.Constant(WORD_VECTOR, [lane + shift for lane in low]) for shift in (0, block))
    return builder.fadd(builder.shuffle_vector(a, b, first), builder.shuffle_vector(a, b, second))


@instruction
def sums(typing: Any, *vectors: Any) -> Any:
    """The sum over the lanes of up to sixteen vectors, that of the n-th in the lane whose four bits are n's, reversed."""

    def emit(context: Any, builder: Builder, sig: Any, args: Any) -> Any:
        row = [builder.extract_value(args[0], at) for at in range(len(sig.args[0]))]
        for block in (8, 4, 2, 1):
            row = [_halves(builder, row[at], row[min(at + 1, len(row) - 1)], block) for at in range(0, len(row), 2)]
        return row[0]

    return FLOATS(types.StarArgTuple(vectors[0] if isinstance(vectors[0], tuple) else vectors)), emit
