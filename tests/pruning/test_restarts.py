"""Retraining without removal: the control for what restarts alone do."""

import itertools
import shutil

import pytest

from resprune_tf import FitRecipe, RunInterrupted, Target, importances
from resprune_tf.system.whole_files import read_json, read_lines
from tests.conftest import shallow_net
from tests.made.fits import dense_net, own, regression_data
from tests.made.fits import shorten as shorten_own
from tests.pruning.test_loop import shorten
from tests.pruning.test_resume import assert_same_run

pytestmark = pytest.mark.slow

RESTARTS = {"units_per_round": 0, "max_rounds": 2}


@pytest.fixture(scope="module")
def restarted(tmp_path_factory):
    """Two retrainings of a whole model, and a copy of the run as it was before them.

    Every accuracy is tolerated.
    """
    folder, before = (tmp_path_factory.mktemp("restarts") / name for name in "ab")

    def copy():
        if (folder / "rounds.jsonl").exists() and not before.exists():
            shutil.copytree(folder, before)

    settings = {"run_dir": folder, "tolerance": 0.99, "should_stop": copy}
    result = shorten(shallow_net(), **settings, **RESTARTS)
    return folder, result, before


def test_every_round_retrains_the_whole_model_and_the_last_is_selected(restarted):
    folder, result, _ = restarted
    assert [record.removed for record in result.rounds] == [(), (), ()]
    assert [record.layers for record in result.rounds] == [5, 5, 5]
    assert [record.epochs for record in result.rounds] == [2, 1, 1]
    for record in result.rounds:
        sizes = {name: abs(value) for name, value in record.importances.items()}
        assert record.scores == sizes and len(sizes) == 3
    first, second, third = (record.importances for record in result.rounds)
    assert first != second != third  # each was trained
    assert result.selected.round == 2
    assert importances(result.model) == third
    assert read_json(folder / "final.json")["stop_reason"] == "2 rounds are done"
    rates = [(line["round"], line["learning_rate"]) for line in history(folder)]
    assert rates[0][1] == dict(rates)[1] == dict(rates)[2]


def history(folder):
    return read_lines(folder / "history.jsonl")


def test_restarts_continue_exactly(restarted, tmp_path, monkeypatch):
    """Stopped every few steps, a run ends with the weights of an unbroken one."""
    whole, _, before = restarted
    shutil.copytree(before, tmp_path / "run")
    monkeypatch.setattr("resprune_tf.runs.callbacks.SAVING_SHARE", float("inf"))
    for pieces in itertools.count(1):
        asked = itertools.chain([None] * 5, itertools.repeat("moving"))
        try:
            shorten(
                shallow_net(),
                run_dir=tmp_path / "run",
                tolerance=0.99,
                should_stop=asked.__next__,
                **RESTARTS,
            )
            break
        except RunInterrupted:
            assert pieces < 20
    assert pieces > 2
    assert_same_run(tmp_path / "run", whole)


def test_restarts_go_on_from_the_initial_training_of_a_pruning_run(restarted, tmp_path):
    """Which has it from a run of restarts, and stopped after it."""
    start = {"start_from": restarted[0], "run_dir": tmp_path / "pruned"}
    with pytest.raises(RunInterrupted):
        shorten(shallow_net(), max_rounds=1, deadline=0.0, **start)
    start = {"start_from": tmp_path / "pruned", "run_dir": tmp_path / "run"}
    result = shorten(shallow_net(), units_per_round=0, max_rounds=1, **start)
    assert result.rounds[0].test == restarted[1].rounds[0].test
    assert [record.layers for record in result.rounds] == [5, 5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {},
            "`max_rounds` must be the number of retrainings. Received: max_rounds=None",
        ),
        ({"max_rounds": 2, "target": Target(layers=3)}, "`target` cannot be met"),
        ({"max_rounds": 2, "units": ["stage1_unit2"]}, "`units` cannot be met"),
        ({"max_rounds": 2, "criterion": lambda model: {"no": 1.0}}, "no unit 'no'"),
    ],
)
def test_refusals(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        shorten(shallow_net(), units_per_round=0, run_dir=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_model_of_ones_own_without_importances():
    model = own(dense_net(units=1, importance=False))
    settings = {**RESTARTS, "max_rounds": 1}
    data = regression_data(batch_size=48)
    result = shorten_own(model, data, FitRecipe(1), **settings)
    assert [record.removed for record in result.rounds] == [(), ()]
