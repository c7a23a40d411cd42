"""Building a program's source, and saying on CONVC_DEBUG's ladder what was built and what the cache had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from time import perf_counter

from convc.build.cache import Cache
from convc.build.toolchain import Unit, build_shared
from convc.codegen.emit import CSource
from convc.debug import LINES, SOURCE, level, say


class WatchedCache(Cache):
    """A cache that remembers what it was asked for: (file, whether it was there)."""

    def __init__(self, root: Path | None = None) -> None:
        super().__init__(root)
        self.asked: list[tuple[str, bool]] = []

    def get(self, key: str, name: str) -> Path | None:
        found = super().get(key, name)
        self.asked.append((name, found is not None))
        return found

    def describe(self) -> str:
        """What of the build came from the cache."""
        if ("library.so", True) in self.asked:
            return "library from the cache"
        units = [hit for name, hit in self.asked if name.endswith(".o")]
        return f"{sum(units)} of {len(units)} units from the cache"


def build_logged(
    name: str, source: CSource, cache: Cache | None = None, edited: Mapping[str, str] | None = None
) -> Path:
    """The shared library of a program's source; `name` is the graph's. Raises ToolchainError as `build_shared`.

    `edited`: files, .c and .h, that are built instead of those of the source.
    """
    units: Iterable[Unit] = (Unit(unit, text) for unit, text in source.compile_units())
    headers: Mapping[str, str] = {"convc.h": source.header}
    if edited is not None:
        units = [Unit(file[:-2], text) for file, text in edited.items() if file.endswith(".c")]
        headers = {file: text for file, text in edited.items() if file.endswith(".h")}
    if level() < LINES:
        return build_shared(units, cache=cache, headers=headers)
    watched, started = WatchedCache(cache.root if cache else None), perf_counter()
    for file, text in headers.items():
        _say(file, text)
    library = build_shared(map(_said, units), cache=watched, headers=headers)
    seconds = perf_counter() - started
    say(LINES, f"convc: {name}: {len(source.kernels)} kernels, {watched.describe()}, in {1e3 * seconds:.0f} ms")
    return library


def _said(unit: Unit) -> Unit:
    _say(f"{unit.name}.c", unit.source)
    return unit


def _say(file: str, text: str) -> None:
    say(SOURCE, f"/* ---- {file} ---- */\n{text}")
