"""The commands of a program in one table, and what happens when a command ends."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from harness.errors import Interrupted, UserError
from harness.options import nearest, shown


class Command(NamedTuple):
    """A command. Its module has `main(argv)` and the class of its options, `OPTIONS`."""

    module: str
    about: str

    def options(self) -> Any:
        """The class of the options."""
        return importlib.import_module(self.module).OPTIONS


def dispatch(program: str, commands: Mapping[str, Command], argv: list[str], examples: Sequence[str] = ()) -> None:
    """Hand the options to the command that `argv` begins with; without one, or for --help, list the commands.

    A command has one word, or two as in `attack noise`. Raises: UserError for an unknown one.
    """
    first, second = [*argv[:2], "", ""][:2]
    family = {name: command for name, command in commands.items() if name.split()[0] == first}
    if f"{first} {second}" in family:
        return importlib.import_module(family[f"{first} {second}"].module).main(argv[2:])
    is_command = first in commands and (len(family) == 1 or not second or second.startswith("-"))
    if is_command:
        return importlib.import_module(commands[first].module).main(argv[1:])
    if first in ("", "-h", "--help") or (family and second in ("", "-h", "--help")):
        return print(_overview(program, family or commands, examples))
    word, given = (second, f"{first} {second}") if family else (first, first)
    known = [name.split()[1] for name in family if " " in name] or dict.fromkeys(name.split()[0] for name in commands)
    raise UserError(f"{program}: unknown command {shown(given)}{nearest(word, known, sign=f'{first} ' if family else '')}")


def _overview(program: str, commands: Mapping[str, Command], examples: Sequence[str]) -> str:
    width = max(map(len, commands))
    lines = [f"usage: {program} COMMAND [options]", "", *(f"  {name:{width}}  {it.about}" for name, it in commands.items())]
    lines += ["", f"{program} COMMAND --help explains a command and its options.", "", "examples:"]
    return "\n".join([*lines, *(f"    {program} {example}" for example in examples)])


def command(main: Callable[[list[str]], None]) -> NoReturn:
    """Run `main(argv)` as a program: 0 when done, 2 with one clear line for the user's mistakes, 130 when interrupted."""
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(
            f"error: {error.strerror or error}{where}; what was written before is intact: mend it and run the same command",
            file=sys.stderr,
        )
        sys.exit(2)
    except (Interrupted, KeyboardInterrupt) as error:
        print(f"stopped: {str(error) or 'nothing was lost'}; the same command goes on from there", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)
