"""What a run makes of scores: each must be a number, of a unit that is there."""

import functools
import math

import keras
import pytest

import resprune_tf as rp
from resprune_tf.pruning.plan import Plan
from resprune_tf.system.whole_files import read_lines
from tests.made.fits import dense_net, own, regression_data, regression_net, shorten

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        ({"unit1": math.nan, "unit2": 1.0}, ValueError, "'unit1' must be a finite"),
        ({"unit1": 1.0, "unit2": -math.inf}, ValueError, "'unit2' must be a finite"),
        ({"units1": 1.0}, ValueError, "'mine' has no unit 'units1', which has a score"),
        ({"unit1": 1.0, "unit7": 1.0}, ValueError, "no unit 'unit7'"),
        ([1.0, 2.0], TypeError, "must return a dict from unit name to number"),
        ({}, ValueError, "has no unit that the criterion scores"),
    ],
)
def test_scores_are_checked_before_any_work(tmp_path, scores, error, message):
    with pytest.raises(error, match=message):
        shorten(
            regression_net(),
            regression_data(),
            criterion=lambda model: scores,
            run_dir=tmp_path / "never",
        )
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"protected": ["unit1", "unit2"]},
            "No unit of 'mine' can be removed.\n  unit1: it is protected",
        ),
        ({"units": ["unit1", "unit2"]}, "'unit2' of `units` has no score .*: unit1"),
    ],
)
def test_units_that_may_go_and_have_a_score_are_needed(settings, message):
    def criterion(model):
        return {"unit1": 1.0}

    if "protected" in settings:
        criterion = rp.criteria.importance
    with pytest.raises(ValueError, match=message):
        shorten(regression_net(), regression_data(), criterion=criterion, **settings)


def test_an_order_that_is_fixed_may_name_units_that_are_gone():
    order = {"unit1": 2.0, "unit2": 1.0}
    data, settings = regression_data(batch_size=48), {"criterion": lambda model: order}
    result = shorten(own(dense_net()), data, rp.FitRecipe(1), **settings)
    assert [record.removed for record in result.rounds] == [(), ("unit2",), ("unit1",)]
    assert [list(r.scores) for r in result.rounds] == [
        ["unit1", "unit2"],
        ["unit1"],
        [],
    ]


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"unit2": math.nan}, ValueError, "score of 'unit2' must be a finite number."),
        ({}, RuntimeError, "KeyError: 'unit2'."),
    ],
)
def test_a_run_whose_scores_fail_goes_on_where_it_was(tmp_path, wrong, error, message):
    """Nothing is trained again once the criterion is mended."""
    mended, begun = [], []

    def criterion(model):
        count = len(rp.find_units(model))
        good = {"unit1": 1.0, "unit2": 1.0}
        scores = good if count == 2 or mended else wrong
        return {unit.name: scores[unit.name] for unit in rp.find_units(model)}

    def go():
        class Begins(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                begun.append(epoch)

        return shorten(
            own(dense_net()),
            regression_data(batch_size=48),
            rp.FitRecipe(epochs=2, callbacks=lambda: [Begins()]),
            criterion=criterion,
            tolerance=math.pi,
            run_dir=tmp_path,
        )

    with pytest.raises(error, match=f"{message}.*round 1 is finished.*same call"):
        go()
    assert begun == [0, 1, 0, 1]
    assert len(read_lines(tmp_path / "rounds.jsonl")) == 1
    mended.append(True)
    assert [len(record.units) for record in go().rounds] == [2, 1, 0]
    assert begun == [0, 1, 0, 1, 0, 1]


def test_scores_of_units_that_were_renamed_are_refused():
    """They would be no candidates, and the run at its end without a word."""
    plan = Plan.check(regression_net(), rp.Removal(monitor="loss", mode="min"))
    other = regression_net(units=3)
    with pytest.raises(
        ValueError, match="the initial model does not have: unit3. Layers must"
    ):
        plan.scores(other)


@pytest.mark.parametrize("name", ["taylor", "leave_one_out", "l1_importance"])
def test_a_criterion_takes_the_loss_that_is_given(name):
    data, model = regression_data(), regression_net(importance=False)
    with pytest.raises(ValueError, match="compiled with the loss mse, but without"):
        shorten(model, data, criterion=rp.criteria.named(name, data))
    criterion = rp.criteria.named(name, data, examples=20, loss="mse")
    once = functools.cache(criterion)  # `check` and `scores` each ask for it
    removal = rp.Removal(monitor="loss", mode="min", criterion=once)
    scores = Plan.check(model, removal).scores(model)
    assert scores == criterion(model) and len(scores) == 2


def test_every_round_is_scored(tmp_path):
    data, model = regression_data(batch_size=48), own(dense_net(importance=False))
    criterion = rp.criteria.named("taylor", data, examples=20, loss="mse")
    settings = {"criterion": criterion, "max_rounds": 1, "run_dir": tmp_path}
    result = shorten(model, data, rp.FitRecipe(epochs=1), **settings)
    for record, count in zip(result.rounds, (2, 1), strict=True):
        net = keras.saving.load_model(tmp_path / record.model, compile=False)
        assert record.scores == criterion(net) and len(record.scores) == count


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, {}),
        ({"protected": ["unit1"]}, {"unit1": "it is protected"}),
        ({"units": ["unit2"]}, {"unit1": "it is not among `units`"}),
        ({"criterion": lambda model: {"unit2": 1.0}}, {"unit1": "it has no score"}),
    ],
)
def test_a_run_records_why_units_are_kept(settings, kept):
    model = regression_net()
    plan = Plan.check(model, rp.Removal(monitor="mae", **settings))
    assert plan.not_removable == kept
    assert plan.not_removable.keys() == plan.all_units - set(plan.scores(model))


def test_what_cannot_be_removed_is_recorded_once(tmp_path):
    data, settings = regression_data(batch_size=48), {"protected": ["unit1"]}
    shorten(own(dense_net()), data, rp.FitRecipe(1), run_dir=tmp_path, **settings)
    first, *others = read_lines(tmp_path / "rounds.jsonl")
    assert first["kept"] == {"unit1": "it is protected"}
    assert others and not any("kept" in line or "correct" in line for line in others)


def nested():
    """A unit that contains one with a projection, which has no score, and another."""
    dense = keras.layers.Dense
    stem = dense(4)(numbers := keras.Input((6,)))
    wide = dense(6)(stem)
    inner = keras.layers.Add(name="inner_add")([dense(6)(wide), dense(6)(wide)])
    x = keras.layers.Add(name="outer_add")([stem, dense(4)(inner)])
    x = keras.layers.Add(name="small_add")([x, dense(4)(x)])
    return keras.Model(numbers, dense(1)(x), name="nested")


@pytest.mark.parametrize("units_per_round", [2, "all"])
def test_a_unit_without_a_score_protects_no_other(units_per_round):
    removal = rp.Removal(
        units_per_round=units_per_round,
        criterion=rp.criteria.random(0),
        target=rp.Target(layers=2),
        monitor="mae",
    )
    model = nested()
    plan = Plan.check(model, removal)
    assert plan.not_removable.keys() == {"inner"}
    chosen = plan.next_units(plan.scores(model), model)
    assert set(chosen) == {"outer", "small"}


def test_all_at_once_removes_none_but_the_requested_units():
    model = regression_net(units=3)
    removal = rp.Removal(
        units_per_round="all",
        criterion=rp.criteria.importance,  # the smallest is that of unit1
        target=rp.Target(units=2),
        units=["unit3"],
        monitor="mae",
    )
    plan = Plan.check(model, removal)
    assert plan.next_units(plan.scores(model), model) == ("unit3",)


def test_without_a_target_units_of_the_shorter_path_go_too():
    """They do not change the number of layers."""
    dense, add = keras.layers.Dense, keras.layers.Add
    x = keras.Input((4,))
    long = dense(4)(dense(4)(x))
    long = add(name="long_add")([long, dense(4)(long)])
    short = add(name="short_add")([x, dense(4)(x)])
    outputs = dense(1)(keras.layers.Concatenate()([long, short]))
    model = keras.Model(x, outputs)
    removal = rp.Removal(criterion=rp.criteria.random(0), monitor="mae")
    assert Plan.check(model, removal).target is None
    protected = removal.replace(protected=["short"])
    assert Plan.check(model, protected).target == rp.Target(units=1)
    assert Plan.check(model, protected, default_target=False).target is None
