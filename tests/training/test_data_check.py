"""Wrong data are refused at every door, before any work."""

import dataclasses
import re

import keras
import numpy as np
import pytest
from keras import layers

import resprune_tf as rp
from resprune_tf.data.examples import bounds, check_finite
from resprune_tf.data.fit_data import as_split
from resprune_tf.pruning.preflight import check_run
from resprune_tf.training.data_check import (
    check_fit_arguments,
    check_scale,
    check_splits,
)
from resprune_tf.training.recalibration import recalibrate
from resprune_tf.training.strategy import Strategy
from tests.conftest import toy_dataset

pytestmark = pytest.mark.slow

CLASSES = 3


def net(scale=1 / 255, loss="sparse_categorical_crossentropy", outputs=CLASSES):
    """A residual net of a dense layer on 4x4 images, compiled."""
    image = keras.Input((4, 4, 1), name="image")
    x = layers.Rescaling(scale, name="scale")(image) if scale else image
    x = layers.GlobalAveragePooling2D()(x)
    branch = layers.Dense(1, name="unit_dense")(x)
    x = layers.Add(name="unit_add")([x, rp.ImportanceScale(name="unit_w")(branch)])
    activation = "softmax" if outputs > 1 else None
    x = layers.Dense(outputs, activation=activation, name="head")(x)
    model = keras.Model(image, x, name="net")
    model.compile("sgd", loss)
    return model


def pair(seed=0, count=12):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 4, 4, 1)).astype("float32")
    return images, np.arange(count) % CLASSES


def trained(**settings):
    raise AssertionError("it must be refused before any training")


def by_run(model, train, validation, options=(), **fields):
    data = rp.FitData(train=train, validation=validation, batch_size=4, **fields)
    recipe = rp.FitRecipe(
        1, callbacks=lambda: [NoTraining()], fit_options=dict(options)
    )
    rp.prune_and_retrain(
        model,
        data,
        recipe,
        removal=rp.Removal(monitor="loss"),
        run=rp.RunOptions(verbose=False),
    )


def by_deletion(model, train, validation, options=()):
    rp.fit_with_deletion(
        model,
        rp.LayerDeletion(1),
        *train,
        validation_data=validation,
        make_callbacks=lambda: [NoTraining()],
        **dict(options),
    )


class NoTraining(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        trained()


def batches(split):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(tuple(split)).batch(4)


def by_pipeline(model, train, validation, options=()):
    by_run(model, batches(train), batches(validation), options)


DOORS = [by_run, by_deletion, by_pipeline]


@pytest.fixture(scope="module")
def known():
    """A net for checks, which do not change it."""
    return net()


def check(model, train, validation, options=()):
    """What every door asks before any work."""
    check_fit_arguments(model, train, {"validation_data": validation, **dict(options)})


def check_pipeline(model, train, validation, options=()):
    check(model, [batches(train)], batches(validation), options)


CHECKS = [check, check_pipeline]


def nan(images, labels):
    images = images.copy()
    images[1, 2, 3] = np.nan
    return images, labels


def infinite(images, labels):
    images = images.copy()
    images[2, 0, 0] = -np.inf
    return images, labels


# What is wrong with a split: how it comes to be so, and what is told.
FAULTS = {
    "NaN": (nan, "1 values that are NaN or infinite, in 1 of its"),
    "infinite": (infinite, "1 values that are NaN or infinite, in 1 of its"),
    "0 to 1": (lambda x, y: (x / 255, y), "too small for 'net'.*'scale'.*by 255"),
    "labels from 1": (lambda x, y: (x, y + 1), "from 0 to 2.*from 1 to 3"),
    "labels below 0": (lambda x, y: (x, y - 1), "from 0 to 2.*from -1 to 1"),
    "fractions": (lambda x, y: (x, y / 2), "must be integers.*cut off"),
    "NaN labels": (lambda x, y: (x, np.where(y == 1, np.nan, y)), "Labels of.*NaN"),
}


@pytest.mark.parametrize("labels", [None, ["a", "b", "c", "d"]])
def test_pipelines_without_labels_or_with_text(known, labels):
    import tensorflow as tf

    x = np.zeros((4, *known.input_shape[1:]), "float32")
    given = x if labels is None else (x, labels)
    pipeline = tf.data.Dataset.from_tensor_slices(given).batch(2)
    told = "`test` has no labels" if labels is None else "Labels of `test` are text"
    with pytest.raises(ValueError, match=told):
        check_splits(known, {"test": as_split(pipeline, "test")})


class OfOutputs(keras.losses.Loss):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return keras.ops.mean(y_pred)


class OfText(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.mean(y_pred, axis=-1)


def test_labels_that_no_loss_of_keras_reads():
    import tensorflow as tf

    x = np.zeros((4, 3), "float32")
    image = keras.Input((3,))
    first, second = layers.Dense(1, name="o"), layers.Dense(1, name="p")
    outputs = {"o": first(image), "p": second(image)}
    text = np.array(["a"] * 4)
    for loss, given in (
        ({"o": "mse"}, (x, {"o": np.zeros((4, 1)), "p": text})),
        ({"o": "mse", "p": OfText()}, (x, {"o": np.zeros((4, 1)), "p": text})),
        (OfOutputs(), x),
    ):
        model = keras.Model(image, outputs if isinstance(loss, dict) else outputs["o"])
        model.compile("sgd", loss)
        pipeline = tf.data.Dataset.from_tensor_slices(given).batch(2)
        check_splits(model, {"train": as_split(pipeline, "train")})


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("checked", CHECKS)
@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_data_are_refused(known, fault, checked, split):
    spoil, message = FAULTS[fault]
    splits = {"train": pair(0), "validation": pair(1)}
    splits[split] = spoil(*splits[split])
    with pytest.raises(ValueError, match=message) as error:
        checked(known, **splits)
    assert f"`{split}`" in str(error.value)


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("door", DOORS)
def test_no_door_takes_wrong_data(door, split):
    """Which data are wrong is the point of the tests of the checks."""
    splits = {"train": pair(0), "validation": pair(1)}
    splits[split] = nan(*splits[split])
    with pytest.raises(ValueError, match=f"`{split}`.*NaN or infinite"):
        door(net(), **splits)


@pytest.mark.parametrize("door", DOORS)
def test_right_data_are_trained_on(door):
    with pytest.raises(AssertionError, match="before any training"):
        door(net(), pair(0), pair(1))


@pytest.mark.parametrize("door", [by_run, by_deletion])
def test_there_are_as_many_labels_as_images(door):
    images, labels = pair()
    with pytest.raises(ValueError, match="same number of examples.*11, 12"):
        door(net(), (images, labels[:-1]), pair(1))


def test_labels_of_a_test_split_count_and_those_that_are_ignored_do_not():
    with pytest.raises(ValueError, match="Labels of `test` must be from 0 to 2"):
        by_run(net(), pair(0), pair(1), test=(pair()[0], pair()[1] + 5))
    ignoring = keras.losses.SparseCategoricalCrossentropy(ignore_class=255)
    images, labels = pair()
    labels[3] = 255
    with pytest.raises(AssertionError, match="before any training"):
        by_run(net(loss=ignoring), (images, labels), pair(1))


def test_labels_of_a_binary_loss():
    images, labels = pair()
    model = net(loss="binary_crossentropy", outputs=1)
    with pytest.raises(ValueError, match="from 0 to 1 for a binary.*from 0 to 2"):
        by_run(model, (images, labels[:, None]), pair(1))


def test_what_a_loss_of_ones_own_takes_is_not_known():
    @keras.saving.register_keras_serializable(package="data_check")
    def masked(y, p):
        y = keras.ops.cast(y, "float32")
        right = keras.ops.isfinite(y)
        return keras.ops.where(right, p[:, 0] - keras.ops.where(right, y, 0.0), 0.0)

    images, labels = pair()
    labels = np.where(labels == 1, np.nan, labels)
    with pytest.raises(AssertionError, match="before any training"):
        by_run(net(loss=masked), (images, labels), (images, labels))


def test_several_outputs_are_checked_by_their_names():
    image = keras.Input((4, 4, 1))
    x = layers.GlobalAveragePooling2D()(image)
    x = layers.Add(name="unit_add")([x, layers.Dense(1)(x)])
    heads = {name: layers.Dense(CLASSES, name=name)(x) for name in ("a", "b")}
    model = rp.add_importance(keras.Model(image, heads))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", {"a": loss, "b": "mse"})
    images, labels = pair()
    wrong = {"b": np.ones((12, CLASSES), "float32"), "a": labels + 1}
    with pytest.raises(ValueError, match="Labels of `train` must be from 0 to 2"):
        by_run(model, (images, wrong), (images, {**wrong, "a": labels}))
    for lacking in ({"a": labels}, {"A": labels, "b": wrong["b"]}):
        with pytest.raises(ValueError, match="named as the outputs of 'func.*a, b. Re"):
            by_run(model, (images, lacking), (images, {**wrong, "a": labels}))
    right = (images, {**wrong, "a": labels})
    with pytest.raises(ValueError, match="for models with one output.*2 outputs"):
        by_run(model, right, right, {"class_weight": {0: 1.0, 1: 2.0, 2: 1.0}})


CLASS_WEIGHTS = [
    ([1.0, 2.0, 1.0], r"must be a dict.*Received: \[1.0"),
    ({}, "must be a dict.*Received: {}"),
    ({"0": 1.0, "1": 2.0, "2": 1.0}, "must be a dict.*Received: '0': 1.0"),
    ({0: 1.0, 1: float("nan")}, "must be a dict.*Received: 1: nan"),
    ({0: -1.0, 1: 2.0}, "must be a dict.*Received: 0: -1.0"),
    ({1: 1.0, 2: 2.0, 3: 1.0}, "of class 3, but 'net' has the classes 0 to 2"),
]


@pytest.mark.parametrize("checked", CHECKS)
@pytest.mark.parametrize("weights, message", CLASS_WEIGHTS)
def test_class_weights_are_numbers_by_class(known, checked, weights, message):
    with pytest.raises(ValueError, match=f"`class_weight` .*{message}"):
        checked(known, pair(0), pair(1), {"class_weight": weights})


@pytest.mark.parametrize("door", DOORS)
def test_no_door_takes_wrong_class_weights(door):
    with pytest.raises(ValueError, match="`class_weight` must be a dict"):
        door(net(), pair(0), pair(1), {"class_weight": {0: -1.0, 1: 2.0}})


@pytest.mark.parametrize("checked", CHECKS)
def test_a_class_weight_of_the_last_class_may_be_left_out_for_arrays(known, checked):
    """TensorFlow gathers weights from a table, which ends there."""
    weights = {"class_weight": {np.int64(2): np.float32(3)}}
    checked(known, pair(0), pair(1), weights)
    weights = {"class_weight": {0: 1.0, 1: 0.0}}
    if checked is check:
        checked(known, pair(0), pair(1), weights)
        return
    with pytest.raises(ValueError, match="needs a weight of the last class, 2"):
        checked(known, pair(0), pair(1), weights)


@pytest.mark.parametrize("door", [by_run, by_deletion])
def test_doors_let_such_class_weights_pass(door):
    with pytest.raises(AssertionError, match="before any training"):
        door(net(), pair(0), pair(1), {"class_weight": {0: 1.0, 1: 0.0}})


# Loss, outputs, shape of the labels of each example, and the shape that is told.
SHAPES = [
    ("sparse_categorical_crossentropy", 3, (3,), "(None,)"),
    ("categorical_crossentropy", 3, (), "(None, 3)"),
    ("mse", 1, (3,), "(None, 1)"),
    ("mse", 3, (1,), "(None, 3)"),
    ("mae", 3, (), "(None, 3)"),
    (keras.losses.Huber(), 2, (3,), "(None, 2)"),
    ("sparse_categorical_crossentropy", 3, (1,), None),
    ("mse", 1, (), None),
    ("mse", 3, (3,), None),
]


@pytest.mark.parametrize("loss, outputs, shape, told", SHAPES)
def test_labels_are_not_stretched_over_outputs(loss, outputs, shape, told):
    splits = [(pair()[0], np.zeros((12, *shape), "float32"))] * 2
    model = net(loss=loss, outputs=outputs)
    for checked, count in ((check, 12), (check_pipeline, 4)):  # of the first batch
        if told is None:
            checked(model, *splits)
            continue
        found = re.escape(f"from labels of shape {(count, *shape)} and outputs")
        found += f".*{re.escape(told)}."
        with pytest.raises(ValueError, match=f"Labels of `train`: the loss .*{found}"):
            checked(model, *splits)


@pytest.mark.parametrize("door", DOORS)
def test_no_door_takes_labels_that_would_be_stretched(door):
    splits = [(pair()[0], np.zeros((12, 3), "float32"))] * 2
    with pytest.raises(ValueError, match="Labels of `train`: the loss .*labels of sh"):
        door(net(loss="mse", outputs=1), *splits)


def test_labels_without_a_last_axis_of_one_are_trained_on():
    splits = [(pair()[0], np.zeros(12, "float32"))] * 2
    with pytest.raises(AssertionError, match="before any training"):
        by_run(net(loss="mse", outputs=1), *splits)


def test_a_batch_that_cannot_be_measured_is_named():
    def failing(y, outputs):
        raise RuntimeError("no such label")

    model = net(loss=keras.losses.MeanSquaredError())
    model.compile("sgd", failing)
    with pytest.raises(ValueError, match="first batch of `validation`.*no such label"):
        rp.prune_and_retrain(
            model,
            rp.FitData(pair(0), pair(1)),
            rp.FitRecipe(1, compile_fn=lambda each: each.compile("sgd", failing)),
            removal=rp.Removal(monitor="loss"),
        )


def test_splits_are_scaled_alike():
    images, labels = pair()
    with pytest.raises(
        ValueError, match="`validation` are scaled differently.*`train`"
    ):
        by_run(net(scale=None), pair(1), (images / 255, labels))


def normalization(mean, variance):
    return layers.Normalization(mean=mean, variance=variance)


@pytest.mark.parametrize(
    ("layer", "high", "told"),
    [
        (layers.Rescaling(1 / 127.5, -1), 1.0, "small"),
        (layers.Rescaling(1 / 127.5, -1), 255.0, None),
        (layers.Rescaling(1 / 255), 65535.0, "large"),
        (layers.Rescaling(2.0, -1), 255.0, "large"),
        (layers.Rescaling(2.0, -1), 1.0, None),
        (layers.Rescaling(1.0, -127.5), 255.0, None),
        (normalization(0.5, 0.06), 255.0, "large"),
        (normalization(127.0, 3600.0), 1.0, "small"),
        (normalization(127.0, 3600.0), 255.0, None),
        (layers.ReLU(), 255.0, None),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_the_first_layer_tells_the_range(layer, high, told, nested):
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, layer(image), name="net")
    if nested:
        outer = keras.Input((4, 4, 1))
        model = keras.Model(outer, model(outer), name="net")
    images = np.linspace(0, high, 16, dtype="float32").reshape(1, 4, 4, 1)
    if told is None:
        check_scale(model, model.inputs[0], images, "images")
    else:
        with pytest.raises(ValueError, match=f"too {told} for 'net'"):
            check_scale(model, model.inputs[0], images, "images")


SCORING = {
    "compare_scores": lambda x, y: rp.compare_scores(net(), x, y),
    "block_influence": lambda x, y: rp.criteria.block_influence(x)(net()),
    "taylor": lambda x, y: rp.criteria.taylor(x, y, loss=net().loss)(net()),
    "leave_one_out": lambda x, y: rp.criteria.leave_one_out(x, y, loss=net().loss)(
        net()
    ),
    "recalibrate": lambda x, y: recalibrate(net(), x),
    "export": lambda x, y: rp.export(net(), "never", images=x, formats=["keras"]),
}


@pytest.mark.parametrize("door", SCORING)
def test_no_score_is_taken_on_numbers_that_are_none(door):
    with pytest.raises(ValueError, match="NaN or infinite"):
        SCORING[door](*nan(*pair()))


@pytest.mark.parametrize("door", ["taylor", "leave_one_out"])
def test_no_score_is_taken_on_labels_that_the_loss_cuts_off(door):
    images, labels = pair()
    with pytest.raises(ValueError, match="must be integers.*cut off"):
        SCORING[door](images, labels / 2)


def test_images_of_a_split_are_bytes():
    images = np.zeros((3, 4, 4, 1), "uint8")
    labels = np.arange(3)
    for wrong in (images / 255, np.full(images.shape, np.nan), images[..., 0]):
        with pytest.raises(ValueError, match="must be uint8.*Received"):
            rp.Split(wrong, labels)
    for wrong in (labels[:2], labels / 2, labels[:, None]):
        with pytest.raises(ValueError, match="must be integers.*one for each of 3"):
            rp.Split(images, wrong)


def test_labels_of_a_dataset_have_names():
    made = toy_dataset()
    for name in ("train", "validation", "test"):
        split = getattr(made, name)
        wrong = rp.Split(split.images, split.labels + 1)
        with pytest.raises(ValueError, match=f"from 1 to 3 in `{name}`"):
            dataclasses.replace(made, **{name: wrong})


def checked(dataset, classes):
    image = keras.Input((8, 8, 3))
    logits = layers.Dense(classes)(layers.Flatten()(image))
    model, recipe = keras.Model(image, logits, name="net"), rp.Recipe(batch_size=8)
    removal, settings, unsaved = check_run(
        model, dataset, recipe, recipe, rp.Removal(), Strategy()
    )
    assert not unsaved
    return removal.mode, settings


def test_a_dataset_fits_its_model():
    made = toy_dataset()
    assert checked(made, 3) == ("max", {})
    with pytest.raises(ValueError, match="outputs for 2 classes.*a Dataset of 3"):
        checked(made, 2)
    cast = rp.Split((made.train.images / 255 + 0.5).astype("uint8"), np.zeros(64, int))
    with pytest.raises(ValueError, match="nothing but 0 and 1"):
        checked(dataclasses.replace(made, train=cast), 3)


def test_bounds_are_read_without_a_copy():
    array = np.zeros((4, 5), "float16")
    array[3, 4] = 2
    assert bounds(array) == (0.0, 2.0)
    check_finite("x", array)
    check_finite("x", np.array(["a"]))
    array[1:3, 1:3] = np.nan
    with pytest.raises(ValueError, match="x has 4 values.* in 2 of its 4 examples"):
        check_finite("x", array)
