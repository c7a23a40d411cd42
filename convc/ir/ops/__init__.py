"""The operators, one file a family. Importing this package registers them all."""

from convc.ir.ops import (
    adaptive_pool,
    clip,
    contract,
    conv,
    count,
    dropout,
    fused,
    loss,
    norm,
    optim,
    pointwise,
    pool,
    reduce,
    shape,
)

__all__ = [
    "adaptive_pool",
    "clip",
    "contract",
    "conv",
    "count",
    "dropout",
    "fused",
    "loss",
    "norm",
    "optim",
    "pointwise",
    "pool",
    "reduce",
    "shape",
]
