"""The options of a command: defaults, overridden by a preset, then by a YAML file, then by the command line."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from harness.errors import UserError
from harness.options import Declared, declarations, expanded, from_text, nearest, shown, types

TEXT = "tag:yaml.org,2002:str"  # the tag of a YAML scalar without a !!type


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
) -> Any:
    """The options of a command from presets, `--config FILE` and the command line, converted and checked: a `config_class`.

    Args: description: the text of --help; its indented examples are shown last. presets: options by the name of a preset;
    `config_class` then has a field `preset`.
    Raises: UserError, in one line, for an unknown option or key, a key that is given twice, a value that is not allowed, an
    option that is missing, and a file that cannot be read.
    """
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    given, unknown = _parser(config_class, prog, description, presets or {}).parse_known_args(list(argv))
    if unknown:
        word, known = unknown[0].split("=")[0], [name.replace("_", "-") for name in fields]
        option = word if word.isprintable() and len(word) < 60 else shown(word)
        if not word.startswith("-"):
            raise UserError(f"unexpected word {option}, which no option before it takes; see {prog} --help")
        advice = nearest(word.lstrip("-").replace("_", "-"), known, sign="--")
        raise UserError(f"unknown option {option}{advice}; see {prog} --help")
    written = {name: value if isinstance(value, list) else [str(value)] for name, value in vars(given).items() if name in fields}
    try:
        chosen = {} if given.config is None else _from_yaml(given.config, config_class)
        chosen |= {name: _value(config_class, name, texts, None) for name, texts in written.items()}
        if presets is not None:
            preset = chosen.get("preset", fields["preset"].default)
            if preset not in presets:
                raise ValueError(f"--preset does not know {shown(preset)}{nearest(preset, presets)}")
            chosen = {**presets[preset], **chosen, "preset": preset}
        config = config_class(**chosen)
    except ValueError as error:
        raise UserError(str(error)) from error
    for name, declared in declarations(config_class).items():
        if declared.required and getattr(config, name) in (None, "", ()):
            raise UserError(f"{config_class.spelled(name)} is missing: {declared.help}; see {prog} --help")
    return config


def to_argv(config_class: type, values: Mapping[str, Any], usual: Mapping[str, Any] | None = None) -> list[str]:
    """The arguments that `parse` reads as these values; only values that differ from the defaults are written.

    Args: values: by the name of the option; other names are ignored. usual: the values of the preset, which are defaults too.
    """
    argv: list[str] = []
    for field in dataclasses.fields(config_class):
        default = (usual or {}).get(field.name, field.default)
        value = values.get(field.name, default)
        value = tuple(value) if isinstance(value, list) else value
        if value == default or value is None:
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            argv.append(f"--{flag}" if value else f"--no-{flag}")
        elif declarations(config_class)[field.name].positional:
            argv.insert(0, str(value))
        else:
            texts = [str(entry) for entry in (value if isinstance(value, tuple) else (value,))]
            argv += [f"--{flag}={texts[0]}"] if texts[:1] and texts[0].startswith("-") else [f"--{flag}", *texts]
    return argv


def command_of(prog: str, options: Any, presets: Mapping[str, Mapping[str, Any]]) -> str:
    """The command line, quoted for a shell, that runs with these options."""
    return shlex.join([*prog.split(), *to_argv(type(options), dataclasses.asdict(options), presets[options.preset])])


def _parser(config_class: type, prog: str, description: str, presets: Mapping[str, Any]) -> _Parser:
    paragraphs = description.rstrip().split("\n\n")
    examples = [text for text in paragraphs if text.startswith("    ")]
    parser = _Parser(
        prog=prog,
        description="\n\n".join(text for text in paragraphs if text not in examples),
        epilog="\n\n".join(["examples:", *examples]) if examples else None,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    groups: dict[str, Any] = {}
    for field, declared in zip(dataclasses.fields(config_class), declarations(config_class).values(), strict=True):
        if field.name == "preset":
            declared = declared._replace(choices=tuple(presets))
        if declared.group not in groups:
            groups[declared.group] = parser.add_argument_group(declared.group)
        _add(groups[declared.group], field, declared, types(config_class)[field.name])
    file = "YAML file with any of these options, written with underscores; the command line overrides it"
    parser.add_argument_group("configuration file").add_argument("--config", metavar="FILE", help=file)
    return parser


def _add(group: Any, field: Any, declared: Declared, kind: Any) -> None:
    options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(field, declared, kind).replace("%", "%%")}
    metavar = declared.metavar or field.name.split("_")[-1].upper()
    flag = f"--{field.name.replace('_', '-')}"
    if kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
    elif declared.positional:
        group.add_argument(field.name, nargs="?", metavar=metavar, **options)
    else:
        group.add_argument(flag, nargs="+" if typing.get_origin(kind) is tuple else None, metavar=metavar, **options)


def _help(field: Any, declared: Declared, kind: Any) -> str:
    """The help text, followed by the allowed values and the default in brackets."""
    several = typing.get_origin(kind) is tuple
    notes = ["required"] if declared.required else []
    notes += [f"{'any' if several else 'one'} of: {', '.join(declared.choices)}"] if declared.choices else []
    notes += [declared.allowed_numbers()]
    usual = declared.usual
    if not usual and field.default not in (None, (), ""):
        usual = {True: "yes", False: "no"}[field.default] if kind is bool else str(field.default)
        usual = ("all of them" if field.default == declared.choices else " ".join(map(str, field.default))) if several else usual
    notes = [note for note in (*notes, f"default: {usual}" if usual else "") if note]
    return f"{declared.help} ({'; '.join(notes)})" if notes else declared.help


def _value(config_class: type, name: str, texts: list[str], file: Path | None) -> Any:
    """The value of an option from the texts of the command line or of a file. Raises: ValueError, in a whole sentence."""
    path = declarations(config_class)[name].path
    try:
        return from_text(types(config_class)[name], [expanded(text, path) for text in texts] if path else texts)
    except ValueError as error:
        raise ValueError(f"{f'{name} in {file}' if file else config_class.spelled(name)} {error}") from error


def _from_yaml(text: str, config_class: type) -> dict[str, Any]:
    """The options in a YAML file. Its scalars are converted exactly as texts of the command line."""
    try:
        path = Path(expanded(from_text(str, [text])))
    except ValueError as error:
        raise ValueError(f"--config {error}") from error
    try:
        with path.open("rb") as stream:
            root = yaml.compose(stream, yaml.BaseLoader)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise UserError(f"{path} is nested too deeply; it must hold option: value pairs") from error
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path} must hold option: value pairs")
    values: dict[str, Any] = {}
    for key, value in root.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
        if name not in types(config_class):
            raise UserError(f"unknown key {shown(name)} in {path}{nearest(name, types(config_class))}")
        if name in values:
            raise UserError(f"{path} gives {name!r} twice; leave one of them")
        values[name] = _of_node(config_class, name, value, path)
    return values


def _of_node(config_class: type, name: str, node: yaml.Node, path: Path) -> Any:
    """The value of an option from its node in a YAML file. Raises: ValueError, in a whole sentence."""
    kind, entries = types(config_class)[name], [node]
    several = typing.get_origin(kind) is tuple
    if several and isinstance(node, yaml.SequenceNode):
        entries = node.value
    elif _is_null(node) and type(None) in typing.get_args(kind):
        return None
    wrong = [entry for entry in entries if _is_null(entry) or entry.tag != TEXT or not isinstance(entry, yaml.ScalarNode)]
    if wrong:
        what = f"text or a number{', or a list of them' if several else ''}, without a !!type"
        raise ValueError(f"{name} in {path} must be {what}; see line {wrong[0].start_mark.line + 1}")
    return _value(config_class, name, [entry.value for entry in entries], path)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in ("", "~", "null", "Null", "NULL")
