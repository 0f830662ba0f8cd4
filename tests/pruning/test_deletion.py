"""LayerDeletion and its driver, in a fit of one's own."""

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf import (
    ImportanceScale,
    LayerDeletion,
    Target,
    find_units,
    fit_with_deletion,
    importances,
)
from tests.conftest import randomise
from tests.made.fits import numbers

pytestmark = pytest.mark.slow

NUMBERS = numbers(64)[0]
LABELS = np.digitize(NUMBERS[:, 0], (-0.4, 0.4))
QUIET = {"verbose": 0, "shuffle": False}
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def net(importance=True):
    """6 layers: a unit whose shortcut is a projection, and three that may go."""
    x = inputs = keras.Input((6,))
    branch = layers.Dense(8, "relu", name="first_dense")(x)
    x = layers.Add(name="first_add")([layers.Dense(8, name="projection")(x), branch])
    for number in (1, 2, 3):
        branch = layers.Dense(8, "relu", name=f"unit{number}_dense")(x)
        if importance:
            branch = ImportanceScale(name=f"unit{number}_importance")(branch)
        x = layers.Add(name=f"unit{number}_add")([x, branch])
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x), name="dense")
    randomise(model)
    return model


def compiled(eagerly=True, **fields):
    """A few steps run eagerly in less time than it takes to trace one."""
    model = net(**fields)
    compile_settings = {"metrics": ["accuracy"], "jit_compile": False}
    compile_settings["run_eagerly"] = eagerly
    model.compile(keras.optimizers.SGD(0.01, 0.9), LOSS, **compile_settings)
    return model


def data():
    """tf.data, without the autotuner that delays the end of every fit."""
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    pairs = tf.data.Dataset.from_tensor_slices((NUMBERS, LABELS))
    return pairs.batch(64).with_options(options)


def removable(model):
    return [unit.name for unit in find_units(model) if unit.importance]


def test_callback_stops_and_hands_over_a_shorter_model():
    model = compiled(eagerly=False)
    deletion = LayerDeletion(epochs=2)
    history = model.fit(data(), epochs=9, **QUIET, callbacks=[deletion])
    assert history.epoch == [0, 1]
    values = importances(model)
    smallest = min(values, key=lambda name: abs(values[name]))
    assert deletion.removed == (smallest,)
    assert len(removable(model)) == 3  # the trained model keeps its units
    assert smallest not in removable(deletion.pruned_model)
    kernel = "first_dense"
    np.testing.assert_array_equal(
        deletion.pruned_model.get_layer(kernel).kernel,
        model.get_layer(kernel).kernel,
    )


def test_driver_goes_on_to_the_last_unit_with_the_initial_learning_rate():
    rates = []

    def make_callbacks():
        def schedule(epoch, rate):
            rates.append(rate)
            return rate * 0.1

        return [keras.callbacks.LearningRateScheduler(schedule)]

    model = compiled()
    deletion = LayerDeletion(epochs=2, units_per_round=2)
    shortest, rounds = fit_with_deletion(
        model, deletion, data(), make_callbacks=make_callbacks, **QUIET
    )
    assert removable(shortest) == []
    assert [len(r.removed) for r in rounds] == [0, 2, 1]
    assert all(len(r.history["loss"]) == 2 for r in rounds)
    assert rates == pytest.approx([0.01, 0.001] * 3)
    assert deletion.stop_reason == "no removable unit is left"
    assert shortest.compiled and shortest.optimizer.momentum == 0.9


class Traced(keras.metrics.SparseCategoricalAccuracy):
    """Counts how often Python runs its update for a pipeline: once per trace."""

    count = 0

    def update_state(self, y_true, y_pred, sample_weight=None):
        type(self).count += not hasattr(y_pred, "numpy")
        return super().update_state(y_true, y_pred, sample_weight)


def test_target_is_reached_and_each_step_is_traced_once():
    model = net()
    model.compile("sgd", LOSS, metrics=[Traced(name="accuracy")], jit_compile=False)
    deletion = LayerDeletion(epochs=1, target=Target(layers=3))
    with keras.saving.custom_object_scope({"Traced": Traced}):
        shortest, rounds = fit_with_deletion(model, deletion, data(), **QUIET)
    assert Traced.count == len(rounds) == 3
    assert len(removable(shortest)) == 1
    assert deletion.stop_reason == "target reached: at most 3 layers"


@pytest.mark.parametrize(
    ("mode", "values", "units_left"),
    [
        ("max", [0.9, 0.9, 0.5], 2),
        ("min", [0.5, 0.4, 0.9], 2),
        ("max", [0.9, 0.1], 3),
    ],
)
def test_guard_returns_the_last_model_that_held(mode, values, units_left):
    values = iter(values)

    class Score(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["score"] = next(values)

    deletion = LayerDeletion(epochs=1, monitor="score", mode=mode)
    model, rounds = fit_with_deletion(
        compiled(), deletion, data(), make_callbacks=lambda: [Score()], **QUIET
    )
    assert len(removable(model)) == units_left
    assert [r.accepted for r in rounds][-1] is False
    assert "score went from" in deletion.stop_reason


@pytest.mark.parametrize(
    ("metric", "monitor", "mode"),
    [("accuracy", "accuracy", "max"), ("accuracy", "loss", "min")],
)
def test_modes_follow_the_metric(metric, monitor, mode):
    model = net()
    model.compile("sgd", LOSS, metrics=[metric], run_eagerly=True)
    deletion = LayerDeletion(epochs=1, monitor=monitor)
    model.fit(data(), callbacks=[deletion], **QUIET)
    assert deletion.mode == mode


def test_compile_fn_for_settings_that_keras_cannot_repeat():
    calls = []

    def compile_fn(model):
        calls.append(model)
        model.compile("sgd", lambda y, p: LOSS(y, p), run_eagerly=True)

    model = net()
    compile_fn(model)
    deletion = LayerDeletion(epochs=1, units_per_round=3)
    shortest, _ = fit_with_deletion(
        model, deletion, data(), compile_fn=compile_fn, **QUIET
    )
    assert len(calls) == 2 and shortest is calls[1]


def test_all_units_that_a_target_requires_go_at_once():
    deletion = LayerDeletion(epochs=1, units_per_round="all", target=Target(units=2))
    shortest, rounds = fit_with_deletion(compiled(), deletion, data(), **QUIET)
    assert [len(each.removed) for each in rounds] == [0, 2]
    assert len(find_units(shortest)) == 2


def test_loss_scaling_survives():
    model = compiled(importance=True)
    model.dtype_policy = "mixed_float16"
    model.compile(keras.optimizers.SGD(0.01), LOSS, run_eagerly=True)
    deletion = LayerDeletion(epochs=1, units_per_round=3)
    shortest, _ = fit_with_deletion(model, deletion, data(), **QUIET)
    assert isinstance(shortest.optimizer, keras.optimizers.LossScaleOptimizer)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs=0"),
        ({"epochs": 1, "units_per_round": 0}, ValueError, "units_per_round=0"),
        ({"epochs": 1, "units_per_round": "al"}, ValueError, "\"all\".*'al'"),
        ({"epochs": 1, "mode": "up"}, ValueError, "'up'"),
        ({"epochs": 1, "target": 32}, TypeError, r"Target\(layers=32\)"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        LayerDeletion(**arguments)


def test_unsuitable_models_and_metrics_are_refused_in_fit():
    model = compiled(importance=False)
    with pytest.raises(ValueError, match="ImportanceScale"):
        model.fit(data(), **QUIET, callbacks=[LayerDeletion(1)])
    with pytest.raises(ValueError, match="'val_f1'.*logs: accuracy, loss"):
        compiled().fit(data(), **QUIET, callbacks=[LayerDeletion(1, monitor="val_f1")])
    with pytest.raises(ValueError, match="cannot be reached"):
        deletion = LayerDeletion(1, target=Target(layers=1))
        compiled().fit(data(), **QUIET, callbacks=[deletion])


def test_driver_needs_the_data_of_its_monitor():
    deletion = LayerDeletion(1, monitor="val_loss")
    with pytest.raises(ValueError, match="`monitor='val_loss'` needs validation data"):
        fit_with_deletion(compiled(), deletion, data())


def test_driver_refuses_what_it_decides_itself():
    with pytest.raises(TypeError, match="not accept `epochs`"):
        fit_with_deletion(compiled(), LayerDeletion(1), data(), epochs=3)
    with pytest.raises(TypeError, match="not accept `initial_epoch`"):
        fit_with_deletion(compiled(), LayerDeletion(1), data(), initial_epoch=1)
    with pytest.raises(TypeError, match="make_callbacks"):
        fit_with_deletion(compiled(), LayerDeletion(1), data(), callbacks=[])
    with pytest.raises(ValueError, match="not compiled"):
        fit_with_deletion(net(), LayerDeletion(1), data())


class NeverTrained(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        raise AssertionError("it must be refused before any training")


def test_what_serves_one_round_alone_is_refused_before_training(tmp_path):
    same = [NeverTrained()]
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup.weights.h5")
    for make, message in (
        (NeverTrained, "`make_callbacks` must return a list of callbacks. Received"),
        (lambda: same, "`make_callbacks` must make new.*the same NeverTrained twice"),
        (lambda: [backup], "must not contain a BackupAndRestore"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            fit_with_deletion(compiled(), LayerDeletion(1), data(), make_callbacks=make)
    once, new = (
        (batch for batch in data()),
        {"make_callbacks": lambda: [NeverTrained()], **QUIET},
    )
    with pytest.raises(ValueError, match="`x` is a generator.*`steps_per_epoch`"):
        fit_with_deletion(compiled(), LayerDeletion(1), once, **new)
    with pytest.raises(ValueError, match="`validation_data` is a gen.*tion_steps`"):
        fit_with_deletion(
            compiled(), LayerDeletion(1), data(), validation_data=once, **new
        )
    with pytest.raises(AssertionError, match="before any training"):
        fit_with_deletion(compiled(), LayerDeletion(1), once, steps_per_epoch=1, **new)


def test_nothing_is_removed_without_a_training():
    model, deletion = compiled(), LayerDeletion(1)
    with pytest.raises(ValueError, match="`fit` trained no epoch"):
        model.fit(data(), epochs=2, initial_epoch=2, callbacks=[deletion], **QUIET)
    assert deletion.pruned_model is None


def test_settings_that_cannot_be_repeated_are_refused_before_training():
    model = net()
    model.compile("sgd", lambda y, logits: keras.ops.mean(logits))
    trained = []
    model.fit = lambda *args, **kwargs: trained.append(args)
    with pytest.raises(ValueError, match="(?s)cannot be repeated.*Pass `compile_fn`"):
        fit_with_deletion(model, LayerDeletion(epochs=1))
    assert not trained


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        ({"unit1": float("nan")}, ValueError, "must be a finite number"),
        ({"unit9": 1.0}, ValueError, "has no unit 'unit9', which has a score"),
        ([1.0], TypeError, "must return a dict from unit name to number"),
        ({"first": 1.0}, ValueError, "(?s)No unit of .* removed.\n.*: it has no score"),
    ],
)
def test_scores_are_checked_before_any_training(scores, error, message):
    model = compiled()
    before = model.get_weights()
    assert not next(u for u in find_units(model) if u.name == "first").removable
    deletion = LayerDeletion(epochs=1, criterion=lambda model: scores)
    with pytest.raises(error, match=message):
        model.fit(data(), callbacks=[deletion], **QUIET)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (lambda names: dict.fromkeys(names, float("nan")), "finite number. Received"),
        (lambda names: [1.0 for name in names], "must return a dict"),
        (lambda names: {}["unit1"], "KeyError: 'unit1'"),
    ],
)
def test_scores_that_fail_later_end_the_removal_and_lose_nothing(last, message):
    calls = iter([*2 * [lambda names: dict.fromkeys(names, 1.0)], last])

    def criterion(model):
        return next(calls)(removable(model))

    deletion = LayerDeletion(epochs=1, criterion=criterion)
    with pytest.warns(UserWarning, match=f"cannot be scored: .*{message}"):
        model, rounds = fit_with_deletion(compiled(), deletion, data(), **QUIET)
    assert [len(r.removed) for r in rounds] == [0, 1]
    assert len(removable(model)) == 2
    assert deletion.stop_reason.startswith("the units cannot be scored")


def test_a_failed_removal_loses_nothing(monkeypatch):
    def fails(*arguments):
        raise RuntimeError("no memory")

    monkeypatch.setattr("resprune_tf.pruning.deletion.remove_units", fails)
    deletion = LayerDeletion(epochs=1)
    with pytest.warns(UserWarning, match="cannot be removed: RuntimeError: no memory"):
        model, rounds = fit_with_deletion(compiled(), deletion, data(), **QUIET)
    assert len(rounds) == 1 and len(removable(model)) == 3
    assert deletion.removed == () and deletion.pruned_model is None


def test_a_fixed_order_may_name_units_that_stay_and_that_are_gone():
    model = compiled()
    found = find_units(model)
    order = {unit.name: place for place, unit in enumerate(found)}
    deletion = LayerDeletion(epochs=1, criterion=lambda model: order)
    _, rounds = fit_with_deletion(model, deletion, data(), **QUIET)
    free = [unit.name for unit in found if unit.removable]
    assert len(free) < len(found)
    assert [r.removed for r in rounds] == [(), *((name,) for name in free)]
