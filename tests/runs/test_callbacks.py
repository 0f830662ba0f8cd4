"""Progress: what a person sees on a terminal, and what a log file gets."""

import io
import itertools
import json
import re

import keras
import numpy as np
import pytest

from resprune_tf.runs import callbacks
from resprune_tf.runs.callbacks import EvaluationProgress, Progress
from resprune_tf.runs.status import Status
from resprune_tf.system import progress
from resprune_tf.system.progress import Reporter
from tests.conftest import net_of

LOGS = {"loss": 0.5, "accuracy": 0.875}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(stream, monkeypatch, seconds_a_step=2.0, epochs=2, steps=3):
    """What a round of `epochs` shows, with a clock that only the steps move."""
    now = 0.0
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now)
    progress = Progress(stream)
    progress.set_params({"steps": steps, "epochs": epochs})
    progress.say("round 1: 53 layers")
    now += 60  # to build the first model, which no later epoch takes
    progress.start_round("round 1", epochs, later_epochs=4)
    for epoch in range(epochs):
        progress.on_epoch_begin(epoch)
        for step in range(steps or 3):
            progress.on_train_batch_begin(step)
            now += seconds_a_step
        progress.on_epoch_end(epoch, LOGS)
    return stream.getvalue()


def test_a_log_file_gets_a_line_an_epoch(monkeypatch):
    lines = shown(io.StringIO(), monkeypatch).splitlines()
    numbers = "loss 0.5000  accuracy 87.50%  0:06 per epoch"
    assert lines == [
        "round 1: 53 layers",
        f"round 1  epoch 1/2  {numbers}  run 0:30 left",
        f"round 1  epoch 2/2  {numbers}  run 0:24 left",
    ]


def test_the_last_line_of_a_run_promises_no_time_left(monkeypatch):
    """Measuring and writing follow, and take a time that is not known."""
    monkeypatch.setattr(callbacks.time, "monotonic", itertools.count(0.0).__next__)
    stream = io.StringIO()
    progress = Progress(stream)
    progress.set_params({"steps": 3, "epochs": 1})
    progress.start_round("round 1", 1, later_epochs=0)
    progress.on_epoch_begin(0)
    for step in range(3):
        progress.on_train_batch_begin(step)
    progress.on_epoch_end(0, LOGS)
    assert stream.getvalue().endswith(" per epoch\n")


def test_a_long_evaluation_counts_its_batches(monkeypatch):
    monkeypatch.setattr(progress, "_INTERVAL", 0)
    model = net_of((2,), keras.layers.Dense(1))
    model.compile(loss="mse", run_eagerly=True)
    stream = io.StringIO()
    with progress.shown(Reporter(stream)):
        model.evaluate(
            np.ones((5, 2)),
            np.ones((5, 1)),
            batch_size=2,
            verbose=0,
            callbacks=[EvaluationProgress("Measuring, batch")],
        )
    lines = re.sub(", .:.. left", "", stream.getvalue().replace("Measuring, ", ""))
    assert lines.splitlines() == [f"batch ({n} of 3) ..." for n in (1, 2, 3)]


def test_a_log_file_gets_lines_within_long_epochs(monkeypatch):
    out = shown(io.StringIO(), monkeypatch, seconds_a_step=20, epochs=1, steps=5)
    within, whole = (
        "1:40 per epoch  run",
        "loss 0.5000  accuracy 87.50%  1:40 per epoch",
    )
    # Every second step of 20 s; 60 s of this epoch and 4 of 100 s are left at first.
    assert out.splitlines()[1:] == [
        f"round 1  epoch 1/1  step 2/5  {within} 7:40 left",
        f"round 1  epoch 1/1  step 4/5  {within} 7:00 left",
        f"round 1  epoch 1/1  {whole}  run 6:40 left",
    ]


@pytest.mark.parametrize("steps", [1, 3])
def test_compiling_in_the_first_step_is_no_part_of_the_time_left(monkeypatch, steps):
    now = 0.0
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now)
    progress = Progress(io.StringIO())
    progress.set_params({"steps": steps, "epochs": 3})
    progress.start_round("round 1", 3, later_epochs=0)
    for epoch in range(3):
        progress.on_epoch_begin(epoch)
        for step in range(steps):
            progress.on_train_batch_begin(step)
            now += 6 / steps + 20 * (not epoch and not step)
        progress.on_epoch_end(epoch, LOGS)
    first, second, _ = progress.stream.getvalue().splitlines()
    if steps == 1:  # no other step was timed yet
        assert first.endswith("accuracy 87.50%")
    else:
        assert first.endswith("0:06 per epoch  run 0:12 left")
    assert second.endswith("0:06 per epoch  run 0:06 left")


def test_a_log_file_hears_of_a_pipeline_of_unknown_length(monkeypatch):
    out = shown(io.StringIO(), monkeypatch, seconds_a_step=40, epochs=1, steps=None)
    assert out.splitlines()[1:3] == [
        "round 1  epoch 1/1  step 1",
        "round 1  epoch 1/1  step 2",
    ]


def test_a_log_file_is_not_flooded(monkeypatch):
    out = shown(io.StringIO(), monkeypatch, seconds_a_step=0.01, epochs=50)
    assert [re.findall(r"epoch +(\d+)/50", line) for line in out.splitlines()[1:]] == [
        ["1"],
        ["50"],
    ]


def test_a_terminal_shows_steps_in_place_with_both_times_left(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    out = shown(Terminal(), monkeypatch)
    parts = out.split("\r\x1b[K")
    assert parts[1] == "round 1: 53 layers\n"
    assert "\n" not in "".join(parts[2:])
    # The first step, which mostly compiles, is no basis for an estimate.
    assert parts[2].endswith("epoch 1/2  [=======             ]")
    # The second step: 4 of 6 seconds of the epoch, and 5 epochs of 6 seconds later.
    assert "epoch 0:02 left  run 0:32 left" in parts[3]
    assert "[====================]" in parts[-1] and "run 0:24 left" in parts[-1]


@pytest.mark.parametrize("columns", [100, 80, 60, 40, 20])
def test_a_line_fits_the_terminal(monkeypatch, columns):
    """One that breaks could not be rewritten, and would flood the terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = shown(Terminal(), monkeypatch).split("\r\x1b[K")[2:]
    assert max(map(len, lines)) < columns
    if columns >= 40:  # what is told of all is where it stands and when it ends
        assert all("epoch" in line for line in lines)
        assert all(line.endswith(" left") for line in lines[1:])
        assert lines[-1].endswith("run 0:24 left")


def test_parts_of_epochs_are_shown_as_such():
    stream = io.StringIO()
    progress = Progress(stream)
    progress.set_params({"steps": 3})
    progress.start_round("round 0", 90, later_epochs=0, parts=20)
    progress.on_epoch_begin(30)
    progress.on_epoch_end(30, LOGS)
    assert "round 0  epoch  1.55/90  loss" in stream.getvalue()


def test_clock():
    assert callbacks.clock(5.4) == "0:05"
    assert callbacks.clock(3599.6) == "1:00:00"


def test_another_metric_and_a_pipeline_that_learns_its_length(monkeypatch):
    """Bars and times within an epoch only once the number of steps is known."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(callbacks.time, "monotonic", itertools.count().__next__)
    progress = Progress(Terminal(), monitor="mae")
    progress.set_params({"steps": None})
    progress.start_round("round 0", 2, later_epochs=0)
    for epoch in range(2):
        progress.on_epoch_begin(epoch)
        for step in range(4):
            progress.on_train_batch_begin(step)
            drawn = progress.stream.getvalue().count("[=")
            assert (drawn > 1) == (epoch == 1 and step > 0)
        progress.on_epoch_end(epoch, {"loss": 0.5, "mae": 0.25, "val_mae": 0.3})
    last = progress.stream.getvalue().split("\r\x1b[K")[-1]
    assert "loss 0.5000  mae   0.25  epoch" in last


def test_status_file(tmp_path, monkeypatch):
    """Where the training stands, every ten seconds at most, and no metrics."""
    now = 0.0
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now)
    status = Status(tmp_path)
    status.set_params({"steps": 4})
    status.place(1, 4, images=400)
    status.start_round("round 1", 2, later_epochs=6)
    path = tmp_path / "status.json"
    status.on_epoch_begin(0)
    for step in range(4):
        status.on_train_batch_begin(step)
        now += 4.0
        assert path.exists() == (step == 3)  # at 12 s
    assert json.loads(path.read_text()) == {
        "round": 1,
        "rounds": 4,
        "epoch": 1,
        "epochs": 2,
        "step": 3,
        "steps": 4,
        "images_per_second": 25.0,  # 300 in 12 s
        "seconds_left": 116,  # 7.25 epochs of 16 s
    }
    before = path.read_text()
    status.on_epoch_end(0, LOGS)
    assert path.read_text() == before  # 4 s later
    assert status.stream.getvalue() == ""


def test_status_of_the_first_step_has_no_time_left(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now)
    status = Status(tmp_path)
    status.set_params({"steps": 4})
    status.place(0, 0, images=400)
    status.start_round("round 0", 2, later_epochs=0)
    status.on_epoch_begin(0)
    status.on_train_batch_begin(0)
    now += 50.0
    status.on_train_batch_begin(1)
    assert json.loads((tmp_path / "status.json").read_text())["seconds_left"] is None
