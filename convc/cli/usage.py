"""Wrong usage in one line, as every other error: what is wrong, what to do, and where the options are listed."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from convc.ir.lexer import did_you_mean

_CHOICE = re.compile(r"'([^']*)' is not one of (.*)", re.DOTALL)


def usage_line(error: click.ClickException) -> str:
    """The error's message without its last full stop, and the help to look at."""
    text = " ".join(error.format_message().split()).removesuffix(".")
    found = _CHOICE.search(text)
    if found:
        near = did_you_mean(found[1], re.findall(r"'([^']*)'", found[2]))
        text += near if "did you mean" in near else ""
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{text}; see `{context.command_path if context else 'convc'} --help`"


def check_numbers(ctx: click.Context, command: click.Command, args: Sequence[str]) -> None:
    """Raises UsageError where an option that takes one number is followed by several, or by a list with commas."""
    options = {flag: p for p in command.params if isinstance(p, click.Option) for flag in p.opts}
    for i, arg in enumerate(args):
        if arg == "--":
            return
        flag, equals, value = arg.partition("=")
        option = options.get(flag)
        if option is None or not isinstance(option.type, (click.types.FloatParamType, click.types.IntParamType)):
            continue
        after = args[i + 1 :]
        given = [value] if equals else list(after[:1])
        given += _leading_numbers(after[0 if equals else 1 :])
        where = click.Context(command, parent=ctx, info_name=command.name)
        if given and "," in given[0] and all(map(is_number, given[0].split(","))):
            parts = given[0].split(",")
            remedy = f"{flag} {' '.join(parts)}" if option.multiple else f"{flag} {parts[0]}"
            rule = "numbers stand apart by blanks" if option.multiple else f"{flag} takes one number"
            raise click.UsageError(f"{rule}, not '{given[0]}'; give {remedy}", where)
        if len(given) > 1 and is_number(given[0]) and not option.multiple:
            raise click.UsageError(
                f"{flag} takes one number, but {len(given)} were given ({' '.join(given)}); run the command once each",
                where,
            )


def _leading_numbers(args: Sequence[str]) -> list[str]:
    found: list[str] = []
    for arg in args:
        if not is_number(arg):
            break
        found.append(arg)
    return found


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
