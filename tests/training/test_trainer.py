"""Recipe, L2 through the momentum, order of images, exact resume."""

import math

import keras
import numpy as np
import pytest

from resprune_tf import ImportanceScale, Recipe, prune_and_retrain
from resprune_tf.runs import callbacks
from resprune_tf.runs.callbacks import (
    Checkpoint,
    DivergenceCheck,
    RunInterrupted,
    StopCheck,
    TrainingDiverged,
)
from resprune_tf.runs.checkpoint import load_state, read_meta, save_state
from resprune_tf.training.fit_training import with_learning_rate
from resprune_tf.training.recipe import L2SGD, _in_float16
from resprune_tf.training.trainer import Trainer, epoch_order, evaluate
from tests.conftest import (
    net_of,
    outputs,
    randomise,
    shallow_net,
    small_net,
    toy_dataset,
)

pytestmark = pytest.mark.slow

RECIPE = Recipe(epochs=3, batch_size=16)


@pytest.mark.parametrize(
    ("epochs", "milestones"),
    [(200, (81, 122)), (120, (49, 73)), (60, (24, 37)), (30, (12, 18)), (2, (2, 2))],
)
def test_milestones_scale(epochs, milestones):
    assert Recipe(epochs=epochs).milestones == milestones
    assert Recipe().replace(epochs=epochs).milestones == milestones


def test_milestones_of_ones_own_are_scaled_too():
    recipe = Recipe(epochs=90, milestones=(31, 61))
    for changes in ({"learning_rate": 0.01}, {"parts": 4}, {"l2": 0.0}):
        assert recipe.replace(**changes).milestones == (31, 61)
    assert recipe.replace(epochs=30).milestones == (10, 20)
    assert recipe.replace(milestones=(5,)).milestones == (5,)
    assert recipe.replace(schedule="cosine").milestones == ()
    beyond = Recipe(epochs=3, milestones=(2, 81))
    assert beyond.replace(epochs=0).milestones == (2,)
    assert beyond.replace(epochs=30).milestones == (20,)


def test_learning_rate_drops_from_the_milestones_on():
    recipe = Recipe()
    rates = [recipe.learning_rate_at(epoch) for epoch in (0, 79, 80, 120, 121, 199)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": -1},
        {"batch_size": 0},
        {"parts": 0},
        {"learning_rate": 0.0},
        {"momentum": 1.0},
        {"l2": -1.0},
    ],
)
def test_senseless_recipes(fields):
    name = next(iter(fields))
    with pytest.raises(ValueError, match=f"`{name}` must be.*{fields[name]}"):
        Recipe(**fields)


@pytest.mark.parametrize("nesterov", [False, True])
def test_l2sgd_equals_l2_in_the_loss(nesterov):
    """And is not what Keras calls weight decay."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 5)).astype("float32"), rng.integers(0, 3, 64)

    def trained(optimizer, l2=None):
        keras.utils.set_random_seed(0)
        penalty = keras.regularizers.L2(l2 / 2) if l2 else None
        layer = keras.layers.Dense(
            3, kernel_regularizer=penalty, bias_regularizer=penalty
        )
        model = keras.Sequential([keras.Input((5,)), layer])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss)
        for step in range(40):
            rows = slice(step % 4 * 16, step % 4 * 16 + 16)
            model.train_on_batch(x[rows], y[rows])
        return model.get_weights()

    momentum = dict(momentum=0.9, nesterov=nesterov)
    ours = trained(L2SGD(0.05, l2=0.02, **momentum))
    reference = trained(keras.optimizers.SGD(0.05, **momentum), l2=0.02)
    decoupled = trained(keras.optimizers.SGD(0.05, weight_decay=0.02, **momentum))
    for a, b in zip(ours, reference, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert np.linalg.norm(ours[0]) < 0.97 * np.linalg.norm(decoupled[0])


def test_l2sgd_round_trip():
    config = L2SGD(0.2, l2=0.01, momentum=0.9).get_config()
    assert L2SGD.from_config(config).l2 == 0.01


def test_order_is_a_pure_function_and_drops_other_images_each_epoch():
    first = epoch_order(50, 16, seed=3, epoch=0)
    assert first.shape == (3, 16) and first.dtype == np.int32
    assert len(np.unique(first)) == 48
    np.testing.assert_array_equal(first, epoch_order(50, 16, seed=3, epoch=0))
    assert (first != epoch_order(50, 16, seed=3, epoch=1)).any()
    assert (first != epoch_order(50, 16, seed=4, epoch=0)).any()


def trainer(recipe=RECIPE, seed=5):
    """Of a net with all that a state holds: weights, statistics and an ω."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    net = net_of(
        (8, 8, 3),
        layers.Conv2D(4, 3, 2, padding="same", name="conv"),
        layers.BatchNormalization(momentum=0.9, name="bn"),
        layers.ReLU(),
        ImportanceScale(keras.initializers.Constant(0.5), name="importance"),
        layers.Flatten(),
        layers.Dense(3, name="logits"),
    )
    return Trainer(net, toy_dataset(), recipe, seed)


@pytest.fixture(scope="module")
def straight():
    """The weights after a training without a break."""
    trained = trainer()
    trained.fit()
    return trained.core.get_weights()


def test_training_learns_and_evaluation_counts_exactly():
    trained = trainer(Recipe(epochs=8, batch_size=16))
    trained.fit()
    dataset = toy_dataset()
    loss, accuracy = evaluate(trained.core, dataset.validation, batch_size=10)
    logits = outputs(trained.core, dataset.validation.images.astype("float32"))
    right = (logits.argmax(1) == dataset.validation.labels).mean()
    assert accuracy == right and accuracy > 0.6
    cross_entropy = keras.losses.sparse_categorical_crossentropy(
        dataset.validation.labels, logits, from_logits=True
    )
    assert loss == pytest.approx(float(np.mean(cross_entropy)), rel=1e-4)


def test_a_training_step_is_repeatable_to_the_last_bit():
    """At the paper's image size, where TensorFlow's timing used to show in the sums."""
    model = small_net(20, width=16, image_shape=(32, 32, 3))
    optimizer = keras.optimizers.SGD(0.1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(64, 32, 32, 3)).astype("float32")
    labels = rng.integers(0, 5, 64)
    start = model.get_weights()
    ends = []
    for _ in range(8):
        model.set_weights(start)
        model.train_on_batch(images, labels)
        ends.append(model.get_weights())
    for end in ends[1:]:
        for a, b in zip(ends[0], end, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_split_smaller_than_a_batch_is_refused():
    with pytest.raises(ValueError, match="needs 128 images. Received: 64"):
        trainer(Recipe(epochs=1))


def test_a_learning_rate_may_be_an_integer():
    for optimizer in (
        Recipe(epochs=1, learning_rate=1).optimizer(),
        with_learning_rate(keras.optimizers.Adam(0.5), 1),
    ):
        assert float(optimizer.learning_rate) == 1.0


def test_state_continues_exactly(straight, tmp_path, monkeypatch):
    """Stopped after two epochs, continued in another model: not a bit of difference."""
    stopped = trainer()
    history = []

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    path = tmp_path / "state.npz"
    monkeypatch.setattr(callbacks, "SAVING_SHARE", math.inf)
    stopped.fit(callbacks=[Checkpoint(path, {"round": 4}, history), Stop()])
    meta = read_meta(path)
    assert meta["round"] == 4 and meta["epoch"] == 2 and len(meta["history"]) == 2
    assert meta["history"][1]["learning_rate"] == pytest.approx(0.001)

    continued = trainer()
    randomise(continued.model)  # the state brings it all, seeds too
    load_state(path, continued.model)
    continued.fit(initial_epoch=2)
    for a, b in zip(straight, continued.core.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_epochs_in_parts_train_the_same_net_and_continue_within_one(
    straight, tmp_path, monkeypatch
):
    """Four steps an epoch; stopped after an epoch and a half."""
    divided = trainer(RECIPE.replace(parts=2))
    divided.fit()

    monkeypatch.setattr(callbacks, "SAVING_SHARE", math.inf)
    path, history = tmp_path / "state.npz", []
    asked = iter([None] * 8 + ["enough"])  # before each step, after each part
    stop = StopCheck(lambda: next(asked))
    with pytest.raises(RunInterrupted):
        saver = Checkpoint(path, {"round": 0}, history, stop, parts=2)
        trainer(RECIPE.replace(parts=2)).fit(callbacks=[saver])
    assert [line["epoch"] for line in history] == [0.5, 1, 1.5]
    rates = [line["learning_rate"] for line in history]
    assert rates == pytest.approx([RECIPE.learning_rate_at(e) for e in (0, 0, 1)])
    continued = trainer(RECIPE.replace(parts=2))
    load_state(path, continued.model)
    continued.fit(initial_epoch=len(history))

    for net in (divided, continued):
        for a, b in zip(straight, net.core.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_parts_leave_out_what_does_not_divide():
    odd = trainer(RECIPE.replace(parts=3))
    assert (odd.steps, odd.total) == (1, 3 * RECIPE.epochs)
    rows = odd._orders(1)
    assert rows.shape == (3 * RECIPE.epochs - 1, 1, 16)
    order = epoch_order(64, 16, odd.seed, 0)
    np.testing.assert_array_equal(rows[:2, 0], order[1:3])
    with pytest.raises(ValueError, match="each of 5 parts. Received: 64 training"):
        trainer(RECIPE.replace(parts=5))


def test_state_of_another_net_is_refused(tmp_path):
    model = trainer().model
    model.optimizer.build(model.trainable_variables)
    save_state(tmp_path / "s.npz", model)
    other = Trainer(shallow_net(), toy_dataset(), RECIPE, 0).model
    with pytest.raises(ValueError, match="state of another model"):
        load_state(tmp_path / "s.npz", other)
    assert read_meta(tmp_path / "none.npz") is None


def test_divergence_stops_and_keeps_the_last_state(tmp_path):
    diverging = trainer(Recipe(epochs=3, batch_size=16, learning_rate=1e30))
    saver = Checkpoint(tmp_path / "s.npz", {"round": 2}, [])
    with pytest.raises(TrainingDiverged, match="round 2 at learning rate"):
        diverging.fit(callbacks=[DivergenceCheck(number=2), saver])
    state = read_meta(tmp_path / "s.npz")
    assert state is None or all(np.isfinite(e["loss"]) for e in state["history"])


def test_a_divergence_is_in_an_epoch_not_in_a_part_of_one():
    check = DivergenceCheck(number=1, parts=4)
    check.on_epoch_end(9, {"loss": 1.0})
    with pytest.raises(TrainingDiverged, match="nan in epoch 3 of round 1 at .* 0.5"):
        check.on_epoch_end(9, {"loss": float("nan"), "learning_rate": 0.5})


def test_stop_requests_and_deadlines(tmp_path):
    asked = iter([None] * 6 + ["enough"])
    stop = StopCheck(lambda: next(asked))
    with pytest.raises(RunInterrupted, match="enough"):
        trainer().fit(
            callbacks=[Checkpoint(tmp_path / "s.npz", {"round": 0}, [], stop)]
        )
    assert read_meta(tmp_path / "s.npz")["epoch"] == 1
    saver = Checkpoint(tmp_path / "t.npz", {"round": 0}, [], StopCheck(deadline=0.0))
    with pytest.raises(RunInterrupted, match="time budget"):
        trainer().fit(callbacks=[saver])
    assert not (tmp_path / "t.npz").exists()


def test_the_state_of_a_model_in_bfloat16(tmp_path):
    """NumPy's files do not know this type."""
    model = net_of((3,), keras.layers.Dense(2, dtype="bfloat16"))
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    randomise(model)
    save_state(tmp_path / "s.npz", model, round=0)
    before = [np.array(v, "float32") for v in model.variables]
    randomise(model, seed=1)
    load_state(tmp_path / "s.npz", model)
    for old, new in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, np.array(new, "float32"))


def test_float16_without_a_scaled_loss_is_refused():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = small_net()
        image = keras.Input((8, 8, 3))
        flat = keras.layers.Flatten(dtype="float32")(image)
        logits = keras.layers.Dense(3, dtype="float32")(flat)
        assert _in_float16(keras.Model(image, logits)) is None
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.raises(ValueError, match="compute in float16.*scaled loss.*bfloat16"):
        prune_and_retrain(model, toy_dataset(), RECIPE)
