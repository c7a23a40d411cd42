"""Training over data that stay on the device, over data streamed to it, and batch by batch: the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

import convc
from convc.cli import main
from convc.data import Augmentation, Dataset, Split
from convc.errors import RunError
from convc.optim import SGD
from convc.runtime import cuda, cuda_device, cuda_feed
from convc.runtime.cuda_probe import driver_devices
from convc.train import compile_trainer, evaluate, fit
from tests.stub.driver import OUT_OF_MEMORY, Stub

COUNTED = ("cuMemcpyDtoHAsync_v2", "cuMemcpyHtoDAsync_v2", "cuMemcpyHtoD_v2", "cuStreamSynchronize")
MODEL = """
from convc import nn

def tiny():
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Dropout(0.25), nn.Flatten(), nn.Linear(32, 3))
"""


def split(rows: int, seed: int, dtype: type = np.float32) -> Split:
    """Images of which one column of three is bright."""
    labels = np.arange(rows, dtype=np.int32) % 3
    images = np.random.default_rng(seed).uniform(0, 90, (rows, 1, 4, 4))
    images[np.arange(rows), 0, :, labels] += 150
    return Split(images.astype(dtype) if dtype is np.uint8 else (images / 255).astype(dtype), labels)


def dataset(dtype: type = np.float32) -> Dataset:
    return Dataset("columns", split(11, 0, dtype), split(6, 1, dtype), split(5, 2, dtype), 3)


def tiny() -> convc.nn.Sequential:
    layers = convc.nn.Conv2d(1, 2, 3, padding=1), convc.nn.ReLU(), convc.nn.Flatten(), convc.nn.Linear(32, 3)
    return convc.nn.Sequential(*layers, name="tiny")


def run(
    target: str, data: Dataset, epochs: int = 2, augment: Augmentation | None = None
) -> tuple[bytes, list[tuple[object, ...]]]:
    """All parameters at the end and what the epochs measured."""
    module = tiny()
    trainer = compile_trainer(module, data, batch=4, optimizer=SGD(momentum=0.9), seed=3, target=target)
    results = fit(trainer.step, trainer.evaluation, data, lr=0.05, epochs=epochs, seed=3, augment=augment)
    return b"".join(module.store[n].tobytes() for n in module.store), [(r.train_loss, r.validation) for r in results]


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_resident_streamed_and_emulated_are_the_same_bytes(
    stub: Stub, captured: bool, monkeypatch: pytest.MonkeyPatch, dtype: type
) -> None:
    data = dataset(dtype)
    resident = run("cuda", data)
    assert stub.launches.count("gather_batch") == 2 * (3 + 2)
    assert not stub.reports
    del stub.launches[:]
    monkeypatch.setattr(cuda_feed, "RESIDENT_SHARE", 0)
    cuda_feed._residents.clear()
    streamed = run("cuda", data)
    assert "gather_batch" not in stub.launches
    assert resident == streamed
    assert resident == run("emulator", data)


@pytest.mark.parametrize("share", [0.5, 0], ids=["resident", "streamed"])
def test_augmented_images_are_new_on_the_device_every_epoch(
    stub: Stub, captured: bool, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(cuda_feed, "RESIDENT_SHARE", share)
    data, augment = dataset(), Augmentation.parse("shift:1,flip")
    cuda_feed._residents.clear()
    augmented = run("cuda", data, 3, augment)
    held = [array for array, _ in cuda_feed._residents.values()]
    assert (
        sum(array() is not None and array().shape[1:] == (1, 4, 4) for array in held) <= 2
    )  # train's last, validation
    assert augmented == run("emulator", data, 3, augment)
    assert augmented != run("cuda", data, 3)


ORDERS = {"first": (True, False), "others": (False, True), "all": (True, True)}


@pytest.mark.parametrize("lazy", ORDERS)
@pytest.mark.parametrize("share", [0.5, 0], ids=["resident", "streamed"])
def test_any_order_that_events_allow_gives_the_same_bytes(
    stub: Stub, captured: bool, monkeypatch: pytest.MonkeyPatch, share: float, lazy: str
) -> None:
    """A stream runs only when something waits for it: the first one, that of copies, or both. A program's first two
    batches are waited for, so there are two epochs."""
    data = dataset()
    monkeypatch.setattr(cuda_feed, "RESIDENT_SHARE", share)
    expected = run("cuda", data)
    cuda_device.open_device.cache_clear()  # streams anew: the program's is the first
    stub.reset()
    stub.lazy(*ORDERS[lazy])
    assert run("cuda", data) == expected
    assert not stub.reports


@pytest.mark.parametrize(
    ("lazy", "kind", "wait"),
    [("others", "Stream", "wait_for_event"), ("first", "Stream", "wait_for_event"), ("all", "Event", "synchronize")],
)
def test_a_wait_that_is_forgotten_is_noticed(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, lazy: str, kind: str, wait: str
) -> None:
    """What the test above can see."""
    data = dataset()
    monkeypatch.setattr(cuda_feed, "RESIDENT_SHARE", 0)
    expected = run("cuda", data)
    cuda_device.open_device.cache_clear()  # streams anew: the program's is the first
    stub.reset()
    stub.lazy(*ORDERS[lazy])
    monkeypatch.setattr(getattr(cuda_device.driver(), kind), wait, lambda *_: None)
    try:
        assert run("cuda", data) != expected
    except RunError:
        assert stub.reports


def test_long_epochs_are_cut_into_stretches(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset()
    whole = run("cuda", data, epochs=1)
    monkeypatch.setattr(cuda, "STRETCH", 2)
    cut = run("cuda", data, epochs=1)
    assert whole == cut


def test_results_are_fetched_once_an_epoch_and_data_copied_once(stub: Stub) -> None:
    data = dataset()
    module = tiny()
    trainer = compile_trainer(module, data, batch=4, optimizer=SGD(momentum=0.9), seed=3, target="cuda")
    fit(trainer.step, trainer.evaluation, data, lr=0.05, epochs=2, seed=3)  # every number of rows once, then captured
    before = {api: stub.calls(api) for api in COUNTED}
    fit(trainer.step, trainer.evaluation, data, lr=0.05, epochs=3, start=2, seed=3)
    made = {api: stub.calls(api) - n for api, n in before.items()}
    # Training and validation: results, and on the way there order and numbers.
    assert made == dict(zip(COUNTED, (2, 4, 0, 2)))


def test_an_array_that_goes_takes_its_copy_with_it(stub: Stub) -> None:
    trainer = compile_trainer(tiny(), dataset(), batch=4, optimizer=SGD(), seed=0, target="cuda")
    held = split(9, 4)
    evaluate(trainer.evaluation, held)
    assert len(cuda_feed._residents) == 2
    del held
    assert len(cuda_feed._residents) == 0


def test_too_little_memory_for_the_data_says_so(stub: Stub) -> None:
    trainer = compile_trainer(tiny(), dataset(), batch=4, optimizer=SGD(), seed=0, target="cuda")
    evaluate(trainer.evaluation, split(3, 0))
    stub.fail("cuMemAlloc_v2", OUT_OF_MEMORY, times=2)
    with pytest.raises(
        RunError, match=r"out of memory on device 0 .*: 0\.0 MiB \(576 bytes\) were asked for the data set"
    ):
        evaluate(trainer.evaluation, split(9, 0))


def test_labels_out_of_range_are_refused(stub: Stub) -> None:
    trainer = compile_trainer(tiny(), dataset(), batch=4, optimizer=SGD(), seed=0, target="cuda")
    wrong = split(6, 0)
    wrong.labels[4] = 3
    with pytest.raises(RunError, match=r"labels must be between 0 and 2, but labels\[4\] is 3"):
        evaluate(trainer.evaluation, wrong)


def test_an_order_that_leaves_the_data_is_refused(stub: Stub) -> None:
    trainer = compile_trainer(tiny(), dataset(), batch=4, optimizer=SGD(), seed=0, target="cuda")
    held = split(6, 0)
    with pytest.raises(RunError, match="an order holds rows from 0 to 5, not 1 to 6"):
        list(trainer.evaluation.sweep((held.images, held.labels), np.array([1, 6]), lambda batch: {}))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    data = dataset()
    parts = {"train": data.train, "val": data.validation, "test": data.test}
    arrays = {f"x_{k}": s.images for k, s in parts.items()} | {f"y_{k}": s.labels for k, s in parts.items()}
    np.savez(tmp_path / "columns.npz", **arrays)
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


def convc_runs(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_study_then_eval(stub: Stub, files: Path) -> None:
    """One epoch at two rates on the second device; the files say what the emulator's say."""
    stub.devices("Stub H100", "Stub A100")
    cuda_device.open_device.cache_clear()
    numbers = ("--data", "columns.npz", "--lr", "0.1", "0.01", "--seeds", "1", "--epochs", "1", "--batch", "4")
    convc_runs("study", "model.py:tiny", *numbers, "--target", "cuda", "--device", "1", "--out", "on_device")
    assert stub.library.stub_retained(1) == 1
    convc_runs("study", "model.py:tiny", *numbers, "--target", "emulator", "--out", "emulated")
    assert Path("on_device/history.csv").read_bytes() == Path("emulated/history.csv").read_bytes()
    for name in (
        "weights/lr_0.1_seed_0_last.safetensors",
        "weights/lr_0.01_seed_0_best.safetensors",
    ):  # each is marked with its target
        there, here = load_file(Path("on_device", name)), load_file(Path("emulated", name))
        assert {n: a.tobytes() for n, a in there.items()} == {n: a.tobytes() for n, a in here.items()}, name
    weights = ("--weights", "on_device/weights/lr_0.1_seed_0_last.safetensors", "--data", "columns.npz", "--batch", "4")
    on_device = convc_runs("eval", "model.py:tiny", *weights, "--target", "cuda", "--compiler", "nvrtc")
    assert on_device == convc_runs("eval", "model.py:tiny", *weights, "--target", "emulator")


def test_a_resumed_run_may_take_another_device(stub: Stub, files: Path) -> None:
    stub.devices("Stub H100", "Stub A100")
    cuda_device.open_device.cache_clear()
    numbers = ("--data", "columns.npz", "--batch", "4", "--target", "cuda")
    convc_runs("train", "model.py:tiny", *numbers, "--epochs", "1", "--out", "a")
    convc_runs("train", "model.py:tiny", *numbers, "--epochs", "2", "--out", "a", "--device", "1", "--resume")
    convc_runs("train", "model.py:tiny", *numbers, "--epochs", "2", "--out", "b")
    assert Path("a/weights.safetensors").read_bytes() == Path("b/weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--target", "cuda", "--device", "1"), "a device is one of those there are: 0 (Stub H100); not 1; give"),
        (("--target", "cpu", "--device", "0"), "--device goes with target cuda, not with cpu; leave one of them out"),
    ],
)
def test_a_bad_device_is_one_line(stub: Stub, files: Path, arguments: tuple[str, ...], line: str) -> None:
    result = CliRunner().invoke(main, ("study", "model.py:tiny", "--data", "columns.npz", *arguments))
    assert result.exit_code == 1
    assert line in result.output


def test_run_compares_a_model_and_an_edited_folder(stub: Stub, files: Path) -> None:
    shape = ("--shape", "4,1,4,4")
    output = convc_runs("run", "model.py:tiny", *shape, "--mode", "train", "--target", "cuda", "--device", "0")
    assert output.endswith("\nright\n")
    convc_runs("compile", "model.py:tiny", *shape, "--target", "cuda", "--emit", "out", "--no-build")
    source = next(Path("out/src").glob("*.cu"))
    assert convc_runs("run", "out", "--target", "cuda").endswith("\nright\n")
    source.write_text(source.read_text().replace("acc_value + ", "acc_value - "))
    result = CliRunner().invoke(main, ("run", "out", "--target", "cuda"))
    assert result.exit_code == 1
    assert "results are wrong" in result.output
    result = CliRunner().invoke(main, ("run", "out", "--device", "0"))
    assert "--device goes with target cuda, not with emulator" in result.output


def test_doctor_runs_the_cuda_target(stub: Stub) -> None:
    driver_devices.cache_clear()
    output = convc_runs("doctor")
    assert "ok      CUDA driver   present, with 1 GPU; not needed for the cpu target" in output
    assert "ok      cuda target   ran a convolution on Stub H100 (sm_90); it is off by " in output
