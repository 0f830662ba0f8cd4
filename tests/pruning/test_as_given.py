"""Runs that begin with a trained model as it is; statistics after short trainings."""

import itertools
import shutil

import keras
import numpy as np
import pytest

import resprune_tf as rp
from resprune_tf.criteria.by_name import usual_criterion
from resprune_tf.runs.judging import auto_tolerance
from resprune_tf.system.whole_files import read_json
from resprune_tf.training.fit_recipe import trained_rate
from resprune_tf.training.recipe import StepSchedule
from tests.conftest import net_of, outputs, toy_dataset

pytestmark = pytest.mark.slow

DATASET = toy_dataset()
LAYERS = keras.layers
QUIET = rp.RunOptions(verbose=False)


def images_net(omega=False, momentum=0.99, units=3):
    """Residual units of a Dense layer and a BatchNormalization, on 8x8 images."""
    x = image = keras.Input((8, 8, 3))
    x = LAYERS.Dense(6, activation="relu", name="stem")(LAYERS.Flatten()(x / 255))
    for number in range(units):
        y = LAYERS.Dense(6, name=f"dense_{number}")(x)
        y = LAYERS.BatchNormalization(momentum=momentum, name=f"bn_{number}")(y)
        x = LAYERS.Add(name=f"unit_{number}")([x, LAYERS.ReLU()(y)])
    model = keras.Model(image, LAYERS.Dense(3, name="head")(x))
    return rp.add_importance(model) if omega else model


def fit_data(count=64):
    splits = DATASET.train, DATASET.validation
    return rp.FitData(
        *((s.images[:count].astype("float32"), s.labels[:count]) for s in splits)
    )


def compiled(model, eagerly=True):
    """At a rate of a beginning. A few steps run eagerly before one is traced."""
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        run_eagerly=eagerly,
    )
    return model


@pytest.fixture(scope="module")
def trained():
    """A compiled model that was trained for a while."""
    keras.utils.set_random_seed(0)
    model = compiled(images_net(momentum=0.9), eagerly=False)
    x, y = fit_data().train
    model.fit(x, y, epochs=60, batch_size=16, verbose=0)
    return compiled(model)


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("as_given")
    result = rp.prune_and_retrain(
        trained,
        fit_data(),
        rp.FitRecipe(epochs=1),
        initial="as_given",
        removal=rp.Removal(max_rounds=1, tolerance=0.9),
        run=rp.RunOptions(folder, verbose=False),
    )
    return folder, result


def test_a_result_prints_as_a_table_and_is_shown_in_a_line(run):
    _, result = run
    accuracy = f"{result.selected.validation['accuracy']:.2%}"
    assert repr(result) == (
        f"<PruningResult: selected round 1 of 1, 4 layers, validation accuracy "
        f"{accuracy}>"
    )
    lines = str(result).splitlines()
    assert len(lines) == 4 and lines[0].split()[:3] == ["round", "layers", "parameters"]
    assert lines[2].startswith("1 *") and accuracy in lines[2]
    assert lines[3] == (
        "* selected: the smallest model whose validation accuracy is at most 90 "
        "percentage points below round 0. Stopped: 1 round is done."
    )


def test_an_automatic_tolerance_is_recorded_as_a_number(run, trained, tmp_path):
    """A finished run that is judged again by it: nothing is trained."""
    folder, result = run
    shutil.copytree(folder, tmp_path / "run")
    again = rp.prune_and_retrain(
        trained,
        fit_data(),
        rp.FitRecipe(epochs=1),
        initial="as_given",
        removal=rp.Removal(max_rounds=1, tolerance="auto"),
        run=rp.RunOptions(tmp_path / "run", verbose=False),
    )
    final = read_json(tmp_path / "run" / "final.json")
    count = len(fit_data().validation[0])
    accuracy = result.rounds[0].validation["accuracy"]
    assert final["tolerance"] == auto_tolerance(accuracy, count) > 0
    assert final["tolerance_rule"] == "auto"
    assert "tolerance_rule" not in read_json(folder / "final.json")
    assert [each.validation for each in again.rounds] == [
        each.validation for each in result.rounds
    ]


def test_round_0_is_the_model_as_it_was_given(run, trained):
    folder, result = run
    first = result.rounds[0]
    assert (first.epochs, first.removed, first.train) == (0, (), {})
    assert first.recalibrated == 0
    saved = keras.saving.load_model(folder / first.model, compile=False)
    for old, new in zip(trained.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    x, y = fit_data().validation
    expected = trained.evaluate(x, y, verbose=0, return_dict=True)
    assert first.validation == pytest.approx(expected, rel=1e-5)
    assert [r.epochs for r in result.rounds] == [0, 1]


def test_retraining_is_that_of_a_trained_model(run):
    folder, _ = run
    settings = read_json(folder / "run.json")
    assert settings["recipe"] == {**settings["retrain_recipe"], "epochs": 0}
    assert settings["retrain_recipe"]["learning_rate"] == 0.02
    assert settings["retrain_recipe"]["schedule"] == "warmup_linear"
    assert settings["criterion"].startswith("block_influence(64 images")


def test_a_round_records_the_accuracy_of_its_model_with_its_own_statistics(run):
    folder, result = run
    last = result.rounds[-1]
    assert last.recalibrated == 64
    model = keras.saving.load_model(folder / last.model, compile=False)
    x, y = fit_data().validation
    # Estimated once more by plain Keras: each layer from what lies before it.
    for number in range(3):
        name = f"bn_{number}"
        if name not in [layer.name for layer in model.layers]:
            continue
        layer = model.get_layer(name)
        before = keras.Model(model.input, layer.input)
        inputs = outputs(before, fit_data().train[0])
        np.testing.assert_allclose(layer.moving_mean, inputs.mean(0), atol=1e-4)
        np.testing.assert_allclose(layer.moving_variance, inputs.var(0), rtol=1e-3)
    accuracy = np.mean(outputs(model, x).argmax(-1) == y)
    assert last.validation["accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_a_data_set_too(tmp_path):
    model = images_net(units=2)
    before = model.get_weights()

    def run():
        return rp.prune_and_retrain(
            model,
            DATASET,
            rp.Recipe(epochs=1, batch_size=32, schedule="warmup_linear"),
            initial="as_given",
            removal=rp.Removal(max_rounds=1, tolerance=0.9),
            run=rp.RunOptions(tmp_path, verbose=False),
        )

    result = run()
    assert [r.epochs for r in result.rounds] == [0, 1]
    assert [r.recalibrated for r in result.rounds] == [0, 64]
    saved = keras.saving.load_model(tmp_path / "models/round-00.keras", compile=False)
    for old, new in zip(before, saved.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert run().rounds == result.rounds


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"initial": "trained"}, "`initial` must be .* Received: 'trained'"),
        ({"recipe": rp.Recipe(epochs=0)}, "`epochs` of .* must be >= 1. Received: 0."),
        (
            {"removal": rp.Removal(criterion=rp.criteria.importance)},
            "All importances ω of .* are 1",
        ),
    ],
)
def test_wrong_arguments(arguments, message):
    arguments = {
        "recipe": rp.Recipe(epochs=1, batch_size=32),
        "initial": "as_given",
        "run": QUIET,
        **arguments,
    }
    with pytest.raises(ValueError, match=message):
        rp.prune_and_retrain(images_net(omega=True, units=1), DATASET, **arguments)


def test_the_usual_criterion():
    plain, with_omega = images_net(units=2), images_net(omega=True, units=2)
    assert usual_criterion(with_omega, DATASET) is rp.criteria.importance
    for model in (plain, with_omega):
        chosen = usual_criterion(model, DATASET, trained=True)
        assert chosen.__name__ == "block_influence(64 images, seed 0)"
    assert usual_criterion(plain, fit_data()).__name__ == chosen.__name__
    with_omega.layers[-3].set_weights([np.array(0.5, "float32")])
    trained = {rp.importances(with_omega)[name] for name in rp.importances(with_omega)}
    assert len(trained) == 2
    assert usual_criterion(with_omega, DATASET, trained=True) is rp.criteria.importance


def test_a_pipeline_is_scored_on_its_first_examples():
    import tensorflow as tf

    x, y = fit_data().train
    data = rp.FitData(
        tf.data.Dataset.from_tensor_slices((x, y)).batch(16), fit_data().validation
    )
    model = images_net(units=2)
    criterion = usual_criterion(model, data)
    assert criterion.__name__ == "block_influence(64 images, seed 0)"
    expected = rp.criteria.block_influence(x)(model)
    assert criterion(model) == pytest.approx(expected)
    some = rp.criteria.named("output_norm", data, examples=20)
    assert some(model) == pytest.approx(rp.criteria.output_norm(x[:20])(model))


def test_a_result_worse_than_the_model_that_was_given_is_said_loudly(trained, capsys):
    (x, y), validation = fit_data().train, fit_data().validation
    result = rp.prune_and_retrain(
        trained,
        rp.FitData((x, (y + 1) % 3), validation),  # which it unlearns
        rp.FitRecipe(epochs=5),
        removal=rp.Removal(max_rounds=0),
    )
    assert "WARNING: The result is worse than the model that" in capsys.readouterr().out
    x, y = fit_data().validation
    given = trained.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
    assert result.rounds[0].validation["accuracy"] < given


@pytest.mark.parametrize(
    "optimizer, rate",
    [
        (keras.optimizers.SGD(0.1), 0.02),
        (keras.optimizers.Adam(), 5e-4),
        (keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)), 0.02),
    ],
)
def test_the_rate_that_suits_an_optimizer(optimizer, rate):
    assert trained_rate(optimizer) == rate


def test_what_a_recipe_leaves_open_is_filled_in(trained):
    open_recipe = rp.FitRecipe(epochs=3)
    filled = open_recipe.for_trained(trained)
    assert filled == rp.FitRecipe(3, learning_rate=0.02, schedule="warmup_linear")
    given = rp.FitRecipe(3, learning_rate=0.5, schedule="cosine")
    assert given.for_trained(trained) == given
    own = rp.FitRecipe(3, compile_fn=lambda model: None)
    assert own.for_trained(trained) is own


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"learning_rate": 0.0}, "`learning_rate` must be a number > 0. Received: 0.0"),
        ({"schedule": "step"}, "`schedule` must be one of cosine"),
        (
            {"schedule": "linear", "compile_fn": print},
            "`compile_fn` creates the optimizer",
        ),
    ],
)
def test_recipes_that_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        rp.FitRecipe(1, **fields)


def test_a_rate_of_every_step_needs_their_number(trained):
    import tensorflow as tf

    x, y = fit_data().train
    endless = (
        tf.data.Dataset.from_tensor_slices((x, y)).batch(16).filter(lambda x, y: True)
    )
    data = rp.FitData(endless, fit_data().validation)
    with pytest.raises(ValueError, match="number of batches of `train` is unknown"):
        rp.prune_and_retrain(
            trained, data, rp.FitRecipe(1), initial="as_given", run=QUIET
        )


def test_a_schedule_upon_a_schedule_is_refused(trained):
    model = keras.models.clone_model(trained)
    falling = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model.compile(keras.optimizers.SGD(falling), "sparse_categorical_crossentropy")
    removal = rp.Removal(monitor="loss", tolerance=9.0)
    recipe = rp.FitRecipe(1, schedule="linear")
    with pytest.raises(ValueError, match="a learning rate schedule already"):
        rp.prune_and_retrain(model, fit_data(), recipe, removal=removal, run=QUIET)
    callback = rp.FitRecipe(
        1, callbacks=lambda: [keras.callbacks.ReduceLROnPlateau()], learning_rate=0.1
    )
    with pytest.raises(ValueError, match="a ReduceLROnPlateau, but the schedule"):
        rp.prune_and_retrain(
            model, fit_data(), callback, initial="as_given", removal=removal, run=QUIET
        )


class Rates(keras.callbacks.Callback):
    """Notes the learning rate before every step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        rate = self.model.optimizer.learning_rate
        self.seen.append(float(keras.ops.convert_to_numpy(rate)))


@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("warmup_linear", [0.875 / 0.9, 0.625 / 0.9, 0.375 / 0.9, 0.125 / 0.9]),
        ("linear", [1.0, 1.0, 0.5, 0.5]),
        ("cosine", [1.0, 1.0, 0.5, 0.5]),
        ("constant", [1.0, 1.0, 1.0, 1.0]),
        (None, [5.0, 5.0, 5.0, 5.0]),
    ],
)
def test_schedules_of_a_fit(schedule, expected):
    """Two epochs of two steps."""
    model = net_of((4,), LAYERS.Dense(4))
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    x = y = np.zeros((64, 4), "float32")
    rate = None if schedule is None else 0.02
    recipe = rp.FitRecipe(2, learning_rate=rate, schedule=schedule)
    data = rp.FitData((x, y), (x, y), batch_size=32)
    rates = Rates()
    trainer = recipe.trainer(
        model, data, 0, template=model, teacher=None, guidance=None, strategy=None
    )
    trainer.fit(callbacks=[rates])
    assert rates.seen == pytest.approx([0.02 * e for e in expected], rel=1e-5)


def test_a_rate_that_rises_for_a_tenth():
    schedule = StepSchedule("warmup_linear", 0.5, 100)
    rates = [float(schedule(step)) for step in range(101)]
    assert np.argmax(rates) in (9, 10)
    assert rates[0] == pytest.approx(0.5 * 0.05)
    assert rates[54] == pytest.approx(0.5 * (1 - 0.545) / 0.9)
    assert rates[100] == rates[99] == pytest.approx(0.5 * 0.005 / 0.9)
    named = rp.Recipe(epochs=100, learning_rate=0.5, schedule="warmup_linear")
    for step in (3, 40, 99):
        assert named.learning_rate_at(step + 0.5) == pytest.approx(rates[step])
    copy = StepSchedule.from_config(schedule.get_config())
    assert float(copy(7)) == rates[7]


def test_frozen_statistics_stay():
    model = images_net(units=2)
    for layer in model.layers:
        if isinstance(layer, LAYERS.BatchNormalization):
            layer.trainable = False
    result = rp.prune_and_retrain(
        compiled(model),
        fit_data(),
        rp.FitRecipe(1, learning_rate=1e-6),
        initial="as_given",
        removal=rp.Removal(max_rounds=1, tolerance=0.9),
        run=QUIET,
    )
    assert [r.recalibrated for r in result.rounds] == [0, 0]


@pytest.mark.parametrize("wrong", [0, 1])
def test_examples_on_which_no_mistake_is_made_are_doubted(trained, capsys, wrong):
    x, _ = fit_data().train
    y = outputs(trained, x).argmax(-1)
    y[:wrong] = (y[:wrong] + 1) % 3
    rp.prune_and_retrain(
        trained,
        rp.FitData((x, y), (x, y)),
        rp.FitRecipe(epochs=1),
        initial="as_given",
        removal=rp.Removal(max_rounds=0),
    )
    told = "NOTE: The model classifies 100.00% of the validation examples correctly"
    assert (told in capsys.readouterr().out) == (wrong == 0)


def test_all_units_that_a_target_requires_go_at_once(trained, tmp_path):
    """Chosen as by a search, and not by the smallest scores of the whole model."""
    order = ["unit_2", "unit_0", "unit_1"]

    def criterion(model):
        left = [unit.name for unit in rp.find_units(model)]
        # Without the first, the one that had the largest score has the smallest.
        scores = {"unit_2": 0.1, "unit_1": 0.2, "unit_0": 0.3}
        if "unit_2" not in left:
            scores = {"unit_0": 0.1, "unit_1": 0.2}
        return {name: scores[name] for name in left}

    removal = rp.Removal(
        target=rp.Target(units=1),
        units_per_round="all",
        criterion=criterion,
        tolerance="auto",
    )
    recipe = rp.FitRecipe(epochs=2)
    arguments = {"initial": "as_given", "guidance": None, "removal": removal}

    def run(should_stop=None):
        return rp.prune_and_retrain(
            trained,
            fit_data(),
            recipe,
            run=rp.RunOptions(tmp_path, verbose=False, should_stop=should_stop),
            **arguments,
        )

    calls = itertools.cycle([None, None, "enough"])
    with pytest.raises(rp.RunInterrupted):
        run(
            lambda: next(calls, "enough") if (tmp_path / "state.npz").exists() else None
        )
    result = run()
    assert [r.removed for r in result.rounds] == [(), tuple(order[:2])]
    assert result.final["target_reached"]
    assert run().rounds == result.rounds  # the same call again, tolerance and all
    rp.pack_run(tmp_path, tmp_path / "run.tar")


def test_units_per_round_of_another_kind():
    with pytest.raises(ValueError, match="\"all\" for all units .* Received: 'some'"):
        rp.Removal(units_per_round="some")


def test_a_training_in_bfloat16_is_measured_and_saved_in_float32(tmp_path):
    given = compiled(images_net(units=2), eagerly=False)
    result = rp.prune_and_retrain(
        given,
        fit_data(),
        rp.FitRecipe(epochs=1, precision="bfloat16"),
        initial="as_given",
        removal=rp.Removal(max_rounds=1, tolerance=0.9),
        run=rp.RunOptions(tmp_path, verbose=False),
    )
    settings = read_json(tmp_path / "run.json")
    assert settings["retrain_recipe"]["precision"] == "bfloat16"
    last = result.rounds[-1]
    model = keras.saving.load_model(tmp_path / last.model)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    x, y = fit_data().validation
    if not model.compiled:
        rp.compile_like(model, given)
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    assert last.validation == pytest.approx(expected, rel=1e-5)


def test_an_unknown_precision():
    with pytest.raises(ValueError, match="`precision` must be .* Received: 'float16'"):
        rp.FitRecipe(epochs=1, precision="float16")
