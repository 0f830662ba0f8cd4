"""Nets side by side equal nets alone. Run on JAX by tests/test_side_by_side.py.

Everything is float64, so that what differs beyond 1e-12 differs in more than rounding.
"""

import keras
import numpy as np
import pytest
from keras.src.backend.common import dtypes

from resprune_tf import (
    Recipe,
    callbacks,
    graph,
    prune_and_retrain,
    prune_side_by_side,
    remove_units,
)
from resprune_tf.callbacks import (
    Checkpoint,
    RunInterrupted,
    StopCheck,
    TrainingDiverged,
)
from resprune_tf.checkpoint import load_state, read_meta
from resprune_tf.distillation import Guidance
from resprune_tf.fast_copy import fast_copy
from resprune_tf.importance import ImportanceScale, importances
from resprune_tf.members import Member
from resprune_tf.side_by_side import SideBySide
from resprune_tf.training import Trainer, evaluate
from tests.conftest import randomise, shallow_net, small_net, toy_dataset

RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.05, milestones=(2,))
DATASET = toy_dataset()
GONE = [("stage1_unit2",), ("stage1_unit4", "stage1_unit3")]


@pytest.fixture(scope="module", autouse=True)
def _float64():
    import jax

    with pytest.MonkeyPatch.context() as patch:
        # Keras on JAX would take means in float32 all the same.
        patch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
        jax.config.update("jax_enable_x64", True)
        keras.config.set_floatx("float64")
        yield
        keras.config.set_floatx("float32")
        jax.config.update("jax_enable_x64", False)


def whole_net():
    def clone(operation):
        config = {**operation.get_config(), "dtype": "float64"}  # logits: float32
        if isinstance(operation, ImportanceScale):
            config["l1"] = 0.01
        return type(operation).from_config(config)

    return graph.rebuild(shallow_net(), clone=clone)


@pytest.fixture(scope="module")
def side(_float64):
    return SideBySide(whole_net(), DATASET, RECIPE)


def trainers(gone=GONE, recipe=RECIPE, **arguments):
    """Trainers of nets with other units and values each."""
    cores = [remove_units(whole_net(), units) for units in gone]
    for seed, core in enumerate(cores, start=10):
        randomise(core, seed)
    return [
        Trainer(core, DATASET, recipe, seed, **arguments)
        for seed, core in enumerate(cores, start=5)
    ]


class Logs(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.lines = []

    def on_epoch_end(self, epoch, logs=None):
        self.lines.append({"epoch": epoch, **logs})


class StopAfter(keras.callbacks.Callback):
    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch + 1 == self.epochs


def values(trainer):
    """All that training changes, moments and seeds included."""
    model = trainer.model
    variables = model.variables + model.optimizer.variables
    return [np.array(each) for each in (*variables, *trainer.core.variables)]


def assert_equal(ones, others, tolerance=0.0):
    for one, other in zip(ones, others, strict=True):
        for a, b in zip(values(one), values(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def unbroken(side):
    """Members after their training, and their logs."""
    found = trainers()
    logs = [Logs() for _ in found]
    side.fit(
        [Member(each, callbacks=[log]) for each, log in zip(found, logs, strict=True)]
    )
    return found, [log.lines for log in logs]


def test_members_equal_trainers_of_really_removed_nets(unbroken):
    for alone, member, lines in zip(trainers(), *unbroken, strict=True):
        log = Logs()
        alone.fit(callbacks=[log])
        assert_equal([alone], [member], 1e-12)
        for ours, theirs in zip(lines, log.lines, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-12)


def test_one_program_serves_other_units_and_lone_epochs(side, unbroken):
    others = trainers([("stage1_unit3",), ("stage1_unit2",)])
    side.fit([Member(others[0]), Member(others[1], initial_epoch=2)])
    alone = trainers([("stage1_unit3",), ("stage1_unit2",)])[1]
    alone.fit(initial_epoch=2)
    assert_equal([alone], [others[1]], 1e-12)
    assert side._training._program._cache_size() == 1


def test_lost_units_stay_at_0_and_their_parameters_do_not_matter(side, unbroken):
    training = side._training
    rng = np.random.default_rng(0)
    for (group, *_), variable in training._whole.items():
        if group == "net":
            variable.assign(rng.uniform(0.1, 2, variable.shape))
    members = trainers()
    side.fit([Member(each) for each in members])
    assert_equal(members, unbroken[0])  # to the last bit
    # The net lies in the model that is trained, whose name stands before its units'.
    scales = {name.rpartition("/")[2] for name in importances(training._model)}
    for member, units in enumerate(GONE):
        for place, kept in training._kept.items():
            name = training._keys[0][place][1].removesuffix("_importance")
            assert kept[member] == (name not in units) and name in scales
            assert (training._state[0][place][member] == 0) == (name in units)


def test_stopped_and_continued_equals_unbroken(side, unbroken, tmp_path, monkeypatch):
    """Stopped together, when one of them had not saved its last epoch."""
    monkeypatch.setattr(callbacks, "SAVING_SHARE", np.inf)
    paths = [tmp_path / "0.npz", tmp_path / "1.npz"]
    savers = [Checkpoint(path, {"round": 1}, []) for path in paths]

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            savers[1].next_saving = np.inf
            if epoch == 1:
                raise RunInterrupted("enough")

    one, other = trainers()
    with pytest.raises(RunInterrupted, match="enough"):
        side.fit(
            [Member(one, 0, savers[:1]), Member(other, 0, [savers[1], Interrupt()])]
        )
    assert [read_meta(path)["epoch"] for path in paths] == [2, 1]

    continued = trainers()
    for path, trainer in zip(paths, continued, strict=True):
        randomise(trainer.model)
        load_state(path, trainer.model)
    side.fit([Member(continued[0], 2), Member(continued[1], 1)])
    assert_equal(continued, unbroken[0])
    assert read_meta(paths[0])["history"][0]["learning_rate"] == pytest.approx(0.05)


def test_members_end_by_themselves(side, unbroken):
    """One is done, one is stopped: the other goes on."""
    done, going = trainers()
    before = done.core.get_weights()
    side.fit([Member(done, initial_epoch=3), Member(going)])
    for a, b in zip(before, done.core.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert_equal([going], unbroken[0][1:])
    going, stopped = trainers()
    side.fit([Member(going), Member(stopped, 0, [StopAfter(1)])])
    assert_equal([going], unbroken[0][:1])
    assert int(stopped.model.optimizer.iterations) == stopped.steps
    for a, b in zip(
        stopped.model.get_layer(stopped.core.name).weights,
        stopped.core.weights,
        strict=True,
    ):
        np.testing.assert_array_equal(np.array(a), np.array(b))


def test_one_that_diverges_does_not_keep_the_others_from_saving(side, tmp_path):
    fine, diverging = trainers()
    diverging.recipe = RECIPE.replace(learning_rate=1e200, milestones=(3,))
    paths = [tmp_path / "0.npz", tmp_path / "1.npz"]
    stop = StopCheck(deadline=0.0)
    stop.check = lambda: None
    with pytest.raises(TrainingDiverged, match="rate 1e\\+200"):
        side.fit(
            [
                Member(fine, 0, [Checkpoint(paths[0], {}, [], stop)]),
                Member(diverging, 0, [Checkpoint(paths[1], {}, [])]),
            ]
        )
    assert read_meta(paths[0])["epoch"] == 1 and not paths[1].exists()


def test_evaluation_equals_that_of_each_net(side, unbroken):
    cores = [member.core for member in unbroken[0]]
    found = side.evaluate(cores, DATASET.validation, batch_size=16)
    for core, measures in zip(cores, found, strict=True):
        assert measures == pytest.approx(evaluate(core, DATASET.validation), rel=1e-6)


def test_a_teacher_stock_convolutions_and_an_epoch_a_dispatch():
    guidance = Guidance(temperature=2.0, weight=0.7)
    recipe = RECIPE.replace(epochs=1)
    side = SideBySide(
        whole_net(), DATASET, recipe, dispatch=4, guidance=guidance, matmul=False
    )
    teacher = whole_net()
    randomise(teacher, 99)
    taught = dict(recipe=recipe, teacher=teacher, guidance=guidance)
    member, alone = (trainers(GONE[:1], **taught)[0] for _ in range(2))
    side.fit([Member(member)])
    alone.fit()
    assert_equal([alone], [member], 1e-12)
    with pytest.raises(ValueError, match="guidance, Guidance.* Received: None"):
        side.fit([Member(trainers(GONE[:1])[0])])


def test_misfits_are_refused_before_any_work(side):
    fine = trainers(GONE[:1])[0]
    other_batch = trainers(GONE[:1], RECIPE.replace(batch_size=8))[0]
    elsewhere = Trainer(fine.core, toy_dataset(), RECIPE, 0)
    for members, message in (
        ([], "no member"),
        ([Member(fine), Member(other_batch)], "share `batch_size`.* 16 .*: 8"),
        ([Member(elsewhere)], "share the data set"),
        ([Member(Trainer(small_net(20), DATASET, RECIPE, 0))], "has other layers"),
    ):
        with pytest.raises(ValueError, match=message):
            side.fit(members)


def test_the_net_is_only_read():
    net = whole_net()
    before = net.get_weights()
    SideBySide(net, DATASET, RECIPE)
    for a, b in zip(before, net.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert fast_copy(net).count_params() == net.count_params()


def test_runs_side_by_side_are_the_runs_alone(tmp_path):
    """Two seeds: same removals, same accuracies, one record each; one continued."""
    recipe = RECIPE.replace(epochs=2, milestones=None)
    models = []
    for seed in (0, 1):
        models.append(whole_net())
        randomise(models[-1], seed)
    own = [{"model": model, "seed": seed} for seed, model in enumerate(models)]
    shared = dict(dataset=DATASET, recipe=recipe, max_rounds=2, verbose=False)
    alone = [
        prune_and_retrain(**run, **shared, run_dir=tmp_path / f"alone{run['seed']}")
        for run in own
    ]
    runs = [{**run, "run_dir": tmp_path / f"both{run['seed']}"} for run in own]
    asked = iter([None] * 30)
    with pytest.raises(RunInterrupted):
        prune_side_by_side(runs, should_stop=lambda: next(asked, "enough"), **shared)
    both = prune_side_by_side(runs, **shared)
    for one, other in zip(alone, both, strict=True):
        for ours, theirs in zip(one.rounds, other.rounds, strict=True):
            assert ours.removed == theirs.removed
            assert ours.test["accuracy"] == theirs.test["accuracy"]
            assert ours.test == pytest.approx(theirs.test, rel=1e-9)
            for unit, value in ours.importances.items():
                assert theirs.importances[unit] == pytest.approx(value, rel=1e-9)
        assert len(one.rounds) == 3
