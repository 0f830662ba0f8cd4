"""A run cut into pieces that travel as one file ends like an unbroken one."""

import itertools
import shutil
import tarfile

import pytest

from resprune_tf import RunDirectoryError, RunInterrupted, travel
from tests.made_runs import make_rounds, write_records
from tests.test_loop import net, shorten
from tests.test_resume import assert_same_run


def pieces(folder):
    """Runs a few steps at a time, each in a new folder; yields every folder."""
    number, packed = 0, folder / "state.tar"
    while True:
        here = folder / f"piece{number}"
        here.mkdir()
        if packed.exists():
            assert travel.unpack(packed, here)
        asked = itertools.chain([None] * 7, itertools.repeat("moving"))
        try:
            shorten(net(), run_dir=here, should_stop=asked.__next__)
            yield here
            return
        except RunInterrupted:
            travel.pack(here, packed)
            yield here
        number += 1


def test_a_run_in_pieces_on_many_machines_is_one_run(tmp_path, monkeypatch):
    monkeypatch.setattr("resprune_tf.callbacks.SAVING_SHARE", float("inf"))
    whole = tmp_path / "whole"
    shorten(net(), run_dir=whole)
    folders = list(pieces(tmp_path))
    assert len(folders) >= 4
    last = folders[-1]
    # Older models stay where they were made.
    for folder in folders:
        for model in (folder / "models").glob("*.keras"):
            if not (last / "models" / model.name).exists():
                shutil.copy(model, last / "models")
    assert_same_run(last, whole)


def made(folder, *accuracies):
    """A run directory of made-up records with one small file for each model."""
    rounds = make_rounds(*accuracies)
    for line in rounds:
        line["model"] = f"models/round-{line['round']:02}.keras"
    write_records(folder, rounds, run={"select_on": "validation", "tolerance": 0.01})
    (folder / "models").mkdir()
    for line in rounds:
        (folder / line["model"]).write_text(str(line["round"]))
    return folder


def test_only_needed_models_travel(tmp_path):
    run = made(tmp_path / "run", 0.9, 0.91, 0.895, 0.8, 0.7)
    assert travel.needed_models(run) == [
        f"models/round-0{number}.keras" for number in (0, 2, 4)
    ]
    travel.pack(run, tmp_path / "run.tar")
    assert travel.unpack(tmp_path / "run.tar", tmp_path / "there")
    there = sorted(path.name for path in (tmp_path / "there/models").iterdir())
    assert there == ["round-00.keras", "round-02.keras", "round-04.keras"]
    assert not travel.unpack(tmp_path / "run.tar", tmp_path / "there")  # not further


def test_what_is_further_wins(tmp_path):
    behind, ahead = made(tmp_path / "a", 0.9), made(tmp_path / "b", 0.9, 0.8)
    travel.pack(behind, tmp_path / "behind.tar")
    travel.pack(ahead, tmp_path / "ahead.tar")
    assert not travel.unpack(tmp_path / "behind.tar", ahead)
    assert travel.unpack(tmp_path / "ahead.tar", behind)
    assert (behind / "models/round-01.keras").exists()
    assert not list(behind.glob(".arrived-*"))


def test_other_files_are_refused(tmp_path):
    run = made(tmp_path / "run", 0.9)
    (tmp_path / "text.tar").write_text("no archive")
    with pytest.raises(RunDirectoryError, match="no packed run"):
        travel.unpack(tmp_path / "text.tar", run)
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(RunDirectoryError, match="no run.json"):
        travel.unpack(tmp_path / "empty.tar", run)
    other = made(tmp_path / "other", 0.9, 0.9)
    (other / "run.json").write_text('{"select_on": "test", "tolerance": 0}')
    travel.pack(other, tmp_path / "other.tar")
    with pytest.raises(RunDirectoryError, match="holds another run"):
        travel.unpack(tmp_path / "other.tar", run)
