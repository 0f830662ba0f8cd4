"""A teacher from elsewhere: the distillation baseline, through the same loop."""

import dataclasses
import itertools

import numpy as np
import pytest

from resprune_tf import (
    Guidance,
    Removal,
    RunDirectoryError,
    RunInterrupted,
    RunOptions,
    Split,
    prune_and_retrain,
)
from resprune_tf.runs.state_file import pack_run, unpack_run
from resprune_tf.system.whole_files import read_json
from resprune_tf.training.distillation import load_teacher
from tests.pruning.test_loop import DATASET, RECIPE, net_without_units, shorten
from tests.pruning.test_resume import assert_same_run

pytestmark = pytest.mark.slow


def distil(folder, teacher, **arguments):
    """Only the initial training, under a teacher."""
    guidance = Guidance(teacher=teacher) if teacher else None
    arguments = {"max_rounds": 0, "guidance": guidance, **arguments}
    return shorten(net_without_units(), run_dir=folder, **arguments)


def test_the_first_training_too_goes_by_the_teacher():
    """By its word alone, labels do not count; the teacher stays as it is."""
    teacher = net_without_units(width=8)
    before = teacher.get_weights()
    labels = DATASET.train.labels
    wrong = Split(DATASET.train.images, ((labels + 1) % 3).astype("int32"))
    weights = []
    for train in (DATASET.train, wrong):
        result = prune_and_retrain(
            net_without_units(),
            dataclasses.replace(DATASET, train=train),
            RECIPE,
            guidance=Guidance(temperature=2.0, weight=1.0, teacher=teacher),
            removal=Removal(max_rounds=0),
            run=RunOptions(verbose=False),
        )
        weights.append(result.model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_run_with_a_teacher_travels_and_continues_without_the_original(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("resprune_tf.runs.callbacks.SAVING_SHARE", float("inf"))
    teacher = tmp_path / "teacher.keras"
    net_without_units(width=8).save(teacher)
    distil(tmp_path / "whole", teacher)

    asked = itertools.chain([None] * 7, itertools.repeat("moving"))
    with pytest.raises(RunInterrupted):
        distil(tmp_path / "first", teacher, should_stop=asked.__next__)
    pack_run(tmp_path / "first", tmp_path / "state.tar")
    unpack_run(tmp_path / "state.tar", tmp_path / "second")
    teacher.unlink()
    own = tmp_path / "second" / "models" / "teacher.keras"
    distil(tmp_path / "second", own)
    assert_same_run(tmp_path / "second", tmp_path / "whole")


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """The directory of a training under a teacher."""
    folder = tmp_path_factory.mktemp("taught")
    distil(folder, net_without_units())
    return folder


def test_another_teacher_is_another_run(taught):
    assert len(read_json(taught / "run.json")["teacher"]) == 8
    with pytest.raises(RunDirectoryError, match="other settings.*teacher"):
        distil(taught, net_without_units(width=8))


def test_an_initial_training_is_not_taken_over_under_another_teacher(tmp_path, taught):
    alone = tmp_path / "alone"
    distil(alone, None)
    for start, teacher in ((alone, net_without_units()), (taught, None)):
        with pytest.raises(
            RunDirectoryError,
            match="initial training of .* has other settings .*teacher",
        ):
            distil(tmp_path / f"from-{start.name}", teacher, start_from=start)


def test_teachers_that_do_not_fit():
    student = net_without_units()
    assert load_teacher(None, student) is None
    assert load_teacher(Guidance(), student) is None
    with pytest.raises(ValueError, match=r"to \(5,\), a student from"):
        load_teacher(Guidance(teacher=net_without_units(classes=5)), student)
