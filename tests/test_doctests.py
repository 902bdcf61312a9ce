"""Examples run: those of every module's docstrings, and README's tour."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import convnd

ROOT = Path(__file__).parent.parent
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
MODULES = sorted(
    ["convnd"]
    + [
        module.name
        for module in pkgutil.walk_packages(convnd.__path__, "convnd.")
        if not module.name.startswith("convnd._core") and not module.name.endswith("__main__")
    ]
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, extraglobs={"np": __import__("numpy")}, optionflags=FLAGS)
    assert failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    found = sum(bool(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name)))
    assert found > 40


def test_readme_tour(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False, optionflags=FLAGS)
    assert tried > 5
    assert failed == 0


def test_readme_has_the_two_commands():
    """.ci/run reads them from there."""
    text = (ROOT / "README.md").read_text()
    for mark, words in (("run", "convnd demo"), ("test", "pytest")):
        block = text.split(f"<!-- {mark} -->\n```sh\n", 1)[1].split("```", 1)[0]
        assert words in block
        assert "pip install" in block
