"""The files of a study, and what is held of a run: only this module reads and writes them.

    OUT/study.json                        the settings, the settings it added by itself, and the runs it stopped
    OUT/history.csv, timing.csv           a row for each run and epoch
    OUT/checkpoint/RUN.safetensors        parameters and optimizer state of a run, such as lr_0.01_seed_2
    OUT/weights/RUN_best.safetensors      its parameters after the epoch with the lowest validation loss
    OUT/weights/RUN_last.safetensors      ... and after its last one

After a slice of a run the times are written, then the history, then the best weights, then the checkpoint, then, at
the end of the run, its last weights. Going on trusts the checkpoint: a history that is ahead of it is cut, and these
epochs are trained again. Each file carries a digest, which is checked when it is read back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from convc.build.files import read_whole, remove_partial, sync_folder, write_atomically
from convc.checkpoint import read_settings, refuse_others, run_name, saved_epoch, write_settings
from convc.errors import DataError
from convc.report.history import (
    EpochTiming,
    RunHistory,
    Setting,
    read_history,
    read_timing,
    write_history,
    write_timing,
)
from convc.study.plan import FACTORS, FORMAT, StudyPlan
from convc.study.slices import best_epoch

Key = tuple[Setting, int]
"""A run of the study: its setting and its seed."""


@dataclass
class Held:
    """All that a study knows of its runs. `refined` are settings that it added by itself."""

    plan: StudyPlan
    runs: dict[Key, RunHistory] = field(default_factory=dict)
    timings: dict[str, tuple[EpochTiming, ...]] = field(default_factory=dict)
    refined: tuple[Setting, ...] = ()

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Asked for and added, in the order of their rows."""
        return tuple(sorted({*self.plan.settings, *self.refined}, key=lambda s: (-s.lr, s.factors)))

    @property
    def keys(self) -> tuple[Key, ...]:
        """Every run of the study, in the order of the rows."""
        return tuple((setting, seed) for setting in self.settings for seed in self.plan.seeds)

    def run(self, key: Key) -> RunHistory:
        return self.runs.get(key) or RunHistory(*key, ())

    def begun(self) -> tuple[RunHistory, ...]:
        """The runs that have an epoch, in the order of the rows."""
        return tuple(run for run in map(self.run, self.keys) if run.epochs)

    def cut(self, key: Key, epochs: int) -> RunHistory:
        """Forget the later epochs of a run; one that was stopped is so no longer where that cuts it."""
        run = self.run(key)
        if epochs < len(run.epochs):
            run = replace(run, epochs=run.epochs[:epochs], stopped=False)
            self.runs[key] = run
        self.timings[run.name] = tuple(row for row in self.timings.get(run.name, ()) if row.epoch <= epochs)
        return run

    def over(self, key: Key) -> bool:
        """Whether there is nothing left to train."""
        run = self.run(key)
        return run.ended_early or run.stopped or len(run.epochs) >= self.plan.epochs


class StudyFolder:
    """The folder `out`, which this process has locked. `fixed`: settings in which no run there may differ."""

    def __init__(self, out: Path, fixed: Mapping[str, Any]) -> None:
        self.out, self.fixed = out, dict(fixed)

    def claim(self, plan: StudyPlan) -> Held:
        """Begin a study here, or take up what earlier calls left, whose plan this one's is joined with.

        Raises DataError where the folder holds anything else, or a study that differs in what is fixed.
        """
        remove_partial(self.out / "weights")
        if not (self.out / "history.csv").exists():  # settings without a single epoch are not worth keeping
            held = Held(plan)
            self.write_settings(held)
            return held
        stored = read_study(self.out)
        refuse_others(self.out, stored.settings, self.fixed)
        held, renamed = _held(stored, plan.grown(stored.settings), self.out)
        if renamed:
            self._rename(renamed)
            self.write_epochs(held)
        self.write_settings(held)
        return held

    def write_settings(self, held: Held) -> None:
        """study.json."""
        write_settings(self.out / "study.json", _contents(held, self.fixed))

    def write_epochs(self, held: Held) -> None:
        """timing.csv, then history.csv."""
        runs = held.begun()
        rows = [row for run in runs for row in held.timings.get(run.name, ())]
        write_timing(self.out / "timing.csv", rows)
        write_history(self.out / "history.csv", runs)

    def checkpoint(self, name: str) -> Path:
        return self.out / "checkpoint" / f"{name}.safetensors"

    def weights(self, name: str, which: str) -> Path:
        """`which`: best or last."""
        return self.out / "weights" / f"{name}_{which}.safetensors"

    def mark(self, held: Held, key: Key) -> str:
        """What the files of a run say they are: other rates and seeds, or more epochs, change nothing of it."""
        setting, seed = key
        return run_name(f"lr {setting.lr!r} seed {seed}", self.fixed | held.plan.marks(setting, seed))

    def restore(self, held: Held, key: Key) -> None:
        """Cut what is held of a run to its checkpoint, to nothing where that cannot be gone on from.

        Raises DataError for a damaged file: the line says what to delete.
        """
        run, mark = held.run(key), self.mark(held, key)
        start = saved_epoch(self.checkpoint(run.name), mark)
        if start > len(run.epochs) or not self._best_is_there(replace(run, epochs=run.epochs[:start]), mark):
            start = 0  # somebody deleted the history, or weights that cannot be made from the checkpoint
        held.cut(key, start)

    def state(self, held: Held, key: Key) -> bytes | None:
        """The checkpoint of a run that was restored; None where it begins anew."""
        run = held.run(key)
        return read_whole(self.checkpoint(run.name)) if run.epochs else None

    def done(self, held: Held, key: Key) -> bool:
        """Whether all epochs of a run are trained, and its weights are there."""
        run, mark = held.run(key), self.mark(held, key)
        last = self.weights(run.name, "last")
        return held.over(key) and saved_epoch(last, mark) == len(run.epochs) and self._best_is_there(run, mark)

    def write_best(self, name: str, data: bytes) -> None:
        write_atomically(self.weights(name, "best"), data)

    def write_last(self, name: str, data: bytes) -> None:
        write_atomically(self.weights(name, "last"), data)

    def write_checkpoint(self, name: str, data: bytes) -> None:
        write_atomically(self.checkpoint(name), data)

    def wall_seconds(self, this_call: float) -> float:
        """Wall time of all calls that came to a report, this one included; it is noted beside the checkpoints."""
        path = self.out / "checkpoint" / "clock.json"
        before = read_settings(path)["wall_seconds"] if path.exists() else 0.0
        write_settings(path, {"wall_seconds": before + this_call})
        return float(before + this_call)

    def _best_is_there(self, run: RunHistory, mark: str) -> bool:
        """Best weights are written before the checkpoint, and may be ahead of it: they come out the same again."""
        best = best_epoch(run)
        found = saved_epoch(self.weights(run.name, "best"), mark)
        return best in (0, found) or found > len(run.epochs)

    def _rename(self, names: Mapping[str, str]) -> None:
        """Bring the files of runs under their new names."""
        for old, new in names.items():
            for place in (self.checkpoint, partial(self.weights, which="best"), partial(self.weights, which="last")):
                if place(old).exists():
                    os.replace(place(old), place(new))
                    sync_folder(place(new).parent)


@dataclass(frozen=True)
class Stored:
    """What the files of a study say: study.json, and its histories and times."""

    settings: Mapping[str, Any]
    runs: tuple[RunHistory, ...]
    timings: tuple[EpochTiming, ...]

    @property
    def refined(self) -> tuple[Setting, ...]:
        return tuple(map(_setting, self.settings["refined"]))


def read_study(out: Path) -> Stored:
    """Raises DataError where the folder holds no study, one of another form, or files that are damaged."""
    path, history, timing = (out / name for name in ("study.json", "history.csv", "timing.csv"))
    if not path.exists():
        what = "the history of something else" if history.exists() else "no study"
        raise DataError(f"{out} holds {what}; choose another --out or delete it")
    settings = read_settings(path)
    if settings.get("format") != FORMAT:
        raise DataError(
            f"{path} is of another form than this version of convc writes, and cannot be gone on with; choose another "
            f"--out or delete {out}"
        )
    # Its header says which columns it has: where a factor is new, study.json is written after the history.
    factors = [name for name in FACTORS if history.exists() and f",{name}," in _header(history)]
    runs = read_history(history, factors) if history.exists() else ()
    stopped = {(_setting(row), row["seed"]): row["epoch"] for row in settings["stopped"]}
    runs = tuple(replace(r, stopped=stopped.get((r.setting, r.seed)) == len(r.epochs)) for r in runs)
    return Stored(settings, runs, tuple(read_timing(timing)) if timing.exists() else ())


def _held(stored: Stored, plan: StudyPlan, out: Path) -> tuple[Held, dict[str, str]]:
    """What is held in terms of the plan, and the new names of runs whose momentum has become a factor."""

    def named(setting: Setting) -> Setting:
        if setting.factors or not plan.settings[0].factors:
            return setting
        return Setting(setting.lr, (("momentum", stored.settings["momenta"][0]),))

    asked = set(plan.settings)
    held = Held(plan, refined=tuple(s for s in map(named, stored.refined) if s not in asked))
    names: dict[str, str] = {}
    for run in stored.runs:
        setting = named(run.setting)
        moved = replace(run, setting=setting, stopped=run.stopped and setting not in asked)
        held.runs[setting, run.seed] = moved
        names[run.name] = moved.name
    for timing in stored.timings:
        row = replace(timing, run=names.get(timing.run, timing.run))
        held.timings[row.run] = (*held.timings.get(row.run, ()), row)
    known = set(held.keys)
    strange = [run.name for key, run in held.runs.items() if key not in known]
    if strange:
        raise DataError(
            f"{out / 'history.csv'} has the run {strange[0]}, which study.json has not; delete its rows, or "
            "choose another --out"
        )
    return held, {old: new for old, new in names.items() if old != new}


def _contents(held: Held, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Of study.json."""
    stopped = [_row(run.setting) | {"seed": run.seed, "epoch": len(run.epochs)} for run in held.begun() if run.stopped]
    own = {"refined": [*map(_row, held.refined)], "stopped": stopped}
    return {"format": FORMAT, **fixed, **held.plan.growing(), **own}


def _row(setting: Setting) -> dict[str, float]:
    return {"learning_rate": setting.lr, **dict(setting.factors)}


def _setting(row: Mapping[str, float]) -> Setting:
    return Setting(row["learning_rate"], tuple((name, row[name]) for name in FACTORS if name in row))


def _header(path: Path) -> str:
    return read_whole(path).split(b"\n", 1)[0].decode(errors="replace")
