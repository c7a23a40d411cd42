"""The rules of the verdicts and of the recommendation, in sentences made of the constants they run on."""

from __future__ import annotations

from convc.report import recommend as r
from convc.report import verdict as v
from convc.report.verdict import Outcome


def rules(classes: int) -> tuple[tuple[str, str], ...]:
    """(verdict, when it is given), in the order in which they are tried; last, how `recommend` chooses."""
    texts = {
        Outcome.DIVERGED.value: f"""
            A loss became NaN or infinite, at any epoch, however short the run. Or, of a run of
            {v.MIN_EPOCHS} epochs or more, the median test accuracy over the last third of the epochs is at
            most {v.chance_bound(classes):.1%}: chance, which is {1 / classes:.1%}, and
            {v.CHANCE_MARGIN:.0%} of the way from there to 100%. A slow start is excepted: a validation loss
            that fell in at least {v.SLOW_START_SHARE:.0%} of the epochs of the last half, by
            {v.SLOW_START_FALL:.0%} or more in all.
            """,
        Outcome.TOO_SHORT.value: f"Fewer than {v.MIN_EPOCHS} epochs, all of them finite.",
        Outcome.FLUCTUATES.value: f"""
            Over the last half of the epochs the validation loss swings by more than {v.LOSS_SWING:.0%}, and
            with it the training loss by more than {v.TRAIN_SWING:.0%} or the test accuracy by more than
            {100 * v.ACCURACY_SWING:.0f} points. A swing is how far a peak or a trough stands off the mean
            of its two neighbours, averaged over all those epochs, where one that is neither counts as 0: a
            curve that only falls, or only rises as it overfits, does not swing. Losses swing in relative
            terms, with {v.LOSS_FLOOR:g} added to each. Or the accuracy was lost again: its median over the
            last three epochs is more than {100 * v.LOST_ACCURACY:.0f} points below its best (medians of
            three epochs).
            """,
        Outcome.IMPROVING.value: f"""
            The validation loss (medians of three epochs) first came within {v.ARRIVED:.0%} of its lowest,
            or within {v.LOSS_FLOOR:g} where that is more, in the last third of the epochs, or it still
            falls as steadily as in a slow start; and the training loss, over the last third, is above
            {v.LEARNED_BY_HEART:.0%} of the validation loss, so that there is something left to learn.
            """,
        "converged at about epoch k, then flat": f"""
            Everything else. k is the first epoch whose validation loss (medians of three epochs) is within
            {v.ARRIVED:.0%} of its lowest, or within {v.LOSS_FLOOR:g} where that is more. A validation loss
            that rises afterwards while the training loss goes on to zero is overfitting: the run has
            converged all the same.
            """,
        "recommended": f"""
            Of the runs that learned, the one with the lowest validation loss (medians of three epochs; for
            a run that fluctuates, its median over the last third). Those within {r.LOSS_TIE:.0%} of the
            lowest (but at least {v.LOSS_FLOOR:g} and at most {r.LOSS_TIE_CAP:g} above it) tie with it. Of
            these, a run that converged goes before one that is still improving, and that before one that
            fluctuates; then the sooner converged, then the lower loss. Test accuracy takes no part in the
            choice, so that it remains a test.
            """,
    }
    return tuple((name, " ".join(text.split())) for name, text in texts.items())
