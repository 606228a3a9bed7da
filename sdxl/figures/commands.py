"""The command that made a directory, as far as it is recorded."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.config import to_argv
from harness.files import digest
from sdxl.figures.runs import MADE_BY, NOISY, TRAINING, RunFound, Runs, options
from sdxl.model.base import SDXL


def made(found: RunFound, runs: Runs) -> str:
    """The command that made a directory, with all that is recorded of it; a remark says what is not."""
    asked, remark = of_set(found, runs) if found.kind == NOISY else (asdict(found.config), "")
    if found.kind == TRAINING:
        asked |= of_training(found, runs)
    line = shlex.join(to_argv(options(found.kind), asked | {"out": str(found.folder)}))
    return f"python -m sdxl {MADE_BY[found.kind]} {line}" + (f"  # {remark}" if remark else "")


def of_set(found: RunFound, runs: Runs) -> tuple[dict[str, Any], str]:
    """Of a noisy set: its manifest names folders, but not where they lie; of a seed it has a digest."""
    about, identity = found.about, found.about.identity
    asked = {"data": about.source, "base": _placed(about.base, runs, "base"), "resolution": about.size, "images": about.images}
    asked |= {"vae": about.vae_name and _placed(about.vae_name, runs, "vae")}
    asked |= {key: getattr(identity, key) for key in ("t_n", "dtype", "vae_dtype", "shard")}
    asked["crop"] = identity.transform.split()[-2]
    lacks = ["columns", "captions"]
    if asked["t_n"] == "of each image":
        asked["t_n"], lacks = None, ["columns, that of t_n among them", "captions"]
    lacks += [] if identity.seed == digest(b"0") else ["seed"]
    names = [asked[key] for key in ("data", "base", "vae") if asked[key] not in (None, "photographs")]
    lacks += [] if all("/" in name for name in names) else ["where folders lie"]
    return asked, f"not recorded: {', '.join(lacks)}"


def _placed(name: str, runs: Runs, key: str) -> str:
    """Where a folder of this name lies, if another directory says it."""
    return next((path for path in _recorded(runs, key) if Path(path).name == name), name)


def of_training(found: RunFound, runs: Runs) -> dict[str, Any]:
    """Of a training: its config knows data and base by their content."""
    sets = [str(one.folder) for one in runs.of(NOISY) if one.about.digest == found.config.data]
    base = _recorded(runs, "base")
    return {"data": sets[0] if sets else "NOISY", "base": base[0] if len(base) == 1 else _unknown(runs)}


def _recorded(runs: Runs, key: str) -> list[str]:
    """The values of an option of base or VAE in all directories, each once."""
    asked = (getattr(one.config, key, None) for one in runs.found if one.kind not in (NOISY, TRAINING))
    return [str(value) for value in dict.fromkeys(asked) if value]


def _unknown(runs: Runs) -> str:
    """The base where no directory names one, or they name several: SDXL, unless a noisy set says that it is another."""
    named = {one.about.base for one in runs.of(NOISY)}
    return SDXL if named <= {SDXL} and not _recorded(runs, "base") else "BASE"
