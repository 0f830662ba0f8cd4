"""A run cut into pieces that travel as one file ends like an unbroken one."""

import dataclasses
import itertools
import shutil
import tarfile

import numpy as np
import pytest

from resprune_tf import (
    Guidance,
    Recipe,
    RunDirectoryError,
    RunInterrupted,
    Split,
    resnet56,
)
from resprune_tf.runs.checkpoint import save_state
from resprune_tf.runs.state_file import needed_models, pack_run, unpack_run
from resprune_tf.training.trainer import Trainer
from tests.conftest import shallow_net
from tests.made.runs import make_rounds, write_records
from tests.pruning.test_loop import DATASET, shorten
from tests.pruning.test_resume import assert_same_run

pytestmark = pytest.mark.slow


def pieces(folder):
    """Runs a few steps at a time, each in a new folder; yields every folder."""
    number, packed = 0, folder / "state.tar"
    while True:
        here = folder / f"piece{number}"
        here.mkdir()
        if packed.exists():
            assert unpack_run(packed, here)
        asked = itertools.chain([None] * 7, itertools.repeat("moving"))
        try:
            shorten(
                shallow_net(), run_dir=here, max_rounds=2, should_stop=asked.__next__
            )
            yield here
            return
        except RunInterrupted:
            pack_run(here, packed)
            yield here
        number += 1


def test_a_run_in_pieces_on_many_machines_is_one_run(tmp_path, monkeypatch):
    monkeypatch.setattr("resprune_tf.runs.callbacks.SAVING_SHARE", float("inf"))
    whole = tmp_path / "whole"
    shorten(shallow_net(), run_dir=whole, max_rounds=2)
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
    assert needed_models(run) == [
        f"models/round-0{number}.keras" for number in (0, 2, 4)
    ]
    pack_run(run, tmp_path / "run.tar")
    assert unpack_run(tmp_path / "run.tar", tmp_path / "there")
    there = sorted(path.name for path in (tmp_path / "there/models").iterdir())
    assert there == ["round-00.keras", "round-02.keras", "round-04.keras"]
    assert not unpack_run(tmp_path / "run.tar", tmp_path / "there")  # not further


def test_the_papers_net_travels_in_16_mib(tmp_path):
    """At its largest: whole nets, in training under the guidance of another one."""
    run = made(tmp_path / "run", 0.9, 0.91, 0.895)
    net, images = resnet56(), np.zeros((4, 32, 32, 3), "uint8")
    split = Split(images, np.zeros(4, "int32"))
    dataset = dataclasses.replace(DATASET, train=split)
    recipe = Recipe(batch_size=4)
    trainer = Trainer(net, dataset, recipe, 0, teacher=net, guidance=Guidance())
    trainer.model.optimizer.build(trainer.model.trainable_variables)
    save_state(run / "state.npz", trainer.model, round=3, epoch=1)
    net.save(run / "models/round-00.keras")
    for number in (1, 2):
        shutil.copy(
            run / "models/round-00.keras", run / f"models/round-0{number}.keras"
        )
    size = pack_run(run, tmp_path / "run.tar")
    assert 8 * 2**20 < size < 16 * 2**20


def test_what_is_further_wins(tmp_path):
    behind, ahead = made(tmp_path / "a", 0.9), made(tmp_path / "b", 0.9, 0.8)
    pack_run(behind, tmp_path / "behind.tar")
    pack_run(ahead, tmp_path / "ahead.tar")
    assert not unpack_run(tmp_path / "behind.tar", ahead)
    assert unpack_run(tmp_path / "ahead.tar", behind)
    assert (behind / "models/round-01.keras").exists()
    assert not list(behind.glob(".writing-*"))


def test_other_files_are_refused(tmp_path):
    run = made(tmp_path / "run", 0.9)
    (tmp_path / "text.tar").write_text("no archive")
    with pytest.raises(RunDirectoryError, match="not a packed run"):
        unpack_run(tmp_path / "text.tar", run)
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(RunDirectoryError, match="no run.json"):
        unpack_run(tmp_path / "empty.tar", run)
    other = made(tmp_path / "other", 0.9, 0.9)
    (other / "run.json").write_text('{"select_on": "test", "tolerance": 0}')
    pack_run(other, tmp_path / "other.tar")
    with pytest.raises(RunDirectoryError, match="contains another run"):
        unpack_run(tmp_path / "other.tar", run)
