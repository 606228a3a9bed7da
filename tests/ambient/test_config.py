"""Configs: defaults < preset < YAML < command line; every mistake one clear line that names the nearest right thing."""

from __future__ import annotations

import errno
from dataclasses import asdict, dataclass

import pytest

from ambient.config import command, nearest, option, parse, words
from ambient.runs import Interrupted, UserError


@dataclass(frozen=True)
class Config:
    preset: str = option("plain", "which one")
    rate: float = option(0.1, "per second")
    num_steps: int = option(10, "how many, 100% of them")
    name: str | None = option(None, "of the run")
    levels: tuple[float, ...] = option((), "to look at")
    kinds: tuple[str, ...] = option(("a",), "of things", choices=("a", "b"))
    title: str = option("", "what it is called")
    fast: bool = option(False, "hurry")
    limit: int | None = option(5, "at most")

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"--rate must be positive; got {self.rate}")


PRESETS = {"plain": {}, "quick": {"rate": 0.5, "num_steps": 1, "fast": True}}


def read(*argv, presets=PRESETS):
    return parse(Config, argv, prog="prog", description="A program.", presets=presets)


@pytest.fixture
def yaml_file(tmp_path):
    def write(text):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return str(path)

    return write


def refusal(*argv):
    with pytest.raises(UserError) as caught:
        read(*argv)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults():
    assert read() == Config()


def test_each_source_outdoes_the_one_before(yaml_file):
    assert read("--preset", "quick") == Config(preset="quick", rate=0.5, num_steps=1, fast=True)
    file = yaml_file("preset: quick\nrate: 0.7\n")
    assert read("--config", file) == Config(preset="quick", rate=0.7, num_steps=1, fast=True)
    assert read("--config", file, "--rate", "0.9") == Config(preset="quick", rate=0.9, num_steps=1, fast=True)
    assert read("--rate", "0.9", "--config", file).rate == 0.9
    assert read("--config", file, "--preset", "plain") == Config(rate=0.7)
    assert read("--preset", "quick", "--no-fast").fast is False


def test_types_from_the_command_line():
    found = read("--name", "x", "--levels", "1", "2.5", "--kinds", "b", "--fast", "--limit", "3", "--num-steps=7")
    assert found == Config(name="x", levels=(1.0, 2.5), kinds=("b",), fast=True, limit=3, num_steps=7)


@pytest.mark.parametrize("config", [
    Config(),
    Config(preset="quick", rate=0.25, num_steps=7, name="-two words", levels=(1.0, 2.5), kinds=("b", "a"), fast=True, limit=3),
])  # fmt: skip
def test_words_are_what_is_read_as_the_same_values(config):
    found = words(Config, asdict(config) | {"elsewhere": 3, "levels": list(config.levels)})
    assert read(*found) == config
    assert (found == []) == (config == Config())


def test_types_from_yaml(yaml_file):
    text = "rate: 1\nnum_steps: 7\nname: null\nlevels: [1, 2.5e-1]\nkinds: b\nfast: true\nlimit: null\n"
    found = read("--config", yaml_file(text))
    assert found == Config(rate=1.0, num_steps=7, levels=(1.0, 0.25), kinds=("b",), fast=True, limit=None)
    assert isinstance(found.rate, float)
    assert read("--config", yaml_file("name: 12")).name == "12"
    assert read("--config", yaml_file("rate: 1e-3")).rate == 1e-3  # YAML 1.1 takes this for a string
    assert read("--config", yaml_file("")) == Config()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--rat", "1"], "unknown option --rat; did you mean --rate?; see prog --help"),
        (["--num_steps=3"], "unknown option --num_steps; did you mean --num-steps?"),
        (["--zzzz"], "unknown option --zzzz; known: --preset, --rate"),
        (["--nnnam"], "unknown option --nnnam; did you mean --name?"),
        (["--zzz"], "unknown option --zzz; known: --preset, --rate"),
        (["--preset", "quik"], "unknown preset 'quik'; did you mean quick?"),
        (["--rate", "fast"], "argument --rate: invalid float value: 'fast'; see prog --help"),
        (["--num-steps", "1.5"], "argument --num-steps: invalid int value: '1.5'"),
        (["--levels", "1", "x"], "argument --levels: invalid float value: 'x'"),
        (["--rate"], "argument --rate: expected one argument"),
        (["--rate", "-1"], "--rate must be positive; got -1.0"),
        (["stray"], "unknown option stray"),
        (["--kinds", "b", "a", "b"], "--kinds names 'b' twice"),
        (["--config", "missing.yaml"], "cannot read missing.yaml: No such file or directory"),
    ],
    ids=str,
)
def test_mistakes_on_the_command_line(argv, words):
    assert words in refusal(*argv)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rtae: 1", "unknown key 'rtae' in {file}; did you mean rate?"),
        ("num-steps: 1", "unknown key 'num-steps' in {file}; did you mean num_steps?"),
        ("1: 1", "unknown key 1 in {file}"),
        ("rate: fast", "rate in {file} must be of type float; got 'fast'"),
        ("rate: null", "rate in {file} must be of type float; got None"),
        ("name: [a, b]", "name in {file} must be of type str | None; got ['a', 'b']"),
        ("title:", "title in {file} must be of type str; got None"),
        ("levels: [1, [2]]", "levels in {file} must be of type tuple[float, ...]; got [1, [2]]"),
        ("kinds: [{a: b}]", "kinds in {file} must be of type tuple[str, ...]; got [{{'a': 'b'}}]"),
        ("kinds: [a, null]", "kinds in {file} must be of type tuple[str, ...]; got ['a', None]"),
        ("kinds:", "kinds in {file} must be of type tuple[str, ...]; got None"),
        ("rate: true", "rate in {file} must be of type float; got True"),
        ("rate: [1]", "rate in {file} must be of type float; got [1]"),
        ("num_steps: 1.5", "num_steps in {file} must be of type int; got 1.5"),
        ("fast: 1", "fast in {file} must be of type bool; got 1"),
        ("fast: 'yes'", "fast in {file} must be of type bool; got 'yes'"),
        ("levels: [1, x]", "levels in {file} must be of type tuple[float, ...]; got [1, 'x']"),
        ("limit: x", "limit in {file} must be of type int | None; got 'x'"),
        ("preset: quik", "unknown preset 'quik'; did you mean quick?"),
        ("rate: -1", "--rate must be positive; got -1.0"),
        ("rate: 1\nname: x\nrate: 2", "{file} gives 'rate' twice; leave one of them"),
        ('rate: 1\n"rate": 1', "{file} gives 'rate' twice"),
        ("kinds: [a, b, a]", "--kinds names 'a' twice"),
        ("- rate", "{file} must hold option: value pairs"),
        ("rate: [1", "{file} is not valid YAML: "),
    ],
    ids=str,
)
def test_mistakes_in_yaml(yaml_file, text, words):
    file = yaml_file(text)
    assert words.format(file=file) in refusal("--config", file)


def test_numbers_may_repeat():
    """It is names that are chosen once; widths of layers, say, are often equal."""
    assert read("--levels", "1", "1").levels == (1.0, 1.0)


def test_a_yaml_file_that_is_no_text(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    assert "is not valid YAML" in refusal("--config", str(tmp_path / "x.yaml"))
    assert "cannot read" in refusal("--config", str(tmp_path))


def test_help_reads_like_documentation(capsys):
    with pytest.raises(SystemExit) as caught:
        read("--help")
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "A program." in text
    for said in ("per second (default: 0.1)", "how many, 100% of them", "one of: plain, quick", "any of: a, b", "--no-fast"):
        assert said in text


def test_the_nearest_or_all():
    assert nearest("rat", ["rate", "name"]) == "; did you mean rate?"
    assert nearest("zzz", ["rate", "name"]) == "; known: rate, name"


def fails_with(error):
    def main(_):
        raise error

    return main


@pytest.mark.parametrize(
    ("main", "code", "words"),
    [
        (lambda _: None, 0, ""),
        (fails_with(UserError("no such thing; take another")), 2, "error: no such thing; take another\n"),
        (
            fails_with(OSError(errno.ENOSPC, "No space left on device", "/a/b")),
            2,
            "error: No space left on device (/a/b); what was",
        ),
        (fails_with(OSError(errno.EIO, "Input/output error")), 2, "error: Input/output error; what was written before is intact"),
        (fails_with(OSError("odd")), 2, "error: odd; what was written before is intact: mend it and run the same command\n"),
        (fails_with(Interrupted("saved at step 3")), 130, "stopped: saved at step 3; the same command goes on from there\n"),
        (fails_with(KeyboardInterrupt()), 130, "stopped: nothing was lost; the same command goes on from there\n"),
    ],
)
def test_exit_codes(main, code, words, capsys):
    with pytest.raises(SystemExit) as caught:
        command(main)
    assert caught.value.code == code
    printed = capsys.readouterr().err
    assert printed.startswith(words)
    assert printed.count("\n") == (code != 0)


def test_mistakes_of_the_program_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        command(lambda _: 1 // 0)


def test_the_program_is_given_the_arguments(monkeypatch):
    seen = []
    monkeypatch.setattr("sys.argv", ["prog", "a", "--b"])
    with pytest.raises(SystemExit):
        command(seen.append)
    assert seen == [["a", "--b"]]
