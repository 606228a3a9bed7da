"""Frozen dataclasses as configs: defaults, then a preset, then a YAML file, then the command line."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from ambient.runs import Interrupted, UserError


def option(default: Any, help: str, *, choices: Sequence[str] | None = None, metavar: str | None = None) -> Any:
    """A config field with what the command line says about it. `help` may give units."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "metavar": metavar})


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def parse(
    config_class: type,
    argv: Sequence[str],
    *,
    prog: str,
    description: str,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    epilog: str = "",
) -> Any:
    """Resolve a config from presets, `--config FILE` and options. With presets, `config_class` has a field `preset`.

    Raises: UserError for an unknown option or key (naming the nearest), a key or a name that is given twice, a value of the wrong
    type, a file that cannot be read.
    """
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    types = typing.get_type_hints(config_class)
    parser = _Parser(
        prog=prog,
        description=description,
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="YAML with any of the options below, written with underscores")
    for name, field in fields.items():
        _add_option(parser, name, field, types[name], presets or {})
    given, unknown = parser.parse_known_args(list(argv))
    if unknown:
        word, known = unknown[0].split("=")[0], [name.replace("_", "-") for name in fields]
        advice = nearest(word.lstrip("-").replace("_", "-"), known, sign="--")
        raise UserError(f"unknown option {word}{advice}; see {prog} --help")
    from_file = _read_yaml(Path(given.config), fields, types) if given.config else {}
    from_line = {
        name: tuple(value) if isinstance(value, list) else value for name, value in vars(given).items() if name in fields
    }
    chosen = {**from_file, **from_line}
    if presets is not None:
        preset = str(chosen.get("preset") or fields["preset"].default)
        if preset not in presets:
            raise UserError(f"unknown preset {preset!r}{nearest(preset, presets)}")
        chosen = {**presets[preset], **chosen, "preset": preset}
    for name, value in chosen.items():
        twice = _first_repeated(value) if types[name] == tuple[str, ...] else None
        if twice is not None:
            raise UserError(f"--{name.replace('_', '-')} names {twice!r} twice")
    try:
        return config_class(**chosen)
    except ValueError as error:
        raise UserError(str(error)) from error


def words(config_class: type, values: Mapping[str, Any]) -> list[str]:
    """The command line that `parse` reads as these values: what differs from the defaults; what is no option is left out."""
    found: list[str] = []
    for field in dataclasses.fields(config_class):
        value = values.get(field.name, field.default)
        value = tuple(value) if isinstance(value, list) else value
        if value == field.default or value is None:
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            said = [str(entry) for entry in (value if isinstance(value, tuple) else (value,))]
            found += [f"--{flag}={said[0]}"] if said[:1] and said[0].startswith("-") else [f"--{flag}", *said]
    return found


def _add_option(parser: argparse.ArgumentParser, name: str, field: Any, kind: Any, presets: Mapping[str, Any]) -> None:
    flag, help = "--" + name.replace("_", "-"), field.metadata["help"]
    choices = list(presets) if name == "preset" else field.metadata["choices"]
    metavar = field.metadata["metavar"]
    if field.default not in (None, (), ""):
        help += f" (default: {field.default})"
    help = help.replace("%", "%%")
    if kind is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=help)
        return
    nargs = "+" if typing.get_origin(kind) is tuple else None
    if choices:
        help += f"; one of: {', '.join(choices)}" if nargs is None else f"; any of: {', '.join(choices)}"
    parser.add_argument(
        flag,
        type=_element(kind),
        nargs=nargs,
        default=argparse.SUPPRESS,
        metavar=metavar or name.split("_")[-1].upper(),
        help=help,
    )


def _element(kind: Any) -> Callable[[str], Any]:
    """int, float or str, from `int`, `int | None` or `tuple[int, ...]`."""
    inner = [part for part in typing.get_args(kind) if part not in (type(None), Ellipsis)]
    return inner[0] if inner else kind


def _first_repeated(entries: Sequence[str]) -> str | None:
    """The first entry that is there a second time, or None."""
    return next((entry for i, entry in enumerate(entries) if entry in entries[:i]), None)


class _Loader(yaml.SafeLoader):
    """YAML where a key stands once: the plain loader takes the last and says nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        twice = _first_repeated([key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        if twice is not None:
            raise UserError(f"{self.name} gives {twice!r} twice; leave one of them")
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path, fields: Mapping[str, Any], types: Mapping[str, Any]) -> dict[str, Any]:
    try:
        with path.open() as stream:
            content = yaml.load(stream, _Loader) or {}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold option: value pairs")
    return {key: _convert(value, key, path, fields, types) for key, value in content.items()}


def _convert(value: Any, key: Any, path: Path, fields: Mapping[str, Any], types: Mapping[str, Any]) -> Any:
    if key not in fields:
        raise UserError(f"unknown key {key!r} in {path}{nearest(str(key), fields)}")
    kind, element = types[key], _element(types[key])
    if value is None and type(None) in typing.get_args(kind):
        return None
    try:
        if isinstance(value, bool) or kind is bool:
            if type(value) is not kind:
                raise ValueError
            return value
        if typing.get_origin(kind) is tuple:
            entries: list[Any] = value if isinstance(value, list) else [value]
            return tuple(element(_scalar(entry)) for entry in entries)
        return element(str(_scalar(value)))
    except ValueError as error:
        wanted = kind if typing.get_origin(kind) else kind.__name__
        raise UserError(f"{key} in {path} must be of type {wanted}; got {value!r}") from error


def _scalar(value: Any) -> Any:
    """Raises: ValueError for nothing, which YAML makes of an empty value, and for lists and mappings."""
    if value is None or isinstance(value, (list, dict)):
        raise ValueError
    return value


def nearest(word: str, known: Iterable[str], *, sign: str = "") -> str:
    """The end of a sentence about an unknown word: the known one that is nearest, or all of them, each after `sign`."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {sign}{match[0]}?" if match else f"; known: {', '.join(sign + name for name in known)}"


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
