"""Recalibration: the statistics of the images, exactly; nothing else changes."""

import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from resprune_tf import FitRecipe, graph
from resprune_tf.data.fit_data import FitData
from resprune_tf.graph import running
from resprune_tf.training.recalibration import (
    Recalibration,
    recalibrate,
    refresh_statistics,
    stale_share,
    training_batches,
)
from resprune_tf.units.removal import remove_units
from tests.conftest import images_of, net_of, outputs, toy_dataset
from tests.made.foreign_nets import flat
from tests.training.gradients import two_stages

pytestmark = pytest.mark.slow

BN = layers.BatchNormalization


def values(model):
    return [ops.convert_to_numpy(v.value).copy() for v in model.variables]


def statistics(layer):
    return [
        ops.convert_to_numpy(v.value)
        for v in (layer.moving_mean, layer.moving_variance)
    ]


def assert_statistics(layer, inputs, rtol=1e-5):
    """That a layer holds the float64 mean and variance of its inputs."""
    inputs = np.asarray(inputs, "float64")
    axes = tuple(range(inputs.ndim - 1))
    mean, variance = statistics(layer)
    np.testing.assert_allclose(variance, inputs.var(axis=axes), rtol=rtol)
    deviation = np.sqrt(inputs.var(axis=axes)).max()
    np.testing.assert_allclose(mean, inputs.mean(axis=axes), atol=rtol * deviation)


def inputs_of(model, names, images):
    """What layers of the model take in at inference."""
    taken = {name: model.get_layer(name).input for name in names}
    return keras.Model(model.input, taken)(images, training=False)


@pytest.mark.parametrize("activation", ["pre", "post"])
def test_one_batch_gives_every_layer_the_statistics_of_its_inputs(activation):
    net = two_stages(unit_kind="basic", activation=activation)
    x = images_of(net, 16)
    fresh = recalibrate(net, x, batch_size=16)
    found = [layer for layer in fresh.layers if isinstance(layer, BN)]
    assert len(found) == sum(isinstance(layer, BN) for layer in net.layers)
    # At inference, so behind layers that are normalized by the same statistics.
    taken = inputs_of(fresh, [layer.name for layer in found], x)
    for layer in found:
        assert_statistics(layer, taken[layer.name], rtol=1e-4)


@settings(max_examples=10, deadline=None)
@given(
    count=st.integers(1, 12),
    batch_size=st.integers(1, 13),
    offset=st.floats(-50, 50),
)
def test_batches_of_any_size_are_pooled(count, batch_size, offset):
    net = net_of((3, 3, 2), BN(name="bn"))
    x = np.random.default_rng(count).normal(offset, 2.0, (count, 3, 3, 2))
    x = x.astype("float32")
    fresh = recalibrate(net, x, batch_size)
    assert_statistics(fresh.get_layer("bn"), x, rtol=1e-4)


def test_the_model_is_not_touched_and_nothing_else_changes():
    net = flat()
    x = images_of(net, 8)
    before = values(net)
    fresh = recalibrate(net, x)
    for old, new in zip(before, values(net), strict=True):
        np.testing.assert_array_equal(old, new)
    assert fresh.name == net.name
    for old, new in zip(net.layers, fresh.layers, strict=True):
        assert old.get_config() == new.get_config()
        assert type(old) is type(new)
        for a, b in zip(old.variables, new.variables, strict=True):
            assert a.dtype == b.dtype
            same = np.array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))
            assert same == ("moving" not in a.path)


def test_again_is_the_same_to_the_last_bit():
    net = flat()
    x = images_of(net, 8)
    once = recalibrate(net, x, 4)
    again = recalibrate(once, x, 4)
    for old, new in zip(values(once), values(again), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_recalibration_can_be_repeated():
    net = flat()
    first, second = images_of(net, 8, seed=1), images_of(net, 8, seed=2)
    recalibration = Recalibration(net)
    recalibration.run(first, 4)
    recalibration.run(second, 4)
    for old, new in zip(values(net), values(recalibrate(net, second, 4)), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_shortened_net_gets_statistics_of_its_own():
    net = flat()
    x = images_of(net, 16)
    short = remove_units(recalibrate(net, x), ["a", "b"])
    fresh = recalibrate(short, x)
    taken = inputs_of(fresh, ["c_bn"], x)["c_bn"]
    assert_statistics(fresh.get_layer("c_bn"), taken, rtol=1e-4)


def test_dropout_is_off():
    net = net_of((4, 4, 3), layers.Dropout(0.5), BN(name="bn"))
    x = images_of(net, 8)
    assert_statistics(recalibrate(net, x).get_layer("bn"), x)


def test_names_may_begin_with_an_underscore():
    model = net_of(
        (4, 4, 3), layers.Conv2D(3, 3), layers.BatchNormalization(name="_bn")
    )
    found = recalibrate(model, images_of(model)).get_layer("_bn")
    assert np.array(found.moving_mean).any()


def test_frozen_layers_are_recalibrated_and_stay_frozen():
    net = net_of((4, 4, 3), BN(name="bn", trainable=False))
    x = images_of(net, 8)
    layer = recalibrate(net, x).get_layer("bn")
    assert_statistics(layer, x)
    assert not layer.trainable


def test_a_shared_layer_gets_the_statistics_of_all_its_calls():
    shared = BN(name="bn")
    image = keras.Input((4, 4, 3))
    sides = [shared(image), shared(layers.MaxPooling2D(2)(image))]
    net = keras.Model(image, sides)
    x = images_of(net, 8)
    small = x.reshape(8, 2, 2, 2, 2, 3).max(axis=(2, 4))
    seen = np.concatenate([x.reshape(-1, 3), small.reshape(-1, 3)])
    assert_statistics(recalibrate(net, x, 3).get_layer("bn"), seen)


@pytest.mark.parametrize("kind", [lambda i, o: keras.Model(i, o), None])
def test_nested_models_are_recalibrated(kind):
    if kind is None:
        inner = keras.Sequential([keras.Input((4, 4, 3)), BN(name="bn")], name="inner")
    else:
        image = keras.Input((4, 4, 3))
        inner = keras.Model(image, BN(name="bn")(image), name="inner")
    net = net_of((4, 4, 3), layers.ReLU(), inner, layers.Dropout(0.5))
    x = images_of(net, 8)
    layer = recalibrate(net, x).get_layer("inner").get_layer("bn")
    assert_statistics(layer, np.maximum(x, 0))


@keras.saving.register_keras_serializable(package="test")
class Opaque(layers.Layer):
    def build(self, input_shape):
        self.norm = BN(name="hidden")
        self.norm.build(input_shape)

    def call(self, inputs, training=None):
        return self.norm(inputs, training=training)


def test_refuses_what_it_cannot_reach():
    with pytest.raises(ValueError, match="BatchNormalization hidden of 'outer'"):
        image = keras.Input((4, 4, 3))
        net = keras.Model(image, Opaque()(image), name="outer")
        recalibrate(net, images_of(net))


def test_a_net_without_batch_normalization_is_only_copied():
    net = net_of((4, 4, 3), layers.Conv2D(3, 3))
    x = images_of(net)
    np.testing.assert_array_equal(outputs(recalibrate(net, x), x), outputs(net, x))


def test_takes_raw_pixels():
    net = net_of((4, 4, 3), BN(name="bn"))
    x = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3)).astype("uint8")
    assert_statistics(recalibrate(net, x, 3).get_layer("bn"), x)


def test_mixed_precision_keeps_its_statistics_in_float32():
    net = flat(policy="mixed_bfloat16")
    fresh = recalibrate(net, images_of(net, 8))
    for layer in fresh.layers:
        assert layer.dtype_policy.name == net.get_layer(layer.name).dtype_policy.name
        if isinstance(layer, BN):
            assert layer.moving_mean.dtype == "float32"


def test_refuses_no_images_and_no_batch():
    net = net_of((4, 4, 3), BN())
    with pytest.raises(ValueError, match="Received: 0 images"):
        recalibrate(net, np.zeros((0, 4, 4, 3)), 4)
    with pytest.raises(ValueError, match="an integer >= 1. Received: batch_size=0"):
        recalibrate(net, np.zeros((4, 4, 4, 3)), 0)


@pytest.mark.parametrize("counts", [{"examples": 0}, {"batch_size": 0}])
def test_refuses_no_examples_of_a_data_set(counts):
    """Without examples, all statistics would be 0."""
    (name,) = counts
    with pytest.raises(ValueError, match=f"integer >= 1. Received: {name}=0"):
        recalibrate(net_of((8, 8, 3), BN()), toy_dataset(), **counts)


def test_refuses_a_model_without_a_graph():
    with pytest.raises(TypeError, match="recalibrate reads the graph of a functional"):
        recalibrate(keras.Sequential([BN()]), np.zeros((1, 3)))


# Of a data set, and after a training


def test_a_data_set_gives_its_augmented_training_images():
    data = toy_dataset()
    net = net_of((8, 8, 3), BN(), layers.Conv2D(2, 3), BN())
    seen = np.concatenate(list(training_batches(data, 16, seed=3)))
    assert len(seen) == len(data.train)
    sums = {int(image.sum()) for image in data.train.images}
    assert len(sums.intersection(int(image.sum()) for image in seen)) < len(sums)
    for old, new in zip(
        values(recalibrate(net, seen, 16)),
        values(recalibrate(net, data, 16, seed=3)),
        strict=True,
    ):
        np.testing.assert_allclose(old, new, rtol=1e-5, atol=1e-5)
    assert len(np.concatenate(list(training_batches(data, 16, 20)))) == 20


def test_data_of_fit_are_taken_as_fit_takes_them():
    x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
    net = net_of((3,), BN(name="bn"))
    arrays = FitData((x, x), (x, x), batch_size=4)
    assert_statistics(recalibrate(net, arrays, 20).get_layer("bn"), x)

    class Batches(keras.utils.PyDataset):
        num_batches = 5

        def __getitem__(self, index):
            return x[4 * index : 4 * index + 4], x[4 * index : 4 * index + 4]

    pipeline = FitData(Batches(), (x, x))
    assert_statistics(recalibrate(net, pipeline).get_layer("bn"), x)
    some = recalibrate(net, pipeline, examples=7).get_layer("bn")
    assert_statistics(some, x[:8])  # whole batches


def test_augmentation_inside_a_model_is_at_work_and_repeatable():
    x = np.random.default_rng(0).normal(size=(8, 6, 6, 1)).astype("float32") + 5
    net = net_of(
        (6, 6, 1), layers.RandomTranslation(0.5, 0.5, "constant"), BN(name="bn")
    )
    first, again, other = (
        recalibrate(net, x, seed=seed).get_layer("bn") for seed in (0, 0, 1)
    )
    assert statistics(first)[0] < x.mean() - 0.1  # what moved in is 0
    for one, two in zip(statistics(first), statistics(again), strict=True):
        np.testing.assert_array_equal(one, two)
    assert statistics(first)[0] != statistics(other)[0]


@pytest.mark.parametrize(
    "momentum, steps, share", [(0.9, 12, 0.2824), (0.99, 12, 0.8864), (0.9, 60, 0.0018)]
)
def test_the_share_of_old_statistics(momentum, steps, share):
    net = net_of((3,), BN(momentum=0.5), BN(momentum=momentum))
    assert stale_share(net, steps) == pytest.approx(share, abs=1e-4)
    net.layers[-1].trainable = False
    assert stale_share(net, steps) == pytest.approx(0.5**steps)
    assert stale_share(net_of((3,), layers.Dense(2)), steps) == 0.0


def test_statistics_are_renewed_where_the_training_was_short():
    x = np.random.default_rng(0).normal(2, 3, size=(20, 3)).astype("float32")
    data = FitData((x, x), (x, x), batch_size=4)
    net = net_of((3,), BN(momentum=0.9, name="bn"), BN(name="frozen"))
    net.get_layer("frozen").trainable = False
    before = values(net)
    assert refresh_statistics(net, data, 0, 20, seed=0) == 0  # nothing was trained
    net.get_layer("frozen").trainable = False
    assert refresh_statistics(net, data, 44, 20, seed=0) == 0  # 0.97 % is old
    for old, new in zip(before, values(net), strict=True):
        np.testing.assert_array_equal(old, new)
    assert refresh_statistics(net, data, 43, 20, seed=0) == 20
    assert_statistics(net.get_layer("bn"), x)
    np.testing.assert_array_equal(statistics(net.get_layer("frozen"))[0], 0)


@pytest.mark.parametrize("largest, batches", [(2**36, [20]), (0, [8, 8, 4])])
def test_a_trainer_renews_them_in_batches_that_fit(monkeypatch, largest, batches):
    """Not in smaller ones than those of the training, which fitted."""
    monkeypatch.setattr(running, "_LARGEST_BATCH", largest)
    x = np.random.default_rng(0).normal(2, 3, size=(20, 3)).astype("float32")
    net = net_of((3,), BN(name="bn"))
    net.compile("sgd", "mse", run_eagerly=True)
    data, sizes = FitData((x, x), (x, x), batch_size=8), []
    run = graph.run

    def noting(model, batch):
        sizes.append(len(batch))
        return run(model, batch)

    monkeypatch.setattr(graph, "run", noting)
    trainer = FitRecipe(1).trainer(
        net, data, 0, template=net, teacher=None, guidance=None, strategy=None
    )
    trainer.fit()
    assert sizes == batches and trainer.recalibrated == 20
    sizes.clear()
    recalibrate(net, x[:2])
    assert sizes == ([2] if largest else [1, 1])


def test_layers_out_of_reach_are_told_of():
    class Hidden(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = BN(name="deep")

        def call(self, x):
            return self.inner(x)

    x = np.ones((4, 3), "float32")
    net = net_of((3,), Hidden())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert refresh_statistics(net, FitData((x, x), (x, x)), 1, 4, seed=0) == 0
    assert any("they may be inaccurate" in str(each.message) for each in caught)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's")
@pytest.mark.parametrize("kind", ["sparse", "ragged"])
def test_batches_of_sparse_and_ragged_tensors(kind):
    import tensorflow as tf

    dense = np.array([[1.0, 0, 2, 0], [0, 3, 0, 0], [0, 0, 4, 5], [6, 0, 0, 0]])
    x = inputs = keras.Input((4,), sparse=True)
    values = tf.sparse.from_dense(dense)
    expected = dense.sum(axis=1)
    if kind == "ragged":
        x = inputs = keras.Input((None,), ragged=True)
        values = tf.RaggedTensor.from_tensor(dense, padding=0)
    total = layers.Lambda(
        lambda x: ops.reshape(
            tf.sparse.reduce_sum(x, 1) if kind == "sparse" else tf.reduce_sum(x, 1),
            (-1, 1),
        ),
        output_shape=(1,),
    )(x)
    model = keras.Model(inputs, BN(name="norm")(total))
    batches = tf.data.Dataset.from_tensor_slices((values, np.zeros(4))).batch(2)
    data = FitData(train=batches, validation=batches)
    norm = recalibrate(model, data, examples=4).get_layer("norm")
    assert norm.moving_mean.numpy() == pytest.approx([expected.mean()])
    assert norm.moving_variance.numpy() == pytest.approx([expected.var()])


def test_batch_renormalization_gets_plain_statistics():
    """Its corrections by moving averages would be those of another model."""
    if "renorm" not in BN().get_config():
        pytest.skip("This Keras has none.")
    x = np.random.default_rng(0).normal(3, 2, size=(64, 3)).astype("float32")
    net = net_of((3,), BN(renorm=True, name="bn"), BN(name="next"))
    made = recalibrate(net, x)
    layer = made.get_layer("bn")
    assert_statistics(layer, x)
    assert_statistics(made.get_layer("next"), outputs(net_of((3,), layer), x), 1e-4)
    deviation = np.sqrt(x.var(axis=0) + layer.epsilon)
    for each in (layer.moving_stddev, layer.renorm_stddev):
        np.testing.assert_allclose(each, deviation, rtol=1e-5)
    np.testing.assert_allclose(layer.renorm_mean, x.mean(axis=0), rtol=1e-5)


def test_statistics_are_updated_in_every_step_that_only_accumulates(monkeypatch):
    found = []
    monkeypatch.setattr(
        "resprune_tf.training.fit_training.refresh_statistics",
        lambda core, data, steps, *rest: found.append(steps) or 0,
    )
    x = np.ones((16, 3), "float32")
    net = net_of((3,), BN(), layers.Dense(1))
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)
    net.compile(optimizer, "mse", run_eagerly=True)
    data = FitData((x, x[:, :1]), (x, x[:, :1]), batch_size=2)
    trainer = FitRecipe(1).trainer(
        net, data, 0, template=net, teacher=None, guidance=None, strategy=None
    )
    trainer.fit()
    assert found == [8]
