"""A seed is a whole number with 0 <= seed < 2^64, everywhere, and never passes through a float on its way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convc
from convc import data, nn
from convc.data import epoch_order
from convc.errors import ConvcError
from convc.ir.ops.pointwise import Relu
from convc.optim import SGD
from convc.study import StudyPlan
from convc.testing import check_gradients, check_rewrite, random_inputs
from convc.train import compile_trainer, fit
from convc.training_run import TrainPlan

HUGE = 2**63
BAD = (1.5, 7.0, float("nan"), float("inf"), -1, 2**64, True, None, "7", np.float64(3), [1], 10**5000)
GRAPH = "graph @g(%x: f32[n<=4,3]) { %0: f32[n<=4,3] = relu(%x) return %0 }"


def net() -> nn.Sequential:
    return nn.Sequential(("fc", nn.Linear(3, 4)), ("drop", nn.Dropout(0.5)))


def weights(seed: Any) -> bytes:
    model = net()
    convc.compile(model, (4, 3), seed=seed)
    return model.store["fc.weight"].tobytes()


def reset(seed: Any) -> bytes:
    model = net()
    convc.compile(model, (4, 3))
    model.reset(seed)
    return model.store["fc.weight"].tobytes()


def dropped(seed: Any) -> bytes:
    """What a train step computes under a seed that the program was compiled with."""
    step = convc.compile(nn.Sequential(net(), nn.Linear(4, 9)), (4, 3), mode="train", seed=seed)
    step.parameters["0.fc.weight"][...] = 1
    return np.float64(step(np.ones((4, 3)), [0, 1, 2, 3])).tobytes()


def dropped_in_the_call(seed: Any) -> bytes:
    text = """graph @d(%x: f32[n<=4,64], %seed: i32[] scalar, %step: i32[] scalar) {
      %0: f32[n<=4,64] = dropout(%x, %seed, %step) return %0 }"""
    y: np.ndarray = convc.compile(convc.parse_graph(text))(np.ones((4, 64)), seed=seed, step=1)
    return y.tobytes()


def order(seed: Any) -> bytes:
    return epoch_order(50, seed=seed, epoch=1).tobytes()


def split(seed: Any) -> bytes:
    return data.load("synthetic:1x4x4:2:60", seed=seed).train.images.tobytes()


def drawn(seed: Any) -> bytes:
    return random_inputs(convc.parse_graph(GRAPH), seed=seed)["x"].tobytes()


DRAWS: dict[str, Callable[[Any], bytes]] = {
    "first weights": weights,
    "weights after a reset": reset,
    "dropout, compiled": dropped,
    "dropout, called": dropped_in_the_call,
    "order of an epoch": order,
    "order of a split": split,
    "random inputs": drawn,
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_neighbouring_seeds_differ_and_one_seed_is_one(draw: Callable[[Any], bytes]) -> None:
    for seed in (0, 2**53, HUGE - 1, HUGE, 2**64 - 2):
        assert draw(seed) != draw(seed + 1)
    assert draw(np.int64(2**53 + 1)) == draw(2**53 + 1)
    assert draw(np.uint64(HUGE + 1)) == draw(HUGE + 1)


def trained(seed: Any) -> None:
    compile_trainer(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), images(), batch=4, optimizer=SGD(), seed=seed)


def fitted(seed: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    trainer = compile_trainer(model, images(), batch=4, optimizer=SGD(), seed=0)
    fit(trainer.step, trainer.evaluation, images(), lr=0.1, epochs=1, seed=seed)


def images() -> data.Dataset:
    return data.load("synthetic:1x4x4:2:60")


TAKERS: dict[str, Callable[[Any], object]] = DRAWS | {
    "a study": lambda seed: StudyPlan(seeds=(seed,)),
    "a training run": lambda seed: TrainPlan("m", "d", SGD(), seed=seed),
    "a trainer": trained,
    "fit": fitted,
    "gradients": lambda seed: check_gradients(Relu(), [convc.parse_graph(GRAPH).inputs[0].type], seed=seed),
    "a rewrite": lambda seed: check_rewrite(GRAPH, lambda graph: graph, seed=seed),
}


@pytest.mark.parametrize("bad", BAD, ids=lambda x: repr(x)[:12] if not isinstance(x, int) else str(x % 1000))
@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_what_is_no_seed_is_refused(take: Callable[[Any], object], bad: Any) -> None:
    with pytest.raises(
        ConvcError, match=r"^a seed is a whole number from 0 to 2\^64 - 1, not .*; give another"
    ) as caught:
        take(bad)
    assert "\n" not in str(caught.value)


def test_a_plan_with_a_seed_of_numpy_is_written_as_a_number() -> None:
    assert json.dumps(TrainPlan("m", "d", SGD(), seed=np.uint64(HUGE + 1)).settings()["seed"]) == str(HUGE + 1)  # type: ignore[arg-type]
    assert type(StudyPlan(seeds=(np.int64(3),)).seeds[0]) is int  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", ["-1", str(2**64)])
@pytest.mark.parametrize(
    "command",
    [
        ("study", "--out", "none"),
        ("train", "lenet5", "--data", "mnist5k", "--out", "none"),
        ("run", "lenet5", "--target", "cpu", "--shape", "2,1,28,28"),
    ],
    ids=lambda c: c[0],
)
def test_the_commands_refuse_it_in_one_line(
    command: tuple[str, ...],
    seed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from convc.cli import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([*command, "--seed", seed], prog_name="convc")
    error = capsys.readouterr().err
    assert ended.value.code in (1, 2)
    assert error.startswith("convc: error: ")
    assert error.count("\n") == 1
    assert "from 0 to 2^64 - 1" in error
    assert not any(tmp_path.iterdir())
