"""What a run is asked for is checked when it is said, before there is a model."""

from types import SimpleNamespace

import pytest

import resprune_tf as rp
from resprune_tf.pruning.plan import Plan
from tests.made.fits import dense_net, own, regression_data, regression_net, shorten


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"target": 0.7}, TypeError, r"such as Target\(layers=32\). Received: 0.7"),
        (
            {"criterion": "taylor"},
            TypeError,
            "must be a func.*'taylor'. Pass `criteria.named.'taylor', dataset",
        ),
        ({"protected": "unit1"}, TypeError, r"a sequence of names.*\('unit1',\)"),
        ({"select_on": "train"}, ValueError, '"validation" or "test".*\'train\''),
        ({"mode": "up"}, ValueError, '"min" or "max".*up'),
        ({"max_rounds": -1}, ValueError, "`max_rounds` must be an integer >= 0.*-1"),
        ({"tolerance": 1.5}, ValueError, r"a fraction in \[0, 1\).*1.5"),
        ({"tolerance": -1, "monitor": "mae"}, ValueError, "units of the metric.*-1"),
        ({"tolerance": "none"}, ValueError, "\"auto\" for an accuracy.*'none'"),
        ({"tolerance": "auto", "monitor": "mae"}, ValueError, "in the units of `mae`"),
        ({"units_per_round": 0}, ValueError, "must be the number of retrainings"),
        (
            {"units_per_round": 0, "max_rounds": 2, "units": ["a"]},
            ValueError,
            "removes nothing, so `units` cannot be met",
        ),
    ],
)
def test_senseless_removals(fields, error, message):
    with pytest.raises(error, match=message):
        rp.Removal(**fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recipe", 10),
        ("retrain_recipe", 10),
        ("guidance", "kl"),
        ("removal", rp.Target(macs=0.7)),
        ("run", "runs/mine"),
    ],
)
def test_arguments_of_another_class(name, value):
    arguments = {"recipe": rp.FitRecipe(1), name: value}
    with pytest.raises(TypeError, match=f"`{name}` must be .*Received: "):
        rp.prune_and_retrain(regression_net(), regression_data(), **arguments)
    with pytest.raises(TypeError, match=r"training_strategy\(.*Received: 'mirrored'"):
        rp.RunOptions(strategy="mirrored")


def plan_of(tolerance, **fields):
    removal = rp.Removal(tolerance=tolerance, **fields)
    return Plan(removal, None, frozenset(), frozenset(), {}, {})


def judged(*accuracies):
    """Rounds of which nothing is known but an accuracy."""
    return [
        SimpleNamespace(round=n, measure=lambda split, name, a=a: a)
        for n, a in enumerate(accuracies)
    ]


def test_an_automatic_tolerance_is_the_standard_error_of_round_0():
    plan = plan_of("auto").with_examples(160)
    rounds = judged(0.9, 0.88, 0.87)
    assert plan.tolerance(rounds) == pytest.approx(0.0237, abs=1e-4)
    assert [plan.accepts(each, rounds) for each in rounds] == [True, True, False]
    assert plan.tolerance_text(rounds) == (
        "160 validation examples, one is 0.625 percentage points; accepted decrease: "
        "2.37 percentage points (auto: one standard error)"
    )
    assert plan_of(0.0).with_examples(None).tolerance(rounds) == 0.0
    assert plan_of(0.0).with_examples(None).tolerance_text(rounds) is None


def test_an_automatic_tolerance_needs_the_number_of_examples():
    with pytest.raises(ValueError, match="number of `validation` examples"):
        plan_of("auto").with_examples(None)
    with pytest.raises(ValueError, match="works only in `prune_and_retrain`"):
        rp.LayerDeletion(epochs=1, monitor="val_accuracy", tolerance="auto")


@pytest.mark.parametrize(
    ("most", "told"), [(1, "1 round is done"), (2, "2 rounds are done")]
)
def test_the_end_is_told_in_the_right_number(most, told):
    rounds = judged(*[0.9] * (most + 1))
    assert plan_of(0.0, max_rounds=most).reason_to_stop(rounds) == told


@pytest.mark.parametrize(
    ("protected", "left"),
    [
        (("unit1",), {"unit2", "unit3"}),
        (("unit*",), set()),
        (("*3", "unit1"), {"unit2"}),
        (("un*t2",), {"unit1", "unit3"}),
    ],
)
def test_patterns_protect_all_units_that_they_fit(protected, left):
    model = regression_net(units=3)
    removal = rp.Removal(protected=protected, monitor="mae", mode="min")
    if not left:
        with pytest.raises(
            ValueError, match=r"No unit .* can be removed.\n.*: it is protected"
        ):
            Plan.check(model, removal)
        return
    plan = Plan.check(model, removal)
    assert plan.candidates == left
    assert plan.settings()["protected"] == sorted({"unit1", "unit2", "unit3"} - left)


def test_a_pattern_that_fits_no_unit_is_refused():
    removal = rp.Removal(protected=("unit1", "block*"), monitor="mae", mode="min")
    with pytest.raises(
        ValueError, match="`protected` names.*not have: block\\*. Its units"
    ):
        Plan.check(regression_net(), removal)
    # Nothing but `*` stands for anything else than itself.
    removal = rp.Removal(protected=("unit[12]",), monitor="mae", mode="min")
    with pytest.raises(ValueError, match="does not have: unit"):
        Plan.check(regression_net(), removal)


@pytest.mark.slow
def test_protected_units_last_through_a_run():
    net, data = own(dense_net()), regression_data(batch_size=48)
    result = shorten(net, data, rp.FitRecipe(1), protected=("*2",))
    assert result.rounds[-1].units == ("unit2",)


@pytest.mark.slow
def test_a_callback_protects_too():
    model = own(dense_net(units=3))
    x, y = regression_data().train
    deletion = rp.LayerDeletion(epochs=1, protected=("*2", "*3"))
    shorter, rounds = rp.fit_with_deletion(model, deletion, x, y, verbose=0)
    assert [unit.name for unit in rp.find_units(shorter)] == ["unit2", "unit3"]
    assert [each.removed for each in rounds] == [(), ("unit1",)]
    # What it decided by is what a run decides by, and on record in the same form.
    assert isinstance(deletion.plan, Plan)
    assert [each.removed for each in deletion.rounds] == [(), ("unit1",)]
    assert deletion.rounds[0].scores.keys() == {"unit1"}
