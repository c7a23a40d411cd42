"""VGG (Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2015).

3x3 convolutions in blocks that each end in a pooling by 2, then three linear layers. First weights are He's, as
in torchvision, whose models these are: without them sixteen layers do not begin to learn.
"""

from __future__ import annotations

from collections.abc import Sequence

from convc import nn

VGG11 = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Configuration A of table 1: the maps of each convolution, block by block."""
VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Configuration D."""
SMALL = ((32, 32), (64, 64), (128, 128))


def vgg11(classes: int = 1000) -> nn.Sequential:
    """Eight convolutions and three linear layers, for images [N, 3, 224, 224]; other sizes are pooled to 7x7."""
    return _vgg("vgg11", VGG11, 224, 7, 4096, 2, classes)


def vgg16(classes: int = 1000) -> nn.Sequential:
    """Thirteen convolutions and three linear layers, for images [N, 3, 224, 224]; other sizes are pooled to 7x7."""
    return _vgg("vgg16", VGG16, 224, 7, 4096, 2, classes)


def vgg_small(classes: int = 10, channels: int = 3, dropout: float = 0.5) -> nn.Sequential:
    """Six convolutions and two linear layers, for images [N, channels, 32, 32] and others from 16x16 on."""
    return _vgg("vgg_small", SMALL, 32, 2, 256, 1, classes, channels, dropout)


def _vgg(
    name: str,
    blocks: Sequence[Sequence[int]],
    side: int,
    size: int,
    hidden: int,
    hidden_layers: int,
    classes: int,
    channels: int = 3,
    dropout: float = 0.5,
) -> nn.Sequential:
    layers: list[tuple[str, nn.Module]] = []
    shape = channels, side, side
    for number, block in enumerate(blocks, 1):
        for place, maps in enumerate(block, 1):
            layers.append((f"conv{number}_{place}", nn.Conv2d(channels, maps, 3, padding=1, gain=nn.HE)))
            layers.append((f"relu{number}_{place}", nn.ReLU()))
            channels = maps
        layers.append((f"pool{number}", nn.MaxPool2d(2)))
    layers += [("size", nn.AdaptiveAvgPool2d(size)), ("flatten", nn.Flatten())]
    features = channels * size * size
    for number in range(1, hidden_layers + 1):
        layers.append((f"fc{number}", nn.Linear(features, hidden, gain=nn.HE)))
        layers += [(f"relu_fc{number}", nn.ReLU()), (f"drop{number}", nn.Dropout(dropout))]
        features = hidden
    layers.append((f"fc{hidden_layers + 1}", nn.Linear(features, classes)))
    return nn.Sequential(*layers, name=name, input_shape=shape)
