"""A pruned model is compiled like its source; its optimizer continues or begins."""

import functools

import keras
import numpy as np
import pytest
from keras import layers, optimizers

import resprune_tf as rp
from resprune_tf import graph
from resprune_tf.graph.compilation import create_state
from tests.made.fits import dense_net, numbers

pytestmark = pytest.mark.slow

OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.1, momentum=0.9),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    "averaged": lambda: optimizers.SGD(
        optimizers.schedules.CosineDecay(0.1, 10), momentum=0.9, use_ema=True
    ),
    "scaled": lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.1, 0.9)),
    "accumulating": lambda: optimizers.Adam(0.01, gradient_accumulation_steps=3),
    "muon": lambda: optimizers.Muon(0.01),
    "l2": lambda: rp.Recipe(epochs=1).optimizer(),
}


def net():
    inputs = keras.Input((6,))
    x = layers.Dense(6, name="stem")(inputs)
    for name in ("a", "b"):
        branch = layers.Dense(6, name=f"{name}_dense")(layers.ReLU()(x))
        x = layers.Add(name=f"{name}_add")([x, branch])
    return keras.Model(inputs, layers.Dense(1, name="head")(x))


def data(count=24):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 6)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


def trained(make_optimizer):
    keras.utils.set_random_seed(0)
    model = net()
    # Tracing the steps would take longer than they do.
    settings = {"steps_per_execution": 2, "run_eagerly": True}
    model.compile(make_optimizer(), "mse", metrics=["mae"], **settings)
    model.fit(*data(), batch_size=4, verbose=0)
    return model


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizer_goes_on_exactly(name):
    """A rebuilt model trains on as the model itself would; a shorter one, too."""
    if name == "muon" and keras.__version__.startswith("3.12."):
        pytest.skip("Muon of Keras 3.12 does not train: its variables have no path")
    model = trained(OPTIMIZERS[name])
    again = rp.remove_units(rp.add_importance(model, "a"), "b")
    with pytest.raises(ValueError, match="needs a compiled model"):
        rp.remove_units(again, "a", optimizer_state=True)
    same = rp.remove_units(model, "b", optimizer_state=True)
    # The longer net with the branch's weights at rest is the shorter net.
    layer = model.get_layer("b_dense")
    layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    assert same.optimizer.iterations == model.optimizer.iterations
    slots = [v for v in same.optimizer.variables if v.shape == (6, 6)]
    values = [np.array(v) for v in slots]
    assert len(values) >= 2 and any(v.any() for v in values)
    known = [np.array(v) for v in model.optimizer.variables if v.shape == (6, 6)]
    for value in values:
        assert any(np.array_equal(value, other) for other in known)


@pytest.mark.skipif(
    not hasattr(optimizers, "MultiOptimizer"), reason="This Keras has none."
)
def test_the_state_of_several_optimizers_is_refused():
    """It belongs to weights by their paths; no optimizer has a slot for each weight."""
    model = net()
    several = optimizers.OptimizerMap(
        optimizers.SGD(0.1), {"head/.*": optimizers.Adam()}
    )
    model.compile(optimizers.MultiOptimizer(several), "mse")
    with pytest.raises(ValueError, match="holds several optimizers cannot be copied"):
        rp.remove_units(model, "a", optimizer_state=True)
    rp.compile_like(rp.remove_units(model, "a"), model)


def test_steps_after_a_rebuild_are_those_without():
    model = trained(OPTIMIZERS["adamw"])
    model.optimizer.exclude_from_weight_decay(var_names=["bias"])
    twin = graph.rebuild(model)
    rp.compile_like(twin, model, optimizer_state=True)
    rng = np.random.default_rng(1)
    for _ in range(3):
        gradients = [rng.normal(size=v.shape) for v in model.trainable_variables]
        for each in (model, twin):
            each.optimizer.apply(
                [keras.ops.convert_to_tensor(g, "float32") for g in gradients],
                each.trainable_variables,
            )
    for old, new in zip(model.variables, twin.variables, strict=True):
        np.testing.assert_array_equal(old, new)


def test_settings_are_repeated_and_a_fresh_optimizer_begins_anew():
    model = trained(OPTIMIZERS["sgd"])
    shorter = rp.remove_units(model, "a")
    assert not shorter.compiled
    rp.compile_like(shorter, model)
    assert shorter.optimizer.iterations == 0 and shorter.steps_per_execution == 2
    assert set(shorter.evaluate(*data(), verbose=0, return_dict=True)) == {
        "loss",
        "mae",
    }


def test_what_keras_cannot_repeat_needs_a_function():
    model = net()
    with pytest.raises(ValueError, match="is not compiled"):
        rp.compile_like(net(), model)

    def compile_fn(each):
        each.compile("sgd", lambda y, p: keras.ops.mean((y - p) ** 2))

    compile_fn(model)
    shorter = rp.remove_units(model, "a")
    with pytest.raises(ValueError, match="(?s)cannot be repeated.*Pass `compile_fn`"):
        rp.compile_like(shorter, model)
    rp.compile_like(shorter, model, compile_fn)
    shorter.fit(*data(), verbose=0)
    model.fit(*data(), verbose=0)
    shorter.compile("adam", "mse")
    with pytest.raises(
        ValueError, match="only be copied to an optimizer of the same class.*SGD.*Adam"
    ):
        rp.compile_like(shorter, model, lambda each: each.compile("adam", "mse"), True)


@functools.cache
def plain():
    """A net for tests of what is refused before anything changes."""
    return net()


def own(**methods):
    """A compiled net of a class of its own, with these methods."""
    kind = type("Own", (keras.Model,), methods)
    model = kind(plain().inputs, plain().outputs)
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def fit_with_deletion(model, **options):
    def fit(*args, **kwargs):
        raise AssertionError("it must be refused before any training")

    model.fit = fit
    rp.fit_with_deletion(model, rp.LayerDeletion(1), *data(), **options)


DOORS = {
    "compile_like": lambda model: rp.compile_like(plain(), model),
    "compile_like with a function": lambda model: rp.compile_like(
        plain(), model, lambda each: each.compile("sgd", "mse")
    ),
    "remove_units": lambda model: rp.remove_units(model, "a", optimizer_state=True),
    "fit_with_deletion": fit_with_deletion,
    "fit_with_deletion with a function": lambda model: fit_with_deletion(
        model, compile_fn=lambda each: each.compile("sgd", "mse")
    ),
    "prune_and_retrain": lambda model: shorten(model),
    "prune_and_retrain with a function": lambda model: shorten(
        model, rp.FitRecipe(1, lambda each: each.compile("sgd", "mse", ["mae"]))
    ),
}


def shorten(model, recipe=None):
    data_of_fit = rp.FitData(data(), data(1))
    recipe = recipe or rp.FitRecipe(1)
    random = rp.criteria.random(0)
    rp.prune_and_retrain(
        model,
        data_of_fit,
        recipe,
        removal=rp.Removal(monitor="loss", criterion=random),
        run=rp.RunOptions(verbose=False),
    )


def of_its_own(self, *args, **kwargs):
    raise NotImplementedError


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "name", ["train_step", "test_step", "compute_loss", "compute_metrics", "metrics"]
)
def test_no_door_drops_a_step_of_ones_own(door, name):
    method = property(lambda self: []) if name == "metrics" else of_its_own
    with pytest.raises(ValueError, match=f"has its own `{name}`"):
        DOORS[door](own(**{name: method}))


@pytest.mark.parametrize("door", DOORS)
def test_no_door_drops_a_preprocessor(door):
    model = own()
    model.preprocessor = lambda x: x / 255
    with pytest.raises(ValueError, match="by its `preprocessor`"):
        DOORS[door](model)


def test_a_step_bound_to_one_model_is_seen():
    model = net()
    model.compile("sgd", "mse")
    model.train_step = lambda data: {"loss": 0.0}
    with pytest.raises(ValueError, match="its own `train_step`"):
        rp.compile_like(net(), model)


def test_a_shorter_model_of_the_same_class_may_follow():
    class Own(keras.Model):
        def train_step(self, *args):
            return super().train_step(*args)

    model = Own(*(lambda plain: (plain.inputs, plain.outputs))(net()))
    model.compile("sgd", "mse")
    plain = rp.remove_units(model, "a")
    shorter = Own(plain.inputs, plain.outputs)
    rp.compile_like(shorter, model)
    assert shorter.compiled


@pytest.mark.parametrize("door", ["compile_like", "fit_with_deletion"])
def test_no_door_drops_exclusions_from_weight_decay(door):
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model = net()
    model.compile(optimizer, "mse")
    with pytest.raises(ValueError, match="compile_fn.*`exclude_from_weight_decay`"):
        DOORS[door](model)
    shorter = rp.remove_units(model, "a", optimizer_state=True)
    assert shorter.optimizer._exclude_from_weight_decay_pattern.pattern == "bias"


class Traced(keras.metrics.MeanAbsoluteError):
    """Counts how often Python runs its update, which is once per trace."""

    count = 0

    def update_state(self, *arguments, **options):
        type(self).count += 1
        return super().update_state(*arguments, **options)


def test_a_training_step_is_traced_once():
    model = dense_net()
    model.compile("adam", "mse", metrics=[Traced()], jit_compile=False)
    before = [np.array(weight) for weight in model.weights]
    create_state(model, numbers())
    Traced.count = 0
    assert model.optimizer.built
    assert model.get_metrics_result()["mean_absolute_error"] == 0
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    model.fit(*numbers(), batch_size=16, verbose=0)
    assert Traced.count == 1


def test_lists_are_left_to_fit():
    model = dense_net()
    model.compile("adam", "mse", metrics=["mae"])
    create_state(model, ([[1.0] * 6] * 2, [[1.0]] * 2))
    assert not model.optimizer.built


def test_sparse_inputs_are_left_to_fit():
    tf = pytest.importorskip("tensorflow")
    model = dense_net()
    model.compile("adam", "mse", metrics=["mae"])
    x, y = numbers()
    create_state(model, (tf.sparse.from_dense(x), y))
    assert not model.optimizer.built


def test_a_copied_optimizer_shares_nothing():
    """On JAX a training step gives its buffers away."""
    model = net()
    model.compile(optimizers.SGD(0.1, momentum=0.9), "mse", jit_compile=False)
    x, y = numbers()
    model.fit(x, y, verbose=0)
    smaller = rp.remove_units(model, "a", optimizer_state=True)
    for each in (smaller, model):
        each.fit(x, y, verbose=0)


@keras.saving.register_keras_serializable(package="tests")
class OwnCompile(keras.Model):
    """A model with settings of its own."""

    def compile(self, optimizer="sgd", loss="mse", **settings):
        super().compile(optimizer=optimizer, loss=loss, **settings)


def test_a_class_with_its_own_compile_gets_the_settings_of_the_model():
    model = net()
    model = OwnCompile(model.inputs, model.outputs)
    model.compile(optimizers.Adam(0.25), "mae", metrics=["mse"])
    for twin in (OwnCompile.from_config(model.get_config()), graph.rebuild(model)):
        rp.compile_like(twin, model)
        assert type(twin.optimizer) is optimizers.Adam and twin.loss == "mae"
        assert float(twin.optimizer.learning_rate) == 0.25
        found = twin.evaluate(*numbers(), verbose=0, return_dict=True)
        assert "mean_squared_error" in found or "mse" in found


def test_batches_of_one_size_and_states_are_left_to_fit():
    inputs = keras.Input(batch_shape=(4, 3, 5))
    for stateful in (False, True):
        layer = layers.LSTM(2, stateful=stateful)
        model = keras.Model(inputs, layers.Dense(1)(layer(inputs)))
        model.compile("adam", "mse", jit_compile=False)
        x, y = np.ones((8, 3, 5), "float32"), np.ones((8, 1), "float32")
        create_state(model, (x, y))
        assert not model.optimizer.built
        model.fit(x, y, batch_size=4, verbose=0)
