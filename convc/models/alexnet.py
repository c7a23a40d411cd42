"""AlexNet (Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional Neural Networks, 2012).

The network of the paper, its two towers as one: the layers that see only their own GPU's maps have 2 groups.
So there are 60,965,224 parameters for 1000 classes. First weights are He's and not the paper's. torchvision's
model of the same name is that of a later paper (One weird trick, 2014), without groups and normalisation.
"""

from __future__ import annotations

from convc import nn


def alexnet(classes: int = 1000) -> nn.Sequential:
    """Five convolutions and three linear layers, for images [N, 3, 224, 224]; other sizes are pooled to 6x6."""
    return nn.Sequential(
        ("conv1", nn.Conv2d(3, 96, 11, stride=4, padding=2, gain=nn.HE)),
        ("relu1", nn.ReLU()),
        ("norm1", _norm()),
        ("pool1", nn.MaxPool2d(3, 2)),
        ("conv2", nn.Conv2d(96, 256, 5, padding=2, groups=2, gain=nn.HE)),
        ("relu2", nn.ReLU()),
        ("norm2", _norm()),
        ("pool2", nn.MaxPool2d(3, 2)),
        ("conv3", nn.Conv2d(256, 384, 3, padding=1, gain=nn.HE)),
        ("relu3", nn.ReLU()),
        ("conv4", nn.Conv2d(384, 384, 3, padding=1, groups=2, gain=nn.HE)),
        ("relu4", nn.ReLU()),
        ("conv5", nn.Conv2d(384, 256, 3, padding=1, groups=2, gain=nn.HE)),
        ("relu5", nn.ReLU()),
        ("pool5", nn.MaxPool2d(3, 2)),
        ("size", nn.AdaptiveAvgPool2d(6)),  # 6x6 already, for 224x224
        ("flatten", nn.Flatten()),
        ("drop6", nn.Dropout()),
        ("fc6", nn.Linear(9216, 4096, gain=nn.HE)),
        ("relu6", nn.ReLU()),
        ("drop7", nn.Dropout()),
        ("fc7", nn.Linear(4096, 4096, gain=nn.HE)),
        ("relu7", nn.ReLU()),
        ("fc8", nn.Linear(4096, classes)),
        name="alexnet",
        input_shape=(3, 224, 224),
    )


def _norm() -> nn.LocalResponseNorm:
    """Section 3.3: n = 5, alpha = 1e-4 for each channel, beta = 0.75, k = 2."""
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
