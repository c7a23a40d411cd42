"""convc: a compiler for convolutional networks.

net = convc.models.lenet5()
step = convc.compile(net, input_shape=(64, 1, 28, 28), mode="train", optimizer=convc.SGD(momentum=0.9))
loss = step(x, labels, lr=0.01)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convc import models as models
    from convc import nn as nn
    from convc.compiler import compile as compile
    from convc.errors import ConvcError as ConvcError
    from convc.errors import DataError as DataError
    from convc.errors import IRError as IRError
    from convc.errors import RunError as RunError
    from convc.errors import ToolchainError as ToolchainError
    from convc.evaluation import Evaluation as Evaluation
    from convc.evaluation import evaluate as evaluate
    from convc.ir.text import parse_graph as parse_graph
    from convc.model_info import ModelInfo as ModelInfo
    from convc.model_info import save_model as save_model
    from convc.optim import SGD as SGD
    from convc.optim import Adam as Adam
    from convc.optim import AdamW as AdamW
    from convc.optim import RMSprop as RMSprop
    from convc.prediction import Classifier as Classifier
    from convc.prediction import Predictions as Predictions
    from convc.prediction import load_model as load_model
    from convc.runtime.pool import get_num_threads as get_num_threads
    from convc.runtime.pool import set_num_threads as set_num_threads
    from convc.runtime.program import Program as Program

__version__ = "0.1.0"

HOMES = {
    "SGD": "convc.optim",
    "Adam": "convc.optim",
    "AdamW": "convc.optim",
    "Classifier": "convc.prediction",
    "ConvcError": "convc.errors",
    "DataError": "convc.errors",
    "Evaluation": "convc.evaluation",
    "IRError": "convc.errors",
    "ModelInfo": "convc.model_info",
    "Predictions": "convc.prediction",
    "Program": "convc.runtime.program",
    "RMSprop": "convc.optim",
    "RunError": "convc.errors",
    "ToolchainError": "convc.errors",
    "compile": "convc.compiler",
    "evaluate": "convc.evaluation",
    "get_num_threads": "convc.runtime.pool",
    "load_model": "convc.prediction",
    "parse_graph": "convc.ir.text",
    "save_model": "convc.model_info",
    "set_num_threads": "convc.runtime.pool",
}
"""Where each public name lives; it is imported on first use, so that `convc --help` starts at once."""
MODULES = ("data", "models", "nn", "testing")
__all__ = [*HOMES, *MODULES]


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return import_module(f"convc.{name}")
    if name not in HOMES:
        raise AttributeError(f"module 'convc' has no attribute '{name}'")
    value = getattr(import_module(HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *HOMES, *MODULES])
