import io
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from convc.errors import DataError
from convc.report.confusion import MOST_IMAGES, class_accuracies, write_confusion_figure

NAMES = ("cat", "dog", "a very long name of a bird")
COUNTS = np.array([[8, 2, 0], [0, 5, 0], [0, 0, 0]])
GREY = np.zeros((1, 4, 4), np.uint8)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    figures: list[Figure] = []
    save = Figure.savefig

    def spy(self: Figure, target: io.BytesIO, **options: object) -> None:
        figures.append(self)
        save(self, target, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    return figures


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def test_counts_accuracies_and_the_misread_images(tmp_path: Path, drawn: list[Figure]) -> None:
    color = np.full((3, 4, 4), 0.5, np.float32)
    misread = [(GREY, 0, 1, 0.81), (color, 0, 1, 0.6)]
    path = write_confusion_figure(tmp_path / "confusion.png", COUNTS, NAMES, misread)
    assert path.read_bytes()[:4] == b"\x89PNG"
    said = words(drawn[0])
    for text in ("80.0%", "100.0%", "no image", "accuracy 86.7%: 13 of 15 images", "cat → dog\n81%", "cat → dog\n60%"):
        assert said.count(text) == 1, text
    assert [text for text in said if text in ("8", "2", "5", "0")] == ["8", "2", "5"], "zeros are left empty"
    assert len(drawn[0].axes) == 1 + 2


def test_uint8_and_floats_of_one_image_are_drawn_alike(tmp_path: Path, drawn: list[Figure]) -> None:
    pixels = np.arange(16, dtype=np.uint8).reshape(1, 4, 4) * 17
    misread = [(pixels, 0, 1, 0.5), (pixels / np.float32(255), 0, 1, 0.5)]
    write_confusion_figure(tmp_path / "confusion.png", COUNTS, NAMES, misread)
    first, second = (ax.images[0].get_array() for ax in drawn[0].axes[1:])
    assert np.allclose(first, second, rtol=0, atol=2**-24)  # half a unit in the last place of a float32 below 1


def test_more_images_than_there_is_room_for_are_counted(tmp_path: Path, drawn: list[Figure]) -> None:
    write_confusion_figure(tmp_path / "confusion.png", COUNTS, NAMES, [(GREY, 0, 1, 0.5)] * (MOST_IMAGES + 3))
    assert len(drawn[0].axes) == 1 + MOST_IMAGES
    assert any(text.endswith(f"{MOST_IMAGES} of {MOST_IMAGES + 3}") for text in words(drawn[0]))


def test_nothing_misread_many_classes_and_no_image_at_all(tmp_path: Path, drawn: list[Figure]) -> None:
    names = [f"class {i}" for i in range(40)]
    first = write_confusion_figure(tmp_path / "a.png", np.zeros((40, 40), int), names, []).read_bytes()
    assert "no images" in words(drawn[0])
    assert first == write_confusion_figure(tmp_path / "b.png", np.zeros((40, 40), int), names, []).read_bytes()


def test_accuracies_are_of_the_true_class() -> None:
    assert class_accuracies(COUNTS)[:2].tolist() == [0.8, 1.0]
    assert np.isnan(class_accuracies(COUNTS)[2])


@pytest.mark.parametrize(
    ("counts", "names", "misread", "says"),
    [
        (np.zeros((2, 3), int), NAMES, [], r"counts are whole numbers \[classes, classes\], not int64\[2, 3\]"),
        (np.zeros((3, 3)), NAMES, [], "counts are whole numbers"),
        (np.zeros((0, 0), int), (), [], "counts are whole numbers"),
        (COUNTS - 1, NAMES, [], "not negative, but one is -1"),
        (COUNTS, NAMES[:2], [], "each of 3 classes has a name, not 2"),
        (COUNTS, NAMES, [(GREY, 0, 1, 0.5), (GREY[0], 0, 1, 0.5)], r"not uint8\[4, 4\], at misread image 1"),
        (COUNTS, NAMES, [(GREY.astype(int), 0, 1, 0.5)], r"not int64\[1, 4, 4\], at misread image 0"),
        (COUNTS, NAMES, [(GREY, 0, 3, 0.5)], "classes are 0 to 2, not 0 and 3, at misread image 0"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, counts: np.ndarray, names, misread, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        write_confusion_figure(tmp_path / "confusion.png", counts, names, misread)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
