"""A little of everything that target cuda launches, for tools that slow it down: `tools/gpu_sanitize.sh` runs it."""

from __future__ import annotations

import numpy as np

import convc
from convc.data import Dataset, Split
from convc.optim import SGD, Adam
from convc.train import compile_trainer, fit

ROWS = 7


def main() -> None:
    draw = np.random.default_rng(0)
    images = draw.standard_normal((ROWS, 1, 28, 28)).astype(np.float32)
    split = Split(images, draw.integers(0, 10, ROWS).astype(np.int32))
    data = Dataset("random", split, split, split, 10)
    for optimizer in (SGD(momentum=0.9), Adam()):
        trainer = compile_trainer(convc.models.lenet5(), data, batch=4, optimizer=optimizer, seed=0, target="cuda")
        results = fit(trainer.step, trainer.evaluation, data, lr=0.01, epochs=1)
        print(f"{type(optimizer).__name__}: loss {results[-1].train_loss:.4f}")
    strided = convc.parse_graph(
        "graph @g(%x: f32[n<=5,6,9,7], %w: f32[10,3,3,2]) {\n"
        "  %y: f32[n<=5,10,5,8] = conv2d(%x, %w) {stride=[2, 1], padding=[1, 1], groups=2}\n"
        "  return %y\n}"
    )
    x, w = draw.standard_normal((4, 6, 9, 7)), draw.standard_normal((10, 3, 3, 2))
    y = convc.compile(strided, target="cuda")(x.astype(np.float32), w.astype(np.float32))
    print(f"grouped convolution: {y.shape}, mean {y.mean():.4f}")


if __name__ == "__main__":
    main()
