"""convc: a compiler for convolutional networks.

net = convc.models.lenet5()
step = convc.compile(net, input_shape=(64, 1, 28, 28), mode="train", optimizer=convc.SGD(momentum=0.9))
loss = step(x, labels, lr=0.01)
"""

from convc import models, nn
from convc.compiler import compile
from convc.errors import ConvcError, DataError, IRError, RunError, ToolchainError
from convc.ir.text import parse_graph
from convc.optim import SGD, Adam
from convc.runtime.pool import get_num_threads, set_num_threads
from convc.runtime.program import Program

__version__ = "0.1.0"

__all__ = [
    "SGD", "Adam", "ConvcError", "DataError", "IRError", "Program", "RunError", "ToolchainError",
    "compile", "get_num_threads", "models", "nn", "parse_graph", "set_num_threads",
]  # fmt: skip
