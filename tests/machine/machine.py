"""A stateful machine over the public calls: whatever order they come in, they do what `truth` says.

Each rule is a call that a user can make. After each, every array of every store must be what it must be, to the bit;
what a program computes must lie within the derived bounds of the float64 interpretation of its graph.
"""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import hypothesis.strategies as st
import numpy as np
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

import convc
from convc.errors import ConvcError
from convc.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from tests.machine import wrong
from tests.machine.compiled import Compiled
from tests.machine.nets import IMAGE, NETS, Net, Row
from tests.machine.truth import Array, Truth, View, names_of

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SGD(weight_decay=0.01),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
    "adam": Adam(),
    "adamw": AdamW(weight_decay=0.1),
    "rmsprop": RMSprop(momentum=0.9),
    "clipped": SGD(momentum=0.9, clip_norm=0.5),
}
SEEDS = (0, 1, 2**63, 2**63 + 1, 2**64 - 1)
CAPACITIES = (1, 3, 5)
SMALL = st.integers(0, 3)
CHOICES: dict[str, st.SearchStrategy[Any]] = {
    "mode": st.sampled_from(["train", "eval", "train", "infer", "train"]),
    "optimizer": st.sampled_from(["adam", *OPTIMIZERS]),
    "capacity": st.sampled_from(CAPACITIES),
    "seed": st.sampled_from(SEEDS),
}


@dataclass(frozen=True)
class Kept:
    """Arrays that were saved: in a file, or in memory."""

    arrays: dict[str, Array]
    file: Path | None = None


class Machine(RuleBasedStateMachine):
    programs = Bundle("programs")
    steps = programs.filter(lambda of: of.mode == "train")
    of_models = programs.filter(lambda of: of.net is not None)
    kept = Bundle("kept")
    rows: ClassVar[st.SearchStrategy[Row]] = st.sampled_from(list(NETS.values()))
    counted: ClassVar[Counter[str]] = Counter()
    """How many times each rule ran, over all examples."""
    story: ClassVar[Path | None] = None
    """Where each example is told as it goes: of one that ends in a crash nothing else is left."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory(prefix="convc-machine-")
        self.truths: list[Truth] = []
        self.files = 0
        self.threads = convc.get_num_threads()
        self.counted["examples"] += 1
        if self.story:
            self.story.write_text("")

    def did(self, what: str, *details: Any) -> None:
        self.counted[what] += 1
        if self.story:
            with self.story.open("a") as f:
                print(what, *details, file=f)

    def teardown(self) -> None:
        convc.set_num_threads(self.threads)
        self.folder.cleanup()

    # Models and programs

    @initialize(target=programs, row=st.deferred(lambda: Machine.rows), **CHOICES)
    def begin(self, row: Row, mode: str, optimizer: str, capacity: int, seed: int) -> Compiled:
        return self._new(row, mode, optimizer, capacity, seed)

    @rule(target=programs, row=st.deferred(lambda: Machine.rows), **CHOICES)
    def another_model(self, row: Row, mode: str, optimizer: str, capacity: int, seed: int) -> Compiled:
        return self._new(row, mode, optimizer, capacity, seed)

    def _new(self, row: Row, mode: str, optimizer: str, capacity: int, seed: int) -> Compiled:
        truth = Truth(row)
        self.truths.append(truth)
        return self._compiled(Net(row), truth, "", mode, optimizer, capacity, seed)

    @rule(target=programs, of=of_models, **CHOICES)
    def another_program(self, of: Compiled, mode: str, optimizer: str, capacity: int, seed: int) -> Compiled:
        """Of the same model, whose parameters it shares; their first values are there already."""
        assert of.net
        return self._compiled(of.net, of.truth, "", mode, optimizer, capacity, seed)

    @rule(
        target=programs,
        of=of_models,
        part=st.integers(0, 7),
        mode=st.sampled_from(["infer", "infer", "train"]),
        capacity=st.sampled_from(CAPACITIES),
    )
    def program_of_a_part(self, of: Compiled, part: int, mode: str, capacity: int) -> Compiled:
        """A module of a model that has its first values, alone; it learns without state."""
        assert of.net
        places = [path for path in of.net.modules if path]
        return self._compiled(of.net, of.truth, places[part % len(places)], mode, "sgd", capacity, 0)

    def _compiled(
        self, made: Net, truth: Truth, path: str, mode: str, optimizer: str, capacity: int, seed: int
    ) -> Compiled:
        rule_ = OPTIMIZERS[optimizer]
        names = names_of(made.row, path)
        if mode == "train" and not names:
            mode = "infer"
        self.did(f"compile {mode}" + (f" {optimizer}" if mode == "train" else ""), made.row, path, capacity, seed)
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
        return Compiled(program, truth, view, mode, numbers, made)

    # Calls

    @rule(
        of=programs,
        n=st.integers(1, max(CAPACITIES)),
        seeds=st.lists(SMALL, min_size=1, max_size=3),
        how=st.sampled_from(["position", "name", "both", "out"]),
        lr=st.sampled_from([None, 0.001, 0.1]),
        threads=st.integers(1, 3),
    )
    def call(self, of: Compiled, n: int, seeds: list[int], how: str, lr: float | None, threads: int) -> None:
        convc.set_num_threads(threads)
        for seed in seeds:
            self.did(f"call {of.mode}", of, n, seed, how, lr, threads)
            of.checked_call(of.data(n, seed), how, {} if lr is None or of.mode != "train" else {"lr": lr})

    @rule(of=programs, n=st.integers(1, max(CAPACITIES)), seed=SMALL, shift=st.integers(-9, 9))
    def call_with_shared_memory(self, of: Compiled, n: int, seed: int, shift: int) -> None:
        """`out` and an input are the same array, or lie some elements apart; or one array is given for two outputs."""
        data = of.data(n, seed)
        wanted = of.wanted(data)
        if len(wanted.outputs) > 1:
            o = np.zeros((), np.float32)
            self._refused("out=[o, o]", lambda: of.program(**data, out=[o, o]))
            return
        if of.mode == "train":
            return
        self.did("call into its input", of, n, seed, shift)
        exact, x = wanted.outputs[0][0], data["x"]
        memory = np.zeros(x.size + exact.size + 20, np.float32)
        given = memory[10 : 10 + x.size].reshape(x.shape)
        given[...] = x
        out = memory[10 + shift : 10 + shift + exact.size].reshape(exact.shape)
        of.program(**{**data, "x": given}, out=out)
        of.check((out,), wanted)

    @rule(of=programs, callers=st.integers(2, 4), seed=SMALL, times=st.sampled_from([5, 20]))
    def call_from_threads(self, of: Compiled, callers: int, seed: int, times: int) -> None:
        """Each with numbers of its own, where the program only reads; all the same step, where it writes."""
        self.did(f"call from threads, {of.mode}", of, callers, seed, times)
        if of.mode == "train":
            self._steps_from_threads(of, callers, of.data(of.capacity, seed))
            return
        given = [of.data(1 + (seed + i) % of.capacity, seed + i) for i in range(callers)]
        wanted = [of.wanted(data) for data in given]
        with ThreadPoolExecutor(callers) as pool:
            found = list(pool.map(lambda data: [of.program(**data) for _ in range(times)], given))
        for results, one in zip(found, wanted, strict=True):
            for result in results:
                of.check(result if isinstance(result, tuple) else (result,), one)

    def _steps_from_threads(self, of: Compiled, callers: int, data: dict[str, Array]) -> None:
        """Steps with one batch follow each other in any order: as one after the other, to the bit."""
        before = of.view.store.snapshot()
        with ThreadPoolExecutor(callers) as pool:
            losses = list(pool.map(lambda _: of.program(**data), range(callers)))
        after = of.view.store.snapshot()
        of.view.store.restore(before)
        again = []
        for _ in range(callers):
            one = of.wanted(data)
            again.append(of.program(**data))
            of.check((again[-1],), one)
        assert sorted(losses) == sorted(again), f"steps from {callers} threads gave {losses}, one by one {again}"
        for name, a in after.items():
            assert a.tobytes() == of.view.store[name].tobytes(), f"{name} after {callers} steps from as many threads"

    # What is kept and brought back

    @rule(target=kept, of=programs, way=st.sampled_from(["weights", "all", "snapshot"]))
    def keep(self, of: Compiled, way: str) -> Kept:
        """In a file, weights alone or with what the optimizers keep, or in memory."""
        return self._keep(of, way)

    def _keep(self, of: Compiled, way: str) -> Kept:
        self.did(f"keep {way}", of)
        store = of.view.store
        if way == "snapshot":
            return Kept(store.snapshot())
        self.files += 1
        file = Path(self.folder.name) / f"{self.files}.safetensors"
        store.save(file, state=way == "all")
        return Kept(store.snapshot(store.names("parameter", *(("state",) if way == "all" else ()))), file)

    @rule(of=programs, kept=kept)
    def bring_back(self, of: Compiled, kept: Kept) -> None:
        """Into the model that it came from or into another; what does not fit is refused."""
        self._brought_back(of, kept)

    def _brought_back(self, of: Compiled, kept: Kept) -> None:
        store, arrays = of.view.store, kept.arrays
        known = set(store.names("parameter", "state"))
        nowhere = kept.file is not None and not store.names("parameter")
        lacking = [n for n in store.names("parameter") if n not in arrays] if kept.file else []
        fits = set(arrays) <= known and not lacking and not nowhere
        fits = fits and all(store[n].shape == a.shape and store[n].dtype == a.dtype for n, a in arrays.items())
        self.did(f"{'load' if kept.file else 'restore'}{'' if fits else ' refused'}", of, kept)

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

    @rule(of=steps, n=st.integers(1, max(CAPACITIES)), seed=SMALL, way=st.sampled_from(["all", "snapshot"]))
    def go_back(self, of: Compiled, n: int, seed: int, way: str) -> None:
        """A step, what is kept, a step, what was kept: the next step is the one that was there, to the bit."""
        data = of.data(n, seed)
        of.checked_call(data, "position", {})
        kept = self._keep(of, way)
        ends = []
        for _ in range(2):
            of.checked_call(data, "position", {})
            ends.append({name: a.tobytes() for name, a in of.view.store.snapshot().items()})
            self._brought_back(of, kept)
            of.view.check(of.truth)
        assert ends[0] == ends[1], "a step after a load is the step that was there before"

    def _zeroed(self, of: Compiled, names: list[str]) -> None:
        for name in names:
            self._assigned(of, name, np.zeros_like(of.view.store[name]))

    def _assigned(self, of: Compiled, name: str, a: Array) -> None:
        base, last = of.view.state_of(name)
        if name in of.view.names:
            of.truth.values[of.view.names[name]] = a.copy()
        elif base in of.view.names:
            of.truth.state[of.view.names[base], last] = a.copy()
        else:
            of.truth.counts[name] = int(a)

    @rule(of=of_models, seed=st.sampled_from(SEEDS))
    def reset(self, of: Compiled, seed: int) -> None:
        """As a new model of that seed, to the bit."""
        assert of.net
        self.did("reset", of, seed)
        of.net.model.reset(seed)
        of.truth.values = first_values(of.net.row, seed)
        of.truth.forget()

    # Copies

    @rule(target=programs, of=of_models, way=st.sampled_from(["pickle", "deepcopy"]), **CHOICES)
    def copy_model(self, of: Compiled, way: str, mode: str, optimizer: str, capacity: int, seed: int) -> Compiled:
        """The copy has numbers of its own, and from then on a life of its own."""
        self.did(f"{way} of a model", of)
        net = copy.deepcopy(of.net) if way == "deepcopy" else pickle.loads(pickle.dumps(of.net))
        truth = of.truth.copy()
        self.truths.append(truth)
        return self._compiled(net, truth, "", mode, optimizer, capacity, seed)

    @rule(target=programs, of=programs, way=st.sampled_from(["pickle", "deepcopy"]))
    def copy_program(self, of: Compiled, way: str) -> Compiled:
        self.did(f"{way} of a program", of)
        program = copy.deepcopy(of.program) if way == "deepcopy" else pickle.loads(pickle.dumps(of.program))
        truth = of.truth.copy()
        view = View(program.parameters, of.view.names)
        truth.views.append(view)
        self.truths.append(truth)
        return Compiled(program, truth, view, of.mode, of.numbers)

    # What must be refused

    @rule(of=programs, n=st.integers(1, max(CAPACITIES)), case=st.sampled_from(wrong.CASES))
    def wrong_use(self, of: Compiled, n: int, case: tuple[str, Any]) -> None:
        kind, name = case
        if kind == "call":
            action = wrong.CALLS[name](of.program, of.data(n, 0), of.capacity)
            if action is not None:
                self._refused(name, action)
        elif kind == "store":
            self._refused(name, lambda: wrong.STORES[name](of.view.store))
        elif kind == "model":
            self._refused(name, wrong.MODELS[name])
        elif of.net is not None:
            model = of.net.model
            self._refused(f"seed={name!r}", lambda: convc.compile(model, (2, *IMAGE), seed=name))
            self._refused(f"reset({name!r})", lambda: model.reset(name))

    @rule(case=st.sampled_from(list(wrong.EQUAL)), one=st.sampled_from(SEEDS), other=st.sampled_from(SEEDS))
    def equal(self, case: str, one: int, other: int) -> None:
        """np.int64(3) is 3; the same seed gives the same bits, another gives others."""
        self.did("equal", case, one, other)
        a, b = (made() for made in wrong.EQUAL[case])
        assert str(a) == str(b), case
        first, second = (first_values(NETS["conv"], seed) for seed in (one, other))
        same = [first[key].tobytes() == second[key].tobytes() for key in first]
        assert all(same) if one == other else not any(same), f"weights of seeds {one} and {other}"

    def _refused(self, case: str, action: Callable[[], Any]) -> None:
        self.did("refused", case)
        try:
            action()
        except ConvcError as error:
            said = str(error)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise AssertionError(f"{case} must be refused by one line, but gives {what}") from error
        else:
            raise AssertionError(f"{case} must be refused, but is accepted")
        assert said, f"{case}: an error says what is wrong"
        assert "\n" not in said, f"{case}: an error is one line, not {said!r}"

    # After every rule

    @invariant()
    def stores_hold_what_they_must(self) -> None:
        for truth in self.truths:
            for view in truth.views:
                view.check(truth)


def first_values(row: Row, seed: int) -> dict[Any, Array]:
    """Of a new model."""
    net, truth = Net(row), Truth(row)
    program = convc.compile(net.model, (1, *IMAGE), seed=seed)
    View(program.parameters, names_of(row)).read(truth)
    return truth.values
