"""From what the emulator counted, instruction by instruction, to what each kernel moved."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from convc.codegen.cuda.emit import CudaSource, Launch
from convc.codegen.traffic import Sectors, Traffic, Wavefronts
from convc.emulator import Counter, Place, Result

Amounts = tuple[int, int, int]
"""Requests, the least that they could have moved, and what they moved over that."""

_DEFINITION = re.compile(r"^\w[^(;{}]*?(?:__launch_bounds__\(\d+\)\s+)?(\w+)\(", re.MULTILINE)


def traffic_of(source: CudaSource, text: str, results: Mapping[str, Result], rows: int | None) -> dict[str, Traffic]:
    """By kernel, in the order in which they run. `text`: the CUDA that ran; `results`: of each launch, by name.

    The kernels of a launch add up to what it counted.
    """
    functions = _functions(text)
    found: dict[tuple[str, str], Amounts] = defaultdict(lambda: (0, 0, 0))
    for launch in source.launches:
        owners = {body.name: k.name for k in launch.kernels for body in k.bodies}
        for c in results[launch.name].counters:
            amounts = (c.requests, c.ideal, c.moved - c.ideal)
            kernel = _kernel(c.place, source.file, functions, owners)
            for name, part in [(kernel, amounts)] if kernel else _by_blocks(amounts, launch):
                requests, ideal, over = found[name, _kind(c)]
                found[name, _kind(c)] = requests + part[0], ideal + part[1], over + part[2]
    return {
        k.name: Traffic(
            rows, _sectors(found[k.name, "load"]), _sectors(found[k.name, "store"]), _passes(found[k.name, "shared"])
        )
        for k in source.kernels
    }


def _functions(text: str) -> list[tuple[int, str]]:
    """(line of its head, name) of every function that the text defines."""
    return [(text.count("\n", 0, m.start()) + 1, m[1]) for m in _DEFINITION.finditer(text)]


def _kernel(
    place: Place | None, file: str, functions: Sequence[tuple[int, str]], owners: Mapping[str, str]
) -> str | None:
    """The kernel in whose functions the line lies, or the line that it was inlined at, and so on outwards."""
    while place is not None:
        number = bisect_right(functions, place.line, key=lambda f: f[0]) - 1
        name = functions[number][1] if number >= 0 and place.file == file else ""
        if name in owners:
            return owners[name]
        place = place.inlined_at
    return None


def _by_blocks(amounts: Amounts, launch: Launch) -> Iterator[tuple[str, Amounts]]:
    """What no kernel's line accounts for, such as a load that several begin with: each has its blocks' share."""
    first = 0
    for k in launch.kernels:
        last = first + k.blocks
        requests, ideal, over = (x * last // launch.blocks - x * first // launch.blocks for x in amounts)
        yield k.name, (requests, ideal, over)
        first = last


def _kind(counter: Counter) -> str:
    return "shared" if counter.space == "shared" else "store" if counter.stores else "load"


def _sectors(amounts: Amounts) -> Sectors:
    requests, ideal, over = amounts
    return Sectors(requests, ideal + over, ideal)


def _passes(amounts: Amounts) -> Wavefronts:
    requests, ideal, over = amounts
    return Wavefronts(requests, ideal + over, over)
