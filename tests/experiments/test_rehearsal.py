"""The scale smoke: experiments, records and pages in one go; documented commands."""

import contextlib
import importlib
import importlib.util
import pathlib
import re
import shlex

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import cifar, rehearsal, unit_norms
from experiments.paper.rows import ROWS, Row
from experiments.queue.__main__ import REHEARSAL
from resprune_tf.system.whole_files import read_json, read_lines

ROOT = pathlib.Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "BUILD.md", "docs/paper.md")),
    ROOT / "docs" / "training.md",
]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("command_line")]


def run_here(module, *arguments):
    """A command in this process."""
    arguments = list(map(str, arguments))
    if module == "experiments.unit_norms":
        unit_norms.main(arguments)
    else:
        with flags_of(cifar, arguments):
            cifar.main(["cifar"])
    return True


@contextlib.contextmanager
def flags_of(module, arguments):
    """The flags as a command line sets them."""
    with flagsaver.flagsaver():
        flags.FLAGS([module.__name__, *arguments])
        yield


def test_a_rehearsal_makes_records_and_pages(tmp_path, monkeypatch, capsys):
    """A chain, the plain net and the distilled one, on real digits."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(rehearsal, "_run", run_here)
    main = Row("c10_k2", "", "--depth=20 --target_layers=11")
    plain = Row("c10_plain", "", "--depth=11", "c10_plain11")
    teacher = "--depth=11 --teacher_from=runs/c10-plain11-seed{seed}"
    taught = Row("c10_distilled", "", teacher, "c10_distilled11")
    results = rehearsal.rehearse([main, plain, taught], [0], tmp_path, {})
    assert [results[row.run]["ran"] for row in (main, plain, taught)] == [True] * 3
    records = tmp_path / "records" / "cifar10"
    settings = read_json(records / "c10-distilled11-seed0" / "run.json")
    assert settings["dataset"]["name"] == "digits" and settings["teacher"]
    assert len(read_lines(records / "c10-k2-seed0" / "rounds.jsonl")) == 3
    assert "--scale=smoke" in (records / "c10-k2-seed0" / "flags.txt").read_text()

    # Nothing is run twice.
    monkeypatch.setattr(rehearsal, "_run", None)
    rehearsal.rehearse([main, plain, taught], [0], tmp_path, {})

    out = tmp_path / "results"
    rehearsal.reproduce.main([f"--records={tmp_path / 'records'}", f"--out={out}"])
    for name in ("table1", "figure3", "figure5", "figure6"):
        assert "These numbers mean nothing" in (out / f"{name}.md").read_text(), name
    assert "| 11 |" in (out / "figure3.md").read_text()
    assert (out / "figure5.svg").exists()


def test_every_row_has_been_rehearsed():
    rows = read_json(REHEARSAL)["rows"]
    assert list(rows) == [row.run for row in ROWS]
    assert all(row["ran"] for row in rows.values())


@pytest.mark.parametrize(
    ("typed", "name"), [(["--epochs=5"], "epochs"), (["--width", "4"], "width")]
)
def test_flags_that_the_scale_would_override_are_refused(typed, name, monkeypatch):
    arguments = ["--scale=smoke", *typed]
    monkeypatch.setattr("sys.argv", ["cifar", *arguments])
    with flags_of(cifar, arguments):
        with pytest.raises(SystemExit, match=f"--scale=smoke sets --{name} to 2"):
            cifar.apply_scale()


def test_flags_of_a_flagfile_give_way_to_the_scale(monkeypatch):
    monkeypatch.setattr("sys.argv", ["cifar", "--flagfile=a.txt", "--scale=smoke"])
    with flags_of(cifar, ["--scale=smoke", "--epochs=5"]):
        cifar.apply_scale()
        assert flags.FLAGS["epochs"].value == cifar.SMOKE["epochs"]


def commands():
    """Every `python -m experiments...` of the documentation, as lists of words."""
    for path in DOCUMENTS:
        text = path.read_text().replace("\\\n", " ")
        for line in re.findall(r"python -m (experiments\.\w[^`|\n]*)", text):
            yield path.name, shlex.split(line, comments=True)


def with_printed_flagfile(argument, document, folder):
    """The argument, with a flag file that the document itself prints in its place."""
    path = ROOT / argument.partition("=")[2]
    if not argument.startswith("--flagfile=") or path.exists():
        return argument
    text = next(p for p in DOCUMENTS if p.name == document).read_text()
    (printed,) = re.findall(r"^```\n((?:--\S+\n)+)```$", text, re.MULTILINE)
    (folder / path.name).write_text(printed)
    return f"--flagfile={folder / path.name}"


@pytest.mark.parametrize(("document", "words"), [*commands()], ids=str)
def test_documented_commands_are_understood(document, words, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    name, *arguments = words
    assert importlib.util.find_spec(name.rstrip("`,"))
    if name in ("experiments.cifar", "experiments.imagenet"):
        module = importlib.import_module(name)
        given = [
            with_printed_flagfile(a, document, tmp_path)
            for a in arguments
            if a.startswith("--") and "..." not in a
        ]
        with flags_of(module, given):
            module.apply_scale()
