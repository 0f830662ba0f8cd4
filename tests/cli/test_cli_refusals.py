"""Unsuitable input is refused, and doubts are printed, before slow work begins."""

import shutil
from unittest import mock

import numpy as np
import pytest

from resprune_cli.main import make_parser
from resprune_cli.options import values
from tests.made.cli import brightness_net, eager, examples, resprune, write_npz
from tests.test_docs import ROOT

RETRAIN = "prune net.keras --target macs=0.5 --out out --data"
ONCE = "prune net.keras --target macs=0.5 --out out --epochs 0 --data"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a model and data whose labels are numbers, text or missing."""
    place = tmp_path_factory.mktemp("files")
    eager(brightness_net()).save(place / "net.keras")
    images, labels = examples()
    write_npz(place / "numbers.npz", x=images, y=labels)
    write_npz(place / "text.npz", x=images, y=np.array(["a", "b", "c"])[labels])
    more = {"x_test": images, "y_test": ["a"] * 60}
    write_npz(place / "test_text.npz", x=images, y=labels, **more)
    write_npz(place / "unlabelled.npz", x=images)
    write_npz(place / "short.npz", x=images, y=labels[:9])
    return place


@pytest.fixture
def folder(files, tmp_path, monkeypatch):
    """A copy of that folder to work in."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "line, message",
    [
        *(
            (f"{line} {name}.npz", "Labels must be numbers. ")
            for line in (
                RETRAIN,
                ONCE,
                "scores net.keras --data",
                "inspect net.keras --scores --data",
                "compare net.keras net.keras --data",
                "benchmark net.keras --data",
            )
            for name in ("text", "test_text")
        ),
        ("scores net.keras --data short.npz", "60 examples, but y has 9"),
        *(
            (f"scores net.keras --resize crop --data {data}", f"Received: {data}. Le")
            for data in ("numbers.npz", "digits")
        ),
        (f"{ONCE.removesuffix('--data')} --resize crop", "Received: no --data. Leave"),
        (f"{RETRAIN} unlabelled.npz", "Retraining needs labels"),
        (f"{ONCE} unlabelled.npz --tolerance 0.1", "--tolerance needs labels"),
        (f"{ONCE} unlabelled.npz --criterion taylor", "--criterion taylor needs lab"),
        (
            "scores net.keras --data unlabelled.npz --criteria cka,leave_one_out",
            "--criteria leave_one_out needs labels",
        ),
        *(
            (f"{line} numbers.npz --tolerance auto {option}", "auto is the standard er")
            for line in (RETRAIN, ONCE)
            for option in ("--monitor loss", "--monitor mae", "--metric mae")
        ),
        (
            f"{RETRAIN} numbers.npz --tolerance 1 --monitor accuracy",
            "is a fraction below 1",
        ),
        *(
            (f"{line} {option}", "--loss and --metric need --data.")
            for line in (
                "inspect net.keras",
                "compare net.keras net.keras",
                "benchmark net.keras",
                f"{ONCE.removesuffix('--data')} --criterion importance",
            )
            for option in ("--loss mse", "--metric mae")
        ),
    ],
)
def test_unsuitable_input_is_refused_before_keras_is_imported(
    line, message, folder, capsys
):
    with mock.patch("resprune_cli.main.start", side_effect=AssertionError):
        code, out, err = resprune(capsys, *line.split())
    assert (code, out) == (2, "")
    assert message in err and "Starting Keras" not in err
    assert "Labels" not in message or "np.unique(labels, return_inverse=True)" in err
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    "line",
    [
        f"{RETRAIN} numbers.npz --tolerance auto --monitor accuracy",
        f"{RETRAIN} numbers.npz --tolerance 2 --monitor loss",
        "export net.keras --formats litert --out out --data text.npz",
    ],
)
def test_suitable_input_passes(line, folder):
    args = make_parser().parse_args(line.split())
    args.command_line = f"resprune {line}\n"
    args.check(args)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
@pytest.mark.parametrize("command", ["inspect", "scores", "prune", "compare", "export"])
def test_help_names_the_model_files_that_are_read(command, suffix, capsys, tmp_path):
    place = tmp_path / f"net{suffix}"
    place.write_bytes(
        b"PK\5\6" + bytes(18) if suffix == ".keras" else b"\x89HDF\r\n\x1a\n"
    )
    assert values.model_path(str(place)) == place
    _, out, _ = resprune(capsys, command, "--help")
    assert suffix in " ".join(out.partition("options:")[0].split())
    assert suffix in (ROOT / "docs" / "cli.md").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command, work, json",
    [
        ("scores net.keras", "resprune_cli.work.scoring.compare_scores", []),
        ("scores net.keras", "resprune_cli.work.scoring.compare_scores", ["--json"]),
        ("inspect net.keras --scores", "resprune_cli.work.scoring.compare_scores", []),
        ("export net.keras --formats int8 --out out", "resprune_tf.export", []),
        # The process in which LiteRT runs does not import TensorFlow.
        (
            "benchmark net.keras --runtime litert",
            "resprune_cli.work.benchmarking.runtime_latencies",
            [],
        ),
        (
            "compare net.keras net.keras --runtime litert",
            "resprune_cli.work.comparing.runtime_latencies",
            [],
        ),
    ],
)
def test_a_warning_on_the_scale_of_pixels_comes_before_slow_work(
    command, work, json, folder, capsys
):
    argv = [*command.split(), "--data", "numbers.npz", "--pixels", "unit", *json]
    with mock.patch(work, side_effect=ValueError("not done")):
        code, out, err = resprune(capsys, *argv)
    assert code == 2 and "not done" in err
    warned = err if json else out
    assert "guessing gives 1 in 3" in warned and "--pixels" in warned
    assert not json or out == ""


@pytest.mark.slow
def test_compare_prints_no_line_twice(folder, capsys):
    shutil.copy("net.keras", "other.keras")
    argv = ["compare", "net.keras", "other.keras", "--data", "numbers.npz"]
    argv += ["--runtime", "litert", "--pixels", "unit"]
    code, out, err = resprune(capsys, *argv)
    assert code == 0, err
    lines = [*out.splitlines(), *err.splitlines()]
    assert len(lines) == len(set(lines)), lines
    assert [line[:4] for line in lines if "guessing gives" in line] == ["A: T", "B: T"]
    for name in "AB":
        assert f"Exporting {name} as litert ..." in lines
        assert f"Running the litert file of {name} on 6 examples ..." in lines
