"""Arguments that a layer does not have are one line, with the nearest name; signatures stay what they are."""

import copy
import inspect
import pickle
from dataclasses import fields

import pytest

import convc
from convc import nn
from convc.checks import checked_arguments
from convc.errors import IRError

LAYERS = [
    cls for cls in vars(nn).values()
    if inspect.isclass(cls) and issubclass(cls, nn.Layer) and cls is not nn.Layer and cls.__module__ == "convc.nn"
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: nn.Conv2d(1, 6, 5, strid=2), "Conv2d takes no 'strid'; did you mean 'stride'?"),
        (lambda: nn.Conv2d(1, 6, kernel=5), "Conv2d takes no 'kernel'; did you mean 'kernel_size'?"),
        (lambda: nn.Linear(3, 4, use_bias=False), "Linear takes no 'use_bias'; did you mean 'bias'?"),
        (lambda: nn.ReLU(inplace=True), "ReLU takes no 'inplace'; none is known here"),
        (lambda: nn.GlobalAvgPool(size=1), "GlobalAvgPool takes no 'size'; none is known here"),
        (lambda: nn.Dropout(rate=0.5), "Dropout takes no 'rate'; known are p"),
        (
            lambda: nn.Linear(3),
            "Linear: missing a required argument: 'out_features'; it takes in_features, out_features, bias, gain",
        ),
        (lambda: nn.ReLU(3), "ReLU: too many positional arguments; it takes nothing"),
        (lambda: nn.Linear(3, 4, in_features=3), "Linear: multiple values for argument 'in_features'; it takes "),
    ],
)
def test_what_a_layer_does_not_take_is_one_line(make, line):
    with pytest.raises(IRError) as caught:
        make()
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("cls", LAYERS)
def test_every_layer_refuses_a_name_that_it_has_not(cls):
    with pytest.raises(IRError, match=f"^{cls.__name__} takes no 'no_such_argument'; "):
        cls(no_such_argument=1)


@pytest.mark.parametrize("cls", LAYERS)
def test_signatures_are_those_of_the_fields(cls):
    names = list(inspect.signature(cls).parameters)
    assert names == ([] if cls in (nn.GlobalAvgPool, nn.GlobalMaxPool) else [f.name for f in fields(cls)])


def test_a_layer_is_copied_and_pickled():
    made = nn.Conv2d(1, 6, 5, stride=2)
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == copy.copy(made) == made


def test_a_subclass_has_arguments_of_its_own():
    class Wide(nn.Conv2d):
        def __init__(self, channels):
            super().__init__(channels, channels, 3, padding=1)

    assert Wide(4).in_channels == 4
    assert convc.compile(nn.Sequential(Wide(3)), (2, 3, 5, 5), target="cpu").graph.outputs[0].type.shape[1:] == (
        3,
        5,
        5,
    )
    with pytest.raises(TypeError):
        Wide(4, 5)


def test_an_error_of_the_class_itself_goes_through():
    class Fails:
        def __init__(self, number):
            raise TypeError("its own")

    with pytest.raises(TypeError, match="its own"):
        checked_arguments(Fails)(1)
