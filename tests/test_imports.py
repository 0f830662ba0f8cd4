"""Imports make no circle, and the pure modules stay pure."""

import ast
import graphlib
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PURE = (
    *("architecture", "checksum", "disk", "environment", "records", "selection"),
    "whole_files",
)


def imported(path):
    """Names of the modules that a file imports at its top level."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module in ("resprune_tf", "experiments"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


MODULES = sorted((ROOT / "resprune_tf").glob("[!_]*.py"))


def test_imports_have_no_circle():
    """An order of the modules in which each imports earlier ones only."""
    package = {
        path.stem: {
            name.partition(".")[2]
            for name in imported(path)
            if name.startswith("resprune_tf.")
        }
        for path in MODULES
    }
    list(graphlib.TopologicalSorter(package).static_order())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_of_a_module(path):
    for name in imported(path):
        top, _, module = name.partition(".")
        assert top != "experiments" and top not in ("absl", "matplotlib")
        assert top not in ("tensorflow", "tensorflow_datasets", "jax", "sklearn"), (
            f"{path.stem} must import {top} inside the functions that need it"
        )
        if path.stem in PURE:
            assert top != "keras"
            assert top != "resprune_tf" or module in PURE


@pytest.mark.parametrize("module", ["report", "plots"])
def test_reports_need_no_tensorflow(module):
    code = (
        f"import experiments.{module}, sys; "
        "sys.exit(bool({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_library_reads_no_flags_or_environment():
    for path in MODULES:
        text = path.read_text()
        assert "os.environ" not in text or path.stem == "fresh_process", path.stem
        assert "getenv" not in text and "basicConfig" not in text, path.stem
