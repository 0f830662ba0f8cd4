"""prune_and_retrain: rounds, targets, guards, records, refusals."""

import contextlib
import dataclasses
import functools
import io
import json
import shutil
from unittest import mock

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf import (
    Guidance,
    Recipe,
    Removal,
    RunDirectoryError,
    RunInterrupted,
    Target,
    criteria,
    find_units,
    importances,
    prune_and_retrain,
)
from resprune_tf.criteria.by_name import importance
from resprune_tf.pruning.plan import Plan
from resprune_tf.system.whole_files import read_json, read_lines
from tests.conftest import net_of, outputs, randomise, shallow_net, toy_dataset
from tests.made.options import options

pytestmark = pytest.mark.slow

RECIPE = Recipe(epochs=2, batch_size=16, learning_rate=0.05)
DATASET = toy_dataset()


@functools.cache
def net():
    """Shared by all, as no run changes the model that it is given."""
    return shallow_net()


def net_without_units(width=4, classes=3):
    chain = layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(width)
    model = net_of(DATASET.image_shape, *chain, layers.Dense(classes))
    randomise(model)
    return model


def shorten(model, **arguments):
    arguments = {
        "retrain_recipe": RECIPE.replace(epochs=1),
        **options(**arguments),
    }
    return prune_and_retrain(model, DATASET, RECIPE, **arguments)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole run, and what it printed: three removable units, one a round."""
    folder = tmp_path_factory.mktemp("run")
    model = net()
    before = model.get_weights()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        result = shorten(model, run_dir=folder, verbose=True)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    return folder, result, printed.getvalue()


def test_rounds_shrink_to_the_last_removable_unit(run):
    result = run[1]
    assert [r.layers for r in result.rounds] == [5, 4, 3, 2]
    assert [r.epochs for r in result.rounds] == [2, 1, 1, 1]
    assert [len(r.removed) for r in result.rounds] == [0, 1, 1, 1]
    macs = [r.macs for r in result.rounds]
    assert macs == sorted(macs, reverse=True) and len(set(macs)) == 4


def test_each_round_removes_the_smallest_importance(run):
    result = run[1]
    for last, this in zip(result.rounds, result.rounds[1:], strict=False):
        smallest = min(last.importances, key=lambda name: abs(last.importances[name]))
        assert this.removed == (smallest,)
        assert set(last.units) - set(this.units) == {smallest}
        assert last.scores == {k: abs(v) for k, v in last.importances.items()}


def test_the_smallest_net_that_held_is_returned(run):
    result = run[1]
    initial = result.rounds[0].validation["accuracy"]
    held = [r for r in result.rounds if r.validation["accuracy"] >= initial]
    assert result.selected == held[-1]
    assert [u.name for u in find_units(result.model)] == list(result.selected.units)
    assert importances(result.model) == result.selected.importances


def test_records_tell_the_whole_run(run):
    folder, result, _ = run
    lines = read_lines(folder / "rounds.jsonl")
    assert [line["round"] for line in lines] == [0, 1, 2, 3]
    assert lines[2]["removed"] == list(result.rounds[2].removed)
    history = read_lines(folder / "history.jsonl")
    assert [(e["round"], e["epoch"]) for e in history] == [
        (0, 1),
        (0, 2),
        (1, 1),
        (2, 1),
        (3, 1),
    ]
    final = read_json(folder / "final.json")
    assert final == result.final
    assert final["total_epochs"] == 5 and final["select_on"] == "validation"
    assert final["stop_reason"] == "no removable unit is left"
    assert final["target_reached"] is False  # there is none
    assert read_json(folder / "run.json")["dataset"]["train"] == 64
    assert "keras" in read_json(folder / "environment.json")
    assert not (folder / "state.npz").exists()


def test_model_files_hold_what_the_records_say(run):
    folder, result, _ = run
    for record in result.rounds:
        model = keras.saving.load_model(folder / record.model)
        assert importances(model) == record.importances
        logits = outputs(model, DATASET.test.images.astype("float32"))
        right = logits.argmax(1) == DATASET.test.labels
        assert record.test["accuracy"] == right.mean()


def test_a_finished_run_is_returned_without_training(run):
    folder, result, _ = run
    again = shorten(net(), run_dir=folder)
    assert again.rounds == result.rounds and again.final == result.final
    assert len(read_lines(folder / "sessions.jsonl")) == 1


def test_a_finished_run_is_judged_by_another_tolerance(run, tmp_path):
    """The net is chosen anew among the rounds; none is trained again."""
    folder, result, _ = run
    shutil.copytree(folder, tmp_path / "run")
    again = shorten(net(), run_dir=tmp_path / "run", tolerance=0.999)
    assert again.rounds == result.rounds
    assert again.selected == result.rounds[-1]
    assert [u.name for u in find_units(again.model)] == list(again.selected.units)
    assert read_json(tmp_path / "run" / "run.json")["tolerance"] == 0.999
    assert read_json(tmp_path / "run" / "final.json")["selected_round"] == 3
    assert len(read_lines(tmp_path / "run" / "sessions.jsonl")) == 1
    back = shorten(net(), run_dir=tmp_path / "run")
    assert back.final == result.final


def test_a_run_that_ended_on_a_drop_goes_on_under_a_larger_tolerance(
    run, tmp_path, capsys
):
    """To what it would have come to under that tolerance from the beginning."""

    def accepts(plan, record, rounds):
        return record.round in (0, 2) or plan.removal.tolerance > 0.5

    arguments = {"run_dir": tmp_path, "stop_on_drop": True, "max_rounds": 2}
    with mock.patch.object(Plan, "accepts", accepts):
        short = shorten(net(), start_from=run[0], **arguments)
        assert [short.selected.round, len(short.rounds)] == [0, 2]
        assert (
            short.final["stop_reason"]
            == "accuracy decreased by more than the tolerance"
        )
        arguments["tolerance"] = 0.9
        with pytest.raises(RunInterrupted):
            shorten(net(), should_stop=lambda: "enough", **arguments)
        assert not (tmp_path / "final.json").exists()
        capsys.readouterr()
        result = shorten(net(), verbose=True, **arguments)
        assert f"Continuing the run in {tmp_path} after " in capsys.readouterr().out
        # And back: as if it had never gone on.
        back = shorten(net(), **{**arguments, "tolerance": 0.0}).final
    totals = ("total_epochs", "total_seconds")  # but for what was spent
    assert all(back[key] == short.final[key] for key in {*back} - {*totals})
    assert result.rounds[:2] == short.rounds and result.selected.round == 2
    whole = [each.importances for each in run[1].rounds[:3]]
    assert [each.importances for each in result.rounds] == whole


def test_other_settings_are_refused(run):
    with pytest.raises(RunDirectoryError, match="seed: 0 there, 1 now"):
        shorten(net(), run_dir=run[0], seed=1)


def test_several_units_a_round_and_protected_units(run):
    settings = {"units_per_round": 2, "protected": ["stage1_unit4"]}
    result = shorten(net(), start_from=run[0], **settings)
    assert [r.layers for r in result.rounds] == [5, 3]
    assert set(result.rounds[1].removed) == {"stage1_unit2", "stage1_unit3"}
    assert result.final["stop_reason"] == "target reached: at most 1 unit"


# The decisions, without training: rounds are made up.
def plan(**arguments):
    arguments = {
        "mode": "max",
        "criterion": lambda model: {
            u.name: 1.0 for u in find_units(model) if u.removable
        },
        **arguments,
    }
    return Plan.check(net(), Removal(**arguments))


def rounds(run, *accuracies, split="validation"):
    first = run[1].rounds[0]
    return [
        dataclasses.replace(first, **{split: {"accuracy": value}})
        for value in accuracies
    ]


@pytest.mark.parametrize(
    ("arguments", "accuracies", "reason"),
    [
        ({"stop_on_drop": True}, (0.9, 0.9), None),
        (
            {"stop_on_drop": True},
            (0.9, 0.89),
            "accuracy decreased by more than the tolerance",
        ),
        ({"stop_on_drop": True, "tolerance": 0.01}, (0.9, 0.89), None),
        (
            {"stop_on_drop": True, "tolerance": 0.01},
            (0.9, 0.88),
            "accuracy decreased by more than the tolerance",
        ),
        ({"stop_on_drop": False}, (0.9, 0.1), None),
        (
            {"stop_on_drop": True},
            (0.9, 0.89, 0.9),
            "accuracy decreased by more than the tolerance",
        ),
    ],
)
def test_stop_on_drop(run, arguments, accuracies, reason):
    assert plan(**arguments).stop_reason(rounds(run, *accuracies)) == reason


def test_selection_on_the_test_set_reads_the_test_set(run):
    made_up = rounds(run, 0.9, 0.1, split="test")
    on_test = plan(select_on="test", stop_on_drop=True)
    assert (
        on_test.stop_reason(made_up) == "accuracy decreased by more than the tolerance"
    )
    assert plan(stop_on_drop=True).stop_reason(made_up) is None


@pytest.mark.parametrize(
    ("target", "rounds_until_reached"),
    [
        (Target(layers=4), 1),
        (Target(layers=3), 2),
        (Target(units=2), 1),
        (Target(macs=0.95), 2),
        (Target(parameters=0.9), 1),
        (Target(layers=4, units=1), 2),
    ],
)
def test_targets(run, target, rounds_until_reached):
    decided = plan(target=target, criterion=importance)
    stops = [decided.stop_reason(run[1].rounds[: n + 1]) for n in range(4)]
    expected = [n >= rounds_until_reached for n in range(4)]
    assert [stop is not None for stop in stops] == expected
    assert stops[-1].startswith("target reached")


def test_later_rounds_are_foreseen():
    decided = plan(target=Target(layers=2), units_per_round=2)
    sizes = [{**decided.initial, "layers": layers} for layers in (5, 4, 3, 2)]
    assert [decided.later_rounds(0, size) for size in sizes] == [2, 1, 1, 0]


def test_nothing_left_to_remove(run):
    last = dataclasses.replace(run[1].rounds[0], scores={})
    assert plan().stop_reason([last]) == "no removable unit is left"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": Target(layers=56)}, "no removal: the initial model has 5 layers"),
        ({"target": Target(layers=1)}, "1 layer cannot be reached.*leaves 2"),
        ({"units_per_round": 4}, "from 1 to 3.*Received: 4"),
        ({"units_per_round": -1}, "from 1 to 3.*Received: -1"),
        ({"max_rounds": -1}, "`max_rounds` must be an integer >= 0.*=-1"),
        ({"select_on": "train"}, '"validation" or "test".*\'train\''),
        ({"tolerance": -0.1}, "fraction in.*-0.1"),
        ({"monitor": "loss"}, "judged by its accuracy.*monitor='loss'"),
        ({"mode": "min"}, "judged by its accuracy.*mode='min'"),
        (
            {"protected": ["stage1_unit9"]},
            "`protected` names units.*not have: stage1_unit9",
        ),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        shorten(net(), run_dir=tmp_path / "never", **arguments)
    assert not (tmp_path / "never").exists()


def test_a_net_that_ends_in_probabilities_is_refused():
    head = [layers.Flatten(), layers.Dense(3, activation="softmax")]
    model = net_of(DATASET.image_shape, *head)
    with pytest.raises(ValueError, match="outputs probabilities.*must output logits"):
        shorten(model)


def test_an_initial_training_is_taken_over(tmp_path, run):
    """Another criterion from the same initial net: scored anew, not trained anew."""
    folder, first, _ = run
    result = shorten(
        net(),
        run_dir=tmp_path,
        start_from=folder,
        max_rounds=1,
        criterion=criteria.largest,
    )
    ours, theirs = result.rounds[0], first.rounds[0]
    assert ours.importances == theirs.importances
    assert ours.test == theirs.test
    assert ours.scores == {name: -score for name, score in theirs.scores.items()}
    last = max(theirs.scores, key=theirs.scores.get)
    assert result.rounds[1].removed == (last,)
    history = read_lines(tmp_path / "history.jsonl")
    assert [line["round"] for line in history] == [0, 0, 1]


def test_another_start_is_refused(tmp_path, run):
    with pytest.raises(RunDirectoryError, match="seed: 0 there, 1 now"):
        shorten(net(), run_dir=tmp_path / "a", start_from=run[0], seed=1)
    with pytest.raises(RunDirectoryError, match="no run that has finished"):
        shorten(net(), run_dir=tmp_path / "a", start_from=tmp_path)
    assert not (tmp_path / "a").exists()


def test_training_alone_needs_no_removable_unit(tmp_path):
    result = shorten(net_without_units(), run_dir=tmp_path, max_rounds=0)
    assert len(result.rounds) == 1 and result.selected.round == 0
    assert result.final["stop_reason"] == "only the initial training was requested"
    assert result.final["target_reached"] is False
    assert read_json(tmp_path / "run.json")["target"] is None


def test_the_number_of_rounds_can_be_limited():
    decisions = plan(max_rounds=1)
    size = {"layers": 5, "units": 3, "macs": 10**9, "parameters": 10**9}
    assert decisions.later_rounds(0, size) == 1
    assert decisions.later_rounds(1, size) == 0


def test_a_net_without_importances_is_refused():
    with pytest.raises(ValueError, match="has no unit that the criterion scores"):
        shorten(shallow_net(importance=False), criterion=importance)


def test_an_interrupted_run_keeps_what_it_has(tmp_path):
    model, settings = net_without_units(), {"run_dir": tmp_path, "max_rounds": 0}
    with pytest.raises(RunInterrupted, match="time budget"):
        shorten(model, deadline=0.0, **settings)
    assert (tmp_path / "models/initial.keras").exists()
    asked = iter([None] * 6 + ["enough"])
    with pytest.raises(RunInterrupted, match="enough"):
        shorten(model, should_stop=lambda: next(asked), **settings)
    assert (tmp_path / "state.npz").exists()
    assert not (tmp_path / "final.json").exists()


def test_retraining_under_the_guidance_of_the_initial_net(tmp_path, run):
    """The label loss alone is higher than without a teacher of weight 1."""
    guidance = Guidance(temperature=2.0, weight=1.0)
    settings = {"target": Target(layers=4), "guidance": guidance}
    settings |= {"run_dir": tmp_path, "start_from": run[0]}
    result = shorten(net(), **settings)
    assert read_json(tmp_path / "run.json")["guidance"] == {
        "temperature": 2.0,
        "weight": 1.0,
    }
    # By the teacher alone: the loss is the distance to its logits, close to none.
    assert result.rounds[1].train["loss"] < 0.5 * result.rounds[0].train["loss"]
    kinds = {type(layer).__name__ for layer in result.model.layers}
    assert not kinds & {"Teacher", "Distillation", "OnePassBatchNormalization"}


@pytest.mark.parametrize("name", criteria.NAMES)
def test_every_criterion_chooses_units(run, name):
    """By what a round does with it; the next test has whole rounds."""
    criterion = criteria.named(name, DATASET, examples=16, batch_size=8)
    decided = plan(criterion=criterion, units_per_round=3)
    net = keras.saving.load_model(run[0] / run[1].rounds[0].model)
    scores = decided.scores(net)
    assert list(scores) == ["stage1_unit2", "stage1_unit3", "stage1_unit4"]
    assert set(decided.next_units(scores, net)) == set(scores)
    assert decided.settings()["criterion"] == criterion.__name__


def test_a_criterion_that_reads_the_data_in_a_run(run, tmp_path):
    criterion = criteria.named("taylor", DATASET, examples=16, batch_size=8)
    settings = {"units_per_round": 3, "criterion": criterion, "start_from": run[0]}
    result = shorten(net(), run_dir=tmp_path, **settings)
    assert len(result.rounds[1].removed) == 3
    assert read_json(tmp_path / "run.json")["criterion"] == criterion.__name__
    first = result.rounds[0]
    assert list(first.scores) == list(first.units)


def test_progress_is_printed(run):
    _, result, out = run
    assert "round 0: 5 layers" in out and "epoch 2/2" in out
    assert f"removed {result.rounds[1].removed[0]}" in out
    assert out.count("left") >= 2 and "nan" not in out


def test_settings_are_json():
    settings = plan(target=Target(macs=0.95)).settings()
    assert json.loads(json.dumps(settings))["target"]["macs"] > 1
