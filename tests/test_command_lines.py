"""Command lines that cannot be right: each is refused in one line that names the option, whatever the command.

The values are made from what each option declares, so that an option that is added is tried too.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import typing
from collections.abc import Iterator

import pytest

from harness.config import parse
from harness.errors import UserError
from harness.options import Declared, declarations, types
from sdxl.__main__ import main as sdxl
from sdxl.rehearse import stages
from tests.test_layout import COMMANDS
from toy.__main__ import main as toy

MAINS = {"toy": toy, "sdxl": sdxl}
PLACES = ("DIR", "FILE", "MODEL", "LORA", "DATA")  # metavars of options whose values are paths, or may be
FRAGMENT = re.compile(r"(of|for|how|where|what|which|beside|also|not) ")  # how a help text begins that does not stand alone


def words_of(name: str) -> list[str]:
    """`sdxl evaluate fid` as the words of a command line."""
    return name.split()


def config_of(module: str) -> type:
    return COMMANDS[module].options()


def refusal(*words: str) -> str:
    """The line with which a command is refused."""
    with pytest.raises(UserError) as caught:
        MAINS[words[0]](list(words[1:]))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1_000
    return message


def wrong(kind: object, declared: Declared) -> Iterator[list[str]]:
    """Values that an option does not allow, each as the words after it."""
    parts = [part for part in typing.get_args(kind) if part not in (type(None), Ellipsis)]
    element, several = (parts[0] if parts else kind), typing.get_origin(kind) is tuple
    yield ["\udcff"]
    if element is str:
        yield ["a\0b"]
    else:
        yield from (["many"], ["12:30"], [""])
    if element is int:
        yield from (["1.5"], ["9" * 5000])
        if not declared.large:
            yield [str(2**63)]
    if element is float:
        yield from (["nan"], ["inf"], ["1e999"])
    if declared.at_least is not None:
        yield [str(declared.at_least - 1)]
    if declared.above is not None:
        yield [str(declared.above)]
    if declared.at_most is not None:
        yield [str(declared.at_most + 1)]
    if declared.below is not None:
        yield [str(declared.below)]
    if declared.choices:
        yield from (["no such word"], [""])
    if declared.path:
        yield [""] if declared.path is True else ["kind:~no-such-user/x"]
        yield ["~no-such-user/x"] if declared.path is True else ["kind:a\0b"]
    if several and not declared.repeats:
        good = declared.choices[0] if declared.choices else {int: "150", float: "150", str: "a=1"}[element]
        yield [good, good]


OPTIONS = [
    (module, name) for module in COMMANDS for name in types(config_of(module)) if types(config_of(module))[name] is not bool
]


@pytest.mark.parametrize(("module", "name"), OPTIONS, ids=lambda value: value)
def test_what_an_option_does_not_allow_is_refused_by_its_name(module, name):
    config = config_of(module)
    flag = config.spelled(name) if not declarations(config)[name].positional else None
    for value in wrong(types(config)[name], declarations(config)[name]):
        message = refusal(*words_of(module), *([flag] if flag else []), *value)
        assert config.spelled(name) in message, value


@pytest.mark.parametrize("module", COMMANDS)
def test_words_that_are_no_options_are_refused(module):
    for words, said in ((["--sede", "1"], "--seed"), (["--config", ""], "--config"), (["--config", "no.yaml"], "no.yaml"),
                        (["--out"], "--out"), (["--dry-run=1"], "--dry-run"), (["stray", "stray"], "stray")):  # fmt: skip
        if said.removeprefix("--").replace("-", "_") in types(config_of(module)) or not said.startswith("--"):
            assert said in refusal(*words_of(module), *words)


@pytest.mark.parametrize("module", COMMANDS)
def test_defaults_are_allowed_and_are_what_the_same_words_are(module):
    config = config_of(module)
    presets, words = getattr(importlib.import_module(COMMANDS[module].module), "PRESETS", None), list[str]()
    given = {}
    for field in dataclasses.fields(config):
        value, declared = field.default, declarations(config)[field.name]
        if declared.required:
            value = ("x",) if isinstance(value, tuple) else "x"
            given[field.name] = value
        if value in (None, ()):
            continue
        flag = [] if declared.positional else [config.spelled(field.name)]
        if isinstance(value, bool):
            words.append(flag[0] if value else flag[0].replace("--", "--no-", 1))
        else:
            words += [*flag, *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    assert parse(config, words, prog="prog", description="", presets=presets) == config(**given)


@pytest.mark.parametrize("module", COMMANDS)
def test_help_is_grouped_stands_alone_and_ends_with_examples(module, capsys):
    for name, declared in declarations(config_of(module)).items():
        assert declared.group != "options", name
        assert not FRAGMENT.match(declared.help), name
        assert declared.path or (declared.metavar not in PLACES and name not in ("data", "out")), name
        number = {int, float} & {types(config_of(module))[name], *typing.get_args(types(config_of(module))[name])}
        assert not number or declared.allowed_numbers() or name in ("seed", "size", "levels", "attack"), name
    with pytest.raises(SystemExit):
        MAINS[module.split()[0]]([*words_of(module)[1:], "--help"])
    out = capsys.readouterr().out
    examples = out[out.index("examples:") :]
    assert examples.count("-m ") >= 2
    assert not re.search(r"\n\S", examples)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["toy", "gmn"], "gmm"),
        (["toy", "mnist", "tabel1"], "table1"),
        (["sdxl", "tran"], "train"),
        (["sdxl", "attack", "nose"], "noise"),
        (["sdxl", "evaluate", "\udcff"], "unknown command"),
        (["sdxl", "rehearse", "--out", ""], "--out"),
        (["sdxl", "tiny"], "DIR"),
        (["sdxl", "tiny", "--prediction", "nope", "x"], "--prediction"),
        (["sdxl", "train"], "--data"),
        (["sdxl", "train", "--data", "x", "--validation-steps", "0"], "--validation-steps"),
        (["sdxl", "train", "--data", "x", "--fraction", "0"], "--fraction"),
        (["sdxl", "train", "--data", "x", "--consistency-from", "1000"], "--consistency-from"),
        (["sdxl", "train", "--data", "x", "--min-snr", "5", "--space", "x_n"], "--min-snr"),
        (["sdxl", "corrupt", "--data", "x", "--t-n", "1", "--level-column", "t"], "--level-column"),
        (["sdxl", "generate", "--images", "1000000000"], "--images"),
        (["sdxl", "generate", "--prompt", "a", "--null-caption"], "--null-caption"),
        (["sdxl", "attack", "noise", "--data", "photographs", "--samples", "1000000000"], "--samples"),
        (["sdxl", "attack", "noise", "--data", "x", "--kernel", "ddim", "--samples", "2"], "--samples"),
        (["sdxl", "attack", "mask", "--data", "x", "--fill", "inpainting", "--resample", "1"], "--resample"),
        (["sdxl", "attack", "mask", "--data", "x", "--guidance", "2"], "--captions"),
        (["sdxl", "evaluate", "restoration", "--data", "x", "--levels", "500", "500"], "--levels"),
        (["sdxl", "evaluate", "restoration", "--data", "x", "--loras", "a", "./a/"], "--loras"),
        (["sdxl", "evaluate", "restoration", "--data", "x", "--no-with-base"], "--loras"),
        (["sdxl", "evaluate", "memorization", "--images", "a", "--training", "b", "--held-out", ""], "--held-out"),
        (["sdxl", "evaluate", "memorization", "--images", "a", "--training", "b", "--control", "c"], "--held-out"),
        (["sdxl", "evaluate", "fid", "--generated", "a"], "--reference"),
        (["sdxl", "figures", "--runs", "a", "--data", __file__], "--data"),
        (["toy", "gmm", "--preset", ""], "--preset"),
        (["toy", "gmm", "--recipe", "weight=-1"], "--recipe weight"),
        (["toy", "gmm", "--recipe", "steps=0.5,0.1"], "--recipe steps"),
        (["toy", "gmm", "--points", "100", "--data", "x.csv"], "--points"),
        (["toy", "mnist", "--path", "sdxl", "--sigma-n", "1"], "--sigma-n"),
        (["toy", "mnist", "table1", "--levels", "500", "100"], "--levels"),
    ],
    ids=lambda value: " ".join(value)[:80] if isinstance(value, list) else value,
)
def test_mistakes_of_one_command(line, said):
    assert said in refusal(*line)


def test_a_name_of_a_folder_is_one_word_of_each_rehearsed_command():
    config = config_of("sdxl rehearse")
    plain, odd = stages(config(out="X")), stages(config(out="a 'b' {c} \"d\""))
    assert odd == [[word.replace("X", "a 'b' {c} \"d\"") if word.startswith("X") else word for word in line] for line in plain]
    assert not any("{" in word for line in plain for word in line)
