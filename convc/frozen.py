"""Which parameters of a module a train step leaves as they are, by the names of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from convc.errors import IRError
from convc.ir.lexer import did_you_mean, printable


class Frozen:
    """The patterns of a module that is being built at `path`, and what they matched; `every`: all that it has."""

    def __init__(self, path: str, patterns: Sequence[str], every: bool) -> None:
        self._prefix = f"{path}." if path else ""
        self._patterns, self._every = patterns, every
        self._unmatched = dict.fromkeys(patterns)
        self._seen: list[str] = []

    def covers(self, parameter: str) -> bool:
        """Whether the module keeps the parameter of that name, one in it, as it is."""
        own = parameter.removeprefix(self._prefix)
        self._seen.append(own)
        parts = own.split(".")
        names = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
        found = [p for p in self._patterns if any(fnmatchcase(name, p) for name in names)]
        for pattern in found:
            self._unmatched.pop(pattern, None)
        return self._every or bool(found)

    def check(self) -> None:
        """Raises IRError for a pattern that matched no parameter."""
        for pattern in self._unmatched:
            layers = list(dict.fromkeys(name.rpartition(".")[0] or name for name in self._seen))
            known = f"is none of {', '.join(layers)}" if layers else "stands in a model that has none"
            raise IRError(
                f"what is frozen is layers, or parameters of layers, but '{printable(pattern)}' {known}"
                f"{did_you_mean(pattern, [*layers, *self._seen])}"
            )
