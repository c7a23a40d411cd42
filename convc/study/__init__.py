"""A learning-rate study: one model, several rates and seeds, compiled once, interrupted, resumed and grown at will.

`convc.study.folder` says what is written, `convc.study.workers` where runs may be trained.
"""

from convc.study.compare import StudyComparison, compare_studies
from convc.study.engine import run_study
from convc.study.plan import RATES, SEEDS, StudyPlan, seeds_from
from convc.study.result import StudyResult
from convc.study.watch import StudyWatch
from convc.study.workers import Dask, Processes, Workers

__all__ = [
    "RATES",
    "SEEDS",
    "Dask",
    "Processes",
    "StudyComparison",
    "StudyPlan",
    "StudyResult",
    "StudyWatch",
    "Workers",
    "compare_studies",
    "run_study",
    "seeds_from",
]
