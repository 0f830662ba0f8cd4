"""Stopping when asked: in work that asks for signals, and in work that does not."""

import os
import signal
import time
import types

import pytest
from absl.testing import flagsaver

from experiments.running import experiment
from resprune_cli.start import StopNow, StopRequest


def ask():
    os.kill(os.getpid(), signal.SIGTERM)


def test_work_that_does_not_ask_is_ended():
    begun = time.monotonic()
    with pytest.raises(StopNow, match="SIGTERM received"):
        with StopRequest(patience=0.1) as stop:
            ask()
            time.sleep(60)
    assert stop.code == 128 + signal.SIGTERM and time.monotonic() - begun < 30
    time.sleep(0.15)  # nothing more comes


def test_work_that_asks_is_not():
    with StopRequest(patience=0.1) as stop:
        assert stop.reason() is None
        ask()
        time.sleep(0.01)
        assert stop.reason() == "SIGTERM received"
        time.sleep(0.3)


def test_a_long_step_is_let_ask(monkeypatch):
    """What runs no Python for a while gets all signals at once, as it ends."""
    with StopRequest(patience=100) as stop:
        ask()
        stop._end(signal.SIGALRM, None)
        assert stop.reason()


def test_without_patience_it_waits():
    with StopRequest() as stop:
        ask()
        time.sleep(0.1)
        assert stop.reason() == "SIGTERM received"


@pytest.mark.usefixtures("command_line")
def test_experiments_stop_while_they_start(capsys):
    def apply_scale():
        ask()
        time.sleep(60)

    with pytest.raises(SystemExit) as ended:
        experiment.run(["it"], types.SimpleNamespace(apply_scale=apply_scale))
    assert ended.value.code == 128 + signal.SIGTERM
    assert "Stopped: SIGTERM received. The same command continues it." in (
        capsys.readouterr().out
    )


@pytest.mark.usefixtures("command_line")
def test_a_state_file_needs_its_folder_before_any_work(tmp_path):
    state = str(tmp_path / "none" / "run.tar")
    with flagsaver.flagsaver(run_dir=str(tmp_path / "run"), state_file=state):
        with pytest.raises(SystemExit, match="a file in an existing folder"):
            experiment._check_run_dir()
