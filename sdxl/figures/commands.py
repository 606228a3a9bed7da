"""The commands that a page gives: those that made what it shows, and those that would make what is missing."""

from __future__ import annotations

import importlib
import shlex
from pathlib import Path
from typing import Any

from ambient.config import to_argv
from ambient.runs import digest
from sdxl.base import SDXL
from sdxl.figures.found import FID, MASK, MEMORY, NOISE, NOISY, POSTERIOR, RESTORATION, SAMPLES, TRAINING, Found, Runs

MADE_BY = {
    NOISY: "corrupt", TRAINING: "train", SAMPLES: "generate", POSTERIOR: "generate", NOISE: "attack noise", MASK: "attack mask",
    RESTORATION: "evaluate restoration", FID: "evaluate fid", MEMORY: "evaluate memorization",
}  # fmt: skip
USUAL = 1024  # pixels, of SDXL


def made(found: Found, runs: Runs) -> str:
    """The command that made a directory, with all that is recorded of it; a remark says what is not."""
    name, remark = MADE_BY[found.kind], ""
    known = {NOISY: of_set, TRAINING: of_training}.get(found.kind)
    asked = found.config
    if known is not None:
        asked, remark = known(found, runs)
    if not asked:
        return f"# {found.folder} is of `python -m sdxl {name}`; its options are not recorded"
    return _line(name, asked | {"out": str(found.folder)}) + (f"  # {remark}" if remark else "")


def _line(name: str, asked: dict[str, Any]) -> str:
    kind = importlib.import_module(f"sdxl.{name.replace(' ', '.')}").Config
    return f"python -m sdxl {name} {shlex.join(to_argv(kind, asked))}"


def of_set(found: Found, runs: Runs) -> tuple[dict[str, Any], str]:
    """Of a noisy set: its manifest names folders, but not where they lie; of a seed it has a digest."""
    about, identity = found.about, found.about.get("identity", {})
    if not about.get("source") or "transform" not in identity:
        return {}, ""
    asked = {"data": about["source"], "base": _placed(about["base"], runs, "base"), "resolution": about["size"]}
    asked |= {"images": about["images"]}
    asked |= {"vae": about["vae_name"] and _placed(about["vae_name"], runs, "vae")}
    asked |= {key: identity[key] for key in ("t_n", "dtype", "vae_dtype", "shard")}
    asked["crop"] = identity["transform"].split()[-2]
    lacks = ["columns", "captions"]
    if asked["t_n"] == "of each image":
        asked["t_n"], lacks = None, ["columns, that of t_n among them", "captions"]
    lacks += [] if identity["seed"] == digest(b"0") else ["seed"]
    names = [asked[key] for key in ("data", "base", "vae") if asked[key] not in (None, "photographs")]
    lacks += [] if all("/" in name for name in names) else ["where folders lie"]
    return asked, f"not recorded: {', '.join(lacks)}"


def _placed(name: str, runs: Runs, key: str) -> str:
    """Where a folder of this name lies, if another directory says it."""
    return next((path for path in _recorded(runs, key) if Path(path).name == name), name)


def of_training(found: Found, runs: Runs) -> tuple[dict[str, Any], str]:
    """Of a training: its config knows data and base by their content."""
    sets = [str(one.folder) for one in runs.of(NOISY) if one.about["digest"] == found.config["data"]]
    base = _recorded(runs, "base")
    asked = found.config | {"data": sets[0] if sets else "NOISY", "base": base[0] if len(base) == 1 else _unknown(runs)}
    return asked, ""


def _recorded(runs: Runs, key: str) -> list[str]:
    """The values of an option of base or VAE in all directories, each once."""
    asked = (one.config.get(key) for one in runs.found if one.kind not in (NOISY, TRAINING))
    return [str(value) for value in dict.fromkeys(asked) if value]


def _unknown(runs: Runs) -> str:
    """The base where no directory names one, or they name several: SDXL, unless a noisy set says that it is another."""
    named = {one.about.get("base") or SDXL for one in runs.of(NOISY)}
    return SDXL if named <= {SDXL} and not _recorded(runs, "base") else "BASE"


def base(runs: Runs) -> str:
    """As options: the base and the VAE of these directories, where they are not the default's."""
    bases, vaes = _recorded(runs, "base"), _recorded(runs, "vae")
    chosen = bases[0] if len(bases) == 1 else _unknown(runs)
    vae = vaes[0] if len(vaes) == 1 else "VAE" if vaes else ""
    return (f" --base {shlex.quote(chosen)}" if chosen != SDXL else "") + (f" --vae {shlex.quote(vae)}" if vae else "")


def size(runs: Runs) -> str:
    """As an option: the size of the images of these directories, where it is not the default's."""
    found = {one.about["size"] if one.kind == NOISY else one.about.get("identity", {}).get("resolution") for one in runs.found}
    found = sorted(number for number in found if number)
    if not found or (found == [USUAL] and not base(runs)):
        return ""
    return f" --resolution {found[0] if len(found) == 1 else 'PIXELS'}"


def eyes(runs: Runs) -> str:
    """As an option: what sees the images of these directories."""
    found = {str(one.config["extractor"]) for one in runs.of(FID, MEMORY) if "extractor" in one.config}
    return f" --extractor {shlex.quote(found.pop())}" if len(found) == 1 and found != {"dinov2"} else ""
