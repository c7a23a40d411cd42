"""What MODEL means on the command line: a name from the zoo, `file.py:function`, or `file.conv`."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from convc.codegen.names import identifier
from convc.errors import ConvcError
from convc.ir.core import Graph
from convc.ir.lexer import did_you_mean
from convc.ir.text import parse_graph
from convc.models import ZOO
from convc.nn import Module

MOST_TEXT = 1 << 28
USER_MODULE = "convc_user_"
"""The start of the name under which a user's file is imported: tells its frames in a traceback from ours."""


def resolve_model(spec: str, shape: Sequence[int] | None = None) -> tuple[Module | Graph, tuple[int, ...] | None]:
    """The model and its image shape (C, H, W): `shape` where it is given, else the zoo's, else None.

    Raises ConvcError, in one line, where there is no such model, and where its file has an error.
    """
    image = tuple(shape) if shape is not None else None
    if spec in ZOO:
        make, own = ZOO[spec]
        return make(), image or own
    path, _, function = spec.rpartition(":")
    if path.endswith(".py"):
        return _from_python(Path(path), function), image
    if spec.endswith(".py"):
        raise ConvcError(f"a model in Python is named with its function, {spec}:function, but {spec} names none")
    if spec.endswith(".conv"):
        if image is not None:
            raise ConvcError(f"a graph has the shapes that its text declares: leave out --shape for {spec}")
        return read_graph(spec), None
    raise ConvcError(
        f"MODEL is a name from the zoo, file.py:function or file.conv, but not '{spec}'{did_you_mean(spec, ZOO)}"
    )


def read_graph(name: str) -> Graph:
    """The graph in a text file, `-` for standard input. Raises ConvcError, with the file's name."""
    try:
        return parse_graph(_read(name).decode())
    except OSError as error:
        raise ConvcError(f"cannot read {name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConvcError(f"{name} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from None
    except ConvcError as error:
        raise type(error)(f"{name}: {error}") from error


def _read(name: str) -> bytes:
    """All that the file gives, which may be a pipe, up to a limit: a device may give without end."""
    if "\0" in name:
        raise ConvcError(f"a name of a file holds no NUL, and {name!r} does")
    with sys.stdin.buffer if name == "-" else open(name, "rb") as stream:
        data = stream.read(MOST_TEXT + 1)
    if len(data) > MOST_TEXT:
        raise ConvcError(f"the text of a graph has at most {MOST_TEXT} bytes, and this has more; give another file")
    return data


def _from_python(path: Path, function: str) -> Module:
    with placed_errors(path):
        return _called(path, function)


def function_in(path: Path, name: str) -> Any:
    """What a Python file calls `name`, imported anew, which must be callable.

    Raises ConvcError, with the file's line where it is the file's fault.
    """
    if not path.is_file():
        raise ConvcError(f"cannot read {path}: there is no such file")
    with placed_errors(path):
        module = _imported(path)
    found: Any = getattr(module, name, None)
    if not callable(found):
        own = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        raise ConvcError(f"{path} has no function '{name}'{did_you_mean(name, own)}")
    return found


@contextmanager
def placed_errors(path: Path) -> Iterator[None]:
    """While the file's code runs: what it imports from beside it is found, and an error of its own names the line."""
    here = str(path.resolve().parent)
    sys.path.insert(0, here)  # as `python file.py` does
    try:
        yield
    except (Exception, SystemExit) as error:
        place = place_in_model(error)
        if place is None or str(error).startswith(place):
            raise
        text = str(error) if isinstance(error, ConvcError) else f"{type(error).__name__}: {_message(error)}"
        raise ConvcError(f"{place}: {text}") from error
    finally:
        sys.path.remove(here)


def _imported(path: Path) -> ModuleType:
    name = USER_MODULE + identifier(path.stem)
    spec = spec_from_file_location(name, path)
    assert spec is not None  # the name ends in .py
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _called(path: Path, function: str) -> Module:
    make = function_in(path, function)
    try:
        model = make()
    except TypeError as error:
        if place_in_model(error) is not None:
            raise
        raise ConvcError(f"{path}: {function}() is called without arguments, but {error}") from error
    if not isinstance(model, Module):
        raise ConvcError(f"{path}: {function}() must return a convc.nn.Module, but it returned {type(model).__name__}")
    return model


def place_in_model(error: BaseException) -> str | None:
    """`file.py, line 3` where the error came from (or through) a user's file; None where it did not."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_globals.get("__name__", "").startswith(USER_MODULE):
            return f"{frame.f_code.co_filename}, line {line}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    return None


def _message(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)
