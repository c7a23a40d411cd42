"""The models of the zoo: their parameters counted, VGG trained beside PyTorch, AlexNet's output beside PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convc
from convc import models, nn
from convc.compiler import model_graph
from convc.models import ZOO

Array = npt.NDArray[Any]
ALLOWED = 1e-4
"""Of a tensor's greatest update, as for LeNet-5."""
PARAMETERS = {
    "lenet5": 61_706,
    "alexnet": 60_965_224,  # the paper's 60 million; Caffe's model of it has as many
    "vgg11": 132_863_336,  # torchvision's counts
    "vgg16": 138_357_544,
    "vgg_small": 420_906,
}


@pytest.mark.parametrize("name", ZOO)
def test_every_model_has_its_parameters_and_classes(name: str) -> None:
    make, image = ZOO[name]
    g, graph = model_graph(make(), (2, *image), "infer", "cross_entropy")
    assert sum(v.type.elements for v in graph.inputs_of("parameter")) == PARAMETERS[name]
    assert graph.name == name
    assert g.training is False
    assert [int(e) for e in graph.outputs[0].type.shape] == [2, 10 if name in ("lenet5", "vgg_small") else 1000]


@pytest.mark.parametrize(
    ("name", "image"), [("alexnet", (3, 256, 230)), ("vgg11", (3, 230, 265)), ("vgg_small", (3, 28, 28))]
)
def test_other_sizes_are_pooled_to_the_one_that_the_linear_layers_take(name: str, image: tuple[int, ...]) -> None:
    _, graph = model_graph(getattr(models, name)(7), (2, *image), "train", "cross_entropy")
    assert "labels" in [v.name for v in graph.inputs]


def torch_of(model: nn.Sequential, torch: Any) -> Any:
    """The same layers in PyTorch, with the same parameters in the same order; dropout left out."""
    t, layers = torch.nn, []
    for _, layer in model:
        match layer:
            case nn.Conv2d():
                layers.append(t.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride,
                                       layer.padding, groups=layer.groups))  # fmt: skip
            case nn.Linear():
                layers.append(t.Linear(layer.in_features, layer.out_features))
            case nn.ReLU():
                layers.append(t.ReLU())
            case nn.MaxPool2d():
                layers.append(t.MaxPool2d(layer.kernel_size, layer.stride))
            case nn.AdaptiveAvgPool2d():
                layers.append(t.AdaptiveAvgPool2d(layer.output_size))
            case nn.LocalResponseNorm():
                layers.append(t.LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k))
            case nn.Flatten():
                layers.append(t.Flatten())
            case _:
                assert isinstance(layer, nn.Dropout)
    net = t.Sequential(*layers)
    names = model.store.names("parameter")
    for p, name in zip(net.parameters(), names, strict=True):
        p.data.copy_(torch.from_numpy(model.store[name].copy()))
    return net


def assert_same_steps(model: nn.Sequential, shape: Sequence[int], rows: Sequence[int], classes: int) -> None:
    """Steps on these numbers of rows, here and in PyTorch: losses, and the greatest difference of each update."""
    import torch

    step = convc.compile(model, shape, mode="train", optimizer=convc.SGD(lr=0.01, momentum=0.9, weight_decay=5e-4))
    before = model.store.snapshot(model.store.names("parameter"))
    net = torch_of(model, torch).double()
    rule = torch.optim.SGD(net.parameters(), 0.01, 0.9, weight_decay=5e-4)
    rng = np.random.default_rng(0)
    for n in rows:
        x, labels = rng.standard_normal((n, *shape[1:])).astype(np.float32), rng.integers(0, classes, n)
        rule.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(torch.from_numpy(x).double()), torch.from_numpy(labels))
        loss.backward()
        rule.step()
        assert step(x, labels) == pytest.approx(loss.item(), rel=1e-5)
    off = {}
    for p, (name, first) in zip(net.parameters(), before.items(), strict=True):
        wanted = p.detach().numpy() - first
        off[name] = float(np.abs(model.store[name] - first.astype(np.float64) - wanted).max() / np.abs(wanted).max())
    assert max(off.values()) < ALLOWED, off


@pytest.mark.witness
def test_vgg_small_trains_as_in_pytorch() -> None:
    assert_same_steps(models.vgg_small(dropout=0.0), (6, 3, 32, 32), (6, 5, 6, 1), 10)


@pytest.mark.witness
def test_alexnet_in_small_trains_as_in_pytorch() -> None:
    """AlexNet's kinds of layer in its order, few maps, an image that the adaptive pooling must cut unevenly."""
    model = nn.Sequential(
        ("conv1", nn.Conv2d(3, 8, 11, stride=4, padding=2, gain=nn.HE)),
        ("relu1", nn.ReLU()),
        ("norm1", nn.LocalResponseNorm(5, alpha=0.5, beta=0.75, k=2.0)),
        ("pool1", nn.MaxPool2d(3, 2)),
        ("conv2", nn.Conv2d(8, 12, 5, padding=2, groups=2, gain=nn.HE)),
        ("relu2", nn.ReLU()),
        ("norm2", nn.LocalResponseNorm(4, alpha=0.5)),
        ("size", nn.AdaptiveAvgPool2d((3, 4))),
        ("flatten", nn.Flatten()),
        ("fc6", nn.Linear(144, 9)),
        name="small",
    )
    assert_same_steps(model, (5, 3, 63, 67), (5, 4, 5), 9)


@pytest.mark.slow
@pytest.mark.witness
def test_alexnet_infers_as_in_pytorch() -> None:
    """Outputs are sums of 4096 products of either sign: off by some sqrt(4096) * 2^-24 = 4e-6 of their size for each
    of eight layers; ten times as much is allowed."""
    import torch

    model = models.alexnet()
    program = convc.compile(model, (4, 3, 224, 224))
    x = np.random.default_rng(0).standard_normal((3, 3, 224, 224)).astype(np.float32)
    with torch.no_grad():
        wanted = torch_of(model, torch)(torch.from_numpy(x)).numpy()
    found = program(x)
    assert prod(found.shape) == 3000
    assert np.abs(found - wanted).max() < 8 * 10 * 4e-6 * np.abs(wanted).max()
