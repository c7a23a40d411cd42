"""What a user gives, checked where it comes in. Each refusal is one line: the rule, what was given, what to do.

Whole numbers may be Python's or NumPy's, never True or False, and never floats: a float holds no number beyond 2^53
exactly, so 2^63 and 2^63 + 1 would be one.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from convc.errors import ConvcError, RunError
from convc.ir.lexer import did_you_mean, printable

C = TypeVar("C")
Error = Callable[[str], ConvcError]
SEEDS = 2**64
"""How many seeds there are."""
LARGEST = float(np.finfo(np.float32).max)
"""The largest number that f32 holds."""
MAX_SHOWN = 60  # characters of a value that a message shows


def shown(value: object) -> str:
    """What was given, for a message: one short line."""
    if isinstance(value, np.ndarray) and value.size != 1:
        return f"an array {value.dtype}{list(value.shape)}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, (bool, int, float, complex, str, bytes, tuple, list, dict, set)) or value is None:
        try:
            text = printable(repr(value))
        except ValueError:  # an integer of thousands of digits
            return "a number of thousands of digits"
        return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
    name = type(value).__name__
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def whole(
    value: object,
    what: str,
    low: int,
    high: int | None = None,
    *,
    remedy: str = "give another",
    error: Error = RunError,
) -> int:
    """The whole number, `low` <= value <= `high` (None: no end). Raises `error`; `what` names it in the message."""
    number = _index(value)
    if number is None or number < low or (high is not None and number > high):
        limits = f"of at least {low}" if high is None else f"from {_power(low)} to {_power(high)}"
        raise error(f"{what} is a whole number {limits}, not {shown(value)}; {remedy}")
    return number


def _index(value: object) -> int | None:
    if isinstance(value, (bool, np.bool_)):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def _power(number: int) -> str:
    """2^64 - 1 rather than its twenty digits."""
    bits = (number + 1).bit_length() - 1
    return f"2^{bits} - 1" if bits >= 31 and number + 1 == 2**bits else str(number)


def seed_of(value: object, *, error: Error = RunError, remedy: str = "give another --seed, or seed=") -> int:
    """A seed, 0 <= seed < 2^64, exactly. Raises `error`."""
    return whole(value, "a seed", 0, SEEDS - 1, error=error, remedy=remedy)


def real(
    value: object,
    what: str,
    low: float | None = None,
    high: float | None = None,
    *,
    above: bool = False,
    remedy: str = "give another",
    error: Error = RunError,
) -> float:
    """The number, finite in f32, `low` <= value < `high` (None: no limit; `above`: low < value). Raises `error`."""
    number = _float(value)
    if number is None or not math.isfinite(number) or not _within(number, low, high, above):
        raise error(f"{what} is {_range(low, high, above)}, not {shown(value)}; {remedy}")
    if abs(number) > LARGEST:
        raise error(f"{what} is a number that float32 holds, at most {LARGEST:.3g}, not {shown(value)}; {remedy}")
    return number


def _within(number: float, low: float | None, high: float | None, above: bool) -> bool:
    if low is not None and (number < low or (above and number == low)):
        return False
    # As a program takes it: 1 - 1e-9 is 1 in f32.
    return high is None or (abs(number) <= LARGEST and float(np.float32(number)) < high)


def _float(value: object) -> float | None:
    if type(value) is float:  # what usually is given
        return value
    if isinstance(value, (bool, np.bool_, str, bytes)) or getattr(value, "shape", ()) != ():
        return None
    if np.iscomplexobj(value):  # type: ignore[arg-type]
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def _range(low: float | None, high: float | None, above: bool) -> str:
    if high is not None:
        return f"a number with {low:g} <= number < {high:g}"
    if low is None:
        return "a finite number"
    return "a positive number" if low == 0 and above else f"a number of {'more than' if above else 'at least'} {low:g}"


def flag(value: object, what: str, *, error: Error = RunError) -> bool:
    """True or False. Raises `error`."""
    if not isinstance(value, (bool, np.bool_)):
        raise error(f"{what} is True or False, not {shown(value)}; give one of the two")
    return bool(value)


def choice(value: object, what: str, known: Iterable[str], *, error: Error = RunError) -> str:
    """One of the words `known`. Raises `error`, with the nearest one."""
    known = list(known)
    if isinstance(value, str) and value in known:
        return value
    if isinstance(value, str):
        raise error(f"unknown {what} '{printable(value[:MAX_SHOWN])}'{did_you_mean(value, known)}")
    raise error(f"a {what} is one of {', '.join(known)}, not {shown(value)}; give its name")


def instance(value: object, kinds: type | tuple[type, ...], rule: str, *, error: Error = RunError) -> Any:
    """An object of one of the kinds; `rule` says what is wanted, and how to get one. Raises `error`."""
    if not isinstance(value, kinds):
        raise error(f"{rule}, not {shown(value)}")
    return value


def shape_of(value: object, what: str, *, error: Error = RunError, remedy: str) -> tuple[int, ...]:
    """A shape: whole numbers of at least 1. Raises `error`."""
    given = value.tolist() if isinstance(value, np.ndarray) else value
    extents: Sequence[Any] = given if isinstance(given, (tuple, list)) else ()
    numbers = [_index(e) for e in extents]
    if not numbers or any(n is None or n < 1 for n in numbers):
        raise error(f"{what} is whole numbers of at least 1, such as (64, 3, 32, 32), not {shown(value)}; {remedy}")
    return tuple(n for n in numbers if n is not None)


def checked_arguments(cls: type[C], *, error: Error = RunError) -> type[C]:
    """The class, whose arguments are told in one line where they do not fit: Python's own TypeError is no `error`.

    The signature stays what it is, for `help` and editors. Raises `error`, with the nearest name for an unknown one.
    """
    plain = cls.__init__
    signature = inspect.signature(plain)
    known = [p.name for p in list(signature.parameters.values())[1:]]

    @wraps(plain)
    def init(self: C, *args: Any, **named: Any) -> None:
        for name in named:
            if name not in known:
                raise error(f"{type(self).__name__} takes no '{printable(name)}'{did_you_mean(name, known)}")
        try:
            signature.bind(self, *args, **named)
        except TypeError as misfit:
            raise error(f"{type(self).__name__}: {misfit}; it takes {', '.join(known) or 'nothing'}") from None
        plain(self, *args, **named)

    cls.__init__ = init  # type: ignore[method-assign, assignment]
    return cls
