"""`python -m toy gmm`: help, every mistake one clear line, results of another version, the user's own data."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from harness.errors import Interrupted, UserError
from tests.toy.command_line import Here, finish, start
from toy.data.points import load_points
from toy.experiments import gmm
from toy.experiments.fit import FORMAT
from toy.experiments.gmm import PRESETS, GmmOptions
from toy.experiments.row import Row, read

SMOKE = ("--preset", "smoke", "--evaluations", "0.002")


@pytest.fixture
def toy(monkeypatch, capsys):
    return Here(monkeypatch, capsys)


@pytest.fixture
def table(tmp_path):
    """Writes a small table of two coordinates, with changes, and names the file."""

    def write(**changes):
        rng = np.random.default_rng(0)
        columns = {"x": rng.normal(size=40), "y": rng.normal(size=40), **changes}
        path = tmp_path / "points.csv"
        pd.DataFrame(columns).to_csv(path, index=False)
        return path

    return write


def with_entry(values, row, value):
    changed = np.array(values, dtype=object)
    changed[row] = value
    return changed


def test_help_reads_like_documentation():
    """As a process of its own, once."""
    answer = finish(start("gmm", "--help"))
    assert (answer.code, answer.error) == (0, "")
    assert "python -m toy gmm --data points.csv --sigma-n 0.3" in answer.out
    for word in ("--out DIR", "--sigma-n", "--preset", "--seed", "--method", "--config FILE", "ring5", *PRESETS):
        assert word in answer.out


def test_experiments_are_listed(toy):
    for words in ((), ("--help",)):
        answer = toy(*words)
        assert answer.code == 0
        assert "gmm" in answer.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gmn"], "unknown command 'gmn'; did you mean gmm?"),
        (["gmm", "--sigma", "1"], "unknown option --sigma; did you mean --sigma-n?"),
        (["gmm", "--methd", "ours"], "unknown option --methd; did you mean --method?"),
        (["gmm", "--method", "our"], "--method does not know 'our'; did you mean ours?"),
        (["gmm", "--world", "ring6"], "--world does not know 'ring6'; did you mean ring5?"),
        (["gmm", "--preset", "fulll"], "--preset does not know 'fulll'; did you mean full?"),
        (["gmm", "--sigma-n", "-0.3"], "--sigma-n must be above 0; got -0.3"),
        (["gmm", "--sigma-n", "nan"], "--sigma-n must be finite, above 0; got nan"),
        (["gmm", "--sigma-n", "inf"], "--sigma-n must be finite, above 0; got inf"),
        (["gmm", "--sigma-n", "0"], "--sigma-n must be above 0"),
        (["gmm", "--sigma-n", "much"], "--sigma-n must be a number; got 'much'"),
        (["gmm", "--seeds", "0"], "--seeds must be between 1"),
        (["gmm", "--evaluations", "-1"], "--evaluations must be above 0"),
        (["gmm", "--samples", "1"], "--samples must be between 100 and 10,000,000; got 1"),
        (["gmm", "--samples", "99"], "--samples must be between 100"),
        (["gmm", "--points", "5"], "--points must be between 10 and 10,000,000; got 5"),
        (["gmm", "--noise-column", "s"], "--noise-column goes with --data"),
        (["gmm", "--data", "x.csv", "--points", "100"], "--points goes with a built-in world"),
        (["gmm", "--data", "x.csv", "--world", "ring5"], "--world is a built-in one, and --data are points of your own"),
        (["gmm", "--recipe", "wieght=1"], "unknown --recipe 'wieght'; did you mean weight?"),
        (["gmm", "--recipe", "weight=1", "weight=2"], "--recipe gives 'weight' twice"),
        (["gmm", "--method", "ours", "wiener", "ours"], "--method names 'ours' twice"),
        (["gmm", "--recipe", "weight=big"], "--recipe weight must be a number"),
        (["gmm", "--recipe", "antithetic=1"], "--recipe antithetic must be true or false; got '1'"),
        (["gmm", "--recipe", "steps=0.1"], "--recipe steps takes 2 values"),
        (["gmm", "--config", "nowhere.yaml"], "cannot read nowhere.yaml: No such file"),
        (["gmm", "--data", "nowhere.csv", "--sigma-n", "1"], "cannot read nowhere.csv: No such file"),
    ],
    ids=str,
)
def test_mistakes_on_the_command_line(toy, words, message):
    assert message in toy.refusal(*words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sigma: 1", "unknown key 'sigma' in {file}; did you mean sigma_n?"),
        ("sigma_n: -1", "--sigma-n must be above 0; got -1.0"),
        ("method: [ours, wienr]", "--method does not know 'wienr'; did you mean wiener?"),
        ("seeds: 1\nseeds: 2", "{file} gives 'seeds' twice"),
        ("seeds: many", "seeds in {file} must be a whole number; got 'many'"),
    ],
)
def test_mistakes_in_yaml(toy, tmp_path, text, message):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    assert message.format(file=file) in toy.refusal("gmm", "--config", file)


def test_runs_have_folders_of_their_own():
    folders = [
        GmmOptions(**given).folder() for given in ({}, {"world": "line3"}, {"data": "a/x.csv", "preset": "full"}, {"out": "o"})
    ]
    assert [*map(str, folders)] == ["runs/gmm-default", "runs/gmm-line3-default", "runs/gmm-x-full", "o"]
    assert GmmOptions(world="ring5").identity() == GmmOptions().identity()
    assert GmmOptions(world="ring5").folder() == GmmOptions().folder()


def test_a_preset_leaves_out_what_cannot_be_run_and_a_user_is_told(toy, table, tmp_path, monkeypatch, capsys):
    def stop(config, out, methods):
        raise Interrupted(" ".join(methods))

    monkeypatch.setattr(gmm, "compute", stop)
    words = ["--data", str(table()), "--sigma-n", "0.3", "--preset", "smoke"]
    with pytest.raises(Interrupted, match=r"^ours paper ambient-only early-stop wiener$"):
        gmm.main([*words, "--out", str(tmp_path / "run")])
    assert "left out exact: it needs the clean distribution" in capsys.readouterr().out
    assert "method exact cannot be run here" in toy.refusal("gmm", *words, "--method", "exact", "wiener")


COLUMN = ("--noise-column", "s")
ONE = ("--sigma-n", "0.3")


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        ({"y": with_entry(np.ones(40), 6, np.nan)}, ONE, "row 7 holds a missing or infinite value"),
        ({"y": with_entry(np.ones(40), 6, np.inf)}, ONE, "row 7 holds a missing or infinite value"),
        ({"name": ["a"] * 40}, ONE, "columns must be numbers, but name holds something else"),
        ({"y": with_entry(np.ones(40), 6, "?")}, ONE, "columns must be numbers, but y holds something else"),
        ({}, (), "either --sigma-n for all points or --noise-column"),
        ({"s": np.ones(40)}, (*ONE, *COLUMN), "either --sigma-n for all points or --noise-column"),
        ({}, COLUMN, "has no column 's'; it has x, y"),
        ({"s": with_entry(np.ones(40), 3, -0.1)}, COLUMN, "noise levels in 's' must be finite and not negative"),
        ({"s": with_entry(np.ones(40), 3, np.nan)}, COLUMN, "noise levels in 's' must be finite and not negative"),
        ({"s": with_entry(np.ones(40), 3, "low")}, COLUMN, "noise levels in 's' must be finite and not negative"),
        ({"s": np.zeros(40)}, COLUMN, "all noise levels are 0; this is clean data"),
        ({"s": [True, False] * 20}, COLUMN, "'s' holds true and false; noise levels are standard deviations"),
        ({"s": with_entry([True, False] * 20, 3, None)}, COLUMN, "'s' holds true and false"),
        ({"y": [True, False] * 20}, ONE, "columns must be numbers, but y holds something else"),
        ({"x": np.ones(40), "y": np.ones(40)}, ONE, "all points are the same"),
        ({"method": np.arange(40.0)}, ONE, "a column is called method"),
        ({"": np.arange(40.0)}, ONE, "column 3 has no name; name it, or leave it out (of pandas: index=False)"),
    ],
    ids=range(17),
)
def test_mistakes_in_data(toy, table, changes, words, message):
    assert message in toy.refusal("gmm", "--data", table(**changes), *words)


def test_files_that_hold_no_points(toy, tmp_path):
    def refusal(name):
        return toy.refusal("gmm", "--data", tmp_path / name, "--sigma-n", "0.3")

    np.save(tmp_path / "few.npy", np.eye(9))
    assert "few.npy holds 9 points; at least 10 are needed" in refusal("few.npy")
    np.save(tmp_path / "flat.npy", np.ones(40))
    assert "must hold one point a row, (N, D); got shape (40,)" in refusal("flat.npy")
    np.save(tmp_path / "none.npy", np.ones((0, 2)))
    assert "none.npy holds no points" in refusal("none.npy")
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    assert "cannot read" in refusal("objects.npy")
    (tmp_path / "empty.csv").write_text("")
    assert "cannot read" in refusal("empty.csv")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    assert "cannot read" in refusal("broken.parquet")
    (tmp_path / "points.txt").write_text("1 2")
    assert "points are read from .npy, .csv or .parquet files" in refusal("points.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("u;v\n1.5;2\n" + "1;2.5\n" * 20, "columns must be parted by commas, with points in numbers; the first row is 'u;v'"),
        ("u;v\n" + "1,5;2,5\n" * 20, "columns must be parted by commas"),
        ("u\tv\n" + "1\t2\n" * 20, "columns must be parted by commas"),
        ("u,v\n" + "1,2,3\n" * 20, "rows have more entries than the first row has names (2)"),
        ("u,s,s\n" + "1,2,3\n" * 20, "two columns are called s; rename one"),
        ("1,2\n" + "1,2\n" * 20, "the first row must name the columns; it holds numbers"),
    ],
)
def test_tables_that_pandas_would_misread(toy, tmp_path, text, message):
    (tmp_path / "points.csv").write_text(text)
    assert message in toy.refusal("gmm", "--data", tmp_path / "points.csv", "--sigma-n", "0.3")


@pytest.mark.parametrize("ending", [".npy", ".NPY", ".csv", ".CSV", ".parquet", ".Parquet"])
def test_endings_in_capitals_are_the_same_formats(tmp_path, ending):
    values, file = np.random.default_rng(0).normal(size=(20, 2)), tmp_path / f"points{ending}"
    table = pd.DataFrame(values, columns=["a", "b"])
    write = {".npy": lambda: np.save(stream, values), ".csv": lambda: table.to_csv(stream, index=False)}
    with open(file, "wb") as stream:  # given a name, numpy adds an ending of its own
        write.get(ending.lower(), lambda: table.to_parquet(stream))()
    found = load_points(str(file), sigma_n=0.3, noise_column=None)
    np.testing.assert_allclose(found.points * found.scale + found.centre, values, atol=1e-6)  # float32, of numbers below 4


def test_a_folder_that_cannot_be_written(toy, tmp_path):
    (tmp_path / "file").write_text("mine")
    message = toy.refusal("gmm", *SMOKE, "--out", tmp_path / "file" / "run")
    assert f"cannot write to {tmp_path / 'file' / 'run'}: Not a directory; choose another folder with --out" in message


def test_references_need_the_truth(toy, table):
    message = toy.refusal("gmm", "--data", table(), *ONE, "--method", "oracle", "--out", "never")
    assert "method oracle cannot be run here: it needs clean data" in message


def test_a_changed_config_in_the_same_folder_is_refused_with_the_difference(toy, smoke_run):
    before = {path: path.stat().st_mtime_ns for path in smoke_run.rglob("*.json")}
    message = toy.refusal("gmm", *SMOKE, "--out", smoke_run, "--sigma-n", "0.5")
    assert "holds a run with another config (sigma_n: None, asked for 0.5)" in message
    assert {path: path.stat().st_mtime_ns for path in smoke_run.rglob("*.json")} == before


def test_a_finished_run_is_not_run_again(toy, smoke_run, tmp_path):
    """The same table from the same files; `workers` is no part of what is asked."""
    out = tmp_path / "copy"
    shutil.copytree(smoke_run, out)
    work = [*out.rglob("checkpoints/*.safetensors"), *out.rglob("result.json")]
    before = {path: path.stat().st_mtime_ns for path in work}
    rows = json.loads((out / "results.json").read_text())["summary"]
    answer = toy("gmm", *SMOKE, "--out", out, "--workers", "1")
    assert answer.code == 0, answer.error
    assert len(work) > 8
    assert {path: path.stat().st_mtime_ns for path in work} == before
    assert json.loads((out / "results.json").read_text())["summary"] == rows


def test_results_of_another_version_are_refused(toy, smoke_run, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(smoke_run, out)
    result = out / "methods" / "wiener" / "seed_0" / "result.json"
    result.write_text('{"format": 0, "method": "wiener"}')
    message = toy.refusal("gmm", *SMOKE, "--out", out)
    assert f"{result}: format is 0, and this program reads format {FORMAT}; delete that file" in message
    assert result.read_text() == '{"format": 0, "method": "wiener"}'


@pytest.mark.parametrize("content", ['{"method": "wiener"}', '{"format": 1, "meth', "[]", ""])
def test_damaged_results_are_named(tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(UserError, match=r"result\.json.*; delete that file, and the same command evaluates"):
        read(tmp_path / "result.json", Row, 0, method="wiener", seed=0)


@pytest.mark.parametrize("how", ["one level for all", "a column, some rows clean"])
def test_a_real_table_noised_once(toy, tmp_path, how):
    rng, flowers = np.random.default_rng(0), load_iris(as_frame=True).data
    levels = np.full(len(flowers), 0.4) if how == "one level for all" else rng.choice([0.0, 0.2, 0.4], len(flowers))
    noisy = flowers + levels[:, None] * rng.normal(size=flowers.shape)
    if how != "one level for all":
        noisy["noise"] = levels
    noisy.to_parquet(tmp_path / "iris.parquet")
    words = ("--sigma-n", "0.4") if how == "one level for all" else ("--noise-column", "noise")
    out, methods = tmp_path / "run", ("ours", "early-stop", "wiener")
    answer = toy("gmm", *SMOKE, "--data", tmp_path / "iris.parquet", *words, "--method", *methods, "--out", out)
    assert answer.code == 0, answer.error
    assert "150 points" in answer.out or "135 points" in answer.out
    found = json.loads((out / "results.json").read_text())
    assert [row["method"] for row in found["summary"]] == list(methods)
    for row in found["summary"]:
        assert "errors" not in row  # nothing that needs the truth
        assert np.isfinite(row["sw2_noisy"]["mean"])
    assert (out / "DONE").exists()


def test_a_file_that_has_changed_is_another_run(tmp_path):
    file, config = tmp_path / "points.csv", {}
    for number in (0, 1):
        pd.DataFrame(np.random.default_rng(number).standard_normal((50, 2)), columns=["a", "b"]).to_csv(file, index=False)
        config[number] = gmm.GmmOptions(data=str(file), sigma_n=0.3).identity()
    assert config[0]["data_digest"] != config[1]["data_digest"]


@pytest.mark.parametrize("word", ["kernel=foo", "batch=0", "weight=-1", "optimiser=sgd", "steps=0.5,0.1", "share_at_t_n=2"])
def test_recipes_that_cannot_be(word):
    with pytest.raises(ValueError, match=r"kernel|batch|weight|optimiser|steps|share_at_t_n"):
        gmm.GmmOptions(recipe=(word,))
