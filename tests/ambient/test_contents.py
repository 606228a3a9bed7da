"""What `ambient` exports: a list that is complete, names that are found, and no import before it is needed."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import ambient

MODULES = {path.stem for path in Path(ambient.__file__).parent.glob("[!_]*.py")}


def test_every_module_of_the_mathematics_is_listed():
    assert set(ambient.CONTENTS) == MODULES


@pytest.mark.parametrize("module", ambient.CONTENTS)
def test_what_a_module_defines_is_listed(module):
    home = importlib.import_module(f"ambient.{module}")
    own = [
        name
        for name, thing in vars(home).items()
        if getattr(thing, "__module__", None) == home.__name__ and (inspect.isclass(thing) or inspect.isfunction(thing))
    ]
    assert sorted(ambient.CONTENTS[module]) == sorted(name for name in own if not name.startswith("_"))


def test_names_are_found():
    from ambient import GaussianMixture, losses
    from ambient.worlds import GaussianMixture as Mixture

    assert losses.sure.__module__ == "ambient.losses"
    assert GaussianMixture is Mixture
    assert {"losses", "Level"} <= set(dir(ambient))
    with pytest.raises(AttributeError, match="has no attribute 'loses'"):
        ambient.loses  # noqa: B018


def test_importing_the_package_imports_nothing_large():
    program = (
        "import ambient, sys; print([name for name in ('torch', 'numpy', 'matplotlib', 'diffusers') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
