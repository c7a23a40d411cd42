"""Define a network of your own, residual blocks and all, and train it on a part of the digits.

    python examples/define_a_model.py
    convc inspect examples/define_a_model.py:small_resnet --shape 64,1,28,28

Layers are data: they become nodes of a graph once a shape is known, and every shape is checked then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import convc
from convc import nn
from convc.data import Dataset, load
from convc.ir.core import Value
from convc.train import compile_trainer, evaluate, fit


@dataclass
class Block(nn.Module):
    """A residual block of two 3x3 convolutions: y = relu(x + conv(relu(conv(x)))), x [N, channels, H, W].

    A module of one's own gives `build`: it adds nodes to the graph, here by way of other modules.
    """

    channels: int

    def build(self, g: nn.GraphBuilder, x: Value) -> Value:
        inner = nn.Residual(
            ("conv1", nn.Conv2d(self.channels, self.channels, 3, padding=1)),
            ("relu", nn.ReLU()),
            ("conv2", nn.Conv2d(self.channels, self.channels, 3, padding=1)),
        )
        return nn.ReLU().build(g, inner.build(g, x))


def small_resnet() -> nn.Sequential:
    """For 28x28 images of one channel: 28 -> 14 -> 7 pixels a side, then ten classes."""
    return nn.Sequential(
        ("stem", nn.Conv2d(1, 16, 5, stride=2, padding=2)),
        ("relu", nn.ReLU()),
        ("pool", nn.MaxPool2d(2)),
        ("block", Block(16)),
        ("flatten", nn.Flatten()),
        ("classes", nn.Linear(16 * 7 * 7, 10)),
        name="small_resnet",
    )


def main() -> None:
    net = small_resnet()
    full = load("mnist5k")
    train = full.train.take(np.arange(0, len(full.train), 2))
    data = Dataset("half of mnist5k", train, full.validation, full.test, full.classes).normalized()

    trainer = compile_trainer(net, data, batch=64, optimizer=convc.Adam(), seed=0)
    for name in trainer.step.parameters.names("parameter"):
        print(f"{name:<22} {list(trainer.step.parameters[name].shape)}")
    print(trainer.step.report().headline)
    for result in fit(trainer.step, trainer.evaluation, data, lr=0.003, epochs=4):
        print(
            f"epoch {result.epoch}: loss {result.train_loss:.3f}, validation accuracy {result.validation.accuracy:.1%}"
        )
    print(f"test accuracy {evaluate(trainer.evaluation, data.test).accuracy:.1%}")


if __name__ == "__main__":
    main()
