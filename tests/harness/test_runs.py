"""Run directories: whole or untouched files, the newest checkpoints, resuming, one process at a time, clear refusals."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from safetensors.torch import save as save_safetensors

from harness import cache, files, runs
from harness.errors import UserError
from harness.files import digest, to_plain, write_atomically
from harness.runs import Run, read_metrics, refuse_another, stop_requests

CONFIG = {"rate": 0.1, "steps": (1, 2)}


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "run", CONFIG)
    yield run
    run.close()


def again(run, config=CONFIG, **options):
    run.close()
    return Run(run.directory, config, **options)


def names(run):
    return sorted(path.name for path in run.checkpoints.iterdir())


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_new_run_says_what_it_is(run):
    assert (run.directory / "config.yaml").read_text() == "rate: 0.1\nsteps:\n- 1\n- 2\n"
    environment = json.loads((run.directory / "environment.json").read_text())
    assert environment["torch"] == torch.__version__
    assert {"commit", "python", "platform", "processor", "cpus"} < set(environment)
    assert run.load() is None
    assert not run.done
    run.finish()
    assert run.done


def test_states_come_back_to_the_bit(run):
    state = {"weights": torch.randn(3, generator=torch.Generator().manual_seed(0)), "spent": 7, "names": ["a", None]}
    run.save(12, state)
    step, found = run.load()
    assert (step, found["spent"], found["names"]) == (12, 7, ["a", None])
    assert torch.equal(found["weights"], state["weights"])


@pytest.mark.parametrize("keep", [1, 3])
def test_the_newest_are_kept(tmp_path, keep):
    run = Run(tmp_path, CONFIG, keep=keep)
    for step in (5, 20, 100, 1000):
        run.save(step, {"step": step})
    assert [int(name[5:14]) for name in names(run)] == [5, 20, 100, 1000][-keep:]
    assert run.load()[0] == 1000
    run.close()


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_full_disk_leaves_the_old_checkpoint(run, monkeypatch, call):
    run.save(1, {"value": 1})
    before = names(run)
    monkeypatch.setattr(runs.os, call, full_disk)
    with pytest.raises(OSError, match="No space left"):
        run.save(2, {"value": 2})
    monkeypatch.undo()
    assert names(run) == before
    assert run.load() == (1, {"value": 1})


def test_a_process_killed_in_the_middle_of_writing_leaves_the_old_checkpoint(run, monkeypatch):
    """It leaves an unfinished file behind, which no one takes for a checkpoint and which the next process removes."""

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    run.save(1, {"value": 1})
    monkeypatch.setattr(runs.os, "replace", kill)
    with pytest.raises(Killed):
        run.save(2, {"value": 2})
    monkeypatch.undo()
    assert len(names(run)) == 2
    assert run.load() == (1, {"value": 1})
    resumed = again(run)
    assert len(names(resumed)) == 1
    resumed.save(3, {"value": 3})
    assert resumed.load() == (3, {"value": 3})
    resumed.close()


def test_files_are_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(runs.os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def damage(path, how):
    payload = path.read_bytes()
    path.write_bytes({"cut short": payload[:-100], "empty": b"", "one bit": payload[:-1] + bytes([payload[-1] ^ 1])}[how])


@pytest.mark.parametrize("payload", [b"\x80\x02 a pickle", save_safetensors({"x": torch.zeros(2)})])
def test_a_checkpoint_of_another_format_is_told(run, payload):
    run.checkpoints.mkdir()
    (run.checkpoints / f"step_000000003-{digest(payload)}.pt").write_bytes(payload)
    with pytest.raises(UserError, match="is of another version of this code"):
        run.load()


@pytest.mark.parametrize("how", ["cut short", "empty", "one bit"])
def test_a_damaged_checkpoint_is_named_and_can_be_deleted(run, how):
    for step in (3, 8):
        run.save(step, {"value": step})
    newest = run.checkpoints / names(run)[-1]
    damage(newest, how)
    with pytest.raises(UserError, match="is damaged; delete that file to resume from step 3") as caught:
        run.load()
    assert str(newest) in str(caught.value)
    newest.unlink()
    assert run.load() == (3, {"value": 3})


def test_the_only_checkpoint_damaged_means_the_start(run):
    run.save(3, {"value": 3})
    damage(run.checkpoints / names(run)[0], "one bit")
    with pytest.raises(UserError, match="delete that file to resume from the start"):
        run.load()


def test_a_changed_config_is_refused_with_the_difference(run):
    message = r"holds a run with another config \(rate: 0.1, asked for 0.2\); choose another --out"
    with pytest.raises(UserError, match=message):
        again(run, {"rate": 0.2, "steps": (1, 2)})
    with pytest.raises(UserError, match=r"config \(steps: \[1, 2\], asked for nothing; more: nothing, asked for 'x'\)"):
        again(run, {"rate": 0.1, "more": "x"})
    again(run, {"steps": (1, 2), "rate": 0.1}).close()


def test_of_many_differences_the_first_are_shown(tmp_path):
    Run(tmp_path, {f"option_{i}": 0 for i in range(9)}).close()
    with pytest.raises(UserError, match=r"option_4: 0, asked for 1; \.\.\.\)") as caught:
        Run(tmp_path, {f"option_{i}": 1 for i in range(9)})
    assert "option_5" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "rate: [1", "\0", "[" * 10_000])
def test_a_damaged_config_is_named(run, text):
    (run.directory / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml is damaged; restore it, or choose another --out"):
        again(run)


def test_the_first_environment_is_kept(run):
    path = run.directory / "environment.json"
    path.write_text("{}")
    again(run).close()
    assert path.read_text() == "{}"


def test_metrics_after_the_checkpoint_are_dropped(run):
    run.log(1, loss=0.5)
    run.log(2, loss=0.4, note="half")
    run.save(2, {})
    run.log(3, loss=0.3)
    with open(run.directory / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')
    resumed = again(run)
    assert resumed.load()[0] == 2
    resumed.log(3, loss=0.31)
    rows = read_metrics(run.directory / "metrics.jsonl")
    assert rows == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.4, "note": "half"}, {"step": 3, "loss": 0.31}]
    resumed.close()


def test_without_a_checkpoint_all_metrics_are_dropped(run):
    run.log(0, loss=0.5)
    assert run.load() is None
    assert read_metrics(run.directory / "metrics.jsonl") == []


def test_two_processes_cannot_share_a_directory(run):
    code = f"from harness.runs import Run; Run({str(run.directory)!r}, {CONFIG!r})"
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "UserError" in second.stderr
    assert "is in use by another process; wait for it or take another --out" in second.stderr
    with pytest.raises(UserError, match="in use"):
        Run(run.directory, CONFIG, patience=0.15)
    again(run).close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_told_as_that(tmp_path, monkeypatch, capsys, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    Run(tmp_path / "run", CONFIG).close()
    (line,) = capsys.readouterr().err.splitlines()
    assert os.strerror(number) in line
    assert "in use" not in line
    assert (tmp_path / "run/config.yaml").exists()


def test_the_cache_is_where_it_is_wanted_or_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, expected in ((None, ".cache/exact-ambient"), ("", ".cache/exact-ambient"), ("~/elsewhere", "elsewhere")):
        monkeypatch.setenv("EXACT_AMBIENT_CACHE", given) if given is not None else monkeypatch.delenv(
            "EXACT_AMBIENT_CACHE", raising=False
        )
        assert files.cache_folder() == tmp_path / expected


def test_arrays_are_alike_when_made_and_when_read_from_the_cache(tmp_path, monkeypatch):
    """In the order of their entries in memory too, on which the last bits of a sum depend."""
    monkeypatch.setenv("EXACT_AMBIENT_CACHE", str(tmp_path))
    kinds = {"last first": np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1), "number": np.array(2.0)}
    made, read = (cache.cached("some", {"version": 1}, lambda: kinds) for _ in range(2))
    for name, value in kinds.items():
        assert (made[name] == value).all()
        assert (read[name] == value).all()
        assert made[name].strides == read[name].strides
        assert made[name].shape == read[name].shape == value.shape


@pytest.mark.parametrize("home", [None, ""])
def test_without_a_home_a_folder_for_the_cache_must_be_named(monkeypatch, home):
    def unknown(_):
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setenv("HOME", "") if home == "" else monkeypatch.delenv("HOME")
    monkeypatch.delenv("EXACT_AMBIENT_CACHE", raising=False)
    with pytest.raises(UserError, match="set EXACT_AMBIENT_CACHE"):
        files.cache_folder()


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_directory_that_cannot_be_written_is_refused(tmp_path, below):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"cannot write to .*; choose another folder with --out"):
        Run(tmp_path / "file" / below, CONFIG)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_requests_to_stop_are_heard_and_handlers_given_back(which):
    before = signal.getsignal(which)
    with stop_requests() as stopping:
        assert not stopping()
        os.kill(os.getpid(), which)
        assert stopping()
    assert signal.getsignal(which) is before


def test_requests_to_stop_are_heard_by_blocks_around_and_after():
    before = signal.getsignal(signal.SIGTERM)
    with stop_requests() as around:
        with stop_requests() as within:
            os.kill(os.getpid(), signal.SIGTERM)
            assert within()
        with stop_requests() as after:
            assert after()
        assert around()
    assert signal.getsignal(signal.SIGTERM) is before
    with stop_requests() as another:
        assert not another()


def test_configs_become_plain():
    @dataclass(frozen=True)
    class Inner:
        pair: tuple[int, int] = (1, 2)

    @dataclass(frozen=True)
    class Outer:
        inner: Inner = Inner()
        name: str | None = None

    assert to_plain(Outer()) == {"inner": {"pair": [1, 2]}, "name": None}
    assert to_plain({"a": (Inner,)}) == {"a": [Inner]}


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(UserError, match=r"not empty and holds no run \(report.html"):
        Run(tmp_path, CONFIG)
    assert (tmp_path / "report.html").read_text() == "mine"


def test_another_config_is_refused_before_anything_is_written(tmp_path):
    refuse_another(tmp_path / "new", {"a": 1})
    assert not (tmp_path / "new").exists()
    Run(tmp_path / "old", {"a": 1}).close()
    refuse_another(tmp_path / "old", {"a": 1})
    with pytest.raises(UserError, match=r"another config \(a: 1, asked for 2\)"):
        refuse_another(tmp_path / "old", {"a": 2})


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("harness.runs.os.fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_atomically(tmp_path / "file", b"x")
    assert caught.value.filename == str(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_named_and_not_its_temporary_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(tmp_path / "nowhere/file", b"x")
    assert caught.value.filename == str(tmp_path / "nowhere/file")


def test_commands_begin_without_torch():
    """It takes a second to import, in which Ctrl-C would end in a traceback."""
    program = "import harness.config, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
