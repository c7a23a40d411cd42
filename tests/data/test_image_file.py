"""One image file: its pixels, what is refused, and that damage is one line."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convc.data.image_file import read_image
from convc.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)


def refused(path, rule, shape=None):
    with pytest.raises(DataError, match=rule) as caught:
        read_image(path, shape)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [None, (3, 5, 6)], ids=["as stored", "to its own size"])
@pytest.mark.parametrize("kind", ["png", "bmp", "ppm"])
def test_pixels_are_where_they_were(tmp_path, kind, shape):
    path = tmp_path / f"one.{kind}"
    Image.fromarray(PIXELS).save(path)
    assert np.array_equal(read_image(path, shape), PIXELS.transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["RGBA", "P", "1", "LA", "CMYK"])
def test_kinds_that_are_read_only_where_channels_are_given(tmp_path, mode):
    path = tmp_path / ("odd.jpg" if mode == "CMYK" else "odd.png")
    Image.new(mode, (6, 5)).save(path)
    refused(path, rf"grey or RGB, and this has Pillow's mode {mode}: .*odd.*; FOLDER:CxHxW converts them")
    assert read_image(path, (1, 5, 6)).shape == (1, 5, 6)


@pytest.mark.parametrize("shape", [None, (1, 5, 6)])
def test_deep_images_are_not_clipped(tmp_path, shape):
    path = tmp_path / "deep.png"
    Image.new("I;16", (6, 5), 60000).save(path)
    refused(path, r"8 bits a channel, and this has Pillow's mode I;16: .*deep.png$", shape)


@pytest.mark.parametrize("raw", [b"", b"not an image", b"GIF89a"], ids=["empty", "text", "gif"])
def test_another_file_under_an_image_s_name(tmp_path, raw):
    path = tmp_path / "x.png"
    path.write_bytes(raw)
    refused(path, "in PNG, JPEG, BMP or PPM form; this is not, or is damaged: .*x.png")


def test_an_image_that_claims_to_be_huge(tmp_path):
    path = tmp_path / "bomb.ppm"
    path.write_bytes(b"P6 10000 10000 255\n")
    refused(path, "cannot read .*bomb.ppm as an image, it may be damaged .*exceeds limit")


def test_a_file_that_is_not_there(tmp_path):
    refused(tmp_path / "gone.png", "cannot read .*gone.png: No such file")


def encoded(kind):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind)
    return file.getvalue()


KINDS = ["PNG", "JPEG", "BMP", "PPM"]
VALID = {kind: encoded(kind) for kind in KINDS}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("images") / "fuzzed.png"


def read_or_refuse(path, raw, shape=None):
    """The pixels, or None where the file is refused with one line that names it; any other exception escapes."""
    path.write_bytes(raw)
    try:
        return read_image(path, shape)
    except DataError as error:
        line = str(error)
    assert "\n" not in line
    assert str(path) in line
    return None


@pytest.mark.parametrize("kind", KINDS)
@given(draw=st.data(), shape=st.sampled_from([None, (1, 4, 4), (3, 5, 6)]))
def test_damage_never_raises_anything_else(scratch, kind, draw, shape):
    raw = bytearray(VALID[kind])
    for place in draw.draw(st.lists(st.integers(0, len(raw) - 1), max_size=3)):
        raw[place] ^= draw.draw(st.integers(1, 255))
    stop = draw.draw(st.integers(0, len(raw)) | st.just(len(raw)))
    pixels = read_or_refuse(scratch, bytes(raw[:stop]), shape)
    assert pixels is None or pixels.dtype == np.uint8
    assert pixels is None or shape is None or pixels.shape == shape


@pytest.mark.parametrize("kind", KINDS)
def test_no_truncation_loses_pixels(scratch, kind):
    whole = read_or_refuse(scratch, VALID[kind])
    for stop in range(len(VALID[kind])):
        pixels = read_or_refuse(scratch, VALID[kind][:stop])
        assert pixels is None or np.array_equal(pixels, whole), f"{stop} bytes of {len(VALID[kind])}"


@given(st.binary(max_size=100))
def test_random_bytes_are_refused(scratch, raw):
    assert read_or_refuse(scratch, raw) is None
