"""The rules of the verdicts and of the recommendation, in sentences made of the constants they run on."""

from __future__ import annotations

import math

from convc.report import thresholds as t
from convc.report.intervals import LEVEL
from convc.report.run_curves import chance_bound
from convc.report.verdict import Outcome


def rules(classes: int, images: int = t.IMAGES) -> tuple[tuple[str, str], ...]:
    """(verdict, when it is given), in the order in which they are tried, for `images` validation images.

    What is looked at goes before them, and how settings are summed up, compared and recommended comes after. Words in
    brackets are what `Verdict.rule` calls a rule.
    """
    texts = _verdicts(classes, images) | _study(images)
    return tuple((name, " ".join(text.split())) for name, text in texts.items())


def _verdicts(classes: int, images: int) -> dict[str, str]:
    chance, guess = 1 / classes, math.log(classes)
    drop = f"{t.DROP_ERRORS} standard errors of the difference of two accuracies on {images} images each"
    return {
        "what is looked at": f"""
            Training loss, validation loss and validation accuracy; the test accuracy takes no part. A level is the
            median over {t.LEVEL_EPOCHS} neighbouring epochs, or over a third of them where that is said; levels are
            compared over equally many epochs only. A swing is how far a peak or a trough stands off the mean of its
            two neighbours, averaged over the last half of the epochs, where one that is neither counts as 0: a curve
            that only falls does not swing. Losses swing in relative terms, with {t.LOSS_FLOOR:g} added to each.
            """,
        Outcome.TOO_SHORT.value: f"Fewer than {t.MIN_EPOCHS} epochs, all of them finite (too short).",
        Outcome.COLLAPSED.value: f"""
            Validation accuracy ended at less than {t.KEPT:.0%} of what its best epoch had gained over chance, the
            difference being more than {drop} (ended low). Or its level over the last third is below the best level
            over a third by more than {100 * t.LOST_ACCURACY:.0f} points and more than {t.DROP_ERRORS} such errors
            (lost).
            """,
        Outcome.DIVERGED.value: f"""
            A loss became NaN or infinite, at any epoch, however short the run (not finite). Or the last level of the
            validation accuracy is at most {chance_bound(classes, images):.1%} (at chance): chance, {chance:.1%}, and
            {t.CHANCE_ERRORS} standard errors of it on {images} images. A slow start is excepted.
            """,
        Outcome.FLUCTUATES.value: f"""
            Validation accuracy fell below {t.KEPT:.0%} of what it had gained over chance, by more than {drop}, and came
            back (dip). Or it ended, by its last level, below its best level by more than
            {100 * t.LOST_ACCURACY:.0f} points and more than {t.DROP_ERRORS} such errors (fell back). Or validation loss
            swings by more than {t.LOSS_SWING:.0%} and training loss by more than {t.TRAIN_SWING:.0%}, and training loss
            rose in at least {t.TRAIN_RISES:.0%} of the last half of the epochs (swings). Or validation loss swings by
            more than {t.WILD_SWING:.0%}, and the run is not unsettled as below (wild).
            """,
        Outcome.OVERFITS.value: f"""
            The level of the validation loss over the last third is above the lowest level over a third that ended
            before it: by more than {t.NEAR:.0%}, {t.LOSS_FLOOR:g} nats, and noise; training loss is lower than at that
            time; and the run is not unsettled as below (overfits). k is the middle of the lowest third. Noise is
            {t.THIRD_SWINGS:g} swings over the root of the number of epochs in a third.
            """,
        Outcome.IMPROVING.value: f"""
            Slow start: training and validation loss fell in at least {t.SLOW_START_SHARE:.0%} of the last half of the
            epochs, to less than the {guess:.3f} of a constant guess, and either the validation loss is within
            {t.NEAR:.0%} of that or the accuracy is at chance; this rule goes before all others. Or validation loss
            swings by more than {t.LOSS_SWING:.0%}, while training loss, over the last third, is down by more than
            {t.NEAR:.0%} from the third before and above {t.LEARNED_BY_HEART:.0%} of the validation loss, so that there
            is something left to learn (unsettled). Or validation loss came near its lowest level only in the last
            third of the epochs, over which its level is lower than over the third before by more than noise, and still
            above {t.LOSS_FLOOR:g} (late). Near is {t.NEAR:.0%} of the lowest level, or of the way down to it where that
            is less; at least {t.LOSS_FLOOR:g}, and {t.LOWEST_SWINGS} swings.
            """,
        Outcome.CONVERGED.value: """
            Everything else (near the lowest). k is the first epoch at which the validation loss came near its lowest
            level.
            """,
    }


def _study(images: int) -> dict[str, str]:
    return {
        "over seeds": """
            A setting's verdict is what more than half of its runs got, with the median of their k; else it is mixed,
            with the counts. A run that the study stopped gets no verdict.
            """,
        "compared": f"""
            By the lowest level of the validation loss, of each run. Only settings of which no run diverged, stayed at
            chance or collapsed are compared. A difference is that of the same seeds; its {LEVEL:.0%} interval is
            Student's t, with one degree of freedom less than there are seeds. Two settings are told apart where
            p < {1 - LEVEL:.2g} after Holm's correction over all that are compared. What comes from the number of
            validation images, {images}, is stated beside it: more seeds do not lessen it. With one seed there are no
            intervals.
            """,
        "recommended": f"""
            Of the settings whose mean is within {t.NEAR:.0%} of the lowest (at least {t.LOSS_FLOOR:g} nats) and which
            are not told apart from it, the one that comes near its lowest level first; one that fluctuates only where
            none settles. A setting whose mean is further off is not recommended however wide its interval is. An
            incomplete study recommends none.
            """,
    }
