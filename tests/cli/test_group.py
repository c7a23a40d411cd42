import subprocess
import sys
from types import ModuleType

import click
import pytest

from convc.cli import main
from convc.cli.group import LazyGroup
from convc.errors import RunError

QUICK_START = """
import sys
from convc.cli import main
try:
    main(["--help"], prog_name="convc")
except SystemExit:
    pass
loaded = [m for m in ("rich", "pygments", "matplotlib", "convc.cli.compile", "convc.cli.doctor") if m in sys.modules]
assert not loaded, loaded
"""

LONG = """
import click
from convc.cli.group import LazyGroup

@click.command()
def long():
    for _ in range(4096):
        print("x" * 1024)

LazyGroup(name="convc", lazy={"long": ("__main__:long", "")})(["long"], prog_name="convc")
"""


def test_help_lists_all_commands_and_loads_none() -> None:
    done = subprocess.run([sys.executable, "-c", QUICK_START], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {name} " in done.stdout for name in main.lazy)


@pytest.mark.parametrize("name", main.lazy)
def test_every_command_has_help_with_an_example(convc, name):
    result = convc(name, "--help")
    assert result.code == 0
    assert "Example" in result.out
    assert f"  convc {name}" in result.out
    assert "--debug" in result.out


def test_python_m_convc_is_convc() -> None:
    done = subprocess.run([sys.executable, "-m", "convc", "--help"], capture_output=True, text=True)
    assert done.stdout.startswith("Usage: convc [OPTIONS] COMMAND")


def test_version(convc) -> None:
    result = convc("--version")
    assert (result.code, result.out) == (0, "convc 0.1.0\n")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["inspekt"], "no command 'inspekt'; did you mean 'inspect'?"),
        (["inspect"], "Missing argument 'MODEL'"),
        (["inspect", "lenet5", "--mode", "learn"], "'learn' is not one of"),
        (
            ["inspect", "lenet5", "--shape", "0,1"],
            "a shape is N,C,H,W (or N,features), numbers of at least 1, not '0,1'",
        ),
        (["inspect", "lenet5", "--shape", "64"], "numbers of at least 1, not '64'"),
    ],
)
def test_wrong_usage_exits_with_2(convc, args, line):
    result = convc(*args)
    assert result.code == 2
    assert line in result.err
    assert result.out == ""


@pytest.fixture
def failing(monkeypatch, capsys):
    """`failing(error, *args)`: exit code and standard error of a group whose command `fail` raises it."""

    def run(error: BaseException, *args: str) -> tuple[int, str]:
        @click.command()
        def fail() -> None:
            raise error

        commands = ModuleType("commands_of_test_group")
        commands.fail = fail
        monkeypatch.setitem(sys.modules, commands.__name__, commands)
        group = LazyGroup(name="convc", lazy={"fail": (f"{commands.__name__}:fail", "Fails.")})
        with pytest.raises(SystemExit) as ended:
            group(list(args), prog_name="convc")
        return ended.value.code, capsys.readouterr().err

    return run


def test_an_error_of_the_user_is_one_line(failing):
    assert failing(RunError("a rule, 1 and 2"), "fail") == (1, "convc: error: a rule, 1 and 2\n")


def test_a_message_never_breaks_the_line(failing):
    code, err = failing(RunError("named 'a\nb\x1b[31m'"), "fail")
    assert (code, err) == (1, "convc: error: named 'a\\nb\\x1b[31m'\n")


@pytest.mark.parametrize("args", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(failing, args):
    code, err = failing(RunError("a rule"), *args)
    assert code == 1
    assert err.startswith("Traceback")
    assert err.endswith("convc: error: a rule\n")


def test_an_error_of_convc_itself_says_so(failing):
    code, err = failing(KeyError("x"), "fail")
    assert code == 70
    assert err == "convc: internal error: KeyError: 'x'; run again with --debug and report it\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "out of memory: an allocation failed; take less data or a smaller --batch"),
        (MemoryError("Unable to allocate 3 TiB"), "out of memory: Unable to allocate 3 TiB; take less data or"),
        (OSError(28, "No space left on device"), "the system refused (No space left on device); look there"),
        (PermissionError(13, "Permission denied", "/a/b"), "the system refused (Permission denied): /a/b; look there"),
    ],
)
def test_what_the_machine_refuses_is_no_error_of_convc(failing, error, line):
    code, err = failing(error, "fail")
    assert code == 1
    assert err.startswith(f"convc: error: {line}")
    assert err.count("\n") == 1


def test_an_interrupt_exits_with_130_and_no_traceback(failing):
    code, err = failing(KeyboardInterrupt(), "fail")
    assert code == 130
    assert "Traceback" not in err


def test_an_exit_code_of_a_command_is_kept(failing):
    assert failing(click.exceptions.Exit(3), "fail") == (3, "")


def test_a_reader_that_leaves_is_no_error() -> None:
    """As in `convc inspect lenet5 --ir | head -1`; what is written is longer than a pipe holds."""
    with subprocess.Popen([sys.executable, "-c", LONG], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1) == b"x"
        process.stdout.close()
        assert process.stderr.read() == b""
