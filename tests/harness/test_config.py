"""Configs: defaults < preset < YAML < command line; every mistake one clear line that names the nearest right thing."""

from __future__ import annotations

import errno
import shlex
from dataclasses import asdict, dataclass

import pytest

from harness.commands import command
from harness.config import command_of, parse, to_argv
from harness.errors import Interrupted, UserError
from harness.options import Options, nearest, option


@dataclass(frozen=True)
class Config(Options):
    preset: str = option("plain", "which one")
    rate: float = option(0.1, "per second", above=0)
    num_steps: int = option(10, "how many, 100% of them", group="sampling", at_least=1, at_most=1_000)
    name: str | None = option(None, "of the run")
    levels: tuple[float, ...] = option((), "to look at")
    kinds: tuple[str, ...] = option(("a",), "of things", choices=("a", "b"))
    title: str = option("", "what it is called")
    fast: bool = option(False, "hurry")
    limit: int | None = option(5, "at most", usual="none")
    out: str | None = option(None, "folder", path=True, metavar="DIR")
    detector: str = option("faces", "what finds faces", path=":")
    decay: float = option(0.0, "of the average", at_least=0, below=1)
    factor: float = option(3.0, "to stop at", above=1, also=(0,))
    widths: tuple[int, ...] = option((8,), "of layers", repeats=True)
    grid: tuple[int, ...] = option((1, 2), "of steps", rising=True)
    seed: int = option(0, "of any size", large=True)
    files: tuple[str, ...] = option((), "to read", path=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fast and self.num_steps > 100:
            raise ValueError("--fast takes at most 100 steps")


PRESETS = {"plain": {}, "quick": {"rate": 0.5, "num_steps": 1, "fast": True}}


def read(*argv, presets=PRESETS):
    return parse(Config, argv, prog="prog", description="A program.\n\n    prog 1\n    prog 2\n", presets=presets)


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
def test_the_command_line_of_values_is_read_as_the_same_values(config):
    found = to_argv(Config, asdict(config) | {"elsewhere": 3, "levels": list(config.levels)})
    assert read(*found) == config
    assert (found == []) == (config == Config())


@pytest.mark.parametrize("words", [["--rate", "0.1"], ["--no-fast", "--name", "a 'b'"], []])
def test_the_command_of_a_preset_with_changes_is_read_as_the_same(words):
    config = read("--preset", "quick", *words)
    command = command_of("python -m prog", config, PRESETS)
    assert read(*shlex.split(command)[3:]) == config


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
        (["--preset", "quik"], "--preset does not know 'quik'; did you mean quick?"),
        (["--preset", ""], "--preset does not know ''"),
        (["--rate", "fast"], "--rate must be a number; got 'fast'"),
        (["--num-steps", "1.5"], "--num-steps must be a whole number; got '1.5'"),
        (["--levels", "1", "x"], "--levels must be a number; got 'x'"),
        (["--rate"], "argument --rate: expected one argument"),
        (["--rate", "-1"], "--rate must be above 0; got -1.0"),
        (["--rate", "nan"], "--rate must be finite, above 0; got nan"),
        (["--rate", "inf"], "--rate must be finite"),
        (["--num-steps", "0"], "--num-steps must be between 1 and 1,000; got 0"),
        (["--num-steps", "9" * 5000], "(5,002 characters)"),
        (["--decay", "1"], "--decay must be at least 0 and below 1; got 1.0"),
        (["--factor", "1"], "--factor must be 0, or above 1; got 1.0"),
        (["--limit", str(2**63)], "--limit must be a whole number of at most 63 bits"),
        (["--grid", "2", "1"], "--grid must rise; got 2 1"),
        (["--grid", "2", "2"], "--grid names 2 twice"),
        (["--levels", ".5", "0.50"], "--levels names 0.5 twice"),
        (["--files", "a", "b/../a"], "--files names 'b/../a' twice"),
        (["--kinds", "c"], "--kinds does not know 'c'; known: a, b"),
        (["--out", ""], "--out must not be empty"),
        (["--out", "a\0b"], "--out must be text in UTF-8 without NUL"),
        (["--title", "\udcff"], "--title must be text in UTF-8 without NUL; got '\\udcff'"),
        (["--out", "~nobody-of-this-name/x"], "--out begins with ~, and no such home folder is known"),
        (["--fast", "--num-steps", "101"], "--fast takes at most 100 steps"),
        (["--config", ""], "--config must not be empty"),
        (["--config", "a\0b"], "--config must be text in UTF-8 without NUL"),
        (["stray"], "unexpected word stray, which no option before it takes; see prog --help"),
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
        ("1: 1", "unknown key '1' in {file}"),
        ("[a]: 1", "unknown key 'a list or a mapping' in {file}"),
        ("rate: fast", "rate in {file} must be a number; got 'fast'"),
        ("rate: null", "rate in {file} must be text or a number"),
        ("\nname: [a, b]", "name in {file} must be text or a number, without a !!type; see line 2"),
        ("title:", "title in {file} must be text or a number"),
        ("levels: [1, [2]]", "levels in {file} must be text or a number, or a list of them"),
        ("kinds: [{a: b}]", "kinds in {file} must be text or a number, or a list of them"),
        ("kinds: [a, null]", "kinds in {file} must be text or a number, or a list of them"),
        ("kinds:", "kinds in {file} must be text or a number, or a list of them"),
        ("kinds: []", "--kinds must not be empty"),
        ("rate: true", "rate in {file} must be a number; got 'true'"),
        ("rate: [1]", "rate in {file} must be text or a number"),
        ("rate: 1:30", "rate in {file} must be a number; got '1:30'"),
        ("num_steps: 1.5", "num_steps in {file} must be a whole number; got '1.5'"),
        ("num_steps: 0b1", "num_steps in {file} must be a whole number; got '0b1'"),
        ("num_steps: !!int abc", "num_steps in {file} must be text or a number, without a !!type"),
        ("num_steps: " + "9" * 5000, "num_steps in {file} must be a whole number"),
        ("rate: " + "[" * 1000, "{file} is nested too deeply"),
        ('out: "a\\0b"', "out in {file} must be text in UTF-8 without NUL"),
        ('out: ""', "out in {file} must not be empty"),
        ("fast: 1", "fast in {file} must be true or false; got '1'"),
        ("levels: [1, x]", "levels in {file} must be a number; got 'x'"),
        ("limit: x", "limit in {file} must be a whole number; got 'x'"),
        ("preset: quik", "--preset does not know 'quik'; did you mean quick?"),
        ("rate: -1", "--rate must be above 0; got -1.0"),
        ("rate: 1\nname: x\nrate: 2", "{file} gives 'rate' twice; leave one of them"),
        ('rate: 1\n"rate": 1', "{file} gives 'rate' twice"),
        ("kinds: [a, b, a]", "--kinds names 'a' twice"),
        ("levels: &same [1, *same]", "levels in {file} must be text or a number, or a list of them"),
        ("- rate", "{file} must hold option: value pairs"),
        ("rate: [1", "{file} is not valid YAML: "),
    ],
    ids=str,
)
def test_mistakes_in_yaml(yaml_file, text, words):
    file = yaml_file(text)
    assert words.format(file=file) in refusal("--config", file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("num_steps: 0500", 500),
        ("name: 12:30", "12:30"),
        ("name: 2024-05-12", "2024-05-12"),
        ("name: 2024-13-01", "2024-13-01"),
        ("name: 2024_05_12", "2024_05_12"),
        ("name: 0x1F", "0x1F"),
        ("name: 1.10", "1.10"),
        ("name: yes", "yes"),
        ("name: 'null'", "null"),
        ("name: ~", None),
        ("fast: yes", True),
        ("fast: False", False),
        ("levels: [1, 1e-3]", (1.0, 0.001)),
    ],
    ids=str,
)
def test_values_in_yaml_are_read_as_written(yaml_file, text, expected):
    """And are what the same words are on the command line."""
    found = read("--config", yaml_file(text))
    name, _, value = text.partition(": ")
    assert getattr(found, name) == expected
    if isinstance(expected, (int, str)) and not isinstance(expected, bool):
        assert found == read(f"--{name.replace('_', '-')}", value.strip("'"))


def test_home_is_found_wherever_a_path_is_given(yaml_file, monkeypatch):
    monkeypatch.setenv("HOME", "/home/x")
    assert read("--out=~/a", "--files", "~/b", "c/~", "--detector", "boxes:~/d", "--title", "~/e") == Config(
        out="/home/x/a", files=("/home/x/b", "c/~"), detector="boxes:/home/x/d", title="~/e"
    )
    assert read("--config", yaml_file("out: ~/a\nfiles: [~/b]")) == Config(out="/home/x/a", files=("/home/x/b",))
    monkeypatch.setenv("HOME", "")
    assert "--out begins with ~" in refusal("--out", "~/a")  # else it would be the root


def test_what_is_declared_is_allowed():
    found = read("--widths", "8", "8", "--factor", "0", "--num-steps", "1000", "--seed", str(2**128), "--grid", "1", "5")
    assert found == Config(widths=(8, 8), factor=0.0, num_steps=1000, seed=2**128, grid=(1, 5))


def test_options_that_are_made_by_hand_are_checked_too():
    with pytest.raises(ValueError, match="--rate must be above 0; got -1"):
        Config(rate=-1)


def test_what_is_missing_and_what_stands_by_its_place():
    @dataclass(frozen=True)
    class Written(Options):
        out: str = option("", "folder", metavar="DIR", path=True, positional=True, required=True)
        data: tuple[str, ...] = option((), "images to read", path=True, required=True)

    def written(*argv):
        return parse(Written, argv, prog="prog", description="")

    for argv in ([], ["--data", "x"], ["", "--data", "x"]):
        with pytest.raises(UserError, match=r"^DIR (is missing|must not be empty)"):
            written(*argv)
    with pytest.raises(UserError, match="--data is missing: images to read; see prog --help"):
        written("a")
    with pytest.raises(UserError, match="unexpected word b"):
        written("a", "b", "--data", "x")
    assert written("a", "--data", "x") == written("--data", "x", "--", "a") == Written(out="a", data=("x",))
    assert written(*to_argv(Written, {"out": "a", "data": ["x", "y"]})) == Written(out="a", data=("x", "y"))


def test_a_yaml_file_that_is_no_text(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    assert "is not valid YAML" in refusal("--config", str(tmp_path / "x.yaml"))
    assert "cannot read" in refusal("--config", str(tmp_path))


def test_help_reads_like_documentation(capsys):
    with pytest.raises(SystemExit) as caught:
        read("--help")
    assert caught.value.code == 0
    out = capsys.readouterr().out
    text = " ".join(out.split())
    assert (
        text.index("A program.") < text.index("sampling:") < text.index("--num-steps STEPS how") < text.index("examples: prog 1")
    )
    for said in (
        "per second (above 0; default: 0.1)",
        "how many, 100% of them (between 1 and 1,000; default: 10)",
        "--no-fast",
        "which one (one of: plain, quick; default: plain)",
        "things (any of: a, b; default: a)",
        "at most (default: none)",
    ):
        assert said in text  # fmt: skip


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
