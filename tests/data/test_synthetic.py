"""Synthetic data: always the same, and learnable."""

import hashlib

import numpy as np
import pytest

import convc
from convc import data, nn
from convc.data import batches
from convc.errors import DataError


def test_the_bare_name_has_the_form_of_mnist5k():
    dataset = data.load("synthetic")
    assert (dataset.name, dataset.classes, dataset.image_shape) == ("synthetic", 10, (1, 28, 28))
    for split, each in ((dataset.train, 400), (dataset.validation, 50), (dataset.test, 50)):
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
        assert np.bincount(split.labels).tolist() == [each] * 10
    spelt_out = data.load("synthetic:1x28x28:10:5000")
    assert np.array_equal(dataset.train.images, spelt_out.train.images)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 40), (3, 7, 5), (5, 33, 8)])
def test_any_size(shape):
    spec = f"synthetic:{'x'.join(map(str, shape))}:3:37"
    dataset = data.load(spec)
    assert (dataset.name, dataset.image_shape, dataset.classes) == (spec, shape, 3)
    assert [len(split) for split in dataset.parts().values()] == [31, 3, 3]
    for split in dataset.parts().values():
        assert set(split.labels) == {0, 1, 2}


def test_the_pixels_are_pinned():
    # A figure measured on them is only comparable while they stay what they are.
    test = data.load("synthetic:3x9x10:3:60").test
    assert hashlib.sha256(test.images.tobytes()).hexdigest().startswith("535a925e347e9947")


def test_the_seed_orders_train_and_moves_no_pixel():
    first, again, other = (data.load("synthetic:1x4x4:2:60", seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.train.images, again.train.images)
    assert not np.array_equal(first.train.images, other.train.images)
    pixels = [sorted(image.tobytes() for image in one.train.images) for one in (first, other)]
    assert pixels[0] == pixels[1]
    assert np.array_equal(first.test.images, other.test.images)


def test_no_image_comes_twice():
    parts = data.load("synthetic:1x8x8:4:400").parts().values()
    assert len({image.tobytes() for split in parts for image in split.images}) == 400


def test_a_linear_model_learns_it_in_two_epochs():
    dataset = data.load("synthetic:3x16x16:5:1000").normalized()
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5), name="linear")
    step = convc.compile(net, (50, 3, 16, 16), mode="train", optimizer=convc.SGD())
    for _ in range(2):
        for images, labels in batches(dataset.train, 50, order=None):
            step(images, labels, lr=0.01)
    logits = convc.compile(net, (100, 3, 16, 16))(dataset.test.images)
    assert (logits.argmax(axis=1) == dataset.test.labels).mean() > 0.9


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ("synthetic:", "is synthetic:CxHxW:classes:count, .* such as synthetic:3x32x32:10:5000, not 'synthetic:'"),
        ("synthetic:3x32x32", "synthetic:CxHxW:classes:count"),
        ("synthetic:3x32x32:10", "synthetic:CxHxW:classes:count"),
        ("synthetic:3x32:10:500", "synthetic:CxHxW:classes:count"),
        ("synthetic:3x32x32:10:500:1", "synthetic:CxHxW:classes:count"),
        ("synthetic:3x32x32:10:-500", "synthetic:CxHxW:classes:count"),
        ("synthetic:3x0x32:10:500", "whole numbers of at least 1"),
        ("synthetic:3x32x32:10:5e3", "whole numbers"),
        ("synthetic:3x32x32:10:٥٠٠", "whole numbers"),
        (f"synthetic:3x32x32:10:{'9' * 5000}", "at most 9 digits"),
        ("synthetic:3x32x32:10:500\n", r"not 'synthetic:3x32x32:10:500\\n'"),
        ("synthetic:3x32x32:1:500", "at least 2 classes, not 1: synthetic:3x32x32:1:500"),
        ("synthetic:3x32x32:10:99", "at least 10 images of a class, and 10 classes have 99: .*; ask for 100"),
        (
            "synthetic:3x9999999x9999999:2:20",
            "20 images of 3x9999999x9999999 take 5.33 PiB, and .*; take fewer",
        ),
        ("synthetic:999999999x999999999x999999999:2:20", r"take 2\^94 bytes, and .* are free"),
    ],
)
def test_bad_spec(spec, rule):
    with pytest.raises(DataError, match=rule) as caught:
        data.load(spec)
    assert "\n" not in str(caught.value)
