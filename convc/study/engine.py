"""A study from its first run to its report: who trains what, and what is written when."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from time import perf_counter

from convc.build.toolchain import cpu_features
from convc.checkpoint import checkpoint_bytes, fingerprints, parameter_count, weights_bytes
from convc.data import Dataset
from convc.errors import RunError
from convc.folder_lock import folder_lock
from convc.model_info import ModelInfo
from convc.nn import Module
from convc.report.facts import StudyFacts
from convc.report.history import RunHistory, Setting
from convc.report.recommend import recommend
from convc.report.refine import next_rates
from convc.report.summary import Recommendation, Summary, summarise
from convc.runtime.targets import kind_of, resolve_target
from convc.study.folder import Key, StudyFolder
from convc.study.plan import StudyPlan
from convc.study.result import StudyResult
from convc.study.slices import Payload, Slice, SliceResult
from convc.study.watch import StudyWatch
from convc.study.workers import Crew, InProcess, Workers
from convc.train import Trainer, compile_trainer

SLICE_SECONDS = 1.0
"""About how long a run is trained between two checkpoints; an epoch is the least."""


def run_study(
    plan: StudyPlan,
    module: Module,
    dataset: Dataset,
    out: Path | str,
    watch: StudyWatch | None = None,
    workers: Workers | None = None,
) -> StudyResult:
    """Train `module` on `dataset` (as loaded; normalised here) at every setting and seed of the plan; write the report.

    `workers`: `Processes(jobs)` or `Dask(address)` of convc.study.workers, each a `concurrent.futures` executor that
    is given slices of runs; None: this process trains one run after the other. Results do not depend on it.

    Where `out` holds a study that differs in nothing but its rates, momenta, seeds and epochs, the plan is joined with
    that of the folder, and what is not there yet is trained; all files but the times come out as from an unbroken run
    of the joined plan. On KeyboardInterrupt the report of what is there is written before it goes on its way. Raises
    DataError where `out` holds another study, is another run's at the moment, cannot be written or holds a file that
    is damaged, RunError where workers are lost, and what compiling raises.
    """
    with folder_lock(Path(out)):
        return _Study(plan, module, dataset, Path(out), watch or StudyWatch(), workers).run()


class _Study:
    def __init__(
        self,
        plan: StudyPlan,
        module: Module,
        dataset: Dataset,
        out: Path,
        watch: StudyWatch,
        workers: Workers | None,
    ) -> None:
        self.module, self.watch = module, watch
        self.workers = workers or InProcess(watch.batch)
        self.began = perf_counter()
        self.compile_seconds: float | None = None
        self.folder = StudyFolder(out, plan.fixed() | fingerprints(module, dataset) | _counts(dataset))
        self.held = self.folder.claim(plan)
        self.plan = self.held.plan
        if self.plan.growing() != plan.growing():
            watch.grows(self.plan)
        self.dataset = dataset.normalized()
        self.about = ModelInfo.of(self.dataset, plan.model)
        self.open = ExitStack()

    def run(self) -> StudyResult:
        try:
            with self.open:
                self._train([key for key in self._by_seed() if key[0] not in self.held.refined])
                self._refine()
        except self.workers.lost as error:
            raise RunError(
                f"a worker is gone ({type(error).__name__}), killed, perhaps for lack of memory; {self.folder.out} "
                "keeps the finished epochs: run the same command again to go on"
            ) from None
        except KeyboardInterrupt:
            if self.held.begun():
                self._report()
            raise
        return self._report()

    # Training

    @cached_property
    def trainer(self) -> Trainer:
        """Compiled when the first run needs it; all of them use it."""
        self.watch.compiling(self.plan.model)
        trainer = compile_trainer(
            self.module,
            self.dataset,
            batch=self.plan.batch,
            optimizer=self.plan.compiled_optimizer(),
            seed=self.plan.seeds[0],
            target=self.plan.target,
        )
        self.compile_seconds = trainer.seconds
        self.watch.compiled(trainer.seconds)
        return trainer

    @cached_property
    def crew(self) -> Crew:
        """Started when the first run needs it."""
        return self.open.enter_context(self.workers.start(Payload(self.trainer, self.dataset, self.about)))

    def _by_seed(self) -> list[Key]:
        """All runs in the order in which they are begun: a study that is interrupted has whole seeds to compare."""
        return sorted(self.held.keys, key=lambda key: self.plan.seeds.index(key[1]))

    def _train(self, keys: Iterable[Key], rivals: tuple[RunHistory, ...] = ()) -> None:
        """Train these runs to their end, as many at once as there are hands."""
        waiting = deque(key for key in keys if not self.folder.done(self.held, key))
        if not waiting:
            return
        for key in waiting:
            self.folder.restore(self.held, key)
        crew = self.crew
        self.watch.phase(sum(0 if self.held.over(key) else self._epochs_left(key) for key in waiting))
        going: dict[Future[SliceResult], Key] = {}
        while waiting or going:
            while waiting and len(going) < crew.hands:
                key = waiting.popleft()
                state = self.folder.state(self.held, key) or self._first_state(key)
                self.watch.begin(self.held.run(key))
                self._go_on(key, state, rivals, going)
            for future in wait(going, return_when=FIRST_COMPLETED).done:
                key = going.pop(future)
                result = future.result()
                self._take(key, result)
                self._go_on(key, result.state, rivals, going)

    def _go_on(
        self, key: Key, state: bytes, rivals: tuple[RunHistory, ...], going: dict[Future[SliceResult], Key]
    ) -> None:
        """Give the next slice of a run to the crew; at its end write its last weights."""
        run = self.held.run(key)
        if self.held.over(key):
            self.module.store.from_bytes(state, self.folder.checkpoint(run.name), finite=False)
            data = weights_bytes(self.module.store, self.folder.mark(self.held, key), len(run.epochs), self.about)
            self.folder.write_last(run.name, data)
            self.watch.end(run)
            return
        part = Slice(
            run=run,
            epochs=self.plan.epochs,
            state=state,
            mark=self.folder.mark(self.held, key),
            schedule=self.plan.schedule,
            augment=self.plan.augment,
            numbers=self.plan.numbers(run.setting),
            seconds=SLICE_SECONDS,
            rivals=rivals,
        )
        going[self.crew.submit(part)] = key

    def _first_state(self, key: Key) -> bytes:
        """What a run begins with: the first weights of its seed, and no state."""
        step = self.trainer.step
        self.module.reset(key[1])
        return checkpoint_bytes(step, self.folder.mark(self.held, key), 0)

    def _take(self, key: Key, result: SliceResult) -> None:
        """Store what a slice gave, in the order that `convc.study.folder` states."""
        run, before = result.run, len(self.held.run(key).epochs)
        self.held.runs[key] = run
        self.held.timings[run.name] = (*self.held.timings.get(run.name, ()), *result.timings)
        self.folder.write_epochs(self.held)
        if result.best is not None:
            self.folder.write_best(run.name, result.best)
        self.folder.write_checkpoint(run.name, result.state)
        if run.stopped:
            self.folder.write_settings(self.held)
        for epoch, timing in enumerate(result.timings, start=before + 1):
            self.watch.epoch(replace(run, epochs=run.epochs[:epoch], stopped=False), timing)

    def _epochs_left(self, key: Key) -> int:
        return self.plan.epochs - len(self.held.run(key).epochs)

    # Rates that nobody asked for

    def _refine(self) -> None:
        """Train the settings that were added before; then add more, while the budget lasts and there are some."""
        self._train_refined()
        while self.plan.refine:
            left = self.plan.budget - self.spent
            new = self._next_settings(left // (self.plan.epochs * len(self.plan.seeds)))
            if not new:
                return
            self.held.refined += new
            self.folder.write_settings(self.held)
            self.watch.refines(new, left)
            self._train_refined()

    def _next_settings(self, count: int) -> tuple[Setting, ...]:
        """Up to `count` settings with rates that are not there yet, and the other factors of the best one."""
        if not count:
            return ()
        summaries = self._summaries()
        best = self._recommended(summaries, complete=True).setting
        factors = (best or self.plan.settings[0]).factors
        rates = next_rates([s for s in summaries if s.setting.factors == factors], count)
        return tuple(Setting(lr, factors) for lr in rates)

    def _train_refined(self) -> None:
        """To their end, or until one has fallen behind the best of the runs that were asked for."""
        if not self.held.refined:
            return
        asked = [summary for summary in self._summaries() if summary.asked]
        best = self._recommended(asked, complete=True).setting
        rivals = tuple(run for summary in asked if summary.setting == best for run in summary.runs)
        self._train([key for key in self._by_seed() if key[0] in self.held.refined], rivals)

    @property
    def spent(self) -> int:
        """Epochs trained at rates that were not asked for."""
        return sum(len(run.epochs) for run in self.held.begun() if run.setting in self.held.refined)

    # The report

    def _summaries(self) -> tuple[Summary, ...]:
        """Of the settings of which a run was begun."""
        found = {setting: [r for r in self.held.begun() if r.setting == setting] for setting in self.held.settings}
        return tuple(
            summarise(
                setting,
                runs,
                self.dataset.classes,
                asked=setting not in self.held.refined,
                images=len(self.dataset.validation),
            )
            for setting, runs in found.items()
            if runs
        )

    def _recommended(self, summaries: Sequence[Summary], *, complete: bool) -> Recommendation:
        return recommend(summaries, validation_images=len(self.dataset.validation), complete=complete)

    def _report(self) -> StudyResult:
        from convc.report.study_report import write_report  # here: worker processes draw nothing

        plan, data = self.plan, self.dataset
        self.watch.reports()
        summaries = self._summaries()
        recommendation = self._recommended(summaries, complete=all(map(self.held.over, self.held.keys)))
        facts = StudyFacts(
            model=plan.model,
            parameters=parameter_count(self.module, data),
            dataset=data.name,
            train_images=len(data.train),
            validation_images=len(data.validation),
            test_images=len(data.test),
            classes=data.classes,
            batch=plan.batch,
            optimizer=plan.optimizer_text,
            schedule=plan.schedule,
            augment=plan.augment,
            seeds=plan.seeds,
            settings=plan.settings,
            refined=self.held.refined,
            epochs=plan.epochs,
            target=kind_of(resolve_target(plan.target)),
            machine=machine_text(),
            workers=self.workers.text,
            budget=self._budget_text(),
            compile_seconds=self.compile_seconds,
            wall_seconds=self.folder.wall_seconds(perf_counter() - self.began),
        )
        write_report(self.folder.out, summaries, recommendation, facts)
        return StudyResult(summaries, recommendation, facts, self.folder.out / "report.html")

    def _budget_text(self) -> str:
        if self.plan.refine:
            return f"{self.plan.budget} epochs at rates added by the study, of which {self.spent} were used"
        return f"{self.spent} epochs at rates added by the study" if self.held.refined else ""


def _counts(dataset: Dataset) -> dict[str, int]:
    """What judging the runs takes of the data."""
    return {"classes": dataset.classes, "validation images": len(dataset.validation)}


def machine_text() -> str:
    """The CPU that this process runs on, and how many of its cores it may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{cpu_features().model}, {cores} core{'s' if cores > 1 else ''}"
