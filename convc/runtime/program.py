"""A compiled program: arrays in, arrays out; its kernels, its IR at every stage, its parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy, deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from convc.checks import instance, shown
from convc.codegen.source import Kernel
from convc.errors import RunError
from convc.ir.core import Graph, Value
from convc.ir.interp import run_shape
from convc.ir.lexer import did_you_mean
from convc.ir.types import DTYPES
from convc.passes.pipeline import Trace
from convc.runtime.aliasing import check_outputs, in_store, unwritten
from convc.runtime.arguments import batch_rows_of, convert, label_limits
from convc.runtime.capacity import enough_memory
from convc.runtime.executable import Counting, Executable, Sweeper
from convc.runtime.numbers import run_time_number, update_numbers
from convc.runtime.store import ParameterStore
from convc.show import preformatted, wrapped

if TYPE_CHECKING:
    from convc.runtime.program_report import ProgramReport

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


class Program:
    """Call it with its data inputs in order, by position or name; run-time scalars by name.

    `program(x)` returns one array or, for several outputs, a tuple in order; outputs of rank 0 come back as
    floats. `out=` takes arrays to write into. f32 and i32 C-contiguous arrays are used without a copy, but for an
    input that shares memory with an `out=` or with what the program updates. Outputs share none with each other.
    A run-time number called `seed` may have 64 bits; a kernel sees 32, those of small seeds as they are.
    Raises RunError on a wrong shape, a missing input, or a label out of range.

    It may be called from several threads: programs that share a store take turns. Pickled, it is its IR and its store,
    and is built again where it is loaded; what is pickled together, programs and their model, shares its arrays there
    too. A deep copy has arrays of its own.
    """

    def __init__(
        self,
        trace: Trace,
        executable: Executable,
        store: ParameterStore,
        scalars: Mapping[str, float] | None = None,
    ) -> None:
        self.trace = trace
        self.graph: Graph = trace.stages[-1][1]
        self.executable = executable
        self.parameters = store
        self.target = executable.target
        store.add_from(self.graph)
        executable.bind(store)
        self._data = self.graph.inputs_of("data")
        self._scalars = self.graph.inputs_of("scalar")
        self._defaults = dict(scalars or {})
        self._limits = label_limits(trace.stages[0][1])
        self._updated = tuple(dict.fromkeys(store.slot(name).buffer for name in self.graph.updates))
        self._meanings = update_numbers(trace)
        self._known = {
            v.name: self._number(v, self._defaults[v.name]) for v in self._scalars if v.name in self._defaults
        }
        self._shapes: dict[int, tuple[list[Shape], list[Shape]]] = {}
        """By n: those of the data inputs and of the outputs."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Program, (self.trace, self.executable, self.parameters, self._defaults)

    def __deepcopy__(self, memo: dict[int, Any]) -> Program:
        # The IR is frozen, so that it need not be copied; its expressions may nest deeper than deepcopy can go.
        return Program(self.trace, copy(self.executable), deepcopy(self.parameters, memo), self._defaults)

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """In the order in which they run."""
        return self.executable.source.kernels

    def ir(self, stage: str = "input") -> str:
        """The IR's text: `"after fuse_epilogue"`, `"before lower"`, or `"input"`."""
        instance(stage, str, "a stage is named by text, such as program.ir('after lower')")
        return str(self.trace.after(stage))

    def kernel(self, prefix: str) -> Kernel:
        """The first kernel whose name starts with `prefix`."""
        instance(prefix, str, "a kernel is asked for by the start of its name, such as program.kernel('conv1')")
        for k in self.kernels:
            if k.name.startswith(prefix):
                return k
        raise RunError(f"no kernel starts with '{prefix}'{did_you_mean(prefix, [k.name for k in self.kernels])}")

    def report(self) -> ProgramReport:
        """Kernels, memory and IR: `print(program.report())`, or `program.report().save("report.html")`.

        On target emulator it also has what each kernel moved in the program's last run, once there was one.
        """
        from convc.runtime.program_report import ProgramReport  # here: compiling alone needs no report

        source = self.executable.counted() if isinstance(self.executable, Counting) else self.executable.source
        return ProgramReport(self.trace, source)

    def __repr__(self) -> str:
        """What it is made of, takes and gives."""
        taken = ", ".join(f"{v.name}: {v.type}" for v in (*self._data, *self._scalars))
        given = ", ".join(str(v.type) for v in self.graph.outputs)
        return wrapped(f"Program {self.report().headline}, on {self.target}", f"({taken}) -> {given}")

    def _repr_html_(self) -> str:
        return f"{preformatted(repr(self))}{self.report()._repr_html_()}"

    def __call__(self, *inputs: Any, out: Any = None, **named: Any) -> Any:
        scalars = [self._scalar(v, named) for v in self._scalars]
        given = self._bound(inputs, named)
        arrays = [convert(v, a, self._limits.get(v.name)) for v, a in zip(self._data, given)]
        rows = self._rows(arrays)
        outputs = self._outputs(out, rows)
        given = [] if out is None else outputs
        inside = [a for a in given if in_store(a, self.parameters)]
        arrays = unwritten(arrays, given, self._updated)
        if inside:
            self._run_beside_store(arrays, outputs, scalars, rows)
        else:
            self.executable.run(arrays, outputs, scalars, rows)
        return _results(outputs, out is None)

    def _run_beside_store(
        self, arrays: Sequence[Array], outputs: Sequence[Array], scalars: Sequence[float], rows: int
    ) -> None:
        """A run some of whose outputs lie in the store: they are written at its end, where the store lives."""
        with self.parameters.locked():
            places = [np.empty_like(a) if in_store(a, self.parameters) else a for a in outputs]
            self.executable.run(arrays, places, scalars, rows)
            for output, place in zip(outputs, places):
                if place is not output:
                    self.parameters.write(output, place)

    @property
    def sweeps(self) -> bool:
        """Whether `sweep` is there: the target has a memory of its own, and every output is one number."""
        return isinstance(self.executable, Sweeper) and all(v.type.rank == 0 for v in self.graph.outputs)

    def sweep(
        self, arrays: Sequence[Array], order: Array | None, named: Callable[[int], Mapping[str, Any]]
    ) -> Iterator[tuple[int, Any]]:
        """As calling the program with batch after batch; gives the rows of each and what the call would return.

        `arrays`: one [N, ...] for each data input, f32, i32 or u8, and not to be changed as long as the program is
        used: they may stay on the device. `order`: rows of them, integers [M] (None: all). `named`: the run-time
        numbers of the batch of that number, from 0. Results come after many batches at once. Raises RunError.
        """
        assert isinstance(self.executable, Sweeper)
        for v, a in zip(self._data, arrays, strict=True):
            if a.shape[1:] != run_shape(v.type, 1)[1:] or len(a) != len(arrays[0]):
                raise RunError(f"{v.name} is {v.type}, but its data are {list(a.shape)}, beside {len(arrays[0])} rows")
            if v.name in self._limits:
                convert(v, a, self._limits[v.name])
        if order is not None and order.size and not (order.min() >= 0 and order.max() < len(arrays[0])):
            raise RunError(f"an order holds rows from 0 to {len(arrays[0]) - 1}, not {order.min()} to {order.max()}")

        def scalars(batch: int) -> list[float]:
            given = dict(named(batch))
            return [self._scalar(v, given) for v in self._scalars]

        for rows, outputs in self.executable.sweep(arrays, order, scalars):
            yield rows, _results(outputs, True)

    def _rows(self, arrays: Sequence[Array]) -> int:
        """n; raises RunError where a shape does not fit. What usually fits is looked at first, and fast."""
        found = {a.shape[0] for v, a in zip(self._data, arrays) if v.type.rows is not None and a.ndim}
        rows = found.pop() if len(found) == 1 else 1
        if not found and rows in self._shapes and self._shapes[rows][0] == [a.shape for a in arrays]:
            return rows
        rows = batch_rows_of(self.graph, self._data, arrays)
        taken, given = ([run_shape(v.type, rows) for v in values] for values in (self._data, self.graph.outputs))
        self._shapes[rows] = taken, given
        return rows

    def _bound(self, inputs: Sequence[Any], named: dict[str, Any]) -> list[Any]:
        if len(inputs) > len(self._data):
            raise RunError(
                f"the program takes {len(self._data)} arrays ({self._names()}), but {len(inputs)} were given"
            )
        bound = list(inputs)
        for v in self._data[len(inputs) :]:
            if v.name not in named:
                raise RunError(f"the program takes {self._names()}, but {v.name} was not given")
            bound.append(named.pop(v.name))
        if named:
            other, known = next(iter(named)), [v.name for v in (*self._data, *self._scalars)]
            if other in known:
                raise RunError(f"an input is given once, but {other} was given by position and by name; leave out one")
            raise RunError(f"the program has no input {other}; it has {', '.join(known)}")
        return bound

    def _scalar(self, v: Value, named: dict[str, Any]) -> float:
        if v.name in named:
            return self._number(v, named.pop(v.name))
        if v.name not in self._known:
            raise RunError(f"the run-time number {v.name} was not given; call with {v.name}=...")
        return self._known[v.name]

    def _number(self, v: Value, given: object) -> float:
        return run_time_number(v, given, self._meanings.get(v.name))

    def _names(self) -> str:
        return ", ".join(f"{v.name}: {v.type}" for v in self._data)

    def _outputs(self, out: Any, rows: int) -> list[Array]:
        shapes = self._shapes[rows][1]
        if out is None:
            with enough_memory(f"what a call of {rows} rows returns"):
                return [np.empty(s, DTYPES[v.type.dtype]) for v, s in zip(self.graph.outputs, shapes)]
        if not isinstance(out, (np.ndarray, tuple, list)):
            raise RunError(f"out is an array, or a list of one for each output, not {shown(out)}; give NumPy arrays")
        given = [out] if isinstance(out, np.ndarray) else list(out)
        if len(given) != len(shapes):
            raise RunError(f"out must hold {len(shapes)} array(s), one for each output, not {len(given)}")
        for v, s, a in zip(self.graph.outputs, shapes, given):
            fits = isinstance(a, np.ndarray) and a.shape == s and a.dtype == DTYPES[v.type.dtype]
            if not fits or not (a.flags.c_contiguous and a.flags.aligned and a.flags.writeable):
                raise RunError(
                    f"out for {v.name} must be a writable C-contiguous {v.type.dtype} array of shape {list(s)}"
                )
        check_outputs(self.graph, given, self.parameters)
        return given


def _results(outputs: Sequence[Array], fresh: bool) -> Any:
    """What a call returns: one or a tuple, numbers as floats unless they were written where the caller said."""
    results = [float(a) if a.ndim == 0 and fresh else a for a in outputs]
    return results[0] if len(results) == 1 else tuple(results)
