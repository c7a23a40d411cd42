"""The operators, one file a family. Importing this package registers them all."""

from convc.ir.ops import contract, conv, fused, loss, optim, pointwise, pool, reduce, shape

__all__ = ["contract", "conv", "fused", "loss", "optim", "pointwise", "pool", "reduce", "shape"]
