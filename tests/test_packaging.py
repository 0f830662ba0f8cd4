"""The package's metadata says what was tested."""

import ast
import configparser
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent


def test_oldest_pins_are_the_lower_bounds():
    """`make test-oldest` tests exactly what setup.cfg promises."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    text = "\n".join(
        [
            config["options"]["install_requires"],
            *config["options.extras_require"].values(),
        ]
    )
    bounds = dict(re.findall(r"^([\w-]+)>=([\d.]+)$", text, re.MULTILINE))
    pins = dict(
        re.findall(
            r"^([\w-]+)==([\d.]+)$",
            (ROOT / "tests" / "oldest.txt").read_text(),
            re.MULTILINE,
        )
    )
    tools = {"ruff", "build"}  # no test runs them

    def numbers(version):
        return [int(part) for part in version.split(".") if part != "0"]

    assert set(pins) == set(bounds) - tools
    for name, version in pins.items():
        assert numbers(version) == numbers(bounds[name]), name


def test_public_names_exist_and_are_sorted():
    import resprune_tf

    # Those that are marked as public, and no others that a module happens to import.
    tree = ast.parse((ROOT / "resprune_tf" / "__init__.py").read_text("utf-8"))
    marked = {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == alias.asname
    }
    assert resprune_tf.__all__ == sorted(marked)
    for name in resprune_tf.__all__:
        assert getattr(resprune_tf, name).__doc__, name


def test_a_wheel_holds_every_room(tmp_path):
    """Built from the sources, installed beside nothing else, and imported."""
    source, target = tmp_path / "source", tmp_path / "installed"
    source.mkdir()
    for name in ("resprune_tf", "resprune_cli"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    subprocess.run(
        [*pip, "-q", "--no-deps", "--no-build-isolation", "--target", target, source],
        check=True,
    )
    files = {
        path.relative_to(source)
        for name in ("resprune_tf", "resprune_cli")
        for pattern in ("*.py", "*.html", "py.typed")
        for path in (source / name).rglob(pattern)
    }
    assert {"template.html", "py.typed"} < {path.name for path in files}
    assert all((target / path).is_file() for path in files)
    modules = sorted(
        ".".join(path.parent.parts) for path in files if path.stem == "__init__"
    )
    assert "resprune_tf.pruning" in modules
    code = (
        f"import {', '.join(modules)}, resprune_tf; "
        "print(resprune_tf.__file__, resprune_cli.__file__)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        # The backend that is imported fastest.
        env={**os.environ, "PYTHONPATH": str(target), "KERAS_BACKEND": "numpy"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert all(path.startswith(str(target)) for path in printed)
