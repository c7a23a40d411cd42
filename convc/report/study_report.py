"""The report of a study: its figures, report.md beside them, and report.html with everything inside."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from convc.build.files import write_atomically
from convc.errors import DataError
from convc.report.axes import Frame
from convc.report.curves import Curve, curves
from convc.report.facts import StudyFacts
from convc.report.figures import write_overview, write_rate_figures
from convc.report.history import RunHistory
from convc.report.rules import rules
from convc.report.summary import Recommendation, Summary
from convc.report.verdict import Verdict, judge, rate_text


@dataclass(frozen=True)
class Row:
    """One rate as the tables show it: texts, ready to print."""

    rate: str
    epochs: str
    validation_loss: str
    best_validation_loss: str
    train_loss: str
    accuracy: str
    best_accuracy: str
    words: str
    because: str
    recommended: bool


@dataclass(frozen=True)
class Pair:
    """The two figures of one rate, by file name."""

    rate: str
    words: str
    loss: str
    accuracy: str


def write_report(
    out_dir: Path | str, summaries: Sequence[Summary], recommendation: Recommendation, facts: StudyFacts
) -> list[Path]:
    """Write the figures, report.md and report.html of `runs` into `out_dir`; returns the paths written.

    Rates of `facts` without a run, or with fewer epochs than planned, are named as missing. Raises DataError
    where a run has a rate that is not in `facts.rates`, there are fewer than two classes, or nothing can be
    written.
    """
    _check(runs, facts)
    folder = Path(out_dir)
    by_rate = {run.lr: run for run in runs}
    complete = [by_rate.get(rate, RunHistory(rate, ())) for rate in facts.rates]
    verdicts = [judge(run, facts.classes) for run in complete]
    recommendation = recommend([v for v, run in zip(verdicts, complete) if run.epochs])
    frame = Frame.around(complete, facts.epochs, facts.classes)
    drawn = curves(complete, verdicts, recommendation)

    missing = _missing(complete, facts.epochs)
    images: list[Path] = []
    if drawn:
        subtitle = _subtitle(facts, missing)
        images.append(write_overview(folder / "overview.png", drawn, recommendation, frame, subtitle))
    figures = [write_rate_figures(folder, curve, frame) for curve in drawn]
    context = {
        "facts": facts,
        "recommendation": recommendation,
        "take": None if recommendation.lr is None else rate_text(recommendation.lr),
        "rows": [_row(run, v, facts.epochs, v.lr == recommendation.lr) for run, v in zip(complete, verdicts)],
        "pairs": [_pair(curve, *paths) for curve, paths in zip(drawn, figures)],
        "missing": missing,
        "rules": rules(facts.classes),
    }
    images += [path for pair in figures for path in pair]
    inlined = {path.name: _data_uri(path) for path in images}
    markdown = _render("report.md.j2", context)
    html = _render("report.html.j2", context | {"images": inlined})
    return [
        *images,
        write_atomically(folder / "report.md", markdown.encode()),
        write_atomically(folder / "report.html", html.encode()),
    ]


def _check(runs: Sequence[RunHistory], facts: StudyFacts) -> None:
    if facts.classes < 2:
        raise DataError(f"a study needs two classes or more, not {facts.classes}: {facts.dataset}")
    if len(set(facts.rates)) < len(facts.rates):
        raise DataError(f"each learning rate is studied once, but one comes twice: {_rates(facts.rates)}")
    seen: set[float] = set()
    for run in runs:
        if run.lr not in facts.rates or run.lr in seen:
            fault = "comes twice" if run.lr in seen else "is not one of them"
            raise DataError(f"a run has one of the study's rates, {_rates(facts.rates)}: {run.lr!r} {fault}")
        seen.add(run.lr)


def _render(name: str, context: dict[str, object]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("convc", "report"),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",), default=False),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _markdown_text
    return environment.get_template(name).render(context)


def _markdown_text(text: object) -> str:
    """Text that stays text in Markdown and in its tables: a model called `a|b` or `<b>` changes no layout."""
    escaped = " ".join(str(text).split())
    for mark in "\\`*_[]<>|#!":
        escaped = escaped.replace(mark, "\\" + mark)
    return escaped


def _row(run: RunHistory, verdict: Verdict, planned: int, recommended: bool) -> Row:
    finite = [record for record in run.epochs if record.finite]
    last = run.epochs[-1] if run.epochs else None
    return Row(
        rate=rate_text(run.lr),
        epochs=f"{len(run.epochs)} of {planned}",
        validation_loss=_loss(last.validation_loss) if last else "–",
        best_validation_loss=_loss(min((r.validation_loss for r in finite), default=math.nan)) if last else "–",
        train_loss=_loss(last.train_loss) if last else "–",
        accuracy=_percent(last.test_accuracy) if last else "–",
        best_accuracy=_percent(max((r.test_accuracy for r in finite), default=math.nan)) if last else "–",
        words=verdict.words if last else "not run",
        because=verdict.because if last else "the study ended before",
        recommended=recommended,
    )


def _pair(curve: Curve, loss: Path, accuracy: Path) -> Pair:
    return Pair(rate_text(curve.run.lr), curve.verdict.words, loss.name, accuracy.name)


def _missing(runs: Sequence[RunHistory], planned: int) -> list[str]:
    """What an interrupted study lacks; a run that ended in NaN is over, and lacks nothing."""
    lines = []
    for run in runs:
        count = len(run.epochs)
        if count == 0:
            lines.append(f"Learning rate {rate_text(run.lr)} was not run.")
        elif count < planned and not run.ended_early:
            lines.append(f"Learning rate {rate_text(run.lr)} stopped after {count} of {planned} epochs.")
    return lines


def _subtitle(facts: StudyFacts, missing: Sequence[str]) -> str:
    epochs = "1 epoch" if facts.epochs == 1 else f"{facts.epochs} epochs"
    return (
        f"{facts.model} on {facts.dataset}: {epochs} of SGD, momentum {facts.momentum:g}, "
        f"batch {facts.batch}, seed {facts.seed}{'; incomplete' if missing else ''}"
    )


def _loss(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) and value >= 1e-4 else f"{value:.2g}"


def _percent(value: float) -> str:
    return f"{value:.2%}" if math.isfinite(value) else "nan"


def _rates(rates: Sequence[float]) -> str:
    return " ".join(map(rate_text, rates))


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
