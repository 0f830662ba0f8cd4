"""prune_and_retrain on a user's own terms: any data, loss, metric and optimizer."""

import math
import re
from unittest import mock

import keras
import numpy as np
import pytest

import resprune_tf as rp
from resprune_tf.runs import callbacks
from resprune_tf.system.whole_files import read_json, read_lines
from resprune_tf.training import labels as labelled
from resprune_tf.training.fit_check import FitSettings, _check_batched
from resprune_tf.training.fit_training import FitTrainer
from resprune_tf.training.recalibration import recalibrate
from tests.conftest import outputs
from tests.made.fits import (
    QUIET,
    dense_net,
    numbers,
    own,
    regression_data,
    regression_net,
    shorten,
)

pytestmark = pytest.mark.slow


class Begins(keras.callbacks.Callback):
    """Notes the state of the optimizer at the beginning of each training."""

    seen: list = []

    def on_train_begin(self, logs=None):
        optimizer = self.model.optimizer
        rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        self.seen.append((int(optimizer.iterations), round(rate, 6)))
        optimizer.learning_rate = 0.005  # as a schedule would leave it


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A regression from arrays: two removable units, one a round."""
    Begins.seen.clear()
    folder = tmp_path_factory.mktemp("own")
    model = regression_net()
    before = model.get_weights()
    result = shorten(
        model,
        regression_data(test=numbers(20, 2)),
        rp.FitRecipe(epochs=2, callbacks=lambda: [Begins()]),
        tolerance=math.pi,
        run_dir=folder,
    )
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert not model.optimizer.built or int(model.optimizer.iterations) == 0
    return folder, result


def test_every_round_begins_with_a_fresh_optimizer(run):
    _, result = run
    assert [len(r.removed) for r in result.rounds] == [0, 1, 1]
    assert Begins.seen == [(0, 0.01)] * 3


def test_records_hold_the_measures_that_were_compiled(run):
    folder, result = run
    for record in result.rounds:
        assert record.validation.keys() == record.test.keys() == {"loss", "mae"}
        assert record.train.keys() == {"loss", "mae"}
    line = read_lines(folder / "rounds.jsonl")[1]
    assert line["validation_mae"] == result.rounds[1].validation["mae"]
    history = read_lines(folder / "history.jsonl")
    assert {"epoch", "loss", "mae", "val_loss", "val_mae"} <= history[0].keys()
    final = read_json(folder / "final.json")
    assert final == result.final
    assert (final["monitor"], final["mode"]) == ("mae", "min")
    assert final["initial_mae"] == result.rounds[0].validation["mae"]
    assert final["selected_test_mae"] == result.selected.test["mae"]
    assert (final["selection_examples"], final["test_examples"]) == (16, 20)
    settings = read_json(folder / "run.json")
    assert settings["compiled"]["loss"] == "mse"
    assert settings["compiled"]["optimizer"]["class_name"] == "SGD"
    assert settings["dataset"]["train"] == 48


def test_the_result_is_compiled_and_measures_what_the_records_say(run):
    _, result = run
    assert result.selected.round == 2  # whatever it lost: the tolerance is wide
    x, y = numbers(20, 2)
    measured = result.model.evaluate(x, y, return_dict=True, verbose=0)
    assert measured == pytest.approx(result.selected.test, rel=1e-5)
    assert float(result.model.optimizer.learning_rate) == pytest.approx(0.01)


def test_a_finished_run_is_returned_and_other_settings_are_refused(run):
    folder, result = run
    settings = {"tolerance": math.pi, "run_dir": folder}
    data = regression_data(test=numbers(20, 2))
    assert shorten(regression_net(), data, **settings).rounds == result.rounds
    slower = dense_net()
    slower.compile(keras.optimizers.Adam(0.001), "mse", metrics=["mae"], **QUIET)
    with pytest.raises(rp.RunDirectoryError, match="learning_rate: 0.0099.*0.001"):
        shorten(slower, data, **settings)
    with pytest.raises(rp.RunDirectoryError, match="fingerprint"):
        shorten(regression_net(), regression_data(test=numbers(20, 3)), **settings)


class Dies(keras.callbacks.Callback):
    """Raises once, as a killed process would end, in the second epoch of a round."""

    lives: list = []

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1 and self.lives:
            if self.lives.pop() == 0:
                raise KeyboardInterrupt


def test_a_run_that_died_ends_as_an_unbroken_one(tmp_path, monkeypatch):
    """Order, dropout, weights of examples, averaged weights: all go on."""
    monkeypatch.setattr(callbacks, "SAVING_SHARE", float("inf"))

    def go(folder, start=None):
        model = dense_net(dropout=0.3)
        optimizer = keras.optimizers.SGD(0.05, momentum=0.9, use_ema=True)
        model.compile(optimizer, "mse", weighted_metrics=["mae"], **QUIET)
        x, y = numbers()
        weight = np.linspace(0.1, 1, len(x), dtype="float32")
        data = rp.FitData((x, y, weight), numbers(16, 1), batch_size=20)
        recipe = rp.FitRecipe(3, callbacks=lambda: [Dies()])
        settings = {"max_rounds": 1, "seed": 3, "start_from": start}
        return shorten(model, data, recipe, run_dir=folder, **settings)

    unbroken = go(tmp_path / "a")
    Dies.lives[:] = [0]
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "b", start=tmp_path / "a")
    assert (tmp_path / "b/state.npz").exists() and not Dies.lives
    assert len(read_lines(tmp_path / "b/rounds.jsonl")) == 1
    broken = go(tmp_path / "b")
    assert len(read_lines(tmp_path / "b/sessions.jsonl")) == 2
    for ours, theirs in zip(broken.rounds, unbroken.rounds, strict=True):
        assert ours.line() | {"seconds": 0} == theirs.line() | {"seconds": 0}
    for ours, theirs in zip(
        broken.model.get_weights(), unbroken.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def noting(ended):
    """A callback that appends every finished epoch to a list."""
    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ended.append(epoch)
    )


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_goes_on_where_it_was(tmp_path, monkeypatch, schedule):
    """The saved state contains the rate of its epoch, which must not decay twice."""
    monkeypatch.setattr(callbacks, "SAVING_SHARE", float("inf"))

    def go(folder, stop_after=None):
        ended = []
        return shorten(
            own(),
            regression_data(batch_size=48),
            rp.FitRecipe(4, schedule=schedule, callbacks=lambda: [noting(ended)]),
            max_rounds=0,
            run_dir=folder,
            should_stop=lambda: "enough" if len(ended) == stop_after else None,
        )

    unbroken = go(tmp_path / "a")
    with pytest.raises(rp.RunInterrupted, match="enough"):
        go(tmp_path / "b", stop_after=2)
    continued = go(tmp_path / "b")
    rates, expected = (
        [epoch["learning_rate"] for epoch in read_lines(tmp_path / run)]
        for run in ("b/history.jsonl", "a/history.jsonl")
    )
    assert rates == expected and len(set(rates)) == 4
    for ours, theirs in zip(
        continued.model.get_weights(), unbroken.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_pipeline_of_steps_goes_on_where_it_was(tmp_path, monkeypatch):
    """Every epoch has its steps, also if the pipeline ends within one."""
    monkeypatch.setattr(callbacks, "SAVING_SHARE", float("inf"))

    def go(folder, kind, stop_after=None):
        import tensorflow as tf

        ended = []
        pairs = tf.data.Dataset.from_tensor_slices(numbers()).batch(16)
        if kind == "repeated":
            pairs = pairs.repeat()
        elif kind == "unknown length":
            pairs = pairs.filter(lambda x, y: True)
        steps = {"steps_per_epoch": 2}
        recipe = rp.FitRecipe(2, fit_options=steps, callbacks=lambda: [noting(ended)])
        shorten(
            own(),
            rp.FitData(pairs, numbers(16, 1)),
            recipe,
            max_rounds=0,
            run_dir=folder,
            should_stop=lambda: "enough" if len(ended) == stop_after else None,
        )
        return [epoch["loss"] for epoch in read_lines(folder / "history.jsonl")]

    unbroken = go(tmp_path / "a", "repeated")
    for kind in ("repeated", "finite", "unknown length"):
        with pytest.raises(rp.RunInterrupted, match="enough"):
            go(tmp_path / kind, kind, stop_after=1)
        assert go(tmp_path / kind, kind) == unbroken
    assert go(tmp_path / "c", "finite") == unbroken


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras learns it
def test_segmentation_from_a_pipeline(capsys):
    """Pixel labels, softmax, a pipeline of unknown length; accuracy must not fall."""
    tf = pytest.importorskip("tensorflow")

    rng = np.random.default_rng(0)
    images = rng.normal(size=(24, 8, 8, 2)).astype("float32")
    masks = (images[..., 0] > 0).astype("int32")

    def pipeline(start, stop):
        pairs = tf.data.Dataset.from_tensor_slices((images, masks))
        options = tf.data.Options()
        options.autotune.enabled = False
        some = pairs.skip(start).take(stop - start).filter(lambda image, mask: True)
        return some.batch(8).with_options(options)

    x = image = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(4, 3, padding="same")(x)
    branch = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = x + rp.ImportanceScale(name="only_importance")(branch)
    model = keras.Model(image, keras.layers.Conv2D(2, 1, activation="softmax")(x))
    own(model, "adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    result = shorten(
        model,
        rp.FitData(pipeline(0, 16), pipeline(16, 24)),
        monitor="accuracy",
        stop_on_drop=True,
        verbose=True,
    )
    assert [len(r.removed) for r in result.rounds] == [0, 1]
    assert result.final["mode"] == "max" and "accuracy" in result.rounds[1].train
    assert result.final["selection_examples"] is None and not result.selected.test
    out = capsys.readouterr().out
    assert "epoch 2/2" in out and "validation accuracy" in out and "%" in out


class Labelled(keras.utils.PyDataset):
    """One-hot labels of two classes, two batches."""

    def __init__(self, seed):
        super().__init__()
        x, y = numbers(32, seed)
        self.x, self.y = x, keras.utils.to_categorical(y[:, 0] > 0, 2)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        rows = slice(16 * index, 16 * index + 16)
        return self.x[rows], self.y[rows]


def test_one_hot_labels_from_a_pydataset_and_a_criterion_without_importances():
    """A model without ω, in mixed precision: its loss scaling stays."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = dense_net(units=1, outputs=2, activation="softmax", importance=False)
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile(
        "sgd",
        "categorical_crossentropy",
        metrics=["accuracy", keras.metrics.AUC(name="auc")],
        steps_per_execution=2,
        run_eagerly=True,
        **QUIET,
    )
    result = shorten(
        model,
        rp.FitData(Labelled(0), Labelled(1)),
        rp.FitRecipe(epochs=1, fit_options={"class_weight": {0: 1.0, 1: 2.0}}),
        monitor="auc",
        tolerance=1.5,
        criterion=rp.criteria.random(0),
    )
    assert result.rounds[1].removed == ("unit1",) and result.final["mode"] == "max"
    assert isinstance(result.model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert result.model.steps_per_execution == 2
    assert result.model.jit_compile is False


@pytest.mark.parametrize(
    ("changes", "trials"),
    [({"epochs": 3}, 1), ({"callbacks": lambda: []}, 2), ({"compile_fn": print}, 2)],
)
def test_recipes_that_differ_in_epochs_alone_are_tried_once(changes, trials):
    """A trial traces the model twice: time before the first step of a run."""
    recipe = rp.FitRecipe(epochs=1)
    tried = mock.Mock(return_value=FitSettings("min", {}))
    with mock.patch("resprune_tf.training.fit_recipe.check_fit", tried):
        recipe.check(
            regression_net(),
            regression_data(),
            recipe.replace(**changes),
            rp.Removal(monitor="mae"),
            strategy=rp.Strategy(),
        )
    assert tried.call_count == trials


def test_early_stopping_shortens_a_round_and_its_record_says_so():
    class Enough(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    recipe = rp.FitRecipe(epochs=9, callbacks=lambda: [Enough()])
    result = shorten(own(), regression_data(batch_size=48), recipe, max_rounds=0)
    assert result.rounds[0].epochs == result.final["total_epochs"] == 2


def test_a_training_that_ended_early_has_ended_when_it_continues(tmp_path, monkeypatch):
    """The process dies while it measures the model, whose best weights are back."""

    def stopping():
        options = {"mode": "max", "restore_best_weights": True}  # the first is the best
        return [keras.callbacks.EarlyStopping("val_loss", patience=2, **options)]

    def go(folder="b"):
        keras.utils.set_random_seed(0)
        recipe = rp.FitRecipe(epochs=9, callbacks=stopping)
        data = regression_data(batch_size=48)
        folder = tmp_path / folder
        return shorten(own(), data, recipe, max_rounds=0, run_dir=folder)

    unbroken = go("a")
    with monkeypatch.context() as patched:
        patched.setattr(
            FitTrainer, "measures", mock.Mock(side_effect=KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            go()
    broken = go()
    assert broken.rounds[0].epochs == unbroken.rounds[0].epochs == 3
    for ours, theirs in zip(
        broken.model.get_weights(), unbroken.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_settings_that_keras_cannot_repeat_come_from_a_function():
    def compile_fn(model):
        optimizer = keras.optimizers.AdamW(0.01)
        optimizer.exclude_from_weight_decay(var_names=["importance"])
        loss = lambda y, p: keras.ops.mean((y - p) ** 2)  # noqa: E731
        own(model, optimizer, loss=loss)

    data = regression_data(batch_size=48)
    recipe = rp.FitRecipe(epochs=1, compile_fn=compile_fn)
    result = shorten(dense_net(), data, recipe, units_per_round=2)
    assert result.model.optimizer._exclude_from_weight_decay_pattern is not None
    assert len(result.rounds) == 2


def test_a_checkpoint_of_the_user_is_fresh_in_each_round(tmp_path):
    """Made anew, its best value is each round's own, and so it saves in each."""
    saved = []

    class Saves(keras.callbacks.ModelCheckpoint):
        def _save_model(self, **arguments):
            saved.append(len(self.model.layers))

    def fresh():
        return [Saves(tmp_path / "best.keras", "loss", save_best_only=True)]

    model = own()
    recipe = rp.FitRecipe(epochs=1, callbacks=fresh)
    shorten(model, regression_data(), recipe)
    assert len(saved) == 2 and saved[1] < saved[0]
    one = fresh()
    with pytest.raises(ValueError, match="returned the same Saves twice"):
        reused = recipe.replace(callbacks=lambda: one)
        shorten(model, regression_data(), reused)


def test_a_time_budget_ends_a_run_resumably(tmp_path):
    model, data = regression_net(), regression_data()
    with pytest.raises(rp.RunInterrupted, match="time budget"):
        shorten(model, data, run_dir=tmp_path, deadline=0.0)
    assert (tmp_path / "models/initial.keras").exists()


def test_a_divergence_is_told(tmp_path):
    model = own(optimizer=keras.optimizers.SGD(1e30))
    with pytest.raises(rp.TrainingDiverged, match="learning rate 1e.30"):
        shorten(model, regression_data(), run_dir=tmp_path)


def excluding():
    optimizer = keras.optimizers.AdamW(0.01)
    optimizer.exclude_from_weight_decay(var_names=["importance"])
    return optimizer


def several():
    """An optimizer that holds two others."""
    optimizers = keras.optimizers
    if not hasattr(optimizers, "MultiOptimizer"):
        pytest.skip("This Keras has none.")
    one, two = optimizers.SGD(0.01), optimizers.SGD(0.02)
    return optimizers.MultiOptimizer(optimizers.OptimizerMap(one, {"head/.*": two}))


@keras.saving.register_keras_serializable(package="tests")
def distance(y, p):
    return keras.ops.mean(keras.ops.abs(y - p), axis=-1)


@keras.saving.register_keras_serializable(package="tests")
class Forgetful(keras.losses.Loss):
    """Its configuration does not tell its factor."""

    def __init__(self, factor=1.0, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, y, p):
        return self.factor * keras.ops.mean((y - p) ** 2, axis=-1)


def unloadable():
    """A net with a layer that no file can be loaded with."""

    class Mine(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    x = numbers = keras.Input((6,))
    x = keras.layers.Dense(6)(x)
    x = x + rp.ImportanceScale(name="a_importance")(keras.layers.Dense(6)(x))
    model = keras.Model(numbers, keras.layers.Dense(1)(Mine()(x)))
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def own_step():
    """A net whose class trains it in a way of its own."""

    @keras.saving.register_keras_serializable(package="tests")
    class OwnStep(keras.Model):
        def train_step(self, data):
            return {"loss": 0.0}

    plain = dense_net()
    model = OwnStep(plain.inputs, plain.outputs)
    model.compile("sgd", "mse", metrics=["mae"])
    return model


@keras.saving.register_keras_serializable(package="tests")
class Uncounted(keras.layers.Layer):
    """Multiplies by a matrix, of which no rule for MACs knows."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 6))

    def call(self, x):
        return keras.ops.tensordot(x, self.kernel, 1)


def uncounted():
    x = numbers = keras.Input((6,))
    x = Uncounted(name="odd")(x)
    x = x + rp.ImportanceScale(name="a_importance")(keras.layers.Dense(6)(x))
    return own(keras.Model(numbers, keras.layers.Dense(1)(x)))


def test_macs_that_cannot_be_counted_are_said_to_be_left_out(capsys):
    data = regression_data(batch_size=48)
    result = shorten(uncounted(), data, rp.FitRecipe(1), max_rounds=0, verbose=True)
    assert result.rounds[0].macs == 6 * 6 + 6
    out = capsys.readouterr().out
    assert "do not include these operations, which cannot be counted: odd" in out


SHARED = keras.optimizers.SGD(0.1)
REFUSED = {
    "not compiled": (dense_net, {}, ValueError, "not compiled"),
    "trained, but not compiled": (
        dense_net,
        {"initial": "as_given"},
        ValueError,
        "not compiled",
    ),
    "not compiled, with a schedule": (
        dense_net,
        {"recipe": rp.FitRecipe(1, schedule="linear")},
        ValueError,
        "not compiled",
    ),
    "a lambda": (
        lambda: own(loss=lambda y, p: keras.ops.mean((y - p) ** 2)),
        {},
        ValueError,
        r"cannot repeat the compile settings of 'mine'.*compile_fn",
    ),
    "exclusions": (
        lambda: own(optimizer=excluding()),
        {},
        ValueError,
        "compile_fn.*Lost: the arguments of `exclude_from_weight_decay`",
    ),
    "a loss that forgets": (
        lambda: own(loss=Forgetful(3.0)),
        {},
        ValueError,
        "measures {'loss'.*instead of.*compile_fn",
    ),
    "no such measure": (own, {"monitor": "f1"}, ValueError, "measures: loss, mae"),
    "unknown direction": (
        lambda: own(metrics=[distance]),
        {"monitor": "distance"},
        ValueError,
        "unknown whether a larger or a smaller 'distance' is better.*Pass `mode=",
    ),
    "mode": (own, {"mode": "up"}, ValueError, '"min" or "max".*up'),
    "tolerance": (own, {"tolerance": -1}, ValueError, "units of the metric.*-1"),
    "no test": (own, {"select_on": "test"}, ValueError, "no such split"),
    "guidance": (own, {"guidance": rp.Guidance()}, ValueError, "Pass `Guidance.kind"),
    "unloadable": (unloadable, {}, ValueError, "cannot be restored.*register_keras"),
    "a training step of its own": (own_step, {}, ValueError, "its own `train_step`"),
    "uncounted": (
        uncounted,
        {"target": rp.Target(macs=0.9)},
        ValueError,
        "cannot be counted: odd",
    ),
    "subclassed": (
        lambda: type("Bare", (keras.Model,), {})(),
        {},
        TypeError,
        "reads the graph of a functional",
    ),
    "no omega": (
        lambda: regression_net(importance=False),
        {"criterion": rp.criteria.importance},
        ValueError,
        "add_importance",
    ),
    "steps": (
        own,
        {"recipe": rp.FitRecipe(1, fit_options={"steps_per_epoch": 2})},
        ValueError,
        "Leave out `steps_per_epoch`",
    ),
    "a recipe of ours": (own, {"recipe": rp.Recipe()}, TypeError, "a Recipe for FitD"),
    "one optimizer for all": (
        own,
        {"recipe": rp.FitRecipe(1, lambda model: model.compile(SHARED, "mse"))},
        ValueError,
        "a new optimizer each time",
    ),
    "no optimizer": (
        lambda: own(optimizer=None),
        {"initial": "as_given"},
        ValueError,
        "compile settings",
    ),
    "several learning rates": (
        lambda: own(optimizer=several()),
        {"recipe": rp.FitRecipe(1, learning_rate=0.1)},
        ValueError,
        "MultiOptimizer of 'mine' has no single learning rate.*compile_fn",
    ),
    "compiles nothing": (
        own,
        {"recipe": rp.FitRecipe(1, lambda model: None)},
        ValueError,
        "must compile the model that it receives",
    ),
}


@pytest.mark.filterwarnings("ignore:.*lambda")
@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_any_work(tmp_path, case):
    make, settings, error, message = REFUSED[case]
    folder = tmp_path / "never"
    with pytest.raises(error, match=message):
        shorten(make(), regression_data(), run_dir=folder, **settings)
    assert not folder.exists()


def test_a_pipeline_of_single_examples_is_refused():
    import tensorflow as tf

    x, y = numbers()
    singles = tf.data.Dataset.from_tensor_slices((x, y))
    message = r"`train` must come in batches.*shape \(\d+,\) for an input of shape"
    with pytest.raises(ValueError, match=message):
        data = rp.FitData(train=singles, validation=singles.batch(8))
        shorten(regression_net(), data)


@pytest.mark.parametrize("order", [("seq", "feat"), ("feat", "seq")])
def test_a_batch_by_input_names_is_no_single_example(order):
    """Neither in another order, nor where one input alone looks like an example."""
    import tensorflow as tf

    inputs = {
        "seq": keras.Input((None, 6), name="seq"),
        "feat": keras.Input((6,), name="feat"),
    }
    x = inputs["feat"] + keras.layers.Dense(6)(inputs["feat"])
    x = x + keras.layers.GlobalAveragePooling1D()(inputs["seq"])
    model = keras.Model([inputs[name] for name in order], keras.layers.Dense(1)(x))
    features, labels = numbers(16)
    given = {"seq": np.zeros((16, 4, 6), "float32"), "feat": features}
    singles = tf.data.Dataset.from_tensor_slices((given, labels))
    batches = singles.batch(8, drop_remainder=True)
    _check_batched(model, batches.element_spec, "train")
    with pytest.raises(ValueError, match="`train` must come in batches"):
        _check_batched(model, singles.element_spec, "train")


def test_small_nets_are_told_exactly(capsys):
    data = regression_data(batch_size=48)
    shorten(own(), data, rp.FitRecipe(1), max_rounds=0, verbose=True)
    assert re.search(r"parameters, \d+ MACs\n", capsys.readouterr().out)


class Endless(keras.utils.PyDataset):
    """Batches without a `num_batches`, each of which is only given so many times."""

    def __init__(self, allowed=10_000):
        super().__init__()
        self.allowed = allowed

    @property
    def num_batches(self):
        return None

    def __getitem__(self, index):
        assert index < self.allowed, "it is read on and on"
        return numbers(8, seed=index)


def generated(count=10_000):  # for ever, but for a test that fails
    """A pipeline that does not know its length."""
    import tensorflow as tf

    def batches():
        for index in range(count):
            yield numbers(8, seed=index)

    kinds = [tf.TensorSpec((8, size), "float32") for size in (6, 1)]
    return tf.data.Dataset.from_generator(batches, output_signature=tuple(kinds))


def repeated():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(numbers(16)).batch(8).repeat()


@pytest.mark.parametrize("make", [generated, repeated, lambda: Endless(10)])
def test_endless_validation_data_are_measured_by_their_first_batches(make):
    steps = {"steps_per_epoch": 2, "validation_steps": 2}
    result = shorten(
        own(),
        rp.FitData(train=make(), validation=make()),
        rp.FitRecipe(1, fit_options=steps),
        max_rounds=0,
    )
    first = [numbers(8, seed=index) for index in (0, 1)]
    x, y = (
        numbers(16)
        if make is repeated
        else map(np.concatenate, zip(*first, strict=True))
    )
    expected = result.model.evaluate(x, y, verbose=0, return_dict=True)
    measured = result.rounds[0].validation
    assert measured["mae"] == pytest.approx(expected["mae"], rel=1e-5)


def test_arrays_are_judged_by_as_many_steps_as_fit_judges_by():
    recipe = rp.FitRecipe(1, fit_options={"validation_steps": 1})
    data = regression_data(validation=numbers(48, 1), test=numbers(20, 2))
    result = shorten(own(), data, recipe, max_rounds=0)
    x, y = (array[:16] for array in numbers(48, 1))
    expected = result.model.evaluate(x, y, verbose=0, return_dict=True)
    assert result.rounds[0].validation == pytest.approx(expected, rel=1e-5)
    assert result.final["selection_examples"] == 16
    # The test split is evaluated as a whole.
    assert recipe.examples_judged(data, "test") == data.sizes["test"] == 20


@pytest.mark.parametrize("make", [repeated, Endless])
def test_endless_validation_data_without_steps_are_refused(make, tmp_path):
    folder = tmp_path / "never"
    with pytest.raises(ValueError, match="`validation` repeats endlessly.*steps"):
        shorten(own(), regression_data(validation=make()), run_dir=folder)
    with pytest.raises(ValueError, match="`train` repeats endlessly.*steps_per_epoch"):
        shorten(own(), rp.FitData(make(), numbers()), run_dir=folder)
    with pytest.raises(ValueError, match="`test` repeats endlessly.*whole"):
        regression_data(test=make())
    recipe = rp.FitRecipe(1, fit_options={"validation_steps": 2})
    with pytest.raises(ValueError, match="the same validation batches.*=2 in.*None in"):
        shorten(own(), regression_data(), recipe, retrain_recipe=rp.FitRecipe(1))
    assert not folder.exists()


def test_an_epoch_without_a_batch_is_an_error():
    """Keras only warns, and trains on nothing."""
    import tensorflow as tf

    batches = iter([numbers(8)] * 20)  # of which the checks read some
    kinds = [tf.TensorSpec((8, size), "float32") for size in (6, 1)]
    once = tf.data.Dataset.from_generator(
        lambda: batches, output_signature=tuple(kinds)
    )
    message = "Epoch 2 did not get any batch: `train` cannot be read a second time"
    with pytest.warns(UserWarning, match="ran out of data"):
        with pytest.raises(ValueError, match=message):
            shorten(own(), rp.FitData(once, numbers()), rp.FitRecipe(2))


@pytest.mark.parametrize("make", [generated, Endless])
def test_what_never_ends_is_not_scored_or_recalibrated_on(make):
    for door in (
        lambda stream: rp.compare_scores(own(), stream),
        lambda stream: recalibrate(own(), stream),
        rp.criteria.block_influence,
    ):
        with pytest.raises(ValueError, match="must be an array"):
            door(make())
    steps = rp.FitData(train=make(), validation=numbers())
    with pytest.raises(ValueError, match="are chosen from arrays"):
        rp.criteria.named("taylor", steps)


@pytest.mark.parametrize("one_hot", [False, True])
def test_a_classifier_records_which_examples_are_correct(tmp_path, one_hot):
    """As the saved model of each round predicts them; not of a pipeline."""
    x, y = numbers(20)
    labels = (y > 0).astype("int32") + (y > 1)
    loss = "sparse_categorical_crossentropy"
    if one_hot:
        labels, loss = np.eye(3)[labels[:, 0]], "categorical_crossentropy"
    net = dense_net(units=1, outputs=3, activation="softmax")
    own(net, loss=loss, metrics=["accuracy"])
    import tensorflow as tf

    test = tf.data.Dataset.from_tensor_slices((x, labels)).batch(20)
    data = rp.FitData((x, labels), (x[:11], labels[:11]), test, batch_size=8)
    rounds = shorten(
        net, data, rp.FitRecipe(epochs=1), monitor="accuracy", run_dir=tmp_path
    ).rounds
    assert len(rounds) == 2
    for record in rounds:
        model = keras.saving.load_model(tmp_path / record.model, compile=False)
        classes = labels.argmax(-1) if one_hot else labels[:, 0]
        right = (outputs(model, x[:11]).argmax(-1) == classes[:11]).astype(int)
        bits = "".join(map(str, right)) + "00000"
        assert record.correct == {"validation": f"{int(bits, 2):04x}"}
        assert record.validation["accuracy"] == pytest.approx(right.mean())


def test_a_measure_of_another_kind_tells_of_no_example():
    """`accuracy` of other labels than those of the largest output."""
    x, y = numbers(8)
    model = dense_net(outputs=3)
    labels = np.zeros(8, int)
    accuracy = float((outputs(model, x).argmax(-1) == labels).mean())
    assert labelled.classified(model, x, labels, accuracy, 3) is not None
    assert labelled.classified(model, x, labels, accuracy + 0.125, 3) is None
    assert labelled.classified(model, {"a": x, "b": x}, labels, accuracy, 3) is None
