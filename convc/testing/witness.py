"""Every operator in PyTorch: a second witness that shares no code with convc.

In float64 it judges the interpreter, in float32 the formula that convc computes with: a derived bound holds for the
formula that was chosen, and cannot see a badly conditioned one. Needs PyTorch (the extra `witness`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from convc.ir.core import Array, Graph, Op, Value
from convc.ir.ops.fused import ANCHOR_OPERANDS
from convc.ir.types import Rows, TensorType

if find_spec("torch"):  # the table can be read without it
    import torch

    F = torch.nn.functional

Tensors = tuple[Any, ...]
Witness = Callable[..., Tensors]


def pads(op: Any) -> tuple[int, int, int, int]:
    """PyTorch's order: left, right, top, bottom."""
    top, left, bottom, right = op.pads
    return left, right, top, bottom


def conv(op: Any, x: Any, w: Any) -> Any:
    return F.conv2d(F.pad(x, pads(op)), w, stride=op.stride, dilation=op.dilation, groups=op.groups)


def gradient(function: Callable[[Any], Any], shape: Any, dy: Any, *at: Any) -> Any:
    """PyTorch's own gradient of `function` at `at` (zeros where left out)."""
    x = (at[0] if at else torch.zeros([int(e) for e in shape], dtype=dy.dtype)).clone().requires_grad_()
    return torch.autograd.grad(function(x), x, dy, create_graph=True)[0]


def shape_of(op: Any) -> list[int]:
    return [int(e) for e in op.result.shape]


def ranked(x: Any) -> Any:
    """In the same order, NaN the greatest: of several, the first wins here, as in NumPy, and the last in PyTorch."""
    return torch.where(torch.isnan(x), torch.inf, torch.clamp(x, max=torch.finfo(x.dtype).max))


def max_pool(op: Any, x: Any) -> Tensors:
    padded = F.pad(x, pads(op), value=-torch.inf)
    y = F.max_pool2d(padded, op.kernel, op.step)
    _, at = F.max_pool2d(ranked(padded), op.kernel, op.step, return_indices=True)
    h, w = at // padded.shape[3], at % padded.shape[3]  # a position in the plane -> a tap of the window
    p, q = torch.meshgrid(torch.arange(y.shape[2]), torch.arange(y.shape[3]), indexing="ij")
    tap = (h - p * op.step[0]) * op.kernel[1] + (w - q * op.step[1])
    return (y, tap) if op.indices else (y,)


def max_pool_grad(op: Any, dy: Any, at: Any) -> Tensors:
    won = at[..., None] == torch.arange(op.kernel[0] * op.kernel[1])
    taps = torch.where(won, dy[..., None], 0)  # [n, c, p, q, taps]
    n, c, p, q, count = taps.shape
    columns = taps.permute(0, 1, 4, 2, 3).reshape(n, c * count, p * q)
    top, left, bottom, right = op.pads
    h, w = (int(e) for e in op.result.shape[2:])
    folded = F.fold(columns, (h + top + bottom, w + left + right), op.kernel, stride=op.step)
    return (folded[:, :, top : top + h, left : left + w],)


def avg_pool(op: Any, x: Any) -> Any:
    total = F.avg_pool2d(F.pad(x, pads(op)), op.kernel, op.step) * (op.kernel[0] * op.kernel[1])
    ones = torch.ones_like(x)
    inside = F.avg_pool2d(F.pad(ones, pads(op), value=float(op.count_include_pad)), op.kernel, op.step)
    return total / (inside * (op.kernel[0] * op.kernel[1]))


def adaptive_max_pool(op: Any, x: Any) -> Tensors:
    y = F.adaptive_max_pool2d(x, op.output)
    _, at = F.adaptive_max_pool2d(ranked(x), op.output, return_indices=True)
    return (y, at) if op.indices else (y,)


def adaptive_max_pool_grad(op: Any, dy: Any, at: Any) -> Any:
    """PyTorch scatters to any pixel; here one that is not in its window gets nothing."""
    height, width = shape_of(op)[2:]
    h, w = at.long() // width, at.long() % width
    p, q = torch.meshgrid(torch.arange(op.output[0]), torch.arange(op.output[1]), indexing="ij")
    low = (p * height // op.output[0] <= h) & (q * width // op.output[1] <= w)
    high = (h * op.output[0] < (p + 1) * height) & (w * op.output[1] < (q + 1) * width)
    inside = low & high & (h < height)
    dx = torch.zeros(*dy.shape[:2], height * width, dtype=dy.dtype)
    dx.scatter_add_(2, torch.where(inside, at.long(), 0).flatten(2), torch.where(inside, dy, 0).flatten(2))
    return dx.reshape(*dy.shape[:2], height, width)


def philox(counter: list[int], key: list[int]) -> int:
    """The first word of Philox4x32-10, in Python's integers."""
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(b >> 32) ^ counter[1] ^ key[0], b % 2**32, (a >> 32) ^ counter[3] ^ key[1], a % 2**32]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return counter[0]


def dropout(op: Any, x: Any, seed: Any, step: Any) -> Any:
    """PyTorch draws its own numbers; the mask here is Philox's, step by step."""
    drawn = [philox([i, 0, int(step), 0], [int(seed), op.stream]) / 2**32 for i in range(x.numel())]
    kept = torch.tensor(drawn, dtype=torch.float64).reshape(x.shape) >= op.p
    return torch.where(kept, x / (1 - op.p), 0)


def lrn(op: Any, x: Any) -> Any:
    return F.local_response_norm(x, op.size, op.alpha, op.beta, op.k)


def around(x: Any, size: int, before: int) -> Any:
    """For each channel the sum of x over the `size` channels that begin `before` ahead of it."""
    padded = F.pad(x, (0, 0, 0, 0, before, size - 1 - before))
    return sum(padded[:, j : j + x.shape[1]] for j in range(size))


def lrn_scale(op: Any, x: Any) -> Any:
    return op.k + op.alpha / op.size * around(x * x, op.size, op.size // 2)


def lrn_terms(op: Any, dy: Any, x: Any) -> Any:
    return dy * x * lrn_scale(op, x) ** (-op.beta - 1)


def lrn_grad(op: Any, dy: Any, x: Any, t: Any) -> Any:
    """By its definition, for any t; that it is the gradient where t is the terms, `_autograd` of the judge shows."""
    factor = 2 * op.beta * op.alpha / op.size
    return dy * lrn_scale(op, x) ** -op.beta - factor * x * around(t, op.size, (op.size - 1) // 2)


def fused(op: Any, *x: Any) -> Tensors:
    values = [*x, *WITNESSES[op.anchor.name](op.anchor, *x[:ANCHOR_OPERANDS])]
    for step in op.steps:
        values += WITNESSES[step.op.name](step.op, *[values[i] for i in step.operands])
    return (values[-1],)


def stepped(optimizer: Any, w: Any, g: Any, state: dict[str, Any]) -> Any:
    """One step of a PyTorch optimizer whose state for w is given."""
    w.grad = g.detach()
    optimizer.state[w] = state
    optimizer.step()
    return w.detach()


def momentum(op: Any, w: Any, g: Any, v: Any, lr: Any, mu: Any, decay: Any) -> Tensors:
    w = w.detach().clone()
    sgd = torch.optim.SGD([w], float(lr), float(mu), weight_decay=float(decay), nesterov=op.nesterov)
    state = {"momentum_buffer": v.clone()}
    return stepped(sgd, w, g, state), state["momentum_buffer"]


def sgd(op: Any, w: Any, g: Any, lr: Any, decay: Any) -> Tensors:
    w = w.detach().clone()
    return (stepped(torch.optim.SGD([w], float(lr), weight_decay=float(decay)), w, g, {}),)


def adam(
    op: Any, w: Any, g: Any, m: Any, v: Any, lr: Any, beta1: Any, beta2: Any, eps: Any, decay: Any, step: Any
) -> Tensors:
    """adam, or adamw."""
    w = w.detach().clone()
    rule = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[op.name]
    optimizer = rule([w], float(lr), (float(beta1), float(beta2)), float(eps), float(decay))
    state = {"step": torch.tensor(float(step) - 1), "exp_avg": m.clone(), "exp_avg_sq": v.clone()}
    return stepped(optimizer, w, g, state), state["exp_avg"], state["exp_avg_sq"]


def rmsprop(op: Any, w: Any, g: Any, s: Any, lr: Any, alpha: Any, eps: Any, decay: Any) -> Tensors:
    w = w.detach().clone()
    rule = torch.optim.RMSprop([w], float(lr), float(alpha), float(eps), float(decay))
    state = {"step": torch.tensor(0.0), "square_avg": s.clone()}
    return stepped(rule, w, g, state), state["square_avg"]


def rmsprop_momentum(
    op: Any, w: Any, g: Any, s: Any, v: Any, lr: Any, alpha: Any, eps: Any, mu: Any, decay: Any
) -> Tensors:
    w = w.detach().clone()
    rule = torch.optim.RMSprop([w], float(lr), float(alpha), float(eps), float(decay), float(mu))
    state = {"step": torch.tensor(0.0), "square_avg": s.clone(), "momentum_buffer": v.clone()}
    return stepped(rule, w, g, state), state["square_avg"], state["momentum_buffer"]


def norm(op: Any, x: Any) -> Any:
    """By vector_norm; an empty `axes` means all axes to PyTorch."""
    return torch.linalg.vector_norm(x, dim=op.axes) if op.axes else x.abs()


def hypot(op: Any, x: Any, y: Any) -> Any:
    """A NaN beside an infinity is a NaN here, and an infinity in PyTorch."""
    return torch.where(torch.isnan(x) | torch.isnan(y), torch.nan, torch.hypot(x, y.expand_as(x)))


def clip_scale(op: Any, total: Any, limit: Any) -> Any:
    """As clip_grad_norm_ has it."""
    return torch.clamp(limit / (total + 1e-6), max=1.0)


def broadcast(op: Any, y: Any) -> Tensors:
    shape = shape_of(op)
    for a in sorted(op.axes):
        y = y.unsqueeze(a)
    y = y.expand(shape)
    return (y / np.prod([shape[a] for a in op.axes]) if op.mean else y,)


def reduced(op: Any, x: Any) -> Tensors:
    if not op.axes:
        return (x,)  # no axes mean all axes to PyTorch
    return (x.mean(op.axes) if op.mean else x.sum(op.axes),)


def one(function: Callable[..., Any]) -> Witness:
    return lambda op, *x: (function(op, *x),)


def is_right(op: Any, z: Any, labels: Any) -> Any:
    return (z.argmax(1) == labels).to(z.dtype)


WITNESSES: dict[str, Witness] = {
    "conv2d": one(conv),
    "conv2d_dgrad": one(lambda op, dy, w: gradient(lambda x: conv(op, x, w), shape_of(op), dy)),
    "conv2d_wgrad": one(lambda op, dy, x: gradient(lambda w: conv(op, x, w), shape_of(op), dy)),
    "contract": one(lambda op, x, y: torch.einsum(op.spec, x, y)),
    "linear": one(lambda op, x, w: F.linear(x, w)),
    "fused": fused,
    "relu": one(lambda op, x: F.relu(x)),
    "sigmoid": one(lambda op, x: torch.sigmoid(x)),
    "tanh": one(lambda op, x: torch.tanh(x)),
    "relu_grad": one(lambda op, dy, y: gradient(F.relu, dy.shape, dy, y.expand_as(dy))),
    "sigmoid_grad": one(lambda op, dy, y: torch.ops.aten.sigmoid_backward(dy, y)),
    "tanh_grad": one(lambda op, dy, y: torch.ops.aten.tanh_backward(dy, y)),
    "leaky_relu": one(lambda op, x: F.leaky_relu(x, op.slope)),
    "leaky_relu_grad": one(
        lambda op, dy, y: gradient(lambda x: F.leaky_relu(x, op.slope), dy.shape, dy, y.expand_as(dy))
    ),
    "dropout": one(dropout),
    "lrn": one(lrn),
    "lrn_terms": one(lrn_terms),
    "lrn_grad": one(lrn_grad),
    "adaptive_avg_pool": one(lambda op, x: F.adaptive_avg_pool2d(x, op.output)),
    "adaptive_avg_pool_grad": one(
        lambda op, dy: gradient(lambda x: F.adaptive_avg_pool2d(x, op.output), shape_of(op), dy)
    ),
    "adaptive_max_pool": adaptive_max_pool,
    "adaptive_max_pool_grad": one(adaptive_max_pool_grad),
    "add": one(lambda op, x, y: torch.add(x, y)),
    "mul": one(lambda op, x, y: torch.mul(x, y)),
    "bias_add": one(lambda op, x, b: (x.movedim(op.axis, -1) + b).movedim(-1, op.axis)),
    "max_pool": max_pool,
    "max_pool_grad": max_pool_grad,
    "avg_pool": one(avg_pool),
    "avg_pool_grad": one(lambda op, dy: gradient(lambda x: avg_pool(op, x), shape_of(op), dy)),
    "sum": reduced,
    "broadcast": broadcast,
    "full": one(lambda op: torch.full(shape_of(op), op.number, dtype=torch.float64)),
    "reshape": one(lambda op, x: x.reshape(shape_of(op))),
    "flatten": one(lambda op, x: x.flatten(1)),
    "count": one(lambda op, x: torch.where(x < 2**31 - 1, x + 1, x)),
    "relayout": one(lambda op, x: x),
    "softmax": one(lambda op, x: F.softmax(x, op.axis)),
    "softmax_grad": one(lambda op, dy, y: torch.ops.aten._softmax_backward_data(dy, y, op.axis, y.dtype)),
    "cross_entropy": one(lambda op, z, labels: F.cross_entropy(z, labels.long(), reduction="none")),
    "cross_entropy_grad": one(
        lambda op, d, z, at: gradient(lambda x: F.cross_entropy(x, at.long(), reduction="none"), z.shape, d, z)
    ),
    "correct": one(is_right),
    "mse": one(lambda op, y, target: F.mse_loss(y, target)),
    "mse_grad": one(lambda op, d, y, target: gradient(lambda x: F.mse_loss(x, target), y.shape, d, y)),
    "sgd": sgd,
    "sgd_momentum": momentum,
    "adam": adam,
    "adamw": adam,
    "rmsprop": rmsprop,
    "rmsprop_momentum": rmsprop_momentum,
    "norm": one(norm),
    "hypot": one(hypot),
    "clip_scale": one(clip_scale),
}


def run_operator(op: Op, tensors: Sequence[Any], rows: int) -> Tensors:
    """The operator's results by PyTorch on n = `rows` rows, in the dtype of its operands."""
    result = getattr(op, "result", None)
    if isinstance(result, TensorType):
        shape = tuple(rows if isinstance(e, Rows) else int(e) for e in result.shape)
        op = replace(op, result=TensorType(result.dtype, shape))  # type: ignore[call-arg]
    return WITNESSES[op.name](op, *tensors)


def run_graph(graph: Graph, inputs: Mapping[str, Any], rows: int, dtype: Any) -> dict[Value, Any]:
    """Every value of a graph of tensor operators, from tensors for its inputs by name; floats in `dtype`."""
    values = {v: inputs[v.name] for v in graph.inputs}
    for node in graph.nodes:
        found = run_operator(node.op, [values[v] for v in node.inputs], rows)
        values.update((v, t.to(dtype) if t.is_floating_point() else t) for v, t in zip(node.outputs, found))
    return values


def to_tensor(array: Array, dtype: Any = None) -> Any:
    """A tensor of the array's own dtype, or of another."""
    return torch.from_numpy(np.array(array)).to(dtype)
