"""What `load` takes a spec for, and what it says about one that is nothing."""

import pytest
from click.testing import CliRunner

from convc import data
from convc.cli import main
from convc.errors import DataError


@pytest.mark.parametrize(
    ("spec", "near"),
    [("mnist", "mnist5k"), ("synthetics", "synthetic"), ("fotos", "photos"), ("mine.npy", "mine.npz")],
)
def test_the_nearest_name_is_suggested(tmp_path, monkeypatch, spec, near):
    (tmp_path / "photos").mkdir()
    (tmp_path / "mine.npz").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"'{spec}' is none; did you mean '{near}'\?$"):
        data.load(spec)


def test_the_nearest_folder_beside_a_path_is_suggested(tmp_path):
    (tmp_path / "cifar10").mkdir()
    with pytest.raises(DataError, match=rf"; did you mean '{tmp_path}/cifar10'\?$"):
        data.load(f"{tmp_path}/cifra10")


def test_nothing_is_suggested_where_nothing_is_near(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"'quite another thing' is none$"):
        data.load("quite another thing")


def test_a_folder_of_nothing(tmp_path):
    (tmp_path / "readme.txt").touch()
    with pytest.raises(DataError, match=r"holds IDX files .*, CIFAR's .bin files .* or a folder of images .*none: /"):
        data.load(str(tmp_path))


@pytest.mark.parametrize(
    "size", ["64", "64x64", "2x64x64", "3x0x64", "3x64x64x1", "3X64X64", "-3x64x64", "", "3x64x6e1"]
)
def test_a_size_of_another_form(tmp_path, size):
    with pytest.raises(DataError, match=rf"a size is CxHxW, C being 1 or 3, such as 3x64x64, not '{size}': /"):
        data.load(f"{tmp_path}:{size}")


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "data_batch_1.bin"])
def test_only_images_by_class_are_resized(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"only images by class are brought to a size, .*; leave out :3x64x64"):
        data.load(f"{tmp_path}:3x64x64")


@pytest.mark.parametrize("command", ["train", "study", "eval"])
def test_the_help_lists_every_form(command):
    shown = " ".join(CliRunner().invoke(main, [command, "--help"]).output.split())
    assert data.FORMS in shown
