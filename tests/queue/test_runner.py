"""The runner of the queue, with made-up experiments and one real one."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import filelock
import pytest

from experiments import record
from experiments.pages import records_page
from experiments.pages.results import ROOT
from experiments.paper.rows import Row
from experiments.queue import __main__ as queue
from experiments.queue import obstacles, runner
from experiments.queue.obstacles import Folders
from experiments.queue.planned import Entry
from experiments.queue.runner import Runner

pytestmark = pytest.mark.slow

FIRST = Row("c10_k2", "", scale="quarter")
SECOND = Row("c10_random", "", "--start_from=runs/c10-k2{scale}-seed{seed}")
SECOND = SECOND.at("quarter")
PLAN = [Entry("", row, seed) for seed in (0, 1) for row in (FIRST, SECOND)]
NAMES = [entry.run for entry in PLAN]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Folders of a runner whose children are made up and are looked at often."""
    monkeypatch.setattr(runner, "PYTHON", (*runner.PYTHON, "tests.queue.queue_child"))
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(runner, "_LEAST_SECONDS", 0.0)
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    behave(tmp_path)
    return Folders(*(tmp_path / name for name in ("data", "runs", "records")))


def behave(folder, **runs):
    """States `(rounds, seconds of a round, fails)` by run."""
    runs = {name.replace("_", "-"): value for name, value in runs.items()}
    (folder / "data" / "behaviour.json").write_text(json.dumps(runs))


def kept(folders):
    """Progress of the records that are kept, by their names."""
    found = sorted(folders.records.glob("*/*"))
    return {path.name: record.progress(path) for path in found}


def test_runs_one_after_another_and_keeps_their_records(folders, tmp_path, capsys):
    behave(tmp_path, c10_k2_quarter_seed0=(3, 0.0, False))
    assert Runner(folders, PLAN).run() == 0
    assert kept(folders) == {
        NAMES[0]: (3, True),
        **dict.fromkeys(NAMES[1:], (1, True)),
    }
    out = capsys.readouterr().out
    begun = [line.split()[2] for line in out.splitlines() if "starts or" in line]
    assert begun == [f"{name}:" for name in NAMES]
    assert (folders.runs / "queue.log").read_text() == out
    models = folders.records / "cifar10" / NAMES[0] / "models"
    assert len(list(models.iterdir())) == 3
    # Nothing is run twice.
    assert Runner(folders, PLAN).run() == 0
    assert capsys.readouterr().out == ""


def test_the_time_budget_stops_it_and_the_same_command_continues(
    folders, tmp_path, capsys
):
    behave(tmp_path, c10_k2_quarter_seed0=(3, 1.0, False))
    assert Runner(folders, PLAN, minutes=2.5 / 60).run() == 0
    assert "stopped: the time budget ended" in capsys.readouterr().out
    rounds, finished = kept(folders)[NAMES[0]]
    assert rounds >= 1 and not finished and list(kept(folders)) == NAMES[:1]
    page = records_page.records_page(folders.records)
    assert "In progress" in page and NAMES[0] in page
    behave(tmp_path, c10_k2_quarter_seed0=(3, 0.0, False))
    assert Runner(folders, PLAN[:1]).run() == 0
    assert kept(folders) == {NAMES[0]: (3, True)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_waited_for(folders, tmp_path, number, capsys):
    behave(tmp_path, c10_k2_quarter_seed0=(2, 60.0, False))

    def interrupt():
        while not (folders.runs / f"{NAMES[0]}.log").exists():
            time.sleep(0.01)
        time.sleep(0.5)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    assert Runner(folders, PLAN).run() == 128 + number
    assert f"stopped: {number.name} received" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="others leave the child alone")
def test_the_child_of_a_killed_runner_stops(folders, tmp_path):
    behave(tmp_path, c10_k2_quarter_seed0=(1, 600.0, False))
    program = (
        "import pathlib, sys\n"
        "from experiments.queue import runner\n"
        "from experiments.queue.obstacles import Folders\n"
        "from tests.queue.test_runner import PLAN\n"
        "runner.PYTHON = (*runner.PYTHON, 'tests.queue.queue_child')\n"
        "runner.Runner(Folders(*map(pathlib.Path, sys.argv[1:])), PLAN[:1]).run()\n"
    )
    places = map(str, (folders.data, folders.runs, folders.records))
    parent = subprocess.Popen([sys.executable, "-c", program, *places], cwd=ROOT)
    children = pathlib.Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    while not (pids := children.read_text().split()):
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    child = pathlib.Path(f"/proc/{pids[0]}/stat")
    until = time.monotonic() + 60
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until, "the child goes on"
        time.sleep(0.05)


def test_a_record_of_another_run_is_not_replaced(folders, capsys):
    other = folders.records / "cifar10" / NAMES[0]
    other.mkdir(parents=True)
    (other / "run.json").write_text("{}")
    assert Runner(folders, PLAN[:1]).run() == 1
    out = capsys.readouterr().out
    assert f"{NAMES[0]}: failed: '{other}' exists and belongs" in out


def test_a_failing_run_is_reported_and_not_tried_again(folders, tmp_path, capsys):
    behave(tmp_path, c10_random_quarter_seed0=(1, 0.0, True))
    assert Runner(folders, PLAN).run() == 1
    out = capsys.readouterr().out
    assert (
        f"{NAMES[1]}: failed: exit status 1. Last lines of its log:\n    error: made"
        in out
    )
    reason = "c10-random-quarter already failed in this call"
    assert f"{NAMES[3]}: skipped: {reason}" in out
    assert list(kept(folders)) == [NAMES[0], NAMES[2]]
    assert out.endswith(f"failed: {NAMES[1]}\n")


def test_what_is_missing_is_named(folders, capsys):
    twin = "--twin_of=runs/c10-k2{scale}-seed{seed}"
    rows = (
        SECOND,
        Row("c10_scratch", "", twin, "c10_scratch_b"),
        Row("c100_main", ""),
        Row("in_main", ""),
    )
    assert Runner(folders, [Entry("", row, 0) for row in rows]).run() == 0
    out = capsys.readouterr().out
    for reason in (
        "it needs the initial model of c10-k2-quarter-seed0, which is missing",
        "it needs c10-k2-seed0, which is not finished",
        "no cifar100, tfds/cifar100, cifar-100-binary or train.bin in --data_dir=",
        "no imagenet2012 or tfds/imagenet2012 in --data_dir=",
    ):
        assert f"skipped: {reason}" in out
    assert not kept(folders)


def test_a_run_begun_in_bfloat16_waits_for_a_processor(folders, monkeypatch, capsys):
    run_dir = folders.runs / NAMES[0]
    run_dir.mkdir(parents=True)
    settings = {"recipe": {"precision": "bfloat16"}}
    (run_dir / "run.json").write_text(json.dumps(settings))
    monkeypatch.setattr(obstacles, "native_bfloat16", lambda: False)
    assert Runner(folders, PLAN[:1]).run() == 0
    assert "skipped: it started in bfloat16" in capsys.readouterr().out


def test_a_second_runner_is_refused(folders):
    folders.runs.mkdir()
    with filelock.FileLock(folders.runs / "queue.lock"):
        with pytest.raises(ValueError, match="Another runner uses --runs="):
            Runner(folders, PLAN).run()


def test_a_lost_run_directory_is_made_again_from_its_record(folders, tmp_path):
    behave(tmp_path, c10_k2_quarter_seed0=(3, 1.0, False))
    Runner(folders, PLAN[:1], minutes=2.5 / 60).run()
    before = kept(folders)[NAMES[0]][0]
    folders.runs.rename(tmp_path / "lost")
    behave(tmp_path, c10_k2_quarter_seed0=(before, 0.0, False))
    # All its rounds are done: only a run that was continued from them can end so.
    Runner(folders, PLAN[:1]).run()
    assert record.progress(folders.runs / NAMES[0])[0] == before


def test_status_lines(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "STATUS_SECONDS", 2.0)
    behave(tmp_path, c10_k2_quarter_seed0=(1, 3.0, False))
    run_dir = folders.runs / NAMES[0]
    run_dir.mkdir(parents=True)
    status = {
        **{"round": 1, "rounds": 4, "epoch": 3, "epochs": 15, "step": 7, "steps": 351},
        **{"images_per_second": 187.4, "seconds_left": 7200},
    }
    (run_dir / "status.json").write_text(json.dumps(status))
    Runner(folders, PLAN[:1]).run()
    expected = (
        "c10-k2-quarter  seed 0  round 1 of 4  epoch 3/15  187 images/s  2.0 h left"
    )
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--run needs --data_dir=DATA, an existing folder. Received: None"),
        (["--data_dir=/none"], "Received: /none"),
        (
            [f"--data_dir={ROOT}", "--only=c10"],
            "there is no row c10. Choose from c10-k2-",
        ),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit):
        queue.main(["--run", *arguments])
    assert message in capsys.readouterr().err


SMALL = (
    "--dataset=digits --depth=14 --unit_kind=basic --width=4 --without=stage3_unit2 "
    "--train_examples=200 --validation_examples=100 --epochs=8 --retrain_epochs=4 "
    "--batch_size=50 --target_layers=8 --export= --precision=float32"
)


def test_a_real_run_is_stopped_and_continued(folders, monkeypatch):
    """Stopped by a signal once its first round is kept; its state file is there."""
    monkeypatch.setattr(runner, "PYTHON", runner.PYTHON[:2])
    states = Folders(folders.data, folders.runs, folders.records, folders.runs / "s")
    row = Row("c10_k2", "", f"{SMALL} --units_per_round=1", scale="quarter")
    entries = [Entry("", row, 0)]

    def interrupt():
        while not kept(folders):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt).start()
    assert Runner(states, entries).run() == 143
    (begun,) = kept(folders).values()
    assert begun[0] >= 1
    assert (folders.runs / "s" / f"{NAMES[0]}.tar").exists()
    assert Runner(states, entries).run() == 0
    assert kept(folders) == {NAMES[0]: (3, True)}
    rounds = (folders.records / "cifar10" / NAMES[0] / "rounds.jsonl").read_text()
    epochs = [json.loads(line)["epochs"] for line in rounds.splitlines()]
    assert epochs == [2, 1, 1]
