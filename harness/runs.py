"""A run is a frozen config and a directory.

    config.yaml        the options; a run with other options in the same directory is refused with a diff
    environment.json   versions and machine of the first start
    metrics.jsonl      one line for each report; a resumed run drops the lines after its checkpoint
    checkpoints/       step_<step>-<digest>.safetensors, written atomically; the newest few are kept
    DONE               written when the run has finished

The same command resumes a run. Random numbers are a function of (seed, stream, step), see `ambient.randomness`. Therefore a
checkpoint has no random state, and a resumed run ends with the same bits as a run that was never stopped.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UserError
from harness.files import digest, to_plain, write_atomically
from harness.options import shown

ABSENT = object()  # of an option that a config does not have
MOST = 5  # differences that a message shows


class Run:
    """One run directory, created or resumed, and locked for this process.

    Args: config: a dataclass or mapping; keep: how many checkpoints are kept; patience: seconds to wait for the lock.
    Raises: UserError if the directory cannot be written, holds another run, or is in use by another process.
    """

    def __init__(self, directory: str | Path, config: Any, *, keep: int = 2, patience: float = 0.0):
        self.directory, self.keep = Path(directory), keep
        self.checkpoints = self.directory / "checkpoints"
        self._refuse_foreign_folder()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.directory / ".lock", "w")  # noqa: SIM115 - held for the life of the run
        except OSError as error:
            raise UserError(f"cannot write to {self.directory}: {error.strerror}; choose another folder with --out") from error
        try:
            self._take_lock(patience)
            for unfinished in self.checkpoints.glob(".step_*"):  # left by a process that was killed while writing
                unfinished.unlink()
            self._claim(config)
        except BaseException:
            self.close()
            raise

    def _refuse_foreign_folder(self) -> None:
        if self.directory.is_dir() and not (self.directory / "config.yaml").exists():
            own = "environment.json"  # left by a run that was killed before it wrote its config
            foreign = sorted(p.name for p in self.directory.iterdir() if p.name != own and not p.name.startswith("."))
            if foreign:
                holds = f"{self.directory} is not empty and holds no run ({foreign[0]}, ...)"
                raise UserError(f"{holds}; take another folder with --out")

    def _take_lock(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while True:
            try:
                return fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    used = f"{self.directory} is in use by another process"
                    raise UserError(f"{used}; wait for it or take another --out") from error
                time.sleep(0.1)
            except OSError as error:  # Lustre and NFS may be mounted without locks
                lacks = f"{self.directory} lies on a file system without locks ({error.strerror})"
                return print(f"warning: {lacks}; never start two commands with this --out", file=sys.stderr)

    def _claim(self, config: Any) -> None:
        """Write the config of a new run, or refuse a config that differs from that of the old run."""
        refuse_another(self.directory, config)
        path = self.directory / "config.yaml"
        if not path.exists():
            write_atomically(self.directory / "environment.json", json.dumps(environment(), indent=2).encode())
            write_atomically(path, _as_yaml(config).encode())

    @property
    def done(self) -> bool:
        """Whether the run has finished."""
        return (self.directory / "DONE").exists()

    def finish(self) -> None:
        """Mark the run as finished."""
        write_atomically(self.directory / "DONE", b"")

    def close(self) -> None:
        """Release the lock, so that other processes can use the directory."""
        self._lock.close()

    def log(self, step: int, **values: float | int | str) -> None:
        """Append one line to metrics.jsonl."""
        with open(self.directory / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint of tensors, numbers and containers of them, and delete all but the newest `keep` checkpoints."""
        from harness.states import pack  # here, because importing torch takes a second, in which Ctrl-C would show a traceback

        payload = pack(state)
        self.checkpoints.mkdir(exist_ok=True)
        write_atomically(self.checkpoints / f"step_{step:09d}-{digest(payload)}.safetensors", payload)
        for old in sorted(self.checkpoints.glob("step_*"))[: -self.keep]:
            old.unlink()

    def newest(self) -> Path | None:
        """The file of the newest checkpoint, or None."""
        return max(self.checkpoints.glob("step_*"), default=None)

    def load(self) -> tuple[int, dict[str, Any]] | None:
        """(step, state) of the newest checkpoint, or None. Raises: UserError if it is damaged or has another format."""
        from harness.states import unpack

        files = sorted(self.checkpoints.glob("step_*"))
        if not files:
            self._drop_metrics_after(-1)
            return None
        newest, step = files[-1], int(files[-1].stem[5:14])
        payload = newest.read_bytes()
        if not newest.stem.endswith(digest(payload)):
            earlier = f"step {int(files[-2].stem[5:14])}" if len(files) > 1 else "the start"
            raise UserError(f"checkpoint {newest} is damaged; delete that file to resume from {earlier}")
        self._drop_metrics_after(step)
        try:
            return step, unpack(payload)
        except (ValueError, KeyError) as error:
            raise UserError(f"checkpoint {newest} is of another version of this code; take another folder with --out") from error

    def _drop_metrics_after(self, step: int) -> None:
        path = self.directory / "metrics.jsonl"
        if path.exists():
            kept = [json.dumps(row) for row in read_metrics(path) if row["step"] <= step]
            write_atomically(path, "".join(line + "\n" for line in kept).encode())


def refuse_another(directory: Path, config: Any) -> None:
    """Raises: UserError if the directory holds a run with another config, or one whose config.yaml is damaged.

    `Run` calls this; call it earlier to fail before slow work.
    """
    path, wanted = directory / "config.yaml", to_plain(config)
    if not path.exists():
        return
    try:
        stored = yaml.safe_load(path.read_text(errors="replace"))
    except (yaml.YAMLError, ValueError, RecursionError):
        stored = None
    if not isinstance(stored, dict):
        raise UserError(f"{path} is damaged; restore it, or choose another --out")
    stored, wanted = _flat(stored), _flat(wanted)
    names = [name for name in {**stored, **wanted} if stored.get(name, ABSENT) != wanted.get(name, ABSENT)]
    if names:
        changes = [f"{name}: {_said(stored, name)}, asked for {_said(wanted, name)}" for name in names]
        different = f"{directory} holds a run with another config ({'; '.join(changes[:MOST])}{'; ...' * (len(names) > MOST)})"
        raise UserError(f"{different}; choose another --out, or ask for the same config")


def _flat(config: dict[Any, Any], before: str = "") -> dict[str, Any]:
    """The entries of nested mappings by their path, such as models.vae."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found


def _said(config: dict[str, Any], name: str) -> str:
    return shown(config[name]) if name in config else "nothing"


def _as_yaml(config: Any) -> str:
    return yaml.safe_dump(to_plain(config), sort_keys=False)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl. A last line that a crash has cut short is left out. Raises: UserError for any other damage."""
    rows, lines = [], path.read_text(errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
            if type(rows[-1]["step"]) is not int:
                raise ValueError("step is no whole number")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if number == len(lines) and isinstance(error, json.JSONDecodeError):
                break
            raise UserError(f"line {number} of {path} is damaged; delete that line") from error
    return rows


def environment() -> dict[str, Any]:
    """What a result depends on besides the config: versions, the machine, and the commit if the code is a checkout."""
    command = ["git", "-C", str(Path(__file__).resolve().parents[1]), "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except OSError:
        commit = ""
    return {
        "commit": commit or None,
        "python": platform.python_version(),
        "torch": version("torch"),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
    }


_requests: list[list[int]] = []  # the signals that the outermost block of `stop_requests` has received, if there is one


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """A function that says whether SIGINT or SIGTERM has arrived. A loop calls it, and then saves and raises `Interrupted`.

    Within another such block it says whether one has arrived since that one began.
    """
    if _requests:
        yield lambda: bool(_requests[0])
        return
    received: list[int] = []
    _requests.append(received)
    previous = {
        which: signal.signal(which, lambda number, _: received.append(number)) for which in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(received)
    finally:
        _requests.clear()
        for which, handler in previous.items():
            signal.signal(which, handler)
