import hashlib
import math
from pathlib import Path

import numpy as np
import pytest

from convc.errors import DataError
from convc.report.history import (
    EpochRecord,
    EpochTiming,
    RunHistory,
    Setting,
    read_history,
    read_timing,
    write_history,
    write_timing,
)

HEADER = "run,learning_rate,seed,epoch,train_loss,validation_loss,validation_accuracy,test_accuracy\n"
ROW = "lr_0.1_seed_3,0.1,3,"


def sealed(text: str) -> str:
    """The text, a digest at the end of every row: SHA-256 as hashlib, and no code of convc, makes it."""
    header, *rows = text.splitlines() or [""]
    digests = (f"{row},{hashlib.sha256(row.encode()).hexdigest()[:16]}\n" for row in rows)
    return f"{header},sha256\n" + "".join(digests)


GOOD = RunHistory(Setting(0.1), 3, (EpochRecord(1, 0.1 + 0.2, 1e-300, 0.5, 1.0), EpochRecord(2, 0.0, 2.0, 0.25, 0.0)))


def test_every_float_survives_and_equal_numbers_give_equal_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "new" / "b.csv"
    write_history(first, [GOOD])
    write_history(second, read_history(first))
    assert read_history(first) == (GOOD,)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_text() == sealed(f"{HEADER}{ROW}1,0.30000000000000004,1e-300,0.5,1.0\n{ROW}2,0.0,2.0,0.25,0.0\n")


def test_factors_are_columns_and_part_of_names(tmp_path: Path) -> None:
    runs = [RunHistory(Setting(0.1, (("momentum", m),)), 3, GOOD.epochs) for m in (0.0, 0.9)]
    path = tmp_path / "h.csv"
    write_history(path, runs)
    header, first, *_ = path.read_text().splitlines()
    assert header.startswith("run,learning_rate,seed,momentum,epoch,")
    assert first.startswith("lr_0.1_momentum_0.0_seed_3,0.1,3,0.0,1,")
    assert list(read_history(path, ["momentum"])) == runs
    with pytest.raises(DataError, match="the header must be run,learning_rate,seed,epoch"):
        read_history(path)
    with pytest.raises(DataError, match="the same factors"):
        write_history(path, [GOOD, *runs])


def test_numpy_scalars_are_written_as_plain_numbers(tmp_path: Path) -> None:
    record = EpochRecord(1, np.float64(0.5), np.float32(0.25), np.float64(0.75), np.float32(0.5))
    write_history(tmp_path / "h.csv", [RunHistory(Setting(np.float64(0.1)), 3, (record,))])
    assert (tmp_path / "h.csv").read_text() == sealed(f"{HEADER}{ROW}1,0.5,0.25,0.75,0.5\n")


def test_a_nan_run_comes_back_as_ended_early(tmp_path: Path) -> None:
    lost = EpochRecord(2, math.nan, -math.nan, math.nan, math.nan)
    run = RunHistory(Setting(1.0), 0, (EpochRecord(1, 2.3, 2.3, 0.1, 0.1), lost))
    assert run.ended_early
    write_history(tmp_path / "h.csv", [run])
    assert (tmp_path / "h.csv").read_text().splitlines()[-1].startswith("lr_1.0_seed_0,1.0,0,2,nan,nan,nan,nan,")
    (back,) = read_history(tmp_path / "h.csv")
    assert back.ended_early
    assert math.isnan(back.epochs[1].train_loss)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "the header must be run,learning_rate,seed,epoch"),
        ("a,b\n", 1, "the header must be run,learning_rate,seed,epoch"),
        (f"{HEADER}{ROW}1,2,2,0.5\n", 2, "a row has 9 fields, this one has 8"),
        (f"{HEADER}{ROW}1,2,2,0.5,0.5\n\n", 3, "a row has 9 fields, this one has 2"),
        (f"{HEADER}{ROW}1.5,2,2,0.5,0.5\n", 2, "epoch must be a whole number, not '1.5'"),
        (f"{HEADER}lr_0.1_seed_3,0.1,-3,1,2,2,0.5,0.5\n", 2, "seed must be a whole number, not '-3'"),
        (f"{HEADER}{ROW}1,two,2,0.5,0.5\n", 2, "train_loss must be a number, not 'two'"),
        (f"{HEADER}{ROW}1,2,2,0.5,50\n", 2, "test_accuracy lies in 0..1"),
        (f"{HEADER}{ROW}1,2,2,nan,0.5\n", 2, "validation_accuracy lies in 0..1 (nan only beside a non-finite loss)"),
        (f"{HEADER}{ROW}1,2,2,0.5,0.5\n{ROW}3,2,2,0.5,0.5\n", 3, "expected 2, not 3, in lr_0.1_seed_3"),
        (f"{HEADER}{ROW}1,nan,2,0.5,0.5\n{ROW}2,2,2,0.5,0.5\n", 3, "ends at its first non-finite loss"),
        (
            f"{HEADER}{ROW}1,2,2,0.5,0.5\nlr_1.0_seed_3,1.0,3,1,2,2,0.5,0.5\n{ROW}2,2,2,0.5,0.5\n",
            4,
            "lr_0.1_seed_3 comes again",
        ),
        (f"{HEADER}lr_0.1_seed_4,0.1,3,1,2,2,0.5,0.5\n", 2, "'lr_0.1_seed_4' has the numbers of lr_0.1_seed_3"),
        (f"{HEADER}lr_-1.0_seed_3,-1,3,1,2,2,0.5,0.5\n", 2, "a learning rate is a positive number, not -1.0"),
    ],
)
def test_a_malformed_file_is_one_line_naming_the_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = tmp_path / "history.csv"
    path.write_text(sealed(text))
    with pytest.raises(DataError) as error:
        read_history(path)
    message = str(error.value)
    assert message.startswith(f"{path}, line {line}: ")
    assert says in message
    assert "\n" not in message


def test_files_that_cannot_be_read_or_written_say_so(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot read .*missing.csv: No such file"):
        read_history(tmp_path / "missing.csv")
    with pytest.raises(DataError, match=r"not UTF-8 text \(byte 0\)"):
        read_history(tmp_path / "binary.csv")
    with pytest.raises(DataError, match=r"cannot write .*choose a folder that can be written"):
        write_history(tmp_path / "file" / "h.csv", [GOOD])
    with pytest.raises(DataError, match=r"lr_0.1_seed_3 comes twice"):
        write_history(tmp_path / "h.csv", [GOOD, GOOD])


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "h.csv"
    path.write_text("old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("convc.build.files.os.replace", refuse)
    with pytest.raises(DataError, match="No space left on device"):
        write_history(path, [GOOD])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_timing_has_its_own_file(tmp_path: Path) -> None:
    write_timing(tmp_path / "timing.csv", [EpochTiming("lr_0.01_seed_0", 1, 1.5, 2666.25)])
    expected = "run,epoch,seconds,images_per_second\nlr_0.01_seed_0,1,1.5,2666.25\n"
    assert (tmp_path / "timing.csv").read_text() == sealed(expected)
    assert read_timing(tmp_path / "timing.csv") == [EpochTiming("lr_0.01_seed_0", 1, 1.5, 2666.25)]


def test_a_damaged_byte_of_a_history_is_seen_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    write_history(path, [GOOD])
    whole = path.read_bytes()
    for at in range(len(whole)):
        for flip in (0x01, 0x20, 0x80):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            with pytest.raises(DataError, match=r"^[^\n]*(choose another --out|is not UTF-8 text[^\n]*)$"):
                read_history(path)


def test_a_row_that_was_edited_is_named(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    write_history(path, [GOOD])
    path.write_text(path.read_text().replace("3,2,0.0,2.0", "3,2,0.0,1.0"))
    with pytest.raises(DataError, match=r"h.csv, line 3: the row is damaged: .*delete the rows of that run"):
        read_history(path)
    write_timing(path, [EpochTiming("lr_0.1_seed_3", 1, 1.5, 2.0)])
    path.write_text(path.read_text().replace("1.5", "1.6"))
    with pytest.raises(
        DataError, match=r"h.csv, line 2: the row is damaged: .*delete .*h.csv: only the times are lost"
    ):
        read_timing(path)
