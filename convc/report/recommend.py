"""Which setting to take, by validation loss alone, and what else cannot be told apart from it.

A run counts by the lowest level of its validation loss (`Verdict.loss`): the weights of that time are kept, so what
comes after costs nothing. The lowest single epoch would be luck, the more so the more a run fluctuates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from convc.report.candidates import Candidate, candidates_of, near_best
from convc.report.facts import listing
from convc.report.history import rate_text
from convc.report.intervals import LEVEL, difference_error, holm, paired
from convc.report.refine import beside, step_down
from convc.report.summary import Comparison, Recommendation, Summary
from convc.report.thresholds import MIN_EPOCHS, NEAR
from convc.report.verdict import Outcome

INCOMPLETE = (
    "No setting can be recommended: the study is not complete, and settings are compared over the same seeds and "
    "epochs only. The same command goes on with it."
)
ONE_SEED = (
    "One seed: how much of a difference is chance cannot be said, and another seed may turn the order round; run "
    "three or more (--seeds 3)."
)


def recommend(summaries: Sequence[Summary], *, validation_images: int, complete: bool = True) -> Recommendation:
    """The setting to take, by the rules that `convc.report.rules` states, and why it or none.

    `complete` says whether every run that was asked for is there, to its last epoch: without, nothing is recommended.
    """
    if not complete or len({tuple(summary.judged) for summary in summaries if summary.asked}) > 1:
        return Recommendation(None, INCOMPLETE)
    judged = [summary for summary in summaries if summary.judged]
    candidates = candidates_of(judged)
    if not candidates:
        return Recommendation(None, _which_way_to_go(judged))
    chosen, level, comparisons = choose(candidates, validation_images)
    tried = [s.setting.lr for s in judged if s.setting.factors == chosen.setting.factors]
    look = beside(chosen.setting.lr, tried)
    why = [
        _standing(chosen, candidates),
        *_peers(chosen, level, comparisons),
        *_left_out(judged, candidates),
        *_advice(chosen, tried, look),
        _images(chosen, validation_images),
    ]
    return Recommendation(chosen.setting, " ".join(why), tuple(c.setting for c in level), comparisons, look)


def choose(candidates: Sequence[Candidate], images: int) -> tuple[Candidate, list[Candidate], tuple[Comparison, ...]]:
    """(the chosen, its peers, all others against it): the cheapest that is near the best and not told apart from it.

    The best is the one of the lowest loss. A wide interval alone makes no setting a peer: its mean has to be near too.
    """
    near = near_best(candidates)
    for chosen in sorted(near, key=lambda c: (not c.settles, c.cost)):
        comparisons = compare(chosen, [c for c in candidates if c is not chosen], images)
        apart = [comparison.setting for comparison in comparisons if comparison.apart]
        if near[0].setting not in apart:
            break
    return chosen, [c for c in near if c is not chosen and c.setting not in apart], comparisons


def compare(reference: Candidate, others: Sequence[Candidate], images: int) -> tuple[Comparison, ...]:
    """Each of `others` less `reference`, paired by seed, with Holm's correction over all of them."""
    found = [paired([b - a for a, b in zip(reference.losses, other.losses)]) for other in others]
    corrected = holm([p for *_, p in found])
    seeds = len(reference.losses)
    own = reference.error(images)
    errors = [difference_error(own, other.error(images)) for other in others]
    return tuple(
        Comparison(other.setting, seeds, mean, low, high, p, error, p < 1 - LEVEL)
        for other, (mean, low, high, _), p, error in zip(others, found, corrected, errors)
    )


def _standing(chosen: Candidate, candidates: Sequence[Candidate]) -> str:
    lowest = min(candidates, key=lambda c: c.loss)
    place = "the lowest of all" if chosen is lowest else f"where {lowest.setting} reached the lowest, {lowest.loss:.3f}"
    words, seeds = chosen.summary.words, len(chosen.losses)
    mean = "" if seeds == 1 else f" (means over {seeds} seeds)"
    alone = len(candidates) == 1
    reached = f"its validation loss reached {chosen.loss:.3f}{'' if alone else f', {place}'}{mean}."
    return f"{words[0].upper()}{words[1:]}; {reached}"


def _peers(chosen: Candidate, level: Sequence[Candidate], comparisons: Sequence[Comparison]) -> Iterator[str]:
    seeds = len(chosen.losses)
    if seeds == 1:
        yield ONE_SEED
    if level:
        names = listing([str(chosen.setting), *(str(c.setting) for c in level)])
        relation = f"are within {NEAR:.0%} of each other" if seeds == 1 else "cannot be told apart"
        yield f"{names} {relation}; {chosen.setting} is taken because it comes near its lowest first,"
        yield f"by epoch {chosen.cost:.0f}."
    peers = [c.setting for c in level]
    unproved = [str(c.setting) for c in comparisons if not c.apart and c.setting not in peers]
    if unproved and seeds > 1:
        yield f"The loss of {listing(unproved)} is higher by more than {NEAR:.0%}, but {seeds} seeds do not prove it."


def _left_out(judged: Sequence[Summary], candidates: Sequence[Candidate]) -> Iterator[str]:
    compared = [c.summary for c in candidates]
    failed = [f"{s.setting} ({s.failed} of {len(s.judged)})" for s in judged if s not in compared and s.failed]
    if failed:
        yield f"Not compared, because runs failed: {listing(failed)}."


def _advice(chosen: Candidate, tried: Sequence[float], look: Sequence[float]) -> Iterator[str]:
    outcome, lr = chosen.summary.outcome, chosen.setting.lr
    if outcome is Outcome.IMPROVING:
        yield "Train it for longer."
    if outcome is Outcome.FLUCTUATES:
        yield "It never settled: try lower rates, or lower the rate as training goes on."
    if outcome is Outcome.OVERFITS:
        yield "Take the weights of its best epoch, not of the last."
    if not look:
        return
    edges = [name for name, edge in (("lowest", min(tried)), ("highest", max(tried))) if edge == lr]
    why = f"It is the {' and the '.join(edges)} rate tried" if edges else "The rates beside it are far apart"
    yield f"{why}: try {listing([rate_text(rate) for rate in look])} too."


def _images(chosen: Candidate, images: int) -> str:
    return (
        f"All seeds are validated on the same {images} images: as many others would move the loss by about "
        f"{chosen.error(images):.3f} (one standard error), and more seeds do not help against that."
    )


def _which_way_to_go(judged: Sequence[Summary]) -> str:
    none = "No setting can be recommended:"
    if not judged:
        return f"{none} nothing was run."
    failed = [s for s in judged if s.failed]
    if not failed:
        return f"{none} a verdict needs {MIN_EPOCHS} epochs. Train for longer."
    lowest = min(failed, key=lambda s: s.setting.lr)
    lr = rate_text(lowest.setting.lr)
    unknown = sorted({s.setting.lr for s in judged if not s.failed and s.setting.lr < lowest.setting.lr})
    if unknown:
        return (
            f"{none} runs failed from {lr} upwards, and those below ({listing([rate_text(r) for r in unknown])}) had "
            f"too few epochs to tell. Train those for {MIN_EPOCHS} or more."
        )
    count = f"{lowest.failed} of {len(lowest.judged)} runs" if lowest.failed < len(lowest.judged) else "all runs"
    return (
        f"{none} none learned with every seed; {count} failed even at {lr}. Go below: try "
        f"{rate_text(step_down(lowest.setting.lr))} or less. If that fails too, the data or the model is at fault."
    )
