"""Commands that go on from a run, for the end of its page."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ambient.config import to_argv
from toy.mnist.source import ImageConfig

SHARED = ("data", "size", "clean_share", "fresh_noise", "network", "skip")  # what other experiments are asked for alike


@dataclass(frozen=True)
class Again:
    """The command of a run. What it was asked for beyond its preset is kept."""

    command: str
    config: ImageConfig
    presets: Mapping[str, Mapping[str, Any]]

    def given(self) -> dict[str, Any]:
        """Options that are not the usual ones of the preset and the path."""
        config = self.config
        usual = type(config)(**{**self.presets[config.preset], "preset": config.preset, "path": config.path})
        found = {name: value for name, value in asdict(config).items() if value != getattr(usual, name)}
        return {name: value for name, value in found.items() if name not in ("out", "workers")} | {"path": config.path}

    def __call__(self, **changes: Any) -> str:
        return self._line(self.command, {**self.given(), **changes})

    def elsewhere(self, experiment: str) -> str:
        """Another experiment on the same data."""
        return self._line(experiment, {name: value for name, value in self.given().items() if name in SHARED})

    def suggest(self, *suggestions: tuple[str, dict[str, Any]]) -> list[str]:
        """Each a remark, and a command with changes and a folder of its own; none that asks for this run again."""
        lines = []
        for remark, changes in suggestions:
            asked = {name: value for name, value in changes.items() if name != "out"}
            if self(**asked) != self():
                lines += [f"# {remark}", self(**changes)]
        return lines

    def _line(self, command: str, options: dict[str, Any]) -> str:
        return shlex.join(["python", "-m", "toy", *command.split(), *to_argv(type(self.config), options)])
