"""The cifar command: a whole run on real digits, and every refusal."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from unittest import mock

import keras
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

import resprune_tf as rp
from experiments import cifar
from experiments.running import experiment
from resprune_tf import criteria, importances
from resprune_tf.runs.records import RunDirectory
from resprune_tf.system.whole_files import read_json, read_lines
from tests.made.processes import Forked

ROOT = pathlib.Path(__file__).parents[2]
SMALL = {
    "dataset": "digits",
    "depth": 14,
    "unit_kind": "basic",
    "width": 4,
    "without": ["stage3_unit2"],  # two units are left to choose from
    "train_examples": 200,
    "validation_examples": 100,
    "epochs": 2,
    "retrain_epochs": 1,
    "batch_size": 50,
    "max_rounds": 1,
}


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("command_line")]


def command(**values):
    """Runs the command in this process."""
    with flagsaver.flagsaver(**{**SMALL, **values}):
        cifar.main(["cifar"])


def arguments(run_dir, **values):
    """The command line of a small run."""
    named = {**SMALL, "run_dir": run_dir, "export": "", **values}
    named["without"] = ",".join(named["without"])
    return [
        sys.executable,
        "-m",
        "experiments.cifar",
        *(f"--{name}={value}" for name, value in named.items()),
    ]


def with_onednn():
    """The environment of users: the command turns on oneDNN itself."""
    return {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run from beginning to end, with what it printed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    done = subprocess.run(
        arguments(folder, export="saved_model"),
        cwd=ROOT,
        env=with_onednn(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done


def test_a_run_prints_its_progress_and_what_it_achieved(finished):
    _, done = finished
    for text in (
        "digits: ",
        "200 train, 100 validation, 360 test",
        "round 0: 12 layers",
        "left",
        "round 1: 10 layers",
        "largest difference of outputs",
        "report.html",
    ):
        assert text in done.stdout
    for count in (100, 360):  # unless the initial model was selected
        tested = f"newly right of {count}: p" in done.stdout
        assert tested == ("The model was pruned from 12 to" in done.stdout)
    assert re.search(r"^\*? *0 +12 ", done.stdout, re.MULTILINE), done.stdout
    assert done.stderr == ""  # TensorFlow's notes are kept out


def test_a_run_leaves_its_records_and_models(finished):
    folder, _ = finished
    names = {path.name for path in folder.iterdir()}
    assert {
        "run.json",
        "flags.txt",
        "environment.json",
        "sessions.jsonl",
        "rounds.jsonl",
        "history.jsonl",
        "final.json",
        "report.html",
        "models",
        "export",
    } <= names
    assert (folder / "export" / "saved_model").is_dir()
    assert "ω" in (folder / "report.html").read_text()
    correct = selected(folder)["correct"]
    assert all(int(correct[split], 16) for split in ("validation", "test"))


def selected(folder):
    """The record of the round that a finished run selected."""
    final = read_json(folder / "final.json")
    return read_lines(folder / "rounds.jsonl")[final["selected_round"]]


def test_flags_txt_makes_the_same_run_again(finished, tmp_path):
    folder, _ = finished
    text = (folder / "flags.txt").read_text()
    assert "--depth=14" in text and "--nesterov" in text and "data_dir" not in text
    lines = [line for line in text.splitlines() if "run_dir" not in line]
    (tmp_path / "flags.txt").write_text("\n".join(lines))
    given = [f"--flagfile={tmp_path / 'flags.txt'}", f"--run_dir={tmp_path / 'again'}"]
    # In a process like the first: here graphs are not optimized, and round otherwise.
    again = [sys.executable, "-m", "experiments.cifar", *given, "--export="]
    done = subprocess.run(
        again, cwd=ROOT, env=with_onednn(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ours, theirs = (
        read_lines(path / "rounds.jsonl") for path in (tmp_path / "again", folder)
    )
    for line in (*ours, *theirs):
        line.pop("seconds")
    assert ours == theirs


def test_a_finished_run_shows_its_result_again_and_exports_it(
    finished, capsys, in_this_process
):
    folder, _ = finished
    command(run_dir=str(folder), export=["saved_model", "keras"])
    out = capsys.readouterr().out
    assert "is already finished" in out and "report.html" in out
    assert "epoch" not in out and out.count("largest difference of outputs") == 2
    exported = keras.saving.load_model(folder / "export" / "model.keras")
    model = keras.saving.load_model(folder / selected(folder)["model"])
    assert importances(exported) == {}
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype("float32")
    np.testing.assert_allclose(exported(images), model(images), atol=1e-4)


def test_an_export_that_fails_costs_neither_the_report_nor_the_state(
    finished, tmp_path, monkeypatch, capsys
):
    def failing(*_):
        raise rp.ExportError("It does not run.")

    monkeypatch.setattr(rp, "export", failing)
    (report := finished[0] / "report.html").unlink()
    with pytest.raises(SystemExit) as exit_:
        command(
            run_dir=str(finished[0]),
            export=["keras"],
            state_file=str(tmp_path / "state.tar"),
        )
    assert exit_.value.code.startswith("error: It does not run.\nThe run is finished")
    assert "Report: " in capsys.readouterr().out
    assert report.exists() and (tmp_path / "state.tar").exists()


def test_the_time_budget_ends_a_run_resumably(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        command(run_dir=str(tmp_path), time_budget_minutes=0.0)
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert "Stopped: the time budget is used up. The same command continues it." in out
    assert not (tmp_path / "final.json").exists()


def test_sigterm_ends_a_run_resumably(tmp_path):
    run_dir = tmp_path / "run"
    process = Forked(
        "experiments.cifar",
        *arguments(run_dir, epochs=2000)[3:],
        log=tmp_path / "log",
    )
    while not (run_dir / "state.npz").exists():
        assert process.poll() is None, process.output()
        time.sleep(0.1)
    process.terminate()
    out = process.wait(60)
    assert process.returncode == 128 + signal.SIGTERM, out
    assert "Stopped: SIGTERM received. The same command continues it." in out
    assert "Traceback" not in out
    assert (run_dir / "state.npz").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dataset": "mnist"}, "must be one of digits, cifar10, cifar100.*'mnist'"),
        ({"dataset": "none.npz"}, "none.npz"),
        ({"dataset": "cifar10", "data_dir": "/nowhere"}, "no folder.*/nowhere"),
        ({"depth": 15}, r"6n\+2 layers, such as 8, 14.*depth=15"),
        ({"target_layers": 20}, "requires no removal: the initial model has 12 layers"),
        ({"target_layers": 3}, "3 layers cannot be reached.*leaves 8"),
        ({"units_per_round": 9}, "from 1 to 2.*Received: 9"),
        (
            {"protect": ["stage7_unit1"]},
            "`protected` names units.*not have: stage7_unit1",
        ),
        ({"train_examples": 5000}, "train_examples"),
        ({"batch_size": 500}, "needs 500 images. Received: 200"),
        ({"learning_rate": 0.0}, "`learning_rate` must be > 0"),
        ({"tolerance": 2.0}, "`tolerance` must be a fraction"),
        ({"export": ["pickle"]}, "'pickle'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refusals_are_one_sentence_and_leave_nothing(tmp_path, values, message):
    with pytest.raises(SystemExit) as exit_:
        command(run_dir=str(tmp_path / "run"), **values)
    text = exit_.value.code
    assert text.startswith("error: ") and "\n" not in text.strip()
    assert re.search(message, text)
    assert not list((tmp_path / "run").rglob("*.*"))


def test_missing_cifar_says_where_it_looked_and_what_fetches_it(tmp_path):
    with pytest.raises(SystemExit, match=r"(?s)error: .*tfds.*cifar-10-binary.tar.gz"):
        command(dataset="cifar10", data_dir=str(tmp_path), run_dir=str(tmp_path / "r"))


def test_an_unwritable_run_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="error: cannot write --run_dir=.*file/run"):
        command(run_dir=str(tmp_path / "file" / "run"))
    with pytest.raises(SystemExit, match="error: --run_dir is missing"):
        command(run_dir=None)


def test_a_directory_in_use_or_of_another_run(tmp_path, finished):
    with RunDirectory(tmp_path):
        with pytest.raises(SystemExit, match="Another process is working in"):
            command(run_dir=str(tmp_path))
    with pytest.raises(SystemExit, match="seed: 0 there, 1 now"):
        command(run_dir=str(finished[0]), seed=1)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--select_on=train", "value should be one of <validation|test>"),
        (
            "--epochs=0",
            "--epochs=0: 0 is not a positive integer",
        ),
        ("--no_such_flag=1", "Unknown command line flag 'no_such_flag'"),
    ],
)
def test_wrong_flags_are_refused_before_keras_starts(argument, message):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cifar", argument],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "must-not-be-read"},
    )
    assert done.returncode == 1
    assert re.search(message, done.stderr) and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("source", "rounds", "epochs"), [("tfds", 1, 3), ("binary", 0, 2)]
)
def test_real_cifar10_from_one_command(tmp_path, source, rounds, epochs, capsys):
    data_dir = os.environ.get("RESPRUNE_TEST_DATA_DIR")
    if not data_dir:
        pytest.skip(
            "RESPRUNE_TEST_DATA_DIR is not set: a folder with the real CIFAR-10"
        )
    command(
        dataset="cifar10",
        data_dir=data_dir,
        data_source=source,
        test_examples=100,
        max_rounds=rounds,
        run_dir=str(tmp_path),
        export=[],
    )
    assert "200 train, 100 validation, 100 test" in capsys.readouterr().out
    assert read_json(tmp_path / "final.json")["total_epochs"] == epochs


@pytest.mark.parametrize("path", sorted((ROOT / "experiments/flagfiles").glob("*.txt")))
def test_flagfiles_parse_and_say_what_they_are(path):
    text = path.read_text()
    assert text.startswith("# ") and "Command:" in text
    with flagsaver.flagsaver():
        values = flags.FlagValues()
        for flag in flags.FLAGS.get_key_flags_for_module(cifar):
            values[flag.name] = flag
        monkey = os.getcwd()
        os.chdir(ROOT)
        try:
            values(["x", f"--flagfile={path}"])
        finally:
            os.chdir(monkey)
        assert values["run_dir"].value.startswith("runs/")


def test_a_machine_without_matplotlib_gets_no_report(finished, monkeypatch):
    """Accelerators need not have it; the records are drawn elsewhere."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = experiment._write_report(finished[0])
    assert said.startswith("none: ") and f"resprune report {finished[0]}`" in said


def test_every_criterion_can_be_asked_for():
    assert set(flags.FLAGS["criterion"].parser.enum_values) == set(criteria.NAMES)


def test_state_files_are_written_when_a_round_ends_and_now_and_then(
    tmp_path, monkeypatch
):
    """A machine may vanish without a warning."""
    now, packed = 0.0, []
    monkeypatch.setattr(experiment.time, "monotonic", lambda: now)
    rp = mock.Mock()
    rp.pack_run.side_effect = lambda folder, path: packed.append((now, path))
    stop = mock.Mock()
    stop.reason.return_value = None
    with flagsaver.flagsaver(state_file="state3.tar"):
        ask = experiment._StateFile(rp, stop, tmp_path, is_chief=True)
        helper = experiment._StateFile(rp, stop, tmp_path, is_chief=False)
    assert ask() is None and not packed
    (tmp_path / "rounds.jsonl").write_text("{}\n")
    ask()
    ask()
    assert packed == [(0.0, "state3.tar")]
    now = 20 * 60.0
    stop.reason.return_value = "SIGTERM received"
    assert ask() == helper() == "SIGTERM received"
    ask()
    assert packed == [(0.0, "state3.tar"), (now, "state3.tar")]
