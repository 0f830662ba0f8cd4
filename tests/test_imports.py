"""Imports run downward, and the pure modules stay pure."""

import ast
import graphlib
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# From the ground up. A file imports its own room and rooms on lower floors; rooms on
# one floor do not know each other.
FLOORS = {
    "resprune_tf": (
        {"system"},
        {"nets", "data", "runs"},
        {"graph"},
        {"units", "training"},
        {"criteria", "deploy"},
        {"targets"},
        {"pruning", "report"},
    ),
    "resprune_cli": (
        {"start"},
        {"options"},
        {"work"},
        {"commands"},
        {"main"},
    ),
    "experiments": (
        {"pages"},
        {"compare", "record"},
        {"running", "paper"},
        {"bench", "removal_study", "torture"},
        {"claims"},
        {"cifar", "imagenet", "pipeline", "zoo", "queue", "costs"},
        {"unit_norms", "initial_values", "cli_page"},
        {"tutorial", "reproduce", "verify"},
        {"rehearsal"},
    ),
}
PURE = (
    *("nets.architecture", "runs.environment", "runs.judging", "runs.records"),
    *("runs.monitor_names", "runs.paired", "system.array_files"),
    *(f"report.{name}" for name in ("drawing", "files", "page", "plots", "units")),
    *("report.run_records", "report.summary", "report.writing", "targets.target"),
    *("system.advice", "system.checksum", "system.counts", "system.disk"),
    "system.memory",
    *("system.progress", "system.whole_files", "system.wording"),
    *("criteria.registry", "data.registry", "deploy.registry"),
    "training.schedules",
)


def imported(path, inside=False):
    """Names of the modules that a file imports, at its top level or also inside."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if inside else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if is_module(name) else node.module for name in names)


def is_module(name):
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def dotted(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def files_of(package):
    return sorted((ROOT / package).rglob("[!_]*.py"))


MODULES = files_of("resprune_tf")


@pytest.mark.parametrize("package", FLOORS)
def test_imports_run_downward(package):
    floor = {room: i for i, rooms in enumerate(FLOORS[package]) for room in rooms}
    for path in (ROOT / package).rglob("*.py"):
        own, *_ = path.relative_to(ROOT / package).with_suffix("").parts
        if own.startswith("__"):  # the package's own __init__ and __main__ import all
            continue
        for name in imported(path, inside=True):
            top, *rest = name.split(".")
            if top == package and rest and rest[0] != own:
                assert floor[rest[0]] < floor[own], f"{dotted(path)} imports {name}"


def test_packages_do_not_know_what_uses_them():
    for package, users in {
        "resprune_tf": ("resprune_cli", "experiments", "tests"),
        "resprune_cli": ("experiments", "tests"),
        "experiments": ("tests",),
    }.items():
        for path in (ROOT / package).rglob("*.py"):
            found = {name.split(".")[0] for name in imported(path, inside=True)}
            assert not found.intersection(users), dotted(path)


def test_no_room_has_the_name_of_a_public_function():
    import resprune_tf

    rooms = set().union(*FLOORS["resprune_tf"])
    assert rooms.intersection(resprune_tf.__all__) == {"criteria"}


def test_a_folder_has_at_most_15_files():
    for package in (*FLOORS, "tests"):
        for folder in {path.parent for path in (ROOT / package).rglob("*.py")}:
            files = [path for path in folder.glob("*.py") if path.stem != "__init__"]
            assert len(files) <= 15, folder.relative_to(ROOT)


def test_imports_have_no_circle():
    """An order of the modules in which each imports earlier ones only."""
    names = {dotted(path) for path in MODULES}
    package = {
        dotted(path): names.intersection(imported(path)) - {dotted(path)}
        for path in MODULES
    }
    list(graphlib.TopologicalSorter(package).static_order())


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_of_a_module(path):
    pure = [f"resprune_tf.{name}" for name in PURE]
    for name in imported(path):
        top = name.split(".")[0]
        assert top not in ("absl", "matplotlib")
        assert top not in ("tensorflow", "tensorflow_datasets", "jax", "sklearn"), (
            f"{dotted(path)} must import {top} inside the functions that need it"
        )
        if dotted(path) in pure:
            assert top != "keras"
            assert top != "resprune_tf" or name in pure


def test_reports_need_no_tensorflow():
    code = (
        "import experiments.record, experiments.pages.library, sys; "
        "sys.exit(bool({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_library_reads_no_flags_or_environment():
    for path in MODULES:
        text = path.read_text()
        # One passes the variables on to a process, the other records one of them.
        exempt = path.stem in ("fresh_process", "environment")
        assert "os.environ" not in text or exempt, path.stem
        assert "getenv" not in text and "basicConfig" not in text, path.stem
