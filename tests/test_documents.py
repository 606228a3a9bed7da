"""The pages say what is true: every block runs, or is parsed by the command it calls; files, links and limits are as stated."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from ambient.worlds import GaussianMixture
from harness.config import parse as read_options
from tests.test_layout import ROOT
from toy.evaluation import sliced_wasserstein

PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))}
README = PAGES["README.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOOLS = {"ruff", "pyright", "pre-commit"}  # of pyproject's dev dependencies
TOP = r"(?:ambient|benchmarks|docs|examples|harness|sdxl|tests|theory_checks|toy|tutorials)"


class Parsed(Exception):  # noqa: N818, it is no error
    """What a command would have run, in place of running it."""


def blocks(page: str, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(PAGES[page]) if found == language]


def inline(page: str) -> list[str]:
    """The code within sentences and tables, without the fenced blocks."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", FENCE.sub("", PAGES[page]))]


def commands(block: str) -> Iterator[tuple[str, ...]]:
    """The commands of a shell block, in words: comments are dropped, continued lines joined, and chains taken apart."""
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            yield tuple(words[:end])
            words = words[end + 1 :]


def whole_commands() -> Iterator[tuple[str, tuple[str, ...]]]:
    for page in PAGES:
        yield from ((page, words) for block in blocks(page, "sh") for words in commands(block))
        for code in inline(page):
            if re.match(r"python (-m (toy|sdxl|venv)\b|benchmarks/|examples/|tutorials/)|pytest |torchrun |pip install ", code):
                yield from ((page, words) for form in forms(code) for words in commands(form))


def forms(code: str) -> list[str]:
    """The commands that a sentence means: `a b | c` are two, [options] are given, and a bare name stands for its `--help`."""
    first, *others = re.sub(r"[][]", "", code).split(" | ")
    *before, name = first.split(" ")
    found = [" ".join([*before, last]) for last in (name, *others)] if others else [first]
    return [form if "--" in form or not re.match("python -m (toy|sdxl)", form) else f"{form} --help" for form in found]


def fragments() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Commands of sdxl without what stands before them: `generate --stop T_N`."""
    names = {name.split()[0] for name in importlib.import_module("sdxl.__main__").COMMANDS}
    for page in PAGES:
        yield from ((page, tuple(code.split())) for code in inline(page) if re.match(rf"({'|'.join(names)}) .*--", code))


def dispatch(track: str, words: tuple[str, ...], answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call a track's `main`, with `answer` in place of the parser of options in every module that has it."""
    main = importlib.import_module(f"{track}.__main__").main
    names = [word for word in words[:2] if not word.startswith("-")]
    for known in (names, names[:1]):  # `tiny DIR` is one name, `evaluate fid` are two
        with suppress(SystemExit, Exception):
            main([*known, "--help"])
    for module in list(sys.modules.values()):
        if getattr(module, "parse", None) is read_options:
            monkeypatch.setattr(module, "parse", answer)
    main(list(words))


def config_of(track: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    """The config that the real parser makes of a command line."""

    def answer(*arguments, **options):
        raise Parsed(read_options(*arguments, **options))

    monkeypatch.chdir(ROOT)  # where configs are named from
    with pytest.raises(Parsed) as caught:
        dispatch(track, words, answer, monkeypatch)
    return caught.value.args[0]


def in_help(words: tuple[str, ...], script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The options of a script are those that its `--help` lists."""
    monkeypatch.setattr("sys.argv", [script, "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert caught.value.code == 0
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[\w-]+", capsys.readouterr().out))


@pytest.mark.parametrize(("page", "words"), sorted(set(whole_commands())), ids=lambda value: str(value)[:60])
def test_every_command_is_one_that_its_program_takes(page, words, monkeypatch, capsys):
    match words:
        case ("python3", "-m", "venv", folder) | (".", folder):
            assert folder in (".venv", ".venv/bin/activate")
        case ("python", "-m", "venv", ".venv"):
            pass
        case ("pip", "install", *rest):
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            assert {name for word in rest for name in re.findall(r"^\.\[(\w+)\]", word)} <= set(extras)
            assert all((ROOT / after).is_file() for before, after in pairwise(rest) if before == "-c")
        case ("pytest", *rest):
            assert all((ROOT / word).exists() for word in rest if not word.startswith("-"))
        case ("python", "-m", ("toy" | "sdxl") as track, *rest) if not rest or "--help" in rest:
            with suppress(SystemExit):
                importlib.import_module(f"{track}.__main__").main(list(rest))
            assert "usage: " in capsys.readouterr().out
        case ("python", "-m", ("toy" | "sdxl") as track, *rest):
            assert dataclasses.is_dataclass(config_of(track, tuple(rest), monkeypatch))
        case ("torchrun", "--nproc-per-node", count, "-m", "sdxl", *rest):
            assert int(count) > 1
            config_of("sdxl", tuple(rest), monkeypatch)
        case ("accelerate", "launch", "--num_processes", count, "-m", "sdxl", *rest):
            assert int(count) > 1
            config_of("sdxl", tuple(rest), monkeypatch)
        case ("sbatch", script, *rest):
            assert "-m sdxl train" in (ROOT / script).read_text()
            config_of("sdxl", ("train", *rest), monkeypatch)
        case ("python", script, *rest) if script.startswith(("benchmarks/", "tutorials/")):
            in_help(tuple(rest), script, monkeypatch, capsys)
        case ("python", "examples/ambient_in_100_lines.py", *rest):
            assert len(rest) <= 2  # the picture and the seed; tests/test_examples.py runs it
        case (tool, *_):
            assert tool in TOOLS, f"{page} names a command that nothing here knows: {shlex.join(words)}"


@pytest.mark.parametrize(("page", "words"), sorted(set(fragments())), ids=lambda value: str(value)[:60])
def test_options_in_sentences_exist(page, words, monkeypatch):
    def answer(config_class, *arguments, **options):
        raise Parsed({"--" + field.name.replace("_", "-") for field in dataclasses.fields(config_class)})

    with pytest.raises(Parsed) as caught:
        dispatch("sdxl", words, answer, monkeypatch)
    assert {word for word in words if word.startswith("--")} <= caught.value.args[0]


def test_a_command_that_its_program_would_refuse_is_found(monkeypatch):
    with pytest.raises(Exception, match="--sigma-n"):
        config_of("toy", ("gmm", "--sigma", "0.3"), monkeypatch)
    assert list(commands("a 'b c' && d  # e\nf \\\n  g")) == [("a", "b c"), ("d",), ("f", "g")]
    assert forms("python -m toy a | b") == ["python -m toy a --help", "python -m toy b --help"]


def test_every_block_says_its_language():
    assert {language for page in PAGES.values() for language, _ in FENCE.findall(page)} == {"sh", "python"}
    assert len(blocks("README.md", "python")) == 1
    assert len(blocks("docs/extending.md", "python")) == 7


def test_the_code_of_the_readme_beats_early_stop_in_a_fraction_of_its_steps():
    (block,) = blocks("README.md", "python")
    assert len(block.splitlines()) <= 30
    assert block.count("2_500") == 1
    torch.manual_seed(0)
    names: dict = {}
    exec(block.replace("2_500", "1_000"), names)
    modes = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    world = GaussianMixture(torch.full((4,), 0.25), modes, 0.04 * torch.eye(2).expand(4, 2, 2))
    x_0 = world.sample(5_000, torch.Generator().manual_seed(0))
    denoised = world.denoise(names["x_n"][:5_000].double(), names["path"](names["t_n"])).to(x_0)  # exactly, and once
    ours, early_stop = (sliced_wasserstein(x.to(x_0), x_0) for x in (names["samples"], denoised))
    assert ours < early_stop < sliced_wasserstein(names["x_n"][:5_000].to(x_0), x_0)


@pytest.mark.parametrize("page", ["docs/extending.md", "docs/experiments.md"])
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{page}, block {number}", "exec"), {"__name__": "block"})


def test_points_of_the_guide_are_read_by_its_command(tmp_path, monkeypatch):
    page = "docs/experiments.md"
    words = next(words for block in blocks(page, "sh") for words in commands(block) if "points.csv" in words)
    (block,) = (block for block in blocks(page, "python") if "points.csv" in block)
    config = config_of("toy", words[3:], monkeypatch)
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    problem = importlib.import_module(type(config).__module__).Source(config)(0)
    assert (problem.dim, problem.count) == (4, 135)  # a tenth of the 150 rows is held out
    assert problem.t_n * problem.scale == pytest.approx(0.3)


def test_images_of_the_guide_are_read_by_its_command(tmp_path, monkeypatch):
    (block,) = (block for block in blocks("docs/extending.md", "python") if "mine.npz" in block)
    words = next(words for text in blocks("docs/extending.md", "sh") for words in commands(text) if "mine.npz" in words)
    config = config_of("toy", words[3:], monkeypatch)
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    digits = config.digits()
    assert (digits.size, len(digits.train), len(digits.test)) == (8, 1500, 297)


@pytest.mark.parametrize("page", sorted(set(PAGES) - {"README.md", "docs/extending.md", "docs/experiments.md"}))
def test_other_python_blocks_import_what_exists(page):
    for block in blocks(page, "python"):
        for node in ast.parse(block).body:
            if isinstance(node, ast.ImportFrom):
                assert all(hasattr(importlib.import_module(node.module), alias.name) for alias in node.names)


def test_the_test_command_is_found_by_continuous_integration():
    extraction = re.search(r"command=\$\((.*)\)", (ROOT / ".ci/run").read_text())[1]
    found = subprocess.run(["bash", "-c", extraction], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [words[0] for words in commands(found)] == ["python3", ".", "pip", "pytest"]


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_and_files_exist(page):
    text, folder = PAGES[page], (ROOT / page).parent
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    made = re.findall(r"^/docs/(\w+/)$", (ROOT / ".gitignore").read_text(), re.MULTILINE)  # by the build, which checks them
    links = [link for link in links if page != "docs/index.md" or not link.startswith(tuple(made))]
    assert [link for link in links if not (folder / link).exists()] == []
    files = [code for code in inline(page) if re.fullmatch(rf"{TOP}/[\w./-]*", code)]
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_the_first_screen_of_the_readme_has_a_picture_and_the_two_commands():
    assert len(README.splitlines()) <= 130
    screen = "\n".join(README.splitlines()[:30])
    (picture,) = re.findall(r"!\[[^]]*\]\((\S+)\)", screen)
    assert (ROOT / picture).stat().st_size < 150_000
    assert [list(commands(body))[-1] for _, body in FENCE.findall(screen)] == [("python", "-m", "toy", "gmm"), ("pytest",)]


def test_tables_of_the_readme_are_small():
    tables = re.findall(r"(?:^\|.*\n)+", README, re.MULTILINE)
    assert len(tables) == 1
    for table in tables:
        head, _, *rows = table.splitlines()
        assert head.count("|") - 1 <= 5
        assert len(rows) <= 7


def test_the_first_floor_can_be_read_in_an_hour_and_in_its_order():
    """At 25 lines a minute; and no file uses one that is read after it, the look ahead excepted."""
    floor = re.search(r"^1\. \*\*.*?(?=^2\. )", PAGES["docs/story.md"], re.MULTILINE | re.DOTALL)[0]
    files = re.findall(r"`((?:examples|ambient)/\w+\.py)`", floor)
    assert len(files) == 8
    assert sum(len((ROOT / file).read_text().splitlines()) for file in files) <= 60 * 25
    read: set[str] = set()
    for file in files[1:]:
        nodes = [node for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.ImportFrom)]
        uses = {node.module.split(".")[1] for node in nodes if node.module.startswith("ambient.")}
        uses |= {alias.name for node in nodes if node.module == "ambient" for alias in node.names}
        assert uses <= read, f"{file} uses what is read later"
        read.add(Path(file).stem)
