"""Augmentation: what each step may change, and that nothing but seed, epoch and the image's number decides."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convc.data import Augmentation, Split
from convc.data.augment import Crop, Cutout, Flip, Shift
from convc.errors import DataError

RNG = np.random.default_rng(5)
STEPS = st.one_of(
    st.builds(Shift, st.integers(0, 9)),
    st.just(Flip()),
    st.builds(Crop, st.floats(0.1, 1)),
    st.builds(Cutout, st.integers(0, 9)),
)
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 3), st.integers(1, 7), st.integers(1, 6))
SEEDS = st.integers(0, 2**64 - 1)


def images_of(shape: tuple[int, ...]) -> np.ndarray:
    """No two numbers are equal, and none is 0."""
    return np.random.default_rng(1).permutation(np.arange(1, 1 + np.prod(shape))).astype(np.float32).reshape(shape)


def words(*rows: tuple[int, ...]) -> np.ndarray:
    return np.array(rows, np.uint64)


@given(SHAPES, SEEDS, st.integers(0, 99))
def test_steps_of_nothing_change_nothing(shape: tuple[int, ...], seed: int, epoch: int) -> None:
    images = images_of(shape)
    nothing = Augmentation(Shift(0), Crop(1.0), Cutout(0))
    assert np.array_equal(nothing.apply(images, seed=seed, epoch=epoch), images)


@given(SHAPES, st.lists(STEPS, min_size=1, max_size=4), SEEDS, st.integers(0, 99), st.integers(1, 12))
@settings(max_examples=60)
def test_seed_epoch_and_number_alone_decide(
    shape: tuple[int, ...], steps: list[Shift | Flip | Crop | Cutout], seed: int, epoch: int, fewer: int
) -> None:
    images = images_of(shape)
    before = images.copy()
    augment = Augmentation(*steps)
    seen = augment.apply(images, seed=seed, epoch=epoch)
    assert np.array_equal(images, before)
    assert seen.shape == images.shape
    assert seen.dtype == np.float32
    assert np.array_equal(seen, Augmentation(*steps).apply(images, seed=seed, epoch=epoch))
    assert np.array_equal(seen[:fewer], augment.apply(images[:fewer], seed=seed, epoch=epoch))
    labels = np.arange(len(images), dtype=np.int32)
    assert augment.split(Split(images, labels), seed=seed, epoch=epoch).labels is labels


def test_rows_do_not_depend_on_how_many_are_done_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    images, augment = images_of((50, 1, 6, 6)), Augmentation.parse("shift:2,flip,crop:0.7,cutout:3")
    whole = augment.apply(images, seed=4, epoch=2)
    monkeypatch.setattr("convc.data.augment._ROWS_AT_A_TIME", 7)
    assert np.array_equal(whole, augment.apply(images, seed=4, epoch=2))


def test_seeds_epochs_and_images_differ() -> None:
    same = np.broadcast_to(images_of((1, 1, 8, 8)), (200, 1, 8, 8))
    augment = Augmentation.parse("shift:3,flip,crop:0.6,cutout:4")
    seen = [augment.apply(same, seed=s, epoch=e) for s, e in ((0, 1), (0, 2), (1, 1))]
    assert all((a != b).any(axis=(1, 2, 3)).mean() > 0.9 for a, b in zip(seen, [*seen[1:], seen[0]]))
    assert len({image.tobytes() for image in seen[0]}) > 190


@given(SHAPES, SEEDS)
def test_a_flip_is_its_own_inverse(shape: tuple[int, ...], seed: int) -> None:
    images, flip = images_of(shape), Augmentation(Flip())
    once = flip.apply(images, seed=seed, epoch=1)
    mirrored = [np.array_equal(a, b[..., ::-1]) for a, b in zip(once, images)]
    assert all(m or np.array_equal(a, b) for m, a, b in zip(mirrored, once, images))
    assert np.array_equal(flip.apply(once, seed=seed, epoch=1), images)


@given(SHAPES, st.integers(0, 9), SEEDS)
def test_a_shift_moves_and_fills_with_0(shape: tuple[int, ...], most: int, seed: int) -> None:
    images = images_of(shape)
    seen = Augmentation(Shift(most)).apply(images, seed=seed, epoch=1)
    padded = np.pad(images, ((0, 0), (0, 0), (most, most), (most, most)))
    for image, wide in zip(seen, padded):
        windows = np.lib.stride_tricks.sliding_window_view(wide, image.shape)[0]
        assert windows.shape[:2] == (2 * most + 1, 2 * most + 1)
        assert (windows == image).all(axis=(2, 3, 4)).any()


def test_all_shifts_are_equally_likely() -> None:
    """Each of 25 places of 5000: chi-squared with 24 degrees of freedom is below 66 but once in 100 000 times."""
    point = np.zeros((5000, 1, 9, 9), np.float32)
    point[:, 0, 4, 4] = 1
    seen = Augmentation(Shift(2)).apply(point, seed=0, epoch=1)
    counts = Counter(zip(*(axis.tolist() for axis in np.nonzero(seen)[2:])))
    assert sorted(counts) == [(h, w) for h in range(2, 7) for w in range(2, 7)]
    assert sum((n - 200) ** 2 / 200 for n in counts.values()) < 66


@given(SHAPES, st.integers(1, 9), SEEDS)
def test_a_cutout_is_a_square_of_0_that_the_edges_cut(shape: tuple[int, ...], size: int, seed: int) -> None:
    images = images_of(shape)
    seen = Augmentation(Cutout(size)).apply(images, seed=seed, epoch=1)
    for before, after in zip(images, seen):
        zero = after == 0
        assert np.array_equal(np.where(zero, 0, before), after)
        rows, columns = zero[0].any(axis=1), zero[0].any(axis=0)
        assert np.array_equal(zero, np.broadcast_to(rows[:, None] & columns, zero.shape))
        for side in (rows, columns):
            at = np.flatnonzero(side)
            assert at.size == 0 or at[-1] - at[0] + 1 == at.size <= size
            assert size > 1 or at.size == 1  # its middle is in the image


def test_the_middle_of_a_cutout_is_anywhere() -> None:
    seen = Augmentation(Cutout(1)).apply(np.ones((3000, 1, 4, 5), np.float32), seed=0, epoch=1)
    assert ((seen == 0).mean(axis=0) > 0).all()
    assert ((seen == 0).sum(axis=(1, 2, 3)) == 1).all()


@given(SHAPES, st.floats(0.1, 1), SEEDS)
def test_a_crop_stays_within_the_range_of_its_window(shape: tuple[int, ...], share: float, seed: int) -> None:
    images = images_of(shape)
    seen = Augmentation(Crop(share)).apply(images, seed=seed, epoch=1)
    # Interpolation takes means of two numbers, each rounded: a + (b - a) * t is off by an ulp or two of the greatest.
    room = 4 * np.finfo(np.float32).eps * images.max()
    assert (seen >= images.min(axis=(2, 3), keepdims=True) - room).all()
    assert (seen <= images.max(axis=(2, 3), keepdims=True) + room).all()


def test_a_crop_of_a_plane_is_a_plane() -> None:
    """Linear interpolation is exact on linear images, but at the window's edge, where it repeats the last pixel."""
    plane = (np.arange(8.0)[:, None] + 10 * np.arange(8.0)).astype(np.float32)[None, None]
    seen = Crop(0.5).apply(plane, words((0, 2**64 - 1)))[0, 0]  # the window from row 0 and from column 4
    middles = ((np.arange(8) + 0.5) / 2 - 0.5).clip(0, 3)
    assert np.allclose(seen, middles[:, None] + 10 * (4 + middles), rtol=1e-6, atol=0)


@given(st.lists(STEPS, min_size=1, max_size=4))
def test_text_reads_back(steps: list[Shift | Flip | Crop | Cutout]) -> None:
    augment = Augmentation(*(Crop(round(s.share, 3)) if isinstance(s, Crop) else s for s in steps))
    assert Augmentation.parse(str(augment)) == augment
    assert eval(repr(augment)) == augment


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "an augmentation is made of .*, but '' is none"),
        ("shfit:2", "but 'shfit' is none; did you mean 'shift'"),
        ("shift", "shift takes a number, as in shift:2, but 'shift' has none"),
        ("shift:2.5", "shift takes a number"),
        ("shift:-1", "shift: the most pixels is a whole number from 0 to 32768, not -1"),
        ("flip:1", "flip takes no number, but 'flip:1' has one; write flip"),
        ("crop:0", "crop: the share of a side is a positive number, not 0.0"),
        ("crop:1.5", "crop: the share of a side is at most 1, not 1.5"),
        ("crop:nan", "not nan"),
        ("cutout:x", "cutout takes a number, as in cutout:8"),
        ("flip,,flip", "but '' is none"),
    ],
)
def test_other_texts_are_refused(text: str, rule: str) -> None:
    with pytest.raises(DataError, match=rule) as caught:
        Augmentation.parse(text)
    assert "\n" not in str(caught.value)


def test_what_is_no_step_and_what_is_not_normalised_is_refused() -> None:
    with pytest.raises(DataError, match="a step at least"):
        Augmentation()
    with pytest.raises(DataError, match=r"made of steps, such as .* not 'flip'"):
        Augmentation("flip")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"these are uint8; give those of dataset\.normalized"):
        Augmentation(Flip()).apply(np.zeros((1, 1, 4, 4), np.uint8), seed=0, epoch=1)
