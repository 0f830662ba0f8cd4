"""Criteria report their loops while they are slow, and nothing while they are fast."""

import io
import itertools
import re

import numpy as np
import pytest

from resprune_tf import criteria
from resprune_tf.criteria.comparison import compare_scores
from resprune_tf.system import progress
from resprune_tf.system.progress import Reporter, shown
from resprune_tf.training.recalibration import recalibrate
from tests.conftest import images_of
from tests.made.foreign_nets import flat

pytestmark = pytest.mark.slow

LABELS = np.array([0, 1, 2, 3, 4, 0])


@pytest.fixture(scope="module")
def net():
    return flat()


@pytest.fixture
def slow(monkeypatch):
    """A clock that moves 6 seconds whenever it is read."""
    clock = itertools.count(100, 6)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))


def reported(work):
    """The lines of a log while `work` is done, without the time left."""
    stream = io.StringIO()
    with shown(Reporter(stream)):
        work()
    return re.sub(r", [0-9:]+ left", "", stream.getvalue()).splitlines()


LINES = {
    "output_norm": "Measuring the inputs and outputs of units, batch (2 of 3) ...",
    "block_influence": "Measuring the inputs and outputs of units, batch (2 of 3) ...",
    "taylor": "Computing the gradients of taylor, batch (2 of 3) ...",
    "leave_one_out": "Scoring without b (2 of 3) ...",
    "l1_importance": "Training factors of l1_importance, step (200 of 200) ...",
}


@pytest.mark.usefixtures("slow", "eagerly")
@pytest.mark.parametrize("name", LINES)
def test_a_slow_criterion_reports_its_loop(name, net):
    x = images_of(net, 6)
    criterion = criteria.make(name, x, LABELS, batch_size=2)
    assert LINES[name] in reported(lambda: criterion(net))


@pytest.mark.usefixtures("slow", "eagerly")
def test_cka_reports_units_batches_and_features(net):
    lines = reported(lambda: criteria.cka(images_of(net, 6), batch_size=2)(net))
    assert lines[:5] == [
        "Computing cka of a (1 of 3) ...",
        "Computing cka of a, batch (1 of 3) ...",
        "Computing cka of a, batch (2 of 3) ...",
        "Computing cka of a, batch (3 of 3) ...",
        "Computing cka of a, part (1 of 1) ...",
    ]
    assert "Computing cka of b (2 of 3) ..." in lines


@pytest.mark.usefixtures("slow", "eagerly")
@pytest.mark.parametrize("work", [recalibrate, criteria.leave_one_out])
def test_slow_recalibration_reports_its_batches(work, net):
    x = images_of(net, 6)
    if work is recalibrate:
        lines = reported(lambda: recalibrate(net, x, batch_size=4))
    else:
        criterion = work(x, LABELS, batch_size=4, recalibrate=True)
        lines = reported(lambda: criterion(net))
    text = "Re-estimating the BatchNormalization statistics, batch (2 of 2) ..."
    assert text in lines


@pytest.mark.usefixtures("eagerly")
def test_a_comparison_of_fast_criteria_reports_only_their_names(net):
    x = images_of(net, 6)
    lines = reported(lambda: compare_scores(net, x, LABELS, batch_size=2))
    names = [re.fullmatch(r"Scoring units by (\w+) \(.*\) \.\.\.", ln) for ln in lines]
    assert [name.group(1) for name in names] == [
        name for name in criteria.registry.COMPARED if name != "importance"
    ]


@pytest.mark.usefixtures("slow", "eagerly")
def test_a_comparison_promises_no_time_left(net):
    stream = io.StringIO()
    with shown(Reporter(stream)):
        compare_scores(net, images_of(net, 6), LABELS, batch_size=2)
    lines = stream.getvalue().splitlines()
    assert "Scoring units by cka (4 of 6) ..." in [ln for ln in lines if "by cka" in ln]
