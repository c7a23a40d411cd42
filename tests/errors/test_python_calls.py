"""Python calls fail as well as the command line does: a class of convc, one line, and what to do about it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convc
from convc import data, nn
from convc.data import Dataset, Split, batches, epoch_order
from convc.errors import ConvcError, DataError, IRError, RunError
from convc.ir.types import Rows, f32
from convc.optim import Optimizer
from convc.runtime.numbers import optimizer_number
from convc.schedule import schedule
from convc.study import StudyPlan
from convc.testing import check_gradients, check_rewrite, check_view, error_bound, random_inputs, tolerance
from convc.training_run import TrainPlan

TEXT = "graph @g(%x: f32[n<=4,3]) { %0: f32[n<=4,3] = relu(%x) return %0 }"
X, LABELS = np.ones((4, 3), np.float32), np.array([0, 1, 1, 0])


def net() -> nn.Sequential:
    return nn.Sequential(("fc", nn.Linear(3, 2)), name="net")


@pytest.fixture(scope="module")
def adam() -> convc.Program:
    return convc.compile(net(), (4, 3), mode="train", optimizer=convc.Adam())


@pytest.fixture(scope="module")
def lenet() -> convc.Program:
    return convc.compile(convc.models.lenet5(), (4, 1, 28, 28))


NAMED: dict[str, tuple[Callable[[], Any], type[ConvcError], str]] = {
    "a class for an object": (
        lambda: nn.Sequential(nn.Linear(3, 2), nn.ReLU),  # type: ignore[arg-type]
        IRError,
        "a layer of Sequential is a module, but number 1 is the class ReLU; make an object of it: ReLU()",
    ),
    "a list of layers": (
        lambda: nn.Sequential([nn.Linear(3, 2), nn.ReLU()]),  # type: ignore[arg-type]
        IRError,
        "a layer of Sequential is a module, but number 0 is a list; unpack it: Sequential(*layers)",
    ),
    "a list in a residual": (
        lambda: nn.Residual([nn.ReLU()]),  # type: ignore[arg-type]
        IRError,
        "a layer of Residual is a module, but number 0 is a list; unpack it: Residual(*layers)",
    ),
    "a layer whose name is no text": (
        lambda: nn.Sequential((1, nn.ReLU())),  # type: ignore[arg-type]
        IRError,
        "a layer's name is text, but that of number 0 of Sequential is 1; quote it",
    ),
    "two layers of one name": (
        lambda: nn.Sequential(("a", nn.ReLU()), ("a", nn.ReLU())),
        IRError,
        "layer names must differ, but 'a' occurs twice; rename one",
    ),
    "arrays for a data set": (
        lambda: data.load((X, LABELS)),  # type: ignore[arg-type]
        DataError,
        "named by text, not (array([[1., 1., 1.],\\n",
    ),
    "an optimizer's name": (
        lambda: convc.compile(net(), (4, 3), mode="train", optimizer="adam"),  # type: ignore[arg-type]
        RunError,
        "an optimizer is an object, such as convc.SGD(momentum=0.9) or convc.Adam(lr=0.001), not 'adam'",
    ),
    "an optimizer's class": (
        lambda: convc.compile(net(), (4, 3), optimizer=convc.Adam),  # type: ignore[arg-type]
        RunError,
        "or convc.Adam(lr=0.001), not the class Adam",
    ),
    "an open batch": (
        lambda: convc.compile(net(), (None, 3)),  # type: ignore[arg-type]
        IRError,
        "input_shape is whole numbers of at least 1, such as (64, 3, 32, 32), not (None, 3); N is the most rows",
    ),
    "no shape": (
        lambda: convc.compile(net()),
        RunError,
        "a model needs input_shape=(N, C, H, W); only",
    ),
    "a shape for a graph": (
        lambda: convc.compile(convc.parse_graph(TEXT), (4, 3)),
        RunError,
        "a graph carries its shapes, but input_shape is (4, 3); leave it out",
    ),
    "a model's name": (
        lambda: convc.compile("vgg16", (4, 3, 32, 32)),  # type: ignore[arg-type]
        RunError,
        "a model is a convc.nn.Module or a convc graph, not 'vgg16'; call a function of convc.models, such as vgg16()",
    ),
    "a function for a model": (
        lambda: convc.compile(convc.models.lenet5, (4, 1, 28, 28)),  # type: ignore[arg-type]
        RunError,
        "not a function; call it: lenet5()",
    ),
    "layers for a model": (
        lambda: convc.compile([nn.ReLU()], (4, 3)),  # type: ignore[arg-type]
        RunError,
        "make it one: convc.nn.Sequential(*layers)",
    ),
    "nesterov without momentum": (
        lambda: convc.SGD(nesterov=True),
        RunError,
        "SGD: nesterov looks ahead along the momentum, and momentum is 0; give momentum=0.9",
    ),
    "nothing to train": (
        lambda: convc.compile(nn.Sequential(nn.ReLU()), (4, 3), mode="train"),
        RunError,
        "mode 'train' updates parameters, and sequential has none; add a layer with weights, or take mode 'eval'",
    ),
    "a graph with nothing to train": (
        lambda: convc.compile(convc.parse_graph(TEXT), mode="train"),
        RunError,
        "mode 'train' updates parameters, and g has none",
    ),
    "a mode misspelt": (
        lambda: convc.compile(net(), (4, 3), mode="trian"),  # type: ignore[arg-type]
        RunError,
        "unknown mode 'trian'; did you mean 'train'?",
    ),
    "a loss misspelt": (
        lambda: convc.compile(net(), (4, 3), loss="cross_entrpy"),
        RunError,
        "unknown loss 'cross_entrpy'; did you mean 'cross_entropy'?",
    ),
    "a target misspelt": (
        lambda: convc.compile(net(), (4, 3), target="emulater"),
        RunError,
        "unknown target 'emulater'; did you mean 'emulator'?",
    ),
    "weights before there is a model": (
        lambda: net().store["fc.weight"],
        RunError,
        "the store holds no fc.weight; it is empty: compile the model first",
    ),
    "images with channels last, for a model": (
        lambda: convc.compile(convc.models.lenet5(), (4, 28, 28, 1)),
        IRError,
        ": images are [N, C, H, W], and [4, 28, 28, 1] looks like [N, H, W, C]; give (4, 1, 28, 28) and "
        "x.transpose(0, 3, 1, 2)",
    ),
    "images with channels last, for a data set": (
        lambda: Split(np.zeros((20, 28, 28, 3), np.uint8), np.zeros(20, np.int32)),
        DataError,
        "looks like [N, H, W, C]; give images.transpose(0, 3, 1, 2)",
    ),
    "a module that builds nothing": (
        lambda: convc.compile(type("Empty", (nn.Module,), {"build": lambda self, g, x: None})(), (4, 3)),
        IRError,
        "build(g, x) returns the value that the last g.op(...) gave, but Empty's returned None; end it with `return`",
    ),
    "a beta that is 1 in float32": (
        lambda: convc.Adam(beta2=1 - 1e-9),
        RunError,
        "Adam: beta2 is a number with 0 <= number < 1, not 0.999999999; give another",
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_wrong_call(name: str) -> None:
    call, kind, line = NAMED[name]
    with pytest.raises(kind) as caught:
        call()
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_numbers_in_a_call(adam: convc.Program, lenet: convc.Program) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "the program has no input step; it has x, labels, lr": lambda: adam(X, LABELS, step=0),
        "lr is a number of at least 0, not None; give another": lambda: adam(X, LABELS, lr=None),
        "lr is a number of at least 0, not nan; give another": lambda: adam(X, LABELS, lr=math.nan),
        "lr is a number of at least 0, not -1; give another": lambda: adam(X, LABELS, lr=-1),
        "beta2 is a number with 0 <= number < 1, not 1.5; give another": lambda: adam(X, LABELS, beta2=1.5),
        "an input is given once, but x was given by position and by name; leave": lambda: adam(X, LABELS, x=X),
        "x must hold numbers, but its dtype is object; give f32[n<=4,3]": lambda: adam(None, LABELS),
        "x must be an array in the host's memory": lambda: adam([[1, 2], [3]], LABELS),
        "x is computed in float32, whose largest number is 3.403e+38, but x[0, 1] is 1e+39; scale it": lambda: adam(
            np.array([[1, 1e39, -1e300]]), [0]
        ),
        "labels must be between 0 and 1, but labels[2] is 2": lambda: adam(X, np.array([0, 1, 2, 0])),
        "labels must hold integers, but its dtype is bool; give whole": lambda: adam(X, LABELS == 1),
        "out is an array, or a list of one for each output, not 3; give NumPy": lambda: adam(X, LABELS, out=3),
        "%x must have shape [n<=4, 1, 28, 28], not [2, 28, 28, 1]: images are [N, C, H, W], and x looks like "
        "[N, H, W, C]; give x.transpose(0, 3, 1, 2)": lambda: lenet(np.zeros((2, 28, 28, 1))),
        "no kernel starts with 'cnv1_fprop_bias_relu_f32_2x14x16'; did you mean 'conv1": lambda: lenet.kernel(
            "cnv1_fprop_bias_relu_f32_2x14x16"
        ),
        "a kernel is asked for by the start of its name": lambda: lenet.kernel(None),  # type: ignore[arg-type]
        "no stage 'fuse_epilog'; did you mean 'fuse_epilogue'?": lambda: lenet.ir("after fuse_epilog"),
        "a stage is named by text, such as program.ir('after lower'), not 3": lambda: lenet.ir(3),  # type: ignore[arg-type]
        "the store holds no conv1.weigth; did you mean 'conv1.weight'?": lambda: lenet.parameters["conv1.weigth"],
    }
    for line, call in calls.items():
        with pytest.raises(RunError if "stage 'f" not in line else IRError) as caught:
            call()
        assert line in str(caught.value)
        assert "\n" not in str(caught.value)


def test_labels_of_any_integer_dtype_are_converted(adam: convc.Program) -> None:
    for dtype in (np.int64, np.uint8, np.int16, np.uint64):
        assert math.isfinite(adam(X, LABELS.astype(dtype)))
    assert math.isfinite(adam(X, LABELS, lr=np.float32(0.1)))


VALUES: dict[str, Any] = {
    "None": None, "True": True, "np.True_": np.True_, "nan": math.nan, "inf": math.inf, "-inf": -math.inf, "-1": -1,
    "0": 0, "1.5": 1.5, "2": 2, "2.0": 2.0, "0.5": 0.5, "int64": np.int64(2), "float32": np.float32(0.5), "1e39": 1e39,
    "10**30": 10**30, "10**400": 10**400, "1j": 1j, "text": "text", "empty": "", "bytes": b"text", "[]": [], "()": (),
    "[2]": [2], "(2, 2)": (2, 2), "(2, 2, 2)": (2, 2, 2), "(2, None)": (2, None), "{}": {}, "array": np.ones(3),
    "array 0-d": np.array(2), "an object": object(), "a class": int, "a function": len,
}  # fmt: skip
WHOLE = {"2", "int64", "array 0-d"}
PAIRS = WHOLE | {"(2, 2)"}
REAL = {"0", "0.5", "1.5", "2", "2.0", "int64", "float32", "array 0-d"}
FRACTION = {"0", "0.5", "float32"}
SHAPES = {"(2, 2)", "(2, 2, 2)", "[2]"}
FLAGS = {"True", "np.True_"}


def _threads(value: Any) -> None:
    before = convc.get_num_threads()
    convc.set_num_threads(value)
    convc.set_num_threads(before)


SLOTS: dict[str, tuple[Callable[[Any], Any], set[str]]] = {
    "Conv2d in": (lambda v: nn.Conv2d(v, 4, 3), WHOLE),
    "Conv2d out": (lambda v: nn.Conv2d(2, v, 3), WHOLE),
    "Conv2d kernel": (lambda v: nn.Conv2d(2, 4, v), PAIRS),
    "Conv2d stride": (lambda v: nn.Conv2d(2, 4, 3, stride=v), PAIRS),
    "Conv2d padding": (lambda v: nn.Conv2d(2, 4, 3, padding=v), PAIRS | {"0"}),
    "Conv2d dilation": (lambda v: nn.Conv2d(2, 4, 3, dilation=v), PAIRS),
    "Conv2d groups": (lambda v: nn.Conv2d(2, 4, 3, groups=v), WHOLE),
    "Conv2d bias": (lambda v: nn.Conv2d(2, 4, 3, bias=v), FLAGS),
    "Conv2d gain": (lambda v: nn.Conv2d(2, 4, 3, gain=v), REAL),
    "Linear in": (lambda v: nn.Linear(v, 4), WHOLE),
    "Linear out": (lambda v: nn.Linear(4, v), WHOLE),
    "Linear bias": (lambda v: nn.Linear(4, 4, v), FLAGS),
    "MaxPool2d kernel": (lambda v: nn.MaxPool2d(v), PAIRS),
    "MaxPool2d stride": (lambda v: nn.MaxPool2d(2, v), PAIRS | {"None"}),
    "MaxPool2d padding": (lambda v: nn.MaxPool2d(3, 2, v), PAIRS | {"0"}),
    "AvgPool2d kernel": (lambda v: nn.AvgPool2d(v), PAIRS),
    "AvgPool2d counting": (lambda v: nn.AvgPool2d(2, count_include_pad=v), FLAGS),
    "AdaptiveAvgPool2d": (lambda v: nn.AdaptiveAvgPool2d(v), PAIRS),
    "AdaptiveMaxPool2d": (lambda v: nn.AdaptiveMaxPool2d(v), PAIRS),
    "LocalResponseNorm size": (lambda v: nn.LocalResponseNorm(v), WHOLE),
    "LocalResponseNorm alpha": (lambda v: nn.LocalResponseNorm(3, alpha=v), REAL),
    "LocalResponseNorm k": (lambda v: nn.LocalResponseNorm(3, k=v), REAL - {"0"}),
    "Dropout": (lambda v: nn.Dropout(v), FRACTION),
    "LeakyReLU": (lambda v: nn.LeakyReLU(v), REAL - {"0"}),
    "Softmax": (lambda v: nn.Softmax(v), WHOLE | {"0"}),
    "Sequential layer": (lambda v: nn.Sequential(v), set()),
    "Sequential named layer": (lambda v: nn.Sequential(("a", v)), set()),
    "Sequential name": (lambda v: nn.Sequential(name=v), {"text", "empty"}),
    "Residual": (lambda v: nn.Residual(v), set()),
    "lenet5": (convc.models.lenet5, WHOLE),
    "vgg11": (convc.models.vgg11, WHOLE),
    "vgg_small channels": (lambda v: convc.models.vgg_small(channels=v), WHOLE),
    "vgg_small dropout": (lambda v: convc.models.vgg_small(dropout=v), FRACTION),
    "SGD lr": (lambda v: convc.SGD(lr=v), REAL),
    "SGD momentum": (lambda v: convc.SGD(momentum=v), FRACTION),
    "SGD decay": (lambda v: convc.SGD(weight_decay=v), REAL),
    "SGD nesterov": (lambda v: convc.SGD(momentum=0.5, nesterov=v), FLAGS),
    "Adam lr": (lambda v: convc.Adam(lr=v), REAL),
    "Adam beta1": (lambda v: convc.Adam(beta1=v), FRACTION),
    "Adam beta2": (lambda v: convc.Adam(beta2=v), FRACTION),
    "Adam eps": (lambda v: convc.Adam(eps=v), REAL),
    "compile model": (lambda v: convc.compile(v, (4, 3)), set()),
    "compile shape": (lambda v: convc.compile(nn.Sequential(nn.ReLU()), v), SHAPES),
    "compile target": (lambda v: convc.compile(net(), (4, 3), target=v), set()),
    "compile mode": (lambda v: convc.compile(net(), (4, 3), mode=v), set()),
    "compile loss": (lambda v: convc.compile(net(), (4, 3), loss=v), set()),
    "compile optimizer": (lambda v: convc.compile(net(), (4, 3), optimizer=v), {"None"}),
    "compile cache": (lambda v: convc.compile(net(), (4, 3), cache=v), {"None"}),
    "parse_graph": (convc.parse_graph, set()),
    "set_num_threads": (_threads, WHOLE),
    "load": (data.load, set()),
    "epoch_order n": (lambda v: epoch_order(v, seed=0, epoch=1), WHOLE),
    "epoch_order epoch": (lambda v: epoch_order(5, seed=0, epoch=v), WHOLE | {"0"}),
    "Split images": (lambda v: Split(v, np.zeros(3, np.int32)), set()),
    "Split labels": (lambda v: Split(np.zeros((3, 1, 4, 4), np.uint8), v), set()),
    "batches": (lambda v: batches(SPLIT, v, order=None), WHOLE),
    "batches order": (lambda v: list(batches(SPLIT, 2, order=v)), {"None"}),
    "Dataset classes": (lambda v: Dataset("d", SPLIT, SPLIT, SPLIT, v), WHOLE),
    "random_inputs rows": (lambda v: random_inputs(convc.parse_graph(TEXT), v), WHOLE | {"None"}),
    "tolerance terms": (lambda v: tolerance("f32", v), WHOLE),
    "tolerance dtype": (lambda v: tolerance(v, 3), set()),
    "error_bound": (lambda v: error_bound(v, {}), set()),
    "check_gradients": (lambda v: check_gradients(v), set()),
    "check_view": (lambda v: check_view(v, f32(Rows(2), 3)), set()),
    "check_rewrite": (lambda v: check_rewrite(v, lambda g: g), set()),
    "random_inputs": (lambda v: random_inputs(v), set()),
    "schedule text": (lambda v: schedule(v, 0.1, 3), set()),
    "StudyPlan rates": (lambda v: StudyPlan(rates=v), {"[2]"}),
    "StudyPlan epochs": (lambda v: StudyPlan(epochs=v), WHOLE),
    "StudyPlan batch": (lambda v: StudyPlan(batch=v), WHOLE),
    "StudyPlan momenta": (lambda v: StudyPlan(momenta=(v,)), FRACTION),
    "StudyPlan momenta as such": (lambda v: StudyPlan(momenta=v), {"()", "[]"}),
    "StudyPlan seeds": (lambda v: StudyPlan(seeds=v), {"[2]"}),
    "StudyPlan optimizer": (lambda v: StudyPlan(optimizer=v), set()),
    "StudyPlan schedule": (lambda v: StudyPlan(schedule=v), set()),
    "StudyPlan refine": (lambda v: StudyPlan(refine=v), WHOLE | {"True"}),
    "TrainPlan optimizer": (lambda v: TrainPlan("m", "d", v), set()),
    "TrainPlan schedule": (lambda v: TrainPlan("m", "d", convc.SGD(), schedule=v), set()),
    "TrainPlan epochs": (lambda v: TrainPlan("m", "d", convc.SGD(), epochs=v), WHOLE),
}
SPLIT = Split(np.zeros((3, 1, 4, 4), np.uint8), np.array([0, 1, 0], np.int32))
HUGE_IS_WHOLE = {"10**30", "10**400"}


@pytest.mark.parametrize("slot", SLOTS)
def test_every_argument_takes_what_it_should_and_says_so_of_all_else(slot: str) -> None:
    call, accepted = SLOTS[slot]
    for name, value in VALUES.items():
        try:
            call(value)
        except ConvcError as error:
            line = str(error)
            assert name not in accepted, f"{slot} does not take {name}: {line}"
            assert "\n" not in line, f"{slot}, {name}: {line!r}"
            assert re.search(r"; |did you mean|known are|not |must |: ", line), line
            assert 20 < len(line) < 500, line
        else:
            assert name in accepted or name in HUGE_IS_WHOLE, f"{slot} takes {name}"


@pytest.mark.parametrize("name", VALUES)
def test_a_call_takes_arrays_and_says_so_of_all_else(adam: convc.Program, name: str) -> None:
    for call in (
        lambda v: adam(v, LABELS),
        lambda v: adam(X, v),
        lambda v: adam(X, LABELS, out=v),
        lambda v: adam(X, LABELS, eps=v),
        lambda v: adam(X, LABELS, step=v),
        lambda v: adam(X, LABELS, **{"rate": v}),
        lambda v: adam.kernel(v),
        lambda v: adam.ir(v),
        lambda v: adam.parameters[v],
    ):
        line = ""
        try:
            call(VALUES[name])
        except ConvcError as error:
            line = str(error)
        assert "\n" not in line


def test_an_optimizer_of_ones_own_says_what_it_lacks() -> None:
    with pytest.raises(RunError, match=r"names its update rule, and Optimizer defines none; give it `rule`"):
        Optimizer().rule  # noqa: B018


@pytest.mark.parametrize("step", [0, -1, 1.0, 2**31, None, True])
def test_steps_of_an_update_rule_count_from_1(step: Any) -> None:
    with pytest.raises(RunError, match=r"^step is a whole number from 1 to 2\^31 - 1, not .*; steps count from 1$"):
        optimizer_number("step", step)
    assert optimizer_number("step", np.int64(3)) == 3


def test_paths_are_paths(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file: .*a\.npz"):
        data.load(tmp_path / "a.npz")
