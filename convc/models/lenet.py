"""LeNet-5 (LeCun, Bottou, Bengio and Haffner, 1998) with ReLU and max-pooling, for 28x28 images of one channel."""

from __future__ import annotations

from convc import nn


def lenet5(classes: int = 10) -> nn.Sequential:
    """5x5 convolutions of 6 and 16 filters, each pooled by 2, then linear layers 120, 84, `classes`."""
    return nn.Sequential(
        ("conv1", nn.Conv2d(1, 6, 5, padding=2)),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2)),
        ("conv2", nn.Conv2d(6, 16, 5)),
        ("relu2", nn.ReLU()),
        ("pool2", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(400, 120)),
        ("relu3", nn.ReLU()),
        ("fc2", nn.Linear(120, 84)),
        ("relu4", nn.ReLU()),
        ("fc3", nn.Linear(84, classes)),
        name="lenet5",
        input_shape=(1, 28, 28),
    )
