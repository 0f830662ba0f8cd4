"""What a command writes takes away nothing that it reads, nor what others wrote."""

import json
import os
import zipfile
from unittest import mock

import pytest

from resprune_cli.main import make_parser
from resprune_cli.options import result_files
from resprune_cli.options.usage import WrongUse
from tests.made.cli import brightness_net, resprune, write_npz

pytestmark = pytest.mark.slow

PRUNE = "prune --data digits --target macs=0.5"


def check(line):
    """What is checked of a command line before TensorFlow starts."""
    args = make_parser().parse_args(line.split())
    args.command_line = f"resprune {line}\n"
    args.check(args)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with archives where results would be written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for name in ("net.keras", "out/pruned.keras", "out/models/round-01.keras"):
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        zipfile.ZipFile(place, "w").close()
    for name in ("model.keras", "unpruned/model.keras", "saved_model/net.keras"):
        place = tmp_path / "deploy" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        zipfile.ZipFile(place, "w").close()
    os.link(tmp_path / "deploy" / "model.keras", tmp_path / "same.keras")
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "line, lost",
    [
        (f"{PRUNE} out/pruned.keras --out out", "out/pruned.keras"),
        (f"{PRUNE} out/pruned.keras --epochs 0 --out link", "out/pruned.keras"),
        (f"{PRUNE} out/models/round-01.keras --out out", "out/models/round-01.keras"),
        ("export deploy/model.keras --formats keras --out deploy", "deploy/model"),
        ("export same.keras --formats litert,keras --out deploy", "same.keras"),
        (
            "export net.keras --beside deploy/unpruned/model.keras --formats keras "
            "--out deploy",
            "deploy/unpruned/model.keras",
        ),
        (
            "export deploy/saved_model/net.keras --formats saved_model --out deploy",
            "deploy/saved_model/net.keras",
        ),
    ],
)
def test_what_is_read_is_not_written_over(line, lost, folder, capsys):
    files = contents(folder)
    code, out, err = resprune(capsys, *line.split())
    assert (code, out) == (2, "")
    assert f"'{lost}" in err and "would be lost" in err and "another --out" in err
    assert files == contents(folder)


@pytest.mark.parametrize(
    "line",
    [
        f"{PRUNE} out/pruned.keras --out new",
        f"{PRUNE} out/pruned.keras --out .",
        f"{PRUNE} out/models/round-01.keras --epochs 0 --out out/models",
        "export deploy/model.keras --formats litert --out deploy",
        "export deploy/unpruned/model.keras --formats keras --out deploy",
    ],
)
def test_what_stays_may_lie_near_by(line, folder):
    check(line)


def test_the_result_of_another_command_stays(folder):
    """One that is repeated may write over its own, as long as it is its own."""
    refused = pytest.raises(WrongUse, match="contains the result of another command")
    at_once, retrained = (
        f"{PRUNE} net.keras --out out{more}" for more in (" --epochs 0", "")
    )
    with refused:
        check(at_once)
    with refused:
        check(retrained)
    pruned = folder / "out" / "pruned.keras"
    told = {"command": f"resprune {at_once}", "sha256": result_files.sha256(pruned)}
    (folder / "out" / "summary.json").write_text(json.dumps(told))
    check(at_once)
    check(f"{at_once} --json")
    with refused:
        check(f"{at_once} --protect unit1")
    with refused:
        check(retrained)
    (folder / "new").mkdir()
    (folder / "new" / "report.html").write_text("of something else")
    with refused:
        check(f"{PRUNE} net.keras --out new")
    (folder / "out" / "run.json").write_text("{}")
    check(retrained)
    check(f"{retrained} --tolerance 0.1")
    with pytest.raises(WrongUse, match="contains a run with retraining"):
        check(at_once)
    pruned.write_bytes(b"trained on since")
    with refused:
        check(retrained)


def test_a_command_can_be_repeated_and_fails_without_taking_anything(tmp_path, capsys):
    brightness_net().save(tmp_path / "net.keras")
    data = write_npz(tmp_path / "data.npz")
    argv = ["prune", tmp_path / "net.keras", "--out", tmp_path / "out"]
    argv += ["--criterion", "random"]
    at_once = [*argv, "--epochs", 0, "--target", "units=1"]
    for _ in range(2):
        code, _, err = resprune(capsys, *at_once)
        assert code == 0, err
    pruned = tmp_path / "out" / "pruned.keras"
    told = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert told["sha256"] == result_files.sha256(pruned)
    content = pruned.read_bytes()
    for other in (
        [*argv, "--epochs", 0, "--target", "layers=1"],
        [*argv, "--epochs", 1, "--target", "units=1", "--data", data],
    ):
        with mock.patch("resprune_cli.main.start", side_effect=AssertionError):
            code, _, err = resprune(capsys, *other)
        assert code == 2 and "result of another command" in err
        assert pruned.read_bytes() == content
