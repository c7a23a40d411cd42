"""A learning-rate study: one model, several rates, compiled once, interrupted and resumed at will.

    OUT/study.json                     the settings
    OUT/history.csv, timing.csv        a row per epoch, written anew after each
    OUT/checkpoint/study.safetensors   parameters and optimizer state of the rate in progress
    OUT/weights_lr_0.01.safetensors    what each rate ended with
    OUT/report.md, report.html, *.png  the report

After an epoch the times are written, then the history, then the checkpoint, then, at the end of a rate, its
weights. Going on trusts the last of them: a history that is ahead of its checkpoint is cut, and the epoch trained
again. Each of these files carries a digest, which is checked when it is read back; the folder is locked while a study
writes into it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter

from convc.checkpoint import (
    check_settings,
    fingerprints,
    parameter_count,
    run_name,
    save_checkpoint,
    save_weights,
    saved_epoch,
    write_settings,
)
from convc.checks import instance, seed_of
from convc.data import Dataset
from convc.errors import DataError, RunError
from convc.folder_lock import folder_lock
from convc.model_info import ModelInfo
from convc.nn import Module
from convc.optim import SGD
from convc.report.history import (
    EpochRecord,
    EpochTiming,
    RunHistory,
    read_history,
    read_timing,
    write_history,
    write_timing,
)
from convc.report.recommend import Recommendation, recommend
from convc.report.study_report import StudyFacts, write_report
from convc.report.verdict import Verdict, judge, rate_text
from convc.runtime.numbers import optimizer_number
from convc.runtime.targets import kind_of, resolve_target
from convc.schedule import check_rate
from convc.train import EpochResult, Trainer, Watch, check_count, compile_trainer, evaluate, fit

RATES = (1.0, 0.1, 0.01, 0.005, 0.001)


@dataclass(frozen=True)
class StudyPlan:
    """What to study; `model` and `data` are names for the report. Raises RunError on numbers out of range."""

    model: str = "lenet5"
    data: str = "mnist5k"
    rates: tuple[float, ...] = RATES
    epochs: int = 30
    batch: int = 128
    momentum: float = 0.9
    seed: int = 0
    target: str = "auto"

    def __post_init__(self) -> None:
        instance(self.rates, (tuple, list), "the rates of a study are a tuple of learning rates, such as (0.1, 0.01)")
        counts = {name: check_count(name, getattr(self, name)) for name in ("epochs", "batch")}
        rest = {"rates": tuple(map(check_rate, self.rates)), "seed": seed_of(self.seed)}
        momentum = optimizer_number("momentum", self.momentum)
        for name, value in {**counts, **rest, "momentum": momentum}.items():
            object.__setattr__(self, name, value)
        if not self.rates or len(set(self.rates)) < len(self.rates):
            raise RunError(f"a study needs learning rates that differ, not {' '.join(map(rate_text, self.rates))}")


@dataclass(frozen=True)
class StudyResult:
    """What a study found: a history and a verdict per rate, and which rate to take."""

    runs: tuple[RunHistory, ...]
    verdicts: tuple[Verdict, ...]
    recommendation: Recommendation
    report: Path


def run_study(
    plan: StudyPlan, module: Module, dataset: Dataset, out: Path | str, watch: Watch | None = None
) -> StudyResult:
    """Train `module` on `dataset` (as loaded; normalised here) at every rate of the plan, and write the report.

    Where `out` holds a part of the same study, only the rest is trained, and all files but the times come out as
    from an unbroken run. On KeyboardInterrupt the report of what is there is written before it goes on its way.
    Raises DataError where `out` holds another study, is another run's at the moment, cannot be written or holds a file
    that is damaged, and what compiling raises.
    """
    with folder_lock(Path(out)):
        return _Study(plan, module, dataset, Path(out), watch or Watch()).run()


class _Study:
    def __init__(self, plan: StudyPlan, module: Module, dataset: Dataset, out: Path, watch: Watch) -> None:
        self.plan, self.module, self.out, self.watch = plan, module, out, watch
        self.began = perf_counter()
        self.compile_seconds: float | None = None
        self.records: dict[float, list[EpochRecord]] = {lr: [] for lr in plan.rates}
        self.timings: list[EpochTiming] = []
        self.settings = asdict(plan) | {"target": kind_of(plan.target)} | fingerprints(module, dataset)
        self._claim()
        self.seconds_before = sum(row.seconds for row in self.timings)
        self.dataset = dataset.normalized()

    def run(self) -> StudyResult:
        try:
            for lr in self.plan.rates:
                if not self._done(lr):
                    self._train(lr)
        except KeyboardInterrupt:
            if any(self.records.values()):
                self._report()
            raise
        return self._report()

    def _claim(self) -> None:
        """Begin in `out`, or take up what an earlier call with these settings left there."""
        path, history, timing = (self.out / name for name in ("study.json", "history.csv", "timing.csv"))
        if not history.exists():  # settings without a single epoch are not worth keeping
            write_settings(path, self.settings)
            return
        if not path.exists():
            raise DataError(f"{self.out} holds the history of something else; choose another --out or delete it")
        check_settings(path, self.settings)
        self.records |= {run.lr: list(run.epochs) for run in read_history(history)}
        self.timings = read_timing(timing) if timing.exists() else []

    @cached_property
    def trainer(self) -> Trainer:
        """Compiled when the first rate needs it; the later ones use it too."""
        self.watch.compiling(self.plan.model)
        optimizer = SGD(momentum=self.plan.momentum)
        trainer = compile_trainer(
            self.module,
            self.dataset,
            batch=self.plan.batch,
            optimizer=optimizer,
            seed=self.plan.seed,
            target=self.plan.target,
        )
        self.compile_seconds = trainer.seconds
        self.watch.compiled(trainer.seconds)
        return trainer

    def _train(self, lr: float) -> None:
        trainer, store = self.trainer, self.module.store
        start = self._restore(lr)
        self.watch.begin(lr, start, sum(map(self._epochs_left, self.plan.rates)))
        fit(
            trainer.step,
            trainer.evaluation,
            self.dataset,
            lr=lr,
            epochs=start + self._epochs_left(lr),
            seed=self.plan.seed,
            start=start,
            after_epoch=self._after_epoch,
            after_batch=self.watch.batch,
        )
        about = ModelInfo.of(self.dataset, self.plan.model)
        save_weights(self._weights(lr), store, self._name(lr), len(self.records[lr]), about)
        self.watch.end()

    def _restore(self, lr: float) -> int:
        """Parameters, state and history as after the rate's last checkpoint; returns its epoch, 0 for a fresh start."""
        self.module.reset(self.plan.seed)
        start = saved_epoch(self._checkpoint, self._name(lr))
        if start > len(self.records[lr]):  # a history that someone deleted
            start = 0
        if start:
            self.module.store.load(self._checkpoint, finite=False)  # of a rate that diverged too
        self.records[lr] = self.records[lr][:start]
        self.timings = [row for row in self.timings if row.lr != lr or row.epoch <= start]
        return start

    def _after_epoch(self, result: EpochResult) -> None:
        accuracy = evaluate(self.trainer.evaluation, self.dataset.test).accuracy if result.finite else math.nan
        record = EpochRecord(result.epoch, result.train_loss, result.validation.loss, accuracy)
        self.records[result.lr].append(record)
        self.timings.append(EpochTiming(result.lr, result.epoch, result.seconds, result.images_per_second))
        write_timing(self.out / "timing.csv", self.timings)
        write_history(self.out / "history.csv", self._runs())
        save_checkpoint(self._checkpoint, self.trainer.step, self._name(result.lr), result.epoch)
        self.watch.epoch(result, accuracy)

    def _report(self) -> StudyResult:
        plan, data, runs = self.plan, self.dataset, self._runs()
        facts = StudyFacts(
            model=plan.model,
            parameters=parameter_count(self.module, data),
            dataset=data.name,
            train_images=len(data.train),
            validation_images=len(data.validation),
            test_images=len(data.test),
            classes=data.classes,
            batch=plan.batch,
            momentum=plan.momentum,
            seed=plan.seed,
            rates=plan.rates,
            epochs=plan.epochs,
            target=kind_of(resolve_target(plan.target)),
            compiles=1,
            compile_seconds=self.compile_seconds,
            wall_seconds=self.seconds_before + perf_counter() - self.began,
        )
        write_report(self.out, runs, facts)
        verdicts = tuple(judge(run, data.classes) for run in runs)
        return StudyResult(runs, verdicts, recommend(verdicts), self.out / "report.html")

    def _runs(self) -> tuple[RunHistory, ...]:
        """The histories of the rates that were begun."""
        return tuple(
            RunHistory(lr, tuple(records), ended_early=not records[-1].finite)
            for lr, records in self.records.items()
            if records
        )

    def _epochs_left(self, lr: float) -> int:
        records = self.records[lr]
        ended = bool(records) and not records[-1].finite
        return 0 if ended else self.plan.epochs - len(records)

    def _done(self, lr: float) -> bool:
        return self._epochs_left(lr) == 0 and saved_epoch(self._weights(lr), self._name(lr)) == len(self.records[lr])

    def _name(self, lr: float) -> str:
        """What the rate's files are marked with; neither the other rates nor the epochs to come change them."""
        own = {name: value for name, value in self.settings.items() if name not in ("rates", "epochs")}
        return run_name(rate_text(lr), own)

    def _weights(self, lr: float) -> Path:
        return self.out / f"weights_lr_{rate_text(lr)}.safetensors"

    @property
    def _checkpoint(self) -> Path:
        return self.out / "checkpoint" / "study.safetensors"
