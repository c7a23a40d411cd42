"""The group of commands: loads them on demand and turns every error into one line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from convc.cli.usage import check_numbers, usage_line
from convc.errors import ConvcError
from convc.ir.lexer import did_you_mean, printable

EXIT_ERROR, EXIT_INTERNAL, EXIT_INTERRUPTED = 1, 70, 130


@dataclass
class Session:
    """What the global options said."""

    debug: bool = False


def debug_option() -> click.Option:
    """`--debug`, for the group and for every command: an error then shows its traceback."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        session = ctx.find_object(Session)
        if value and session is not None:
            session.debug = True

    help = "Show the traceback of an error."
    return click.Option(["--debug"], is_flag=True, expose_value=False, is_eager=True, callback=remember, help=help)


class LazyGroup(click.Group):
    """A group that knows of each command only "module:attribute" and its short help until it is called.

    Exit codes: 1 a ConvcError, 2 wrong usage, 70 an error of convc itself, 130 interrupted.
    """

    def __init__(self, *, lazy: Mapping[str, tuple[str, str]], **settings: Any) -> None:
        super().__init__(**settings)
        self.lazy = lazy
        self.params += [debug_option(), _version_option()]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return None
        module, _, attribute = self.lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        if all(p.name != "debug" for p in command.params):
            command.params.append(debug_option())
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.lazy and not args[0].startswith("-"):
            raise click.UsageError(f"no command '{args[0]}'{did_you_mean(args[0], self.lazy)}", ctx)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            check_numbers(ctx, command, rest)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, help) in self.lazy.items()])

    def main(self, *args: Any, standalone_mode: bool = True, **settings: Any) -> Any:
        run: Callable[..., Any] = super().main
        if not standalone_mode:
            return run(*args, standalone_mode=False, **settings)
        session = Session()
        try:
            result = run(*args, standalone_mode=False, obj=session, **settings)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader of our output has left. What is still buffered must not be written at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(EXIT_ERROR)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(EXIT_INTERRUPTED)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            click.echo(f"convc: error: {printable(usage_line(error))}", err=True)
            sys.exit(error.exit_code)
        except Exception as error:
            sys.exit(report(error, session.debug))
        sys.exit(result if type(result) is int else 0)


def report(error: Exception, debug: bool) -> int:
    """Write the error to standard error; returns the exit code."""
    from convc.cli.models import place_in_model

    if debug:
        traceback.print_exception(error)
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, ConvcError):
        line, code = f"error: {error}", EXIT_ERROR
    elif isinstance(error, MemoryError):
        what = str(error) or "an allocation failed"
        line, code = f"error: out of memory: {what}; take less data or a smaller --batch", EXIT_ERROR
    elif isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        line, code = f"error: the system refused ({error.strerror}){where}; look there, or run with --debug", EXIT_ERROR
    elif place := place_in_model(error):
        line, code = f"error: {place}: {text}", EXIT_ERROR
    else:
        line, code = f"internal error: {text}; run again with --debug and report it", EXIT_INTERNAL
    click.echo(f"convc: {printable(line)}", err=True)
    return code


def _version_option() -> click.Option:
    def show(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if not value:
            return
        try:
            click.echo(f"convc {version('convc')}")
        except PackageNotFoundError:
            raise ConvcError("convc is not installed, so its version is not known; run `pip install -e .`") from None
        ctx.exit()

    help = "Show the version and exit."
    return click.Option(["--version"], is_flag=True, expose_value=False, is_eager=True, callback=show, help=help)
