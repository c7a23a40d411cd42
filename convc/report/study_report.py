"""The report of a study: its figures, report.md beside them, and report.html with everything inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from convc.build.files import write_atomically
from convc.errors import DataError
from convc.report.axes import Frame
from convc.report.canvas import curve_colors
from convc.report.curves import QUARTILES_FROM, SettingCurves, setting_curves
from convc.report.facts import StudyFacts, facts_lines, listing, seeds_text, subtitle
from convc.report.figures import (
    accuracy_panel,
    groups,
    loss_panel,
    overview_accuracy_panel,
    overview_loss_panel,
    page_figure,
    write_overview,
    write_setting_figures,
)
from convc.report.interval_figure import page_intervals, write_intervals
from convc.report.intervals import LEVEL
from convc.report.rules import rules
from convc.report.summary import Recommendation, Summary
from convc.report.tables import (
    SettingRow,
    band_text,
    comparison_row,
    headline,
    limits_of,
    medians_text,
    missing_runs,
    setting_row,
    with_interval,
)


@dataclass(frozen=True)
class Section:
    """One setting's part of the report: its figures by file name, and as drawn for the page."""

    row: SettingRow
    files: tuple[str, str]
    panels: tuple[str, str]


def write_report(
    out_dir: Path | str, summaries: Sequence[Summary], recommendation: Recommendation, facts: StudyFacts
) -> list[Path]:
    """Write the figures, report.md and report.html of the study into `out_dir`; returns the paths written.

    There is a loss and an accuracy figure for each setting with an epoch, an overview, and the intervals where there
    are any. What was asked for and has no run, or fewer epochs than planned, is named as missing. Equal numbers give
    equal bytes. Raises DataError where a summary is not of a setting of `facts`, or comes twice, and where nothing can
    be written.
    """
    _check(summaries, facts)
    folder = Path(out_dir)
    ordered = _ordered(summaries, facts)
    drawn = setting_curves(ordered, recommendation.setting)
    frame = Frame.around([run for s in ordered for run in s.runs], facts.epochs, facts.classes)
    missing = missing_runs(ordered, facts)
    head = headline(recommendation, facts, missing)
    rows = {s.setting: setting_row(s, facts, s.setting == recommendation.setting) for s in ordered}

    written: list[Path] = []
    sections = []
    for curve in drawn:
        files = write_setting_figures(folder, curve, frame)
        written += files
        sections.append(Section(rows[curve.setting], (files[0].name, files[1].name), _panels(curve, frame)))
    if drawn:
        line = subtitle(facts, bool(missing))
        written.insert(0, write_overview(folder / "overview.png", drawn, frame, head, line))
    intervals = with_interval(recommendation.comparisons)
    if intervals:
        written.append(write_intervals(folder / "intervals.png", intervals))

    context = {
        "facts": facts,
        "seeds": seeds_text(facts.seeds),
        "headline": head,
        "why": recommendation.why,
        "missing": missing,
        "rows": list(rows.values()),
        "comparisons": [comparison_row(c) for c in recommendation.comparisons],
        "recommended": recommendation.setting,
        "limits": limits_of(ordered, recommendation, facts),
        "medians": medians_text(len(facts.seeds)),
        "run": facts_lines(facts),
        "bands": band_text(len(facts.seeds), QUARTILES_FROM),
        "thin": "Thin lines are the validation of single seeds." if len(facts.seeds) > 1 else "",
        "sections": sections,
        "level": f"{LEVEL:.0%}",
        "intervals": bool(intervals),
        "rules": rules(facts.classes, facts.validation_images),
    }
    alt = "Differences of the validation loss to the recommended setting, with their intervals"
    page = {
        "light": curve_colors(dark=False),
        "dark": curve_colors(dark=True),
        "overview": _overview(drawn, frame),
        "interval_figure": page_intervals(intervals, alt) if intervals else "",
    }
    markdown, html = _render("report.md.j2", context), _render("report.html.j2", context | page)
    return [
        *written,
        write_atomically(folder / "report.md", markdown.encode()),
        write_atomically(folder / "report.html", html.encode()),
    ]


def _check(summaries: Sequence[Summary], facts: StudyFacts) -> None:
    known = (*facts.settings, *facts.refined)
    seen = []
    for summary in summaries:
        if summary.setting not in known or summary.setting in seen:
            fault = "comes twice" if summary.setting in seen else "is not one of them"
            raise DataError(f"a summary is of one of the study's settings, {listing(known)}: {summary.setting} {fault}")
        seen.append(summary.setting)


def _ordered(summaries: Sequence[Summary], facts: StudyFacts) -> list[Summary]:
    """By second factor in the order asked for, highest rate first; settings without a run too."""
    by_setting = {summary.setting: summary for summary in summaries}
    known = (*facts.settings, *facts.refined)
    factors = list(dict.fromkeys(setting.factors for setting in known))
    ordered = sorted(known, key=lambda setting: (factors.index(setting.factors), -setting.lr))
    return [by_setting.get(s) or Summary(s, (), (), None, "not run", s in facts.settings) for s in ordered]


def _overview(drawn: Sequence[SettingCurves], frame: Frame) -> list[tuple[str, str]]:
    """The panels of the overview, a pair for each second factor."""
    panels = []
    for name, group in groups(drawn):
        at = f" at {name}" if name else ""
        loss = page_figure(overview_loss_panel(name, group, frame), f"Validation loss of every rate{at}", labels=True)
        alt = f"Test accuracy of every rate{at}"
        panels.append((loss, page_figure(overview_accuracy_panel(name, group, frame), alt, labels=True)))
    return panels


def _panels(curve: SettingCurves, frame: Frame) -> tuple[str, str]:
    losses, accuracies = "Training and validation loss", "Validation and test accuracy"
    of = f"at learning rate {curve.setting}: {curve.summary.words}"
    return (
        page_figure(loss_panel(curve, frame), f"{losses} {of}"),
        page_figure(accuracy_panel(curve, frame), f"{accuracies} {of}"),
    )


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
    environment.filters["capital"] = lambda text: text[:1].upper() + text[1:]
    return environment.get_template(name).render(context)


def _markdown_text(text: object) -> str:
    """Text that stays text in Markdown and in its tables: a model called `a|b` or `<b>` changes no layout."""
    escaped = " ".join(str(text).split())
    for mark in "\\`*_[]<>|#!":
        escaped = escaped.replace(mark, "\\" + mark)
    return escaped
