"""What units save: counted, shared out, or timed."""

import keras
import pytest
from keras import layers

from resprune_tf import Target, find_units, solve_target
from resprune_tf.targets.measures import extent
from resprune_tf.targets.savings import alike_units, outermost, unit_savings
from tests.made.latency import fake_latencies


def savings_of(net, target):
    units = [unit for unit in find_units(net) if unit.removable]
    lies_between = extent(net, [unit.name for unit in units], target)
    return unit_savings(net, units, target, *lies_between), lies_between


def dense_unit(x, name, *chain):
    y = x
    for layer in chain:
        y = layer(y)
    return layers.Add(name=f"{name}_add")([x, y])


def chain(units):
    """A net of dense units in a row: dict from name to the widths of its layers."""
    x = image = keras.Input((4,))
    for name, widths in units.items():
        x = dense_unit(x, name, *map(layers.Dense, widths))
    return keras.Model(image, layers.Dense(2)(x))


def test_savings_in_a_chain_are_exact():
    net = chain({"first": (9, 4), "second": (4,), "third": (2, 3, 4)})
    (found, timed), _ = savings_of(net, Target(layers=2, units=1, macs=1, parameters=1))
    for unit in find_units(net):
        if unit.removable:
            full, small = extent(net, [unit.name])
            saved = {name: full[name] - small[name] for name in full}
            assert saved == {name: found[name][unit.name] for name in full}
    assert timed == {}


def test_a_shared_layer_is_saved_by_all_that_call_it():
    image = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    x = dense_unit(image, "first", shared)
    x = dense_unit(x, "second", shared)
    net = keras.Model(image, dense_unit(x, "third", layers.Dense(4)))
    (found, _), (full, small) = savings_of(net, Target(parameters=0.5, macs=0.5))
    assert full["parameters"] - small["parameters"] == 40
    assert sum(found["parameters"].values()) == 40
    assert found["macs"] == {"first": 16, "second": 16, "third": 16}


def test_a_later_unit_has_no_share_in_layers_before_it():
    """The branch of `(x + f(x)) + g(x)` begins before the shortcut of its unit."""
    image = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    x = dense_unit(image, "first", shared)
    x = dense_unit(x, "second", shared)
    inner = layers.Add(name="third_add")([x, layers.Dense(4)(x)])
    outer = layers.Add(name="fourth_add")([inner, layers.Dense(4)(x)])
    net = keras.Model(image, outer)
    (found, _), _ = savings_of(net, Target(parameters=0.5))
    expected = {"first": 10, "second": 10, "third": 20, "fourth": 20}
    assert found["parameters"] == expected


def test_layers_beside_each_other_are_saved_together():
    """No unit of two towers alone makes the longest path shorter."""
    image = keras.Input((4,))
    towers = [
        dense_unit(image, name, layers.Dense(4, "relu"), layers.Dense(4))
        for name in ("left", "right")
    ]
    net = keras.Model(image, layers.Concatenate()(towers))
    (found, _), (full, small) = savings_of(net, Target(layers=1))
    assert (full["layers"], small["layers"]) == (2, 0)
    assert found["layers"] == {"left": 1.0, "right": 1.0}


def test_a_unit_in_another_is_not_saved_twice():
    image = keras.Input((4,))
    inner = dense_unit(image, "inner", layers.Dense(4))
    outer = layers.Add(name="outer_add")([image, layers.Dense(4)(inner)])
    net = keras.Model(image, dense_unit(outer, "last", layers.Dense(4)))
    target = Target(layers=1, units=1, macs=1)
    (found, _), (full, small) = savings_of(net, target)
    units = find_units(net)
    assert [unit.name for unit in outermost(units)] == ["outer", "last"]
    for name in ("layers", "units", "macs"):
        outer, last = found[name]["outer"], found[name]["last"]
        assert outer + last == full[name] - small[name]
        assert found[name]["inner"] == last == outer / 2


def test_the_units_of_each_kind_are_timed(monkeypatch):
    kinds = {
        f"stage{s}_unit2": tuple(f"stage{s}_unit{u}" for u in (2, 3)) for s in "123"
    }
    net = chain({name: (int(name[5]), 4) for alike in kinds.values() for name in alike})
    assert alike_units(net, [u for u in find_units(net) if u.removable]) == kinds
    # Stage 2 costs nothing alone, and 4 go as soon as a unit of each stage is gone.
    costs = {"1": 2.0, "2": 0.0, "3": 3.0}

    def milliseconds(model):
        gone = [u.name[5] for u in find_units(net)]
        for unit in find_units(model):
            gone.remove(unit.name[5])
        extra = 4 * (len(set(gone)) == 3)
        return 20 - sum(costs[stage] for stage in gone) - extra

    calls = fake_latencies(monkeypatch, milliseconds)
    target = Target(latency_ms=10, latency_ratio=0.5, runtime="litert")
    (found, timed), (full, small) = savings_of(net, target)
    assert timed == kinds
    assert calls == [("litert", 2, 1, 1), ("litert", 4, 1, 1)]
    assert (full["latency_ms"], small["latency_ms"]) == (20, 6)
    expected = {"1": 2.8, "2": 0.0, "3": 4.2}
    for name, saved in found["latency_ms"].items():
        assert saved == pytest.approx(expected[name[5]])
        assert found["latency_ratio"][name] == pytest.approx(saved / 20)


def test_a_branch_of_two_units_is_saved_by_these_alone():
    """Neither saves it alone, and a third unit has no part in it."""
    image = keras.Input((6,))
    a = layers.Dense(6, name="a")(image)
    b = layers.Dense(6, name="b")(a)
    branch = layers.Dense(6, name="f")(b)
    first = layers.Add(name="u_add")([a, branch])
    second = layers.Add(name="v_add")([b, branch])
    third = layers.Add(name="w_add")([first, layers.Dense(6, name="g")(first)])
    heads = [layers.Dense(2)(third), layers.Dense(2)(second)]
    model = keras.Model(image, heads)
    target = Target(macs=132.0001 / 168)
    solution = solve_target(model, target, {"u": 0.1, "v": 0.1, "w": 5.0})
    assert set(solution.units) == {"u", "v"}
    assert solution.initial["macs"] - solution.measures["macs"] == 36
    assert solution.savings["macs"] == {"u": 18, "v": 18}
    (only,) = solve_target(model, target, {"u": 9.0, "v": 9.0, "w": 5.0}).units
    assert only == "w"
