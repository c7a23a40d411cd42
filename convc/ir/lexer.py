"""A cursor over text: tokens on demand, and errors that say the line, the column and what stands there."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import ParamSpec, TypeVar

from convc.errors import IRError

P = ParamSpec("P")
T = TypeVar("T")

MAX_NESTING = 64
MAX_INTEGER = 2**63 - 1
MAX_LISTED = 40
SNIPPET = 120  # characters of the offending line that a message shows

_SPACE = re.compile(r"(?:[ \t\r\n]+|//[^\n]*)*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME = re.compile(r"[A-Za-z0-9_.]+(?:[/-][A-Za-z0-9_.]+)*")
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_.])")
_INTEGER = re.compile(r"[0-9]+(?![A-Za-z0-9_.])")
_TOKEN = re.compile(r"[A-Za-z0-9_.]+|[^\n]")


def quoted(name: str) -> str:
    """A name as the text form writes it: bare where it is safe, else as a JSON string."""
    return name if _NAME.fullmatch(name) else json.dumps(name)


def is_word(name: str) -> bool:
    """Whether `name` is a plain ASCII identifier."""
    return _WORD.fullmatch(name) is not None


def printable(text: str) -> str:
    """Text for one line of a message: characters that would break the line or vanish are escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest known one, or all of them."""
    known = sorted(known)
    if close := get_close_matches(word, known, n=1):
        return f"; did you mean '{close[0]}'?"
    if not known:
        return "; none is known here"
    listed = ", ".join(known[:MAX_LISTED])
    return f"; known are {listed}{', ...' if len(known) > MAX_LISTED else ''}"


class Cursor:
    """A place in a text. Blanks and `// comments` are skipped after every token."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0
        self._depth = 0
        self._skip()

    def _skip(self) -> None:
        found = _SPACE.match(self.text, self.pos)
        assert found is not None  # the pattern matches the empty text
        self.pos = found.end()

    @property
    def done(self) -> bool:
        return self.pos == len(self.text)

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The pattern's match here, consumed with the blanks after it; None where it does not match."""
        found = pattern.match(self.text, self.pos)
        if found is not None:
            self.pos = found.end()
            self._skip()
        return found

    def looking_at(self, *tokens: str) -> str:
        """The first of `tokens` that stands here, not consumed; '' for none. A word must match whole."""
        word = self.peek_word()
        for token in tokens:
            if token == word or (not is_word(token) and self.text.startswith(token, self.pos)):
                return token
        return ""

    def accept(self, *tokens: str) -> str:
        """The first of `tokens` that stands here, consumed; '' for none."""
        token = self.looking_at(*tokens)
        if token:
            self.pos += len(token)
            self._skip()
        return token

    def expect(self, token: str, where: str) -> None:
        if not self.accept(token):
            raise self.expected(f"'{token}'", where)

    def close(self, token: str, opened: int, where: str) -> None:
        """The bracket that closes the one at offset `opened`."""
        if self.accept(token):
            return
        if self.done:
            raise self._unclosed(token, opened)
        raise self.expected(f"'{token}'", where)

    def items(self, opening: str, closing: str, where: str) -> Iterator[int]:
        """For a list in brackets, as in `(a, b)`: stops at each item's offset for the caller to read it."""
        opened = self.open(opening, where)
        first = True
        while not self.accept(closing):
            if self.done:
                raise self._unclosed(closing, opened)
            if not first and not self.accept(","):
                raise self.expected(f"',' or '{closing}'", where)
            first = False
            yield self.pos

    def _unclosed(self, token: str, opened: int) -> IRError:
        line, column = self.place(opened)
        bracket = f"'{self.text[opened]}' of line {line}, column {column}"
        return self.error(f"the text ends inside the {bracket}; close it with '{token}'")

    def open(self, token: str, where: str) -> int:
        """The offset of the bracket `token`, for `close`."""
        start = self.pos
        self.expect(token, where)
        return start

    def peek_word(self) -> str:
        found = _WORD.match(self.text, self.pos)
        return found.group() if found else ""

    def word(self, what: str) -> str:
        found = self.match(_WORD)
        if found is None:
            raise self.expected(what)
        return found.group()

    def name(self, what: str) -> str:
        """A bare name or a quoted one."""
        found = self.match(_NAME)
        if found is not None:
            return found.group()
        if self.looking_at('"'):
            return self.string()
        raise self.expected(what, 'of letters, digits, "_" and ".", or any in double quotes')

    def string(self) -> str:
        start = self.pos
        found = self.match(_STRING)
        if found is None:
            raise self.error("a string must end with '\"' on its own line; close it", start)
        try:
            return str(json.loads(found.group(), strict=False))
        except ValueError:
            raise self.error(
                "a backslash in a string must start one of JSON's escapes; write \\\\ for itself", start
            ) from None

    def number(self) -> int | float | None:
        """An unsigned number, `inf` and `nan` included, an int where it has no '.' and no 'e'; else None."""
        start = self.pos
        word = self.accept("inf", "nan")
        if word:
            return float(word)
        found = self.match(_NUMBER)
        if found is None:
            return None
        text = found.group()
        if text.isdigit():
            return self._limited(text, start)
        value = float(text)
        if math.isinf(value):
            raise self.error(f"{printable(text)} is too large for a number; write inf if infinity is meant", start)
        return value

    def integer(self, what: str) -> int:
        """An unsigned integer of at most 63 bits."""
        start = self.pos
        found = self.match(_INTEGER)
        if found is None:
            raise self.expected(what)
        return self._limited(found.group(), start)

    def signed(self, what: str) -> int:
        return -self.integer(what) if self.accept("-") else self.integer(what)

    def _limited(self, digits: str, start: int) -> int:
        digits = digits.lstrip("0") or "0"
        if len(digits) > 19 or int(digits) > MAX_INTEGER:
            raise self.error(f"an integer must be at most {MAX_INTEGER}; write a smaller one", start)
        return int(digits)

    @contextmanager
    def nested(self) -> Iterator[None]:
        """One level of nesting deeper, refused before Python's own stack would be the limit."""
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self.error(f"brackets may nest at most {MAX_NESTING} deep; flatten this expression")
        yield
        self._depth -= 1

    def attempt(self, pos: int, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`fn(...)`, its IRError placed at `pos`; for functions that do not read from this cursor."""
        try:
            return fn(*args, **kwargs)
        except IRError as error:
            raise self.error(str(error), pos) from None

    def place(self, pos: int) -> tuple[int, int]:
        """Line and column, both counted from 1."""
        return self.text.count("\n", 0, pos) + 1, pos - self.text.rfind("\n", 0, pos)

    def expected(self, what: str, where: str = "") -> IRError:
        found = _TOKEN.match(self.text, self.pos)
        shown = f"'{found.group()}'" if found else "the end of the text"
        return self.error(f"expected {what}{' ' if where else ''}{where}, but found {shown}")

    def error(self, message: str, pos: int | None = None) -> IRError:
        """The message with its place (here, or `pos`) and the line that stands there: one line in all."""
        at = self.pos if pos is None else pos
        at = min(at, len(self.text.rstrip()))  # the end of the text: where the last line ends
        line, column = self.place(at)
        source = printable(self.text.split("\n")[line - 1].strip())
        if len(source) > SNIPPET:
            first = max(0, min(column - SNIPPET // 2, len(source) - SNIPPET))
            last = first + SNIPPET
            source = f"{'...' if first else ''}{source[first:last]}{'...' if last < len(source) else ''}"
        return IRError(f"line {line}, column {column}: {printable(message)} `{source}`")
