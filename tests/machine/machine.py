"""A stateful machine over the public calls: whatever order they come in, they do what `truth` says.

Each rule is a call that a user can make. After each, every array of every store must be what it must be, to the bit;
what a program computes must lie within the derived bounds of the float64 interpretation of its graph.
"""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import hypothesis.strategies as st
import numpy as np
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

import convc
from convc.errors import ConvcError
from convc.optim import SGD, Adam, Optimizer
from convc.runtime.program import Program
from tests.machine import wrong
from tests.machine.nets import CLASSES, IMAGE, NETS, Net, Row
from tests.machine.truth import Array, Expected, Truth, View, assert_near, expected, names_of

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SGD(weight_decay=0.01),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
    "adam": Adam(),
}
SEEDS = (0, 1, 2**63, 2**63 + 1, 2**64 - 1)
CAPACITIES = (1, 3, 5)
SMALL = st.integers(0, 3)


@dataclass(frozen=True)
class Compiled:
    """A program, the store that it works on, and what that must hold."""

    program: Program
    truth: Truth
    view: View
    mode: str
    numbers: Mapping[str, Any]

    @property
    def stage(self) -> str:
        return "apply_optimizer" if self.mode == "train" else "input"

    @property
    def capacity(self) -> int:
        return int(self.program.graph.inputs_of("data")[0].type.rows or 1)

    def data(self, n: int, seed: int) -> dict[str, Array]:
        """One array for each data input, n rows or, where there are fewer, all."""
        rng = np.random.default_rng(seed)
        drawn: dict[str, Array] = {}
        for v in self.program.graph.inputs_of("data"):
            shape = (min(n, self.capacity), *(int(e) for e in v.type.shape[1:]))
            whole = v.type.dtype == "i32"
            drawn[v.name] = (
                rng.integers(0, CLASSES, shape, np.int32) if whole else rng.standard_normal(shape, np.float32)
            )
        return drawn

    def wanted(self, data: Mapping[str, Array], numbers: Mapping[str, Any] | None = None) -> Expected:
        given = {**self.numbers, **(numbers or {}), "step": self.truth.counts.get("adam.step", 0) + 1}
        inputs = self.view.inputs(self.program.trace.after(self.stage), self.truth, data, given)
        return expected(self.program, self.stage, inputs)


@dataclass(frozen=True)
class Kept:
    """Arrays that were saved: in a file, or in memory."""

    arrays: dict[str, Array]
    file: Path | None = None


class Machine(RuleBasedStateMachine):
    nets = Bundle("nets")
    programs = Bundle("programs")
    kept = Bundle("kept")
    row: ClassVar[st.SearchStrategy[Row]] = st.sampled_from(list(NETS.values()))
    counted: ClassVar[Counter[str]] = Counter()
    """How many times each rule ran, over all examples."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory(prefix="convc-machine-")
        self.truths: list[Truth] = []
        self.files = 0
        self.threads = convc.get_num_threads()
        self.counted["examples"] += 1

    def teardown(self) -> None:
        convc.set_num_threads(self.threads)
        self.folder.cleanup()

    # Models and programs

    @rule(target=nets, row=row)
    def build(self, row: Row) -> tuple[Net, Truth]:
        self.counted["build"] += 1
        truth = Truth(row)
        self.truths.append(truth)
        return Net(row), truth

    @rule(
        target=programs,
        net=nets,
        mode=st.sampled_from(["infer", "eval", "train", "train"]),
        optimizer=st.sampled_from(list(OPTIMIZERS)),
        capacity=st.sampled_from(CAPACITIES),
        seed=st.sampled_from(SEEDS),
    )
    def compile(self, net: tuple[Net, Truth], mode: str, optimizer: str, capacity: int, seed: int) -> Compiled:
        return self._compiled(net, "", mode, optimizer, capacity, seed)

    @rule(
        target=programs,
        net=nets.filter(lambda net: bool(net[1].views)),
        part=st.integers(0, 7),
        mode=st.sampled_from(["infer", "train"]),
        capacity=st.sampled_from(CAPACITIES),
    )
    def compile_part(self, net: tuple[Net, Truth], part: int, mode: str, capacity: int) -> Compiled:
        """A module of a model that has its first values, alone; it learns without state."""
        places = [
            path for path, (item, _) in net[0].modules.items() if path and (mode == "infer" or names_of_any(net, path))
        ]
        if not places:
            return self._compiled(net, "", "infer", "sgd", capacity, 0)
        return self._compiled(net, places[part % len(places)], mode, "sgd", capacity, 0)

    def _compiled(
        self, net: tuple[Net, Truth], path: str, mode: str, optimizer: str, capacity: int, seed: int
    ) -> Compiled:
        (made, truth), rule_ = net, OPTIMIZERS[optimizer]
        names = names_of(made.row, path)
        if mode == "train" and not names:
            mode = "infer"
        self.counted[f"compile {mode}"] += 1
        item, module = made.modules[path]
        flat = path and getattr(item, "kind", "") == "linear"
        loss = "cross_entropy" if made.classifies and not path else "mse"
        shape = (capacity, int(np.prod(IMAGE))) if flat else (capacity, *IMAGE)
        program = convc.compile(module, shape, mode=mode, loss=loss, optimizer=rule_, seed=seed)  # type: ignore[arg-type]
        view = next((v for v in truth.views if v.store is program.parameters), None)
        if view is None:
            view = View(program.parameters, names)
            truth.views.append(view)
        view.read(truth)
        numbers = {"seed": seed, **(rule_.scalars if mode == "train" else {})}
        return Compiled(program, truth, view, mode, numbers)

    # Calls

    @rule(
        of=programs,
        n=st.integers(1, max(CAPACITIES)),
        seed=SMALL,
        how=st.sampled_from(["position", "name", "both", "out"]),
        lr=st.sampled_from([None, 0.001, 0.1]),
    )
    def call(self, of: Compiled, n: int, seed: int, how: str, lr: float | None) -> None:
        self.counted[f"call {of.mode}"] += 1
        self._checked_call(of, of.data(n, seed), how, {} if lr is None or of.mode != "train" else {"lr": lr})

    def _checked_call(self, of: Compiled, data: dict[str, Array], how: str, numbers: Mapping[str, Any]) -> None:
        wanted = of.wanted(data, numbers)
        kept = {name: a.copy() for name, a in data.items()}
        found = self._called(of.program, data, how, numbers, wanted)
        for name, a in data.items():
            assert a.tobytes() == kept[name].tobytes(), f"the call wrote to its input {name}"
        self._check(of, found, wanted)

    def _called(
        self, program: Program, data: Mapping[str, Array], how: str, numbers: Mapping[str, Any], wanted: Expected
    ) -> tuple[Any, ...]:
        arrays = list(data.values())
        if how == "name":
            found = program(**data, **numbers)
        elif how == "both":
            found = program(arrays[0], **dict(list(data.items())[1:]), **numbers)
        elif how == "out":
            out = [np.full(exact.shape, 7, np.float32) for exact, _ in wanted.outputs]
            found = program(*arrays, out=out if len(out) > 1 else out[0], **numbers)
            results = found if isinstance(found, tuple) else (found,)
            assert all(a is b for a, b in zip(results, out, strict=True)), "a call returns what it was given as out"
        else:
            found = program(*arrays, **numbers)
        return found if isinstance(found, tuple) else (found,)

    def _check(self, of: Compiled, found: tuple[Any, ...], wanted: Expected) -> None:
        for i, (a, b) in enumerate(zip(found, wanted.outputs, strict=True)):
            assert_near(f"result {i}", a, b)
        for name, b in wanted.updates.items():
            assert_near(name, of.view.store[name], b)
        if of.mode != "train":
            return
        for name in wanted.updates:
            if name in of.truth.counts:
                of.truth.counts[name] += 1
        if not any(name in of.truth.counts for name in wanted.updates) and "adam" in of.program.ir(
            "after apply_optimizer"
        ):
            of.truth.counts["adam.step"] = of.truth.counts.get("adam.step", 0) + 1
        of.view.taken(of.truth)

    @rule(of=programs, n=st.integers(1, max(CAPACITIES)), seed=SMALL, shift=st.integers(-9, 9))
    def call_into_its_input(self, of: Compiled, n: int, seed: int, shift: int) -> None:
        """`out` and an input share memory: the same array, or one some elements from the other."""
        data = of.data(n, seed)
        wanted = of.wanted(data)
        if of.mode == "train" or len(wanted.outputs) > 1 or wanted.outputs[0][0].ndim == 0:
            return
        self.counted["call into its input"] += 1
        exact, x = wanted.outputs[0][0], data["x"]
        memory = np.zeros(x.size + exact.size + 20, np.float32)
        given = memory[10 : 10 + x.size].reshape(x.shape)
        given[...] = x
        out = memory[10 + shift : 10 + shift + exact.size].reshape(exact.shape)
        of.program(**{**data, "x": given}, out=out)
        self._check(of, (out,), wanted)

    @rule(of=programs, n=st.integers(1, max(CAPACITIES)), seed=SMALL)
    def call_with_one_array_for_two_outputs(self, of: Compiled, n: int, seed: int) -> None:
        data = of.data(n, seed)
        if len(of.program.graph.outputs) < 2:
            return
        self.counted["one array for two outputs"] += 1
        o = np.zeros((), np.float32)
        self._refused("out=[o, o]", lambda: of.program(**data, out=[o, o]))

    @rule(of=programs, callers=st.integers(2, 4), seed=SMALL, times=st.sampled_from([5, 20]))
    def call_from_threads(self, of: Compiled, callers: int, seed: int, times: int) -> None:
        """Each with numbers of its own, where the program only reads; all the same step, where it writes."""
        self.counted[f"call from threads, {of.mode}"] += 1
        if of.mode == "train":
            self._steps_from_threads(of, callers, of.data(of.capacity, seed))
            return
        given = [of.data(1 + (seed + i) % of.capacity, seed + i) for i in range(callers)]
        wanted = [of.wanted(data) for data in given]
        with ThreadPoolExecutor(callers) as pool:
            found = list(pool.map(lambda data: [of.program(**data) for _ in range(times)], given))
        for results, one in zip(found, wanted, strict=True):
            for result in results:
                self._check(of, result if isinstance(result, tuple) else (result,), one)

    def _steps_from_threads(self, of: Compiled, callers: int, data: dict[str, Array]) -> None:
        """Steps with one batch follow each other in any order: as one after the other, to the bit."""
        start = of.truth.copy()
        before = of.view.store.snapshot()
        with ThreadPoolExecutor(callers) as pool:
            losses = list(pool.map(lambda _: of.program(**data), range(callers)))
        after = of.view.store.snapshot()
        of.view.store.restore(before)
        if hasattr(of.view.store, "updates"):
            of.view.store.updates -= callers
        of.truth.counts = start.counts
        wanted = [of.wanted(data) for _ in range(0)]
        again = []
        for _ in range(callers):
            one = of.wanted(data)
            again.append(of.program(**data))
            self._check(of, (again[-1],), one)
        assert sorted(losses) == sorted(again), f"steps from {callers} threads gave {losses}, one by one {again}"
        for name, a in after.items():
            assert a.tobytes() == of.view.store[name].tobytes(), f"{name} after {callers} steps from as many threads"
        assert not wanted

    @rule(n=st.integers(1, 3))
    def set_num_threads(self, n: int) -> None:
        self.counted["set_num_threads"] += 1
        convc.set_num_threads(n)

    # What is kept and brought back

    @rule(target=kept, of=programs, state=st.booleans())
    def save(self, of: Compiled, state: bool) -> Kept:
        """Weights alone, or with what the optimizers keep."""
        self.counted["save"] += 1
        self.files += 1
        store = of.view.store
        file = Path(self.folder.name) / f"{self.files}.safetensors"
        names = store.names("parameter", *(("state",) if state else ()))
        store.save(file, names=names)
        return Kept(store.snapshot(names), file)

    @rule(target=kept, of=programs)
    def snapshot(self, of: Compiled) -> Kept:
        self.counted["snapshot"] += 1
        return Kept(of.view.store.snapshot())

    @rule(of=programs, kept=kept)
    def bring_back(self, of: Compiled, kept: Kept) -> None:
        """Into the model that it came from or into another; what does not fit is refused."""
        store, arrays = of.view.store, kept.arrays
        known = set(store.names("parameter", "state"))
        lacking = [n for n in store.names("parameter") if n not in arrays] if kept.file else []
        fits = set(arrays) <= known and not lacking
        fits = fits and all(store[n].shape == a.shape and store[n].dtype == a.dtype for n, a in arrays.items())
        self.counted[f"{'load' if kept.file else 'restore'}{'' if fits else ' refused'}"] += 1

        def bring() -> None:
            store.load(kept.file) if kept.file else store.restore(arrays)

        if not fits:
            self._refused("arrays of another model", bring)
            return
        bring()
        if kept.file:
            self._zeroed(of, [n for n in store.names("state") if n not in arrays])
        for name, a in arrays.items():
            self._assigned(of, name, a)

    def _zeroed(self, of: Compiled, names: list[str]) -> None:
        for name in names:
            self._assigned(of, name, np.zeros_like(of.view.store[name]))

    def _assigned(self, of: Compiled, name: str, a: Array) -> None:
        base, _, last = name.rpartition(".")
        if name in of.view.names:
            of.truth.values[of.view.names[name]] = a.copy()
        elif base in of.view.names:
            of.truth.state[of.view.names[base], last] = a.copy()
        else:
            of.truth.counts[name] = int(a)

    @rule(net=nets.filter(lambda net: bool(net[1].views)), seed=st.sampled_from(SEEDS))
    def reset(self, net: tuple[Net, Truth], seed: int) -> None:
        """As a new model of that seed, to the bit."""
        self.counted["reset"] += 1
        made, truth = net
        made.model.reset(seed)
        truth.values = first_values(made.row, seed)
        truth.forget()

    # Copies

    @rule(target=nets, net=nets)
    def copy_model(self, net: tuple[Net, Truth]) -> tuple[Net, Truth]:
        """The copy has numbers of its own, and from then on a life of its own."""
        self.counted["deepcopy of a model"] += 1
        made, truth = copy.deepcopy(net[0]), net[1].copy()
        if net[1].views:
            truth.views.append(View(made.model.store, names_of(made.row)))
        self.truths.append(truth)
        return made, truth

    @rule(target=programs, of=programs, way=st.sampled_from(["pickle", "deepcopy"]))
    def copy_program(self, of: Compiled, way: str) -> Compiled:
        self.counted[f"{way} of a program"] += 1
        program = copy.deepcopy(of.program) if way == "deepcopy" else pickle.loads(pickle.dumps(of.program))
        truth = of.truth.copy()
        view = View(program.parameters, of.view.names)
        truth.views.append(view)
        self.truths.append(truth)
        return Compiled(program, truth, view, of.mode, of.numbers)

    # What must be refused

    @rule(of=programs, case=st.sampled_from(list(wrong.CALLS)), n=st.integers(1, max(CAPACITIES)))
    def wrong_call(self, of: Compiled, case: str, n: int) -> None:
        action = wrong.CALLS[case](of.program, of.data(n, 0), of.capacity)
        if action is not None:
            self._refused(case, action)

    @rule(of=programs, case=st.sampled_from(list(wrong.STORES)))
    def wrong_use_of_a_store(self, of: Compiled, case: str) -> None:
        self._refused(case, lambda: wrong.STORES[case](of.view.store))

    @rule(case=st.sampled_from(list(wrong.MODELS)))
    def wrong_model(self, case: str) -> None:
        self._refused(case, wrong.MODELS[case])

    @rule(net=nets, seed=st.sampled_from(wrong.SEEDS))
    def wrong_seed(self, net: tuple[Net, Truth], seed: Any) -> None:
        self._refused(f"seed={seed!r}", lambda: convc.compile(net[0].model, (2, *IMAGE), seed=seed))
        if net[1].views:
            self._refused(f"reset({seed!r})", lambda: net[0].model.reset(seed))

    @rule(case=st.sampled_from(list(wrong.EQUAL)))
    def numbers_of_numpy(self, case: str) -> None:
        """np.int64(3) is 3."""
        self.counted["numbers of NumPy"] += 1
        one, other = wrong.EQUAL[case]
        assert str(one()) == str(other()), case

    @rule(one=st.sampled_from(SEEDS), other=st.sampled_from(SEEDS))
    def seeds(self, one: int, other: int) -> None:
        """The same seed gives the same bits, another gives others."""
        self.counted["seeds"] += 1
        a, b = (first_values(NETS["conv"], seed) for seed in (one, other))
        same = [a[key].tobytes() == b[key].tobytes() for key in a]
        assert all(same) if one == other else not any(same), f"weights of seeds {one} and {other}"

    def _refused(self, case: str, action: Callable[[], Any]) -> None:
        self.counted["refused"] += 1
        try:
            action()
        except ConvcError as error:
            assert str(error), f"{case}: an error says what is wrong"
            assert "\n" not in str(error), f"{case}: an error is one line, not {str(error)!r}"
        except Exception as error:
            raise AssertionError(
                f"{case} must be refused by one line, but gives {type(error).__name__}: {error}"
            ) from error
        else:
            raise AssertionError(f"{case} must be refused, but is accepted")

    # After every rule

    @invariant()
    def stores_hold_what_they_must(self) -> None:
        for truth in self.truths:
            for view in truth.views:
                view.check(truth)


def names_of_any(net: tuple[Net, Truth], path: str) -> bool:
    return bool(names_of(net[0].row, path))


def first_values(row: Row, seed: int) -> dict[Any, Array]:
    """Of a new model."""
    net, truth = Net(row), Truth(row)
    program = convc.compile(net.model, (1, *IMAGE), seed=seed)
    View(program.parameters, names_of(row)).read(truth)
    return truth.values
