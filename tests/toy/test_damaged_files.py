"""Every field of every file that a run of the toys leaves and another reads, damaged: one line that names it, nothing lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness import records
from harness.errors import UserError
from harness.runs import Run, read_metrics
from harness.states import unpack
from tests import damage
from toy.evaluation import LEVELS
from toy.experiments import table1, wall
from toy.experiments.row import Images, OwnPoints, Points, Restored, Row, arrays_of, read
from toy.experiments.wall import Point, modulation
from toy.images import scoring
from toy.report import figures
from toy.report.drawing import Drawing
from toy.training import Checkpoint, Progress

RESULTS = [
    ("smoke_run", "methods/ours/seed_0", Points, len(LEVELS)),
    ("own_data_run", "methods/ours/seed_0", OwnPoints, 0),
    ("digit_run", "methods/ours/seed_1", Images, len(scoring.LEVELS)),
    ("table1_run", "t_n=500/methods/ambient-only/seed_0", Restored, len(table1.EVALUATED)),
]
NULL = "a method may have no number there"
MISSING = {"format": "none is the first", "frechet": "without labels"}
MISSING |= dict.fromkeys(("sub_n", "at_n", "errors.*", "mse.*", "risk_1", "risk_1.5", "risk_3", "inconsistency"), NULL)


@pytest.mark.parametrize("how", ["gone", "cut short", "of another kind", "empty"])
def test_arrays_of_a_method(smoke_run, tmp_path, how):
    """One line, which says what to delete."""
    out = Path(shutil.copytree(smoke_run, tmp_path / "run"))
    folder = out / "methods/ours/seed_0"
    whole = (folder / "arrays.npz").read_bytes()
    (folder / "arrays.npz").unlink()
    if how != "gone":
        (folder / "arrays.npz").write_bytes({"cut short": whole[: len(whole) // 2], "of another kind": b"xx", "empty": b""}[how])
    said = (
        r"cannot read .*arrays.npz: No such file or directory" if how == "gone" else r"arrays.npz is damaged, or not an .npz file"
    )
    with pytest.raises(UserError, match=rf"{said}; delete .*ours/seed_0, and the same command"):
        arrays_of(out, "ours", 0)
    assert set(arrays_of(smoke_run, "ours", 0)) >= {"samples"}


@pytest.mark.parametrize(("run", "folder", "kind", "entries"), RESULTS, ids=lambda value: str(value)[:12])
def test_results_of_a_method(run: str, folder: str, kind: type[Row], entries: int, request):
    file = request.getfixturevalue(run) / folder / "result.json"
    method, seed = file.parts[-3], int(file.parent.name.removeprefix("seed_"))
    whole = json.loads(file.read_text())
    report = damage.examine(file, lambda: read(file, kind, entries, method=method, seed=seed))
    assert damage.of_another_kind(report, whole, MISSING) == set()
    assert ("seed", "a number") not in report.accepted
    assert report.inputs > 40


def test_the_wall(tmp_path):
    file = tmp_path / "wall.json"
    records.write(file, [Point(noise, modulation(noise), 0.1, 0.01, 0.9) for noise in wall.NOISE])
    report = damage.examine(file, lambda: wall.read_wall(file))
    numbers = dict.fromkeys(("*.deconvolution_10000", "*.deconvolution_1000000", "*.wiener"), NULL)
    assert {where for where, way in report.accepted if way == "gone"} == set()
    assert damage.of_another_kind(report, json.loads(file.read_text()), numbers) == set()


def test_lines_of_metrics(tmp_path):
    """Read by a run that goes on, and for the figure of the losses; the last line may have been cut short."""
    run = Run(tmp_path / "networks/seed_0/ours", {})
    for step in (100, 200, 300):
        run.log(**vars(Progress(step, 0.5, 256 * step)))
    run.close()
    file = run.directory / "metrics.jsonl"
    kept = file.read_text()
    whole = [json.loads(line) for line in kept.splitlines()]

    def store(content):
        lines = content if isinstance(content, list) else [content]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    drawing = Drawing(tmp_path, {"config": {"seed": 0}, "summary": []}, None)  # type: ignore[arg-type]
    try:
        for damaged in damage.damages(whole[-1]):
            store([*whole[:-1], damaged.content])
            taken = damage.said(lambda: figures.training(drawing), ("metrics.jsonl",), f"{damaged.where} {damaged.way}")
            assert not taken or damaged.way == "a number"
        file.write_text(kept[:-5])
        assert len(read_metrics(file)) == len(whole) - 1
        file.write_text("{\n" + kept)
        with pytest.raises(UserError, match=r"line 1 of .*metrics\.jsonl is damaged"):
            read_metrics(file)
    finally:
        file.write_text(kept)


def test_checkpoints(smoke_run, tmp_path):
    """Of another version of the code: a state that lacks a part, or has another in its place."""
    state = unpack(max(smoke_run.glob("networks/seed_0/ours/checkpoints/step_*")).read_bytes())
    for name in state:
        for changed in ({k: v for k, v in state.items() if k != name}, *(state | {name: value} for value in (None, "x", [None]))):
            run = Run(tmp_path / name, {})
            run.save(1, changed)
            loaded = run.load()
            assert loaded is not None
            with pytest.raises(UserError, match=f"{name}.*; it is of another version of this code"):
                records.fit(loaded[1], Checkpoint, where="checkpoint")
            run.close()


def test_a_config_that_is_no_text_is_another_one(tmp_path):
    Run(tmp_path / "run", {"a": 1}).close()
    (tmp_path / "run/config.yaml").write_bytes(b"\xff\xfea: 1")
    with pytest.raises(UserError, match="holds a run with another config"):
        Run(tmp_path / "run", {"a": 1})
    assert Path(tmp_path / "run/config.yaml").read_bytes() == b"\xff\xfea: 1"
