"""What a kernel's accesses to memory cost, counted over one run: figures for its card, tables and the manifest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sectors:
    """Loads or stores of warps in global memory, the sectors of 32 bytes that they touched, and the least possible."""

    requests: int = 0
    sectors: int = 0
    ideal: int = 0

    @property
    def each(self) -> tuple[str, str]:
        """Sectors a request, and of these what would have done; dashes where there was no request."""
        if not self.requests:
            return "-", "-"
        return f"{self.sectors / self.requests:.2f}", f"{self.ideal / self.requests:.2f}"


@dataclass(frozen=True)
class Wavefronts:
    """Accesses of warps to shared memory, the passes over its banks, and those of them that conflicts added."""

    requests: int = 0
    wavefronts: int = 0
    bank_conflicts: int = 0


@dataclass(frozen=True)
class Traffic:
    """Of one kernel, with so many batch rows; `rows` is None for a program of fixed shape."""

    rows: int | None
    loads: Sectors = Sectors()
    stores: Sectors = Sectors()
    shared: Wavefronts = Wavefronts()

    @property
    def summary(self) -> str:
        """`4.06 sectors a load (ideal 4.00), 8.11 a store (ideal 4.00), no bank conflicts; batch rows 64`."""
        kinds = [(kind, x.each) for kind, x in (("load", self.loads), ("store", self.stores)) if x.requests]
        said = [
            f"{each}{'' if number else ' sectors'} a {kind} (ideal {ideal})"
            for number, (kind, (each, ideal)) in enumerate(kinds)
        ]
        if self.shared.requests:
            conflicts = self.shared.bank_conflicts
            said.append(f"{conflicts:,} bank conflicts" if conflicts else "no bank conflicts")
        return ", ".join(said or ["no access to memory"]) + (f"; batch rows {self.rows}" if self.rows else "")

    @property
    def row(self) -> tuple[str, ...]:
        """The figures under HEADINGS."""
        conflicts = f"{self.shared.bank_conflicts:,}" if self.shared.requests else "-"
        return (f"{self.loads.requests:,}", *self.loads.each, f"{self.stores.requests:,}", *self.stores.each, conflicts)


HEADINGS = ("loads", "sectors a load", "ideal", "stores", "sectors a store", "ideal", "bank conflicts")
"""Of a table of kernels; loads and stores count the warps that made them."""
