"""Checks for authors of passes, operators and kernels; convc's own tests are written with them.

check_rewrite(before, pass_, after)   a pass' text before and after, and the same numbers
check_view(op, *types)                every load in bounds, every store once, every tap once
check_gradients(graph)                autodiff against finite differences with shrinking steps
tolerance(dtype, terms)               how far a sum of products may be off
error_bound(graph, inputs)            how far each number of a compiled graph may be off
"""

from convc.testing.bounds import error_bound, tolerance
from convc.testing.gradients import check_gradients
from convc.testing.inputs import random_inputs
from convc.testing.rewrite import check_rewrite
from convc.testing.views import check_view

__all__ = ["check_gradients", "check_rewrite", "check_view", "error_bound", "random_inputs", "tolerance"]
