"""Padding in words: "same" keeps height and width as PyTorch's does, "valid" is none."""

from __future__ import annotations

import numpy as np
import pytest

import convc
from convc import nn
from convc.errors import IRError

H, W = 9, 7


def computed(layer: nn.Conv2d, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    program = convc.compile(nn.Sequential(("conv", layer)), x.shape)
    program.parameters["conv.weight"][...] = w
    y: np.ndarray = program(x)
    return y


def whole_numbers(*shape: int) -> np.ndarray:
    """Small ones: sums of their products are exact in float32."""
    return np.random.default_rng(0).integers(-4, 5, shape).astype(np.float32)


def by_hand(x: np.ndarray, w: np.ndarray, dilation: tuple[int, int]) -> np.ndarray:
    """dilation * (kernel - 1) zeros in all on each axis, the smaller half before."""
    total = [d * (k - 1) for d, k in zip(dilation, w.shape[2:])]
    padded = np.pad(x, ((0, 0), (0, 0), *((t // 2, t - t // 2) for t in total)))
    y = np.zeros((len(x), len(w), *x.shape[2:]), np.float32)
    for r in range(w.shape[2]):
        for s in range(w.shape[3]):
            part = padded[:, :, r * dilation[0] :, s * dilation[1] :][:, :, : x.shape[2], : x.shape[3]]
            y += np.einsum("nchw,kc->nkhw", part, w[:, :, r, s])
    return y


KERNELS = [((k, s), (d, e)) for k, s in ((1, 1), (2, 2), (3, 3), (4, 2), (5, 6), (2, 7)) for d, e in ((1, 1), (2, 3))]


@pytest.mark.parametrize(("kernel", "dilation"), KERNELS)
def test_same_keeps_height_and_width(kernel: tuple[int, int], dilation: tuple[int, int]) -> None:
    x, w = whole_numbers(5, 2, H, W), whole_numbers(3, 2, *kernel)
    y = computed(nn.Conv2d(2, 3, kernel, padding="same", dilation=dilation, bias=False), x, w)
    np.testing.assert_array_equal(y, by_hand(x, w, dilation))


@pytest.mark.witness
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("kernel", "dilation"), KERNELS)
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_it_is_that_of_pytorch(padding: str, kernel: tuple[int, int], dilation: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    x, w = whole_numbers(5, 2, 13, 20), whole_numbers(3, 2, *kernel)
    theirs = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), padding=padding, dilation=dilation)
    y = computed(nn.Conv2d(2, 3, kernel, padding=padding, dilation=dilation, bias=False), x, w)
    np.testing.assert_array_equal(y, theirs.numpy())


def test_same_trains() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 4, padding="same"), nn.Flatten(), nn.Linear(3 * H * W, 2))
    step = convc.compile(net, (5, 2, H, W), mode="train")
    x, labels = whole_numbers(5, 2, H, W), [0, 1, 1, 0, 1]
    first = step(x, labels, lr=0.001)
    assert step(x, labels, lr=0.001) < first


def test_valid_is_no_padding() -> None:
    assert nn.Conv2d(2, 3, 3, stride=2, padding="valid").operator() == nn.Conv2d(2, 3, 3, stride=2).operator()
    assert nn.Conv2d(2, 3, 3, padding="same").operator() == nn.Conv2d(2, 3, 3, padding=1).operator()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"padding": "same", "stride": 2},
            "padding 'same' keeps height and width, which needs stride 1, not 2; give the padding in numbers",
        ),
        (
            {"padding": "same", "stride": (1, 3)},
            "padding 'same' keeps height and width, which needs stride 1, not (1, 3); give the padding in numbers",
        ),
        ({"padding": "smae"}, "unknown padding 'smae'; did you mean 'same'?"),
        ({"padding": "reflect"}, "unknown padding 'reflect'; known are same, valid"),
    ],
)
def test_words_that_do_not_fit(settings: dict[str, object], line: str) -> None:
    with pytest.raises(IRError) as caught:
        nn.Conv2d(2, 3, 3, **settings)  # type: ignore[arg-type]
    assert str(caught.value) == f"Conv2d: {line}"
