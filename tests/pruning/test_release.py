"""The nets of a round are gone before those of the next one are made."""

import gc
import weakref

import keras
import pytest

import resprune_tf as rp
from resprune_tf.training import recipe
from tests.conftest import shallow_net, toy_dataset
from tests.made.fits import numbers, regression_data, regression_net, shorten

pytestmark = pytest.mark.slow


def graphs():
    """How many graphs TensorFlow has traced that are still there."""
    return sum(type(each).__name__ == "FuncGraph" for each in gc.get_objects())


class Watch(keras.callbacks.Callback):
    """Notes how many nets and graphs of earlier trainings are there when one begins."""

    def __init__(self, nets, alive, traced=None):
        super().__init__()
        self.nets, self.alive, self.traced = nets, alive, traced

    def on_train_begin(self, logs=None):
        if self.traced is not None:
            self.traced.append(graphs())
        self.alive.append(sum(net() is not None for net in self.nets))
        self.nets.append(weakref.ref(self.model))


def test_on_terms_of_one_s_own():
    nets, alive, traced = [], [], []
    recipe = rp.FitRecipe(1, callbacks=lambda: [Watch(nets, alive, traced)])
    shorten(regression_net(), regression_data(), recipe, verbose=True)
    assert alive == [0, 0, 0]
    assert len({*traced[1:]}) == 1  # the first is after other work


def test_of_a_data_set(monkeypatch):
    trainers, alive = [], []

    class Watched(recipe.Trainer):
        def __init__(self, *arguments, **options):
            alive.append(sum(each() is not None for each in trainers))
            super().__init__(*arguments, **options)
            trainers.extend(map(weakref.ref, (self, self.core, self.model)))

    monkeypatch.setattr(recipe, "Trainer", Watched)
    rp.prune_and_retrain(
        shallow_net(),
        toy_dataset(),
        rp.Recipe(epochs=1, batch_size=16),
        removal=rp.Removal(units_per_round=0, max_rounds=1),
        run=rp.RunOptions(verbose=True),
    )
    assert alive == [0, 0, 0]  # the last measures the model that was given


@pytest.mark.parametrize("units, target", [(3, None), (4, rp.Target(units=1))])
def test_of_deletion(units, target):
    """But for the model given, which the caller holds, and the best so far."""
    nets, alive = [], []
    deletion = rp.LayerDeletion(1, target=target)
    given = regression_net(units=units)
    model, _ = rp.fit_with_deletion(
        given,
        deletion,
        *numbers(),
        make_callbacks=lambda: [Watch(nets, alive)],
        verbose=0,
    )
    assert alive[:3] == [0, 1, 2] and alive[3:] == [2] and len(nets) == 4
