"""Trainings that diverge: what is kept of the run, and what is said of the cause."""

import json
import math
import re
import shutil
import types

import keras
import numpy as np
import pytest

import resprune_tf as rp
from resprune_tf.runs.state_file import pack_run, unpack_run
from resprune_tf.training.divergence import broken, fit_reason, reason
from tests.made.fits import dense_net, numbers, regression_data, shorten

pytestmark = pytest.mark.slow


def net(rate=0.01):
    model = dense_net(units=2)
    # The few steps of these trainings take less than tracing one.
    model.compile(keras.optimizers.SGD(rate), "mse", metrics=["mae"], run_eagerly=True)
    return model


class Blows(keras.callbacks.Callback):
    """Spoils a training as a rate that is too high does."""

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.params["steps"]:
            self.model.get_layer("head").kernel.assign(
                np.full((8, 1), np.float32("inf"))
            )


class Recipes:
    """A recipe whose training of one round diverges."""

    def __init__(self, number, epochs=2):
        self.begun, self.number, self.epochs = -1, number, epochs

    def callbacks(self):
        self.begun += 1
        return [Blows()] if self.begun == self.number else []

    def __call__(self):
        return rp.FitRecipe(self.epochs, callbacks=self.callbacks)


def diverging(run_dir, number, epochs=2, **settings):
    # The checks before the run make callbacks twice.
    recipe = Recipes(number + 2, epochs)()
    return shorten(net(), regression_data(), recipe, run_dir=run_dir, **settings)


@pytest.fixture(scope="module")
def diverged(tmp_path_factory):
    """A run whose round 2 diverged, by its loss."""
    folder = tmp_path_factory.mktemp("diverged")
    told = "round 2.*The training data are finite.*lower"
    with pytest.warns(UserWarning, match=told):
        return folder, diverging(folder, 2, tolerance=100.0)


def assert_ended(folder, result, number):
    """That a round ended a run with those before."""
    assert [each.round for each in result.rounds] == [*range(number)]
    assert result.selected.round == number - 1 and not result.final["target_reached"]
    assert result.final["stop_reason"] == f"round {number} diverged"
    assert result.final["diverged"]["round"] == number
    assert not broken(result.model) and not (folder / "state.npz").exists()


def test_a_later_round_ends_the_run_with_those_before(diverged):
    assert_ended(*diverged, 2)


def test_the_weights_alone_show_it_and_the_progress_says_it(tmp_path, capsys):
    """After a single epoch, whose loss is that before its last step."""
    assert_ended(tmp_path, diverging(tmp_path, 1, epochs=1, verbose=True), 1)
    told = r"WARNING: .*round 1.*The training data are finite.*lower"
    assert re.search(told, " ".join(capsys.readouterr().out.split()))


def test_a_diverged_run_says_so_again_until_it_is_healed(tmp_path, diverged):
    folder, result = tmp_path / "run", diverged[1]
    shutil.copytree(diverged[0], folder)
    # The same call trains nothing, and says the same.
    with pytest.warns(UserWarning, match="round 2"):
        again = diverging(folder, -9, tolerance=100.0)
    assert again.final == result.final
    # So does another tolerance, and a run that was moved.
    with pytest.warns(UserWarning, match="round 2"):
        strict = diverging(folder, -9, tolerance=0.0)
    assert strict.final["diverged"] == result.final["diverged"]
    pack_run(folder, tmp_path / "run.tar")
    unpack_run(tmp_path / "run.tar", tmp_path / "moved")
    assert (tmp_path / "moved" / "diverged.json").exists()
    (folder / "diverged.json").unlink()
    healed = diverging(folder, -9, tolerance=100.0)
    assert len(healed.rounds) == 3 and "diverged" not in healed.final


@pytest.mark.parametrize("epochs", [2, 1])
def test_the_initial_training_is_an_error(tmp_path, epochs):
    with pytest.raises(rp.TrainingDiverged, match="lower it. Then start a new run"):
        diverging(tmp_path, 0, epochs)
    assert not (tmp_path / "final.json").exists()


def test_the_data_are_named(tmp_path):
    """Of a pipeline the first batch alone is looked at before the training."""
    import tensorflow as tf

    x, y = numbers()
    x[34, 3] = math.nan
    train = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    with pytest.raises(rp.TrainingDiverged, match="`x`, example 2 of batch 2: correct"):
        shorten(
            net(),
            rp.FitData(train=train, validation=numbers(16, 1)),
            run_dir=tmp_path,
        )


def test_the_place_in_a_pipeline():
    import tensorflow as tf

    x, y = numbers()
    weight = np.ones(48, "float32")
    weight[40] = math.inf
    batches = tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(16)
    data = rp.FitData(train=batches.repeat(), validation=(x, y))
    assert "`sample_weight`, example 8 of batch 2" in reason(data.splits["train"], 9)
    assert "data are finite" in reason(data.splits["train"], 2)
    assert "batch 2" in fit_reason(batches) and "NaN" in fit_reason(iter([]))


def deletion(number, monitor, epochs=2):
    made = rp.LayerDeletion(epochs, monitor=monitor, tolerance=100.0)
    recipes = Recipes(number + 2, epochs)  # as for `diverging`
    return rp.fit_with_deletion(
        net(), made, *numbers(), make_callbacks=recipes.callbacks, verbose=0
    ), made


@pytest.mark.parametrize("monitor", [None, "mae"])
@pytest.mark.parametrize("epochs", [2, 1])
def test_fit_with_deletion_keeps_the_last_that_held(monitor, epochs):
    with pytest.warns(UserWarning, match="data are finite"):
        (model, rounds), made = deletion(1, monitor, epochs)
    assert [each.accepted for each in rounds] == [True, False]
    assert not broken(model) and len(rp.find_units(model)) == 2
    assert "diverged" in made.stop_reason and made.pruned_model is None
    with pytest.raises(rp.TrainingDiverged, match="data are finite"):
        deletion(0, monitor, epochs)


def test_the_record_says_why(diverged):
    from resprune_tf.report.summary import format_rounds

    folder, result = diverged
    final = json.loads((folder / "final.json").read_text())
    assert f"WARNING: {final['diverged']['reason']}" in format_rounds(
        result.rounds, final
    )


@pytest.mark.parametrize(("selected", "told"), [(1, "is written"), (0, "no earlier")])
def test_the_command_line_fails_with_the_reason(selected, told):
    from resprune_cli.work.retraining import failure

    rounds = [types.SimpleNamespace(round=number) for number in (0, 1)]
    final = {"diverged": {"round": 2, "reason": "It became nan."}}
    result = types.SimpleNamespace(
        rounds=rounds, selected=rounds[selected], final=final
    )
    said = failure(result, None, "mae", None)
    assert said.startswith("It became nan.") and told in said
