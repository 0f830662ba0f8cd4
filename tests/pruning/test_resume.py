"""A run that is killed again and again ends with the weights of an unbroken one."""

import os
import random
import signal
import time

import keras
import numpy as np
import pytest

from resprune_tf.system.whole_files import read_json, read_lines
from tests.made.processes import Forked
from tests.pruning import resume_child

pytestmark = pytest.mark.slow


def child(run_dir, *death):
    log = run_dir.with_name(f"{run_dir.name}.log")
    return Forked("tests.pruning.resume_child", run_dir, *death, log=log)


def finish(run_dir):
    process = child(run_dir)
    out = process.wait()
    assert process.returncode == 0, out


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The records of a run that nobody stopped, in another process than the others."""
    folder = tmp_path_factory.mktemp("unbroken")
    result = resume_child.run(folder)
    assert [record.layers for record in result.rounds] == [5, 3, 2]
    return folder


def assert_same_run(folder, expected):
    """Same decisions, same accuracies, same weights to the last bit."""
    times = ("seconds",)
    for name in ("rounds.jsonl", "history.jsonl"):
        ours, theirs = (read_lines(path / name) for path in (folder, expected))
        for line in (*ours, *theirs):
            for key in times:
                line.pop(key)
        assert ours == theirs
    final, reference = (read_json(p / "final.json") for p in (folder, expected))
    for outcome in (final, reference):
        outcome.pop("total_seconds")
    assert final == reference
    for path in sorted((expected / "models").glob("*.keras")):
        model = keras.saving.load_model(path, compile=False)
        twin = keras.saving.load_model(folder / "models" / path.name, compile=False)
        for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    assert not list(folder.rglob(".writing-*"))


# The writes of this run, in order: 1 run.json, 2 sessions, 3 environment, 4 the initial
# model, 5-7 the state after each epoch, 8 the model, 9 the history, 10 the round; then
# sessions and environment of the next process, and so on.
DEATHS = [
    ("4", "during"),  # before anything is trained
    ("5", "during"),  # while the second epoch's state is written
    ("5", "after"),  # the model of round 0 stands, its record does not
    ("5", "during"),  # its record half written
    ("4", "after"),  # in the training of the next round
]


def test_killed_while_writing_and_between_rounds(tmp_path, unbroken):
    """SIGKILL in the middle of chosen writes and right after them."""
    folder = tmp_path / "run"
    for write, moment in DEATHS:
        process = child(folder, write, moment)
        out = process.wait()
        assert process.returncode == -signal.SIGKILL, out
    finish(folder)
    assert len(read_lines(folder / "sessions.jsonl")) == len(DEATHS) + 1
    assert_same_run(folder, unbroken)


def test_killed_at_random_moments(tmp_path, unbroken):
    """SIGKILL from outside, at moments drawn anew in every test run."""
    seed = int.from_bytes(os.urandom(2))
    print(f"random moments of seed {seed}")
    rng = random.Random(seed)
    folder = tmp_path / "run"
    for _ in range(2):
        lines = len(read_lines(folder / "sessions.jsonl"))
        process = child(folder)
        # Starting up is no phase of the run: wait until it works on it. A run that had
        # all its rounds when it was killed only writes its end and is done.
        while len(read_lines(folder / "sessions.jsonl")) == lines:
            if process.poll() is not None:
                assert process.returncode == 0, process.output()
                break
            time.sleep(0.05)
        time.sleep(rng.uniform(0.2, 4))
        process.kill()
        process.wait()
    finish(folder)
    assert_same_run(folder, unbroken)
