"""Folders of images by class: what is read, what is refused, and that damage is one line."""

import os

import numpy as np
import pytest
from PIL import Image

from convc import data
from convc.data.image_file import read_image
from convc.errors import DataError


def picture(value, mode="RGB", size=(6, 5)):
    """An image, width x height as Pillow counts, filled with `value`."""
    return Image.new(mode, size, (value, 0, 255) if mode == "RGB" else value)


def write_classes(folder, each=10, classes=("cat", "dog", "eel"), kind="png", mode="RGB"):
    """`each` images of every class; image i of class c is filled with 20 c + i."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            picture(20 * label + i, mode).save(folder / name / f"{i:03}.{kind}")
    return folder


def values(split):
    return split.images[:, 0, 0, 0].astype(int).tolist()


def refused(folder, rule):
    with pytest.raises(DataError, match=rule) as caught:
        data.load(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["png", "PNG", "bmp", "ppm"])
def test_a_folder_of_classes_is_split(tmp_path, kind):
    dataset = data.load(str(write_classes(tmp_path / "pets", kind=kind)))
    assert (dataset.name, dataset.classes, dataset.image_shape) == ("pets", 3, (3, 5, 6))
    assert dataset.class_names == ("cat", "dog", "eel")
    assert [len(split) for split in dataset.parts().values()] == [24, 3, 3]
    for split in dataset.parts().values():
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
        assert [value // 20 for value in values(split)] == split.labels.tolist()
        assert np.all(split.images[:, 1] == 0)
        assert np.all(split.images[:, 2] == 255)
    assert sorted(dataset.test.labels) == sorted(dataset.validation.labels) == [0, 1, 2]
    everybody = sorted(value for split in dataset.parts().values() for value in values(split))
    assert everybody == [20 * label + i for label in range(3) for i in range(10)]


@pytest.mark.parametrize(("kind", "off"), [("png", 0), ("pgm", 0), ("jpg", 2)])
def test_grey_images_have_one_channel(tmp_path, kind, off):
    dataset = data.load(str(write_classes(tmp_path, kind=kind, mode="L")))
    assert dataset.image_shape == (1, 5, 6)
    everybody = sorted(value for split in dataset.parts().values() for value in values(split))
    wanted = [20 * label + i for label in range(3) for i in range(10)]
    assert np.abs(np.subtract(everybody, wanted)).max() <= off


@pytest.mark.parametrize(
    ("others", "sizes"), [(["test"], [27, 3, 6]), (["val"], [27, 3, 6]), (["val", "test"], [30, 6, 6])]
)
def test_given_splits(tmp_path, others, sizes):
    write_classes(tmp_path / "train")
    for part in others:
        write_classes(tmp_path / part, 2)
    dataset = data.load(str(tmp_path))
    assert [len(split) for split in dataset.parts().values()] == sizes
    assert values(dataset.test) == [0, 1, 20, 21, 40, 41]
    assert dataset.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert values(dataset.train) != sorted(values(dataset.train))


def test_labels_are_those_of_train_where_test_lacks_a_class(tmp_path):
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "test", 2, ("dog", "eel"))
    dataset = data.load(str(tmp_path))
    assert dataset.class_names == ("cat", "dog", "eel")
    assert dataset.test.labels.tolist() == [1, 1, 2, 2]


def test_train_may_be_a_class(tmp_path):
    assert data.load(str(write_classes(tmp_path, classes=("plane", "train")))).class_names == ("plane", "train")


def test_the_order_of_the_file_system_does_not_matter(tmp_path, monkeypatch):
    folder = str(write_classes(tmp_path))
    first = data.load(folder)
    scandir = os.scandir

    class Backwards:
        def __init__(self, path):
            with scandir(path) as entries:
                self.entries = sorted(entries, key=lambda e: e.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("os.scandir", Backwards)
    again = data.load(folder)
    for part, split in first.parts().items():
        assert np.array_equal(split.images, again.parts()[part].images)
        assert np.array_equal(split.labels, again.parts()[part].labels)


def test_the_seed_orders_train_and_moves_nobody(tmp_path):
    folder = str(write_classes(tmp_path))
    first, other = (data.load(folder, seed=seed) for seed in (0, 1))
    assert values(first.train) != values(other.train)
    assert sorted(values(first.train)) == sorted(values(other.train))
    assert values(first.test) == values(other.test)


def test_hidden_files_links_and_notes_are_passed_over(tmp_path):
    write_classes(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / "README").touch()
    (tmp_path / "cat" / ".DS_Store").touch()
    (tmp_path / "cat" / "link.png").symlink_to(tmp_path / "dog" / "000.png")
    (tmp_path / "linked").symlink_to(tmp_path / "cat")
    dataset = data.load(str(tmp_path))
    assert dataset.class_names == ("cat", "dog", "eel")
    assert sum(len(split) for split in dataset.parts().values()) == 30


def test_equal_images_are_kept(tmp_path):
    write_classes(tmp_path)
    (tmp_path / "cat" / "copy.png").write_bytes((tmp_path / "cat" / "000.png").read_bytes())
    parts = data.load(str(tmp_path)).parts().values()
    assert sorted(value for split in parts for value in values(split)).count(0) == 2


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_images_are_brought_to_one_size_and_kind(tmp_path, channels, mode):
    write_classes(tmp_path)
    Image.new("RGBA", (40, 3), (9, 9, 9, 128)).save(tmp_path / "cat" / "wide.png")
    Image.new("L", (3, 40), 9).save(tmp_path / "dog" / "tall.jpg")
    Image.new("1", (8, 8), 1).save(tmp_path / "eel" / "bits.png")
    picture(9).quantize(4).save(tmp_path / "eel" / "palette.png")
    dataset = data.load(f"{tmp_path}:{channels}x8x7")
    assert dataset.image_shape == (channels, 8, 7)
    assert sum(len(split) for split in dataset.parts().values()) == 34
    shown = read_image(tmp_path / "cat" / "wide.png", (channels, 8, 7))
    assert shown.shape == (channels, 8, 7)
    assert np.all(shown == 9)
    assert read_image(tmp_path / "eel" / "bits.png", (channels, 2, 2)).min() == 255


def test_another_size_is_refused_by_name(tmp_path):
    write_classes(tmp_path)
    picture(0, size=(6, 7)).save(tmp_path / "dog" / "odd.png")
    refused(tmp_path, r"one size and kind, but .*dog/odd.png is 3x7x6 and .*cat/000.png is 3x5x6; FOLDER:CxHxW")


def test_another_kind_is_refused_by_name(tmp_path):
    write_classes(tmp_path)
    picture(0, "L").save(tmp_path / "dog" / "odd.png")
    refused(tmp_path, r"but .*dog/odd.png is 1x5x6 and .*cat/000.png is 3x5x6")


def test_test_images_must_be_of_train_s_size(tmp_path):
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "test", 1)
    picture(0, size=(6, 7)).save(tmp_path / "test" / "dog" / "odd.png")
    refused(tmp_path, r"but .*test/dog/odd.png is 3x7x6 and .*train/cat/000.png is 3x5x6")


def test_one_class(tmp_path):
    write_classes(tmp_path / "pets", classes=("cat",))
    refused(tmp_path / "pets", "two or more classes, and this holds one, 'cat': .*pets; give the folder that holds")


def test_an_empty_class(tmp_path):
    write_classes(tmp_path)
    (tmp_path / "fox").mkdir()
    refused(tmp_path, "at least one image, and this holds none: .*/fox")


@pytest.mark.parametrize("name", ["notes.txt", "clip.gif", "png", "labels"])
def test_a_file_that_is_no_image(tmp_path, name):
    write_classes(tmp_path)
    (tmp_path / "dog" / name).write_text("not an image")
    refused(tmp_path, rf"holds images only \(.bmp, .*\), and this is none: .*dog/{name}")


def test_a_truncated_image(tmp_path):
    write_classes(tmp_path)
    path = tmp_path / "dog" / "004.png"
    path.write_bytes(path.read_bytes()[:50])
    refused(tmp_path, r"cannot read .*dog/004.png as an image, it may be damaged")


def test_an_image_beside_the_classes(tmp_path):
    write_classes(tmp_path)
    picture(0).save(tmp_path / "stray.png")
    refused(tmp_path, "the folder of their class, and this is beside them: .*stray.png")


def test_a_folder_in_a_class(tmp_path):
    write_classes(tmp_path)
    (tmp_path / "cat" / "more").mkdir()
    refused(tmp_path, "holds images only, and this is a folder: .*cat/more")


def test_parts_that_do_not_fit(tmp_path):
    write_classes(tmp_path / "train")
    refused(tmp_path, "beside train there must be val, test or both, and there is none: .*; or give .*/train")
    write_classes(tmp_path / "test", 2, ("cat", "dgo"))
    refused(tmp_path, "classes are those of .*train, and 'dgo' is none of them: .*test")
    (tmp_path / "valid").mkdir()
    refused(tmp_path, "there may be val and test, and 'valid' is none of them")


def test_a_part_without_classes(tmp_path):
    write_classes(tmp_path / "train")
    (tmp_path / "test").mkdir()
    refused(tmp_path, "holds a folder for each class, and this holds none: .*test")


def test_too_few_to_hold_out(tmp_path):
    refused(write_classes(tmp_path, 3), "at least 10 images, not 9")


def test_a_size_that_memory_has_no_room_for(tmp_path):
    write_classes(tmp_path, 400, ("cat", "dog"))
    with pytest.raises(
        DataError, match=r"800 images of 3x99999x99999 take 21.8 TiB, and .* are free: .*; take fewer or smaller"
    ):
        data.load(f"{tmp_path}:3x99999x99999")


def test_an_unreadable_folder(tmp_path, monkeypatch):
    write_classes(tmp_path)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    refused(tmp_path, "cannot read .*: Permission denied")
