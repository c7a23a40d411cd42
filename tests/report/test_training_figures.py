import io
import math
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from convc.errors import DataError
from convc.report.training_figures import write_range_test_figure, write_training_figures

NAN, INF = math.nan, math.inf
EPOCHS = [1, 2, 3, 4]
LOSSES, ACCURACIES = [2.0, 1.0, 0.5, 0.3], [0.2, 0.6, 0.8, 0.9]
STEADY, FALLING = [0.1] * 4, [0.1, 0.05, 0.02, 0.01]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that is saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def spy(self: Figure, target: io.BytesIO, **options: object) -> None:
        figures.append(self)
        save(self, target, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    return figures


def words(figure: Figure) -> set[str]:
    return {text.get_text() for text in figure.findobj(matplotlib.text.Text)}


def test_losses_and_accuracy_of_a_run_with_its_best_epoch(tmp_path: Path, drawn: list[Figure]) -> None:
    paths = write_training_figures(tmp_path, EPOCHS, LOSSES, LOSSES, ACCURACIES, STEADY, 3)
    assert paths == (tmp_path / "loss.png", tmp_path / "accuracy.png")
    loss, accuracy = drawn
    assert {"training", "validation", "best: epoch 3"} <= words(loss)
    assert "best: epoch 3" in words(accuracy)
    assert [len(figure.axes) for figure in drawn] == [1, 1]
    lines = [line.get_ydata() for line in loss.axes[0].lines[:2]]
    assert all(np.array_equal(line, LOSSES) for line in lines)


def test_a_learning_rate_that_changes_stands_below(tmp_path: Path, drawn: list[Figure]) -> None:
    write_training_figures(tmp_path, EPOCHS, LOSSES, LOSSES, ACCURACIES, FALLING, None)
    assert np.array_equal(drawn[0].axes[1].lines[0].get_ydata(), FALLING)
    assert "learning rate, highest 0.1" in words(drawn[0])
    assert not any(text.startswith("best") for text in words(drawn[0]))


@pytest.mark.parametrize(("value", "says"), [(NAN, "NaN at epoch 4"), (INF, "infinite at epoch 4")])
def test_a_run_that_ended_so_is_marked(tmp_path: Path, drawn: list[Figure], value: float, says: str) -> None:
    for good in (LOSSES[:3], [value] * 3):
        losses = [*good, value]
        write_training_figures(tmp_path, EPOCHS, losses, losses, [0.1, 0.1, 0.1, NAN], STEADY, 1)
    assert all(says in words(figure) for figure in drawn)
    assert len(drawn) == 4


def test_the_same_run_gives_the_same_bytes_whatever_the_users_style(tmp_path: Path) -> None:
    first = write_training_figures(tmp_path / "a", EPOCHS, LOSSES, LOSSES, ACCURACIES, FALLING, 2)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black"}):
        second = write_training_figures(tmp_path / "b", EPOCHS, LOSSES, LOSSES, ACCURACIES, FALLING, 2)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize("epochs", [[], [1, 2, 3]])
def test_columns_of_one_length_and_one_epoch_at_least(tmp_path: Path, epochs: list[int]) -> None:
    losses = LOSSES if epochs else []
    with pytest.raises(DataError, match="a value for each epoch, of one epoch or more, not epochs") as caught:
        write_training_figures(tmp_path, epochs, losses, losses, losses, losses, None)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_range_test_names_what_it_found(tmp_path: Path, drawn: list[Figure]) -> None:
    rates = np.geomspace(1e-4, 1, 20)
    losses = np.where(rates < 0.5, 2.3 / (1 + 50 * rates), 1e9).tolist()
    path = write_range_test_figure(tmp_path / "range.png", rates.tolist(), losses, losses, 0.0421, 0.5)
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert {"take 0.0421", "diverges at 0.5", "learning rate (log scale)"} <= words(drawn[0])
    low, high = drawn[0].axes[0].get_ylim()
    assert low < min(losses)
    assert high < 100, "a loss on its way to infinity must not flatten the others"
    write_range_test_figure(path, [0.1, 0.2], [1.0, NAN], [1.0, NAN], None, None)
    assert not any("take" in text or "diverges" in text for text in words(drawn[1]))


@pytest.mark.parametrize(
    ("rates", "says"),
    [
        ([0.1], "a value for each step, of one step or more, not rates 1, losses 2, smoothed 2"),
        ([0.0, 0.1], "a range test is over positive learning rates, not 0.0"),
        ([0.1, NAN], "a range test is over positive learning rates, not nan"),
    ],
)
def test_rates_that_no_range_test_has(tmp_path: Path, rates: list[float], says: str) -> None:
    with pytest.raises(DataError, match=says):
        write_range_test_figure(tmp_path / "range.png", rates, [1.0, 2.0], [1.0, 2.0], None, None)
    assert list(tmp_path.iterdir()) == []
