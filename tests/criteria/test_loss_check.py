"""What a loss is refused for before it is computed, and which one is taken."""

import functools

import keras
import numpy as np
import pytest
from keras import layers, losses, ops

from resprune_tf.criteria.loss_check import check_loss, compiled_loss
from resprune_tf.criteria.sensitivity import leave_one_out, taylor
from resprune_tf.criteria.sparsity import l1_importance
from resprune_tf.graph.outputs import decides, loss_name, probabilities
from tests.conftest import net_of
from tests.made.foreign_nets import squared

ENDINGS = {
    "activation": [layers.Dense(3, activation="softmax", name="last")],
    "layer": [layers.Dense(3), layers.Softmax(name="last")],
    "layer as activation": [layers.Dense(3, layers.Softmax(), name="last")],
    "several labels": [layers.Dense(3, activation="sigmoid", name="last")],
    "sequence": [layers.TimeDistributed(layers.Dense(3, "softmax"), name="last")],
    "reshaped": [layers.Dense(3, "softmax", name="last"), layers.Reshape((3, 4))],
    "in float32": [
        layers.Dense(3, "hard_sigmoid", name="last"),
        layers.Activation("linear", dtype="float32"),
    ],
}


def nested(*chain):
    inside = [keras.Input((4, 5)), *chain]
    return keras.Sequential([keras.Input((4, 5)), keras.Sequential(inside)])


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("build", [lambda *chain: net_of((4, 5), *chain), nested])
def test_probabilities_are_found(build, ending):
    copies = [type(layer).from_config(layer.get_config()) for layer in ending]
    assert probabilities(build(*copies)) == "last"


def test_operations_that_make_probabilities_are_found():
    cast = net_of((5,), layers.Dense(3), ops.softmax, lambda x: ops.cast(x, "float16"))
    assert probabilities(cast)
    for operation in (ops.softmax, ops.sigmoid, ops.hard_sigmoid):
        assert probabilities(net_of((5,), layers.Dense(3), operation))
    # The output that is asked for, of a nested model with several.
    x = keras.Input((5,))
    inside = keras.Model(x, [layers.Dense(2)(x), layers.Dense(2, "softmax")(x)])
    whole = keras.Input((5,))
    logits, shares = inside(whole)
    assert probabilities(keras.Model(whole, logits)) is None
    assert probabilities(keras.Model(whole, shares))


@pytest.mark.parametrize("activation", [None, "relu", "log_softmax"])
def test_other_outputs_are_no_probabilities(activation):
    assert probabilities(net_of((5,), layers.Dense(3, activation))) is None


CLASSES = np.array([0, 2, 1, 1])
ROWS = np.eye(3)[CLASSES]


@pytest.mark.parametrize(
    "labels", [CLASSES, CLASSES[:, None], ROWS, 0.9 * ROWS + 1 / 30]
)
def test_classes_fit_logits(labels):
    check_loss(net_of((5,), layers.Dense(3)), "taylor", labels)


@pytest.mark.parametrize(
    ("columns", "labels", "message"),
    [
        (1, CLASSES, r"shape \(None, 1\), which are no scores of classes.*loss='mse'"),
        (1, ROWS[:, :1], "are no scores of classes"),
        (3, CLASSES.astype("float32"), r"must be integers: .* dtype float32"),
        (3, CLASSES + 1, "must be from 0 to 2, .* 3 classes. .* from 1 to 3"),
        (3, CLASSES - 1, "Received: labels from -1 to 1"),
        (3, np.ones((4, 3), int), "must be one-hot rows"),
        (3, np.array([[2.0, -1, 0]] * 4), "must be one-hot rows"),
        (3, np.ones((4, 2)), r"shape \(4, 2\) do not fit outputs of shape \(None, 3\)"),
        (3, ["a", "b", "c", "c"], "array of numbers. Received: dtype <U1"),
    ],
)
def test_labels_that_are_no_classes_of_the_outputs(columns, labels, message):
    with pytest.raises(ValueError, match=message):
        check_loss(net_of((5,), layers.Dense(columns)), "taylor", labels)


def test_every_place_has_a_class():
    net = net_of((None, None, 5), layers.Conv2D(3, 1))
    maps = np.zeros((4, 6, 6), int)
    check_loss(net, "taylor", maps)
    check_loss(net, "taylor", maps[..., None])
    with pytest.raises(ValueError, match="do not fit"):
        check_loss(net, "taylor", CLASSES)
    with pytest.raises(ValueError, match="from 0 to 2"):
        check_loss(net, "taylor", maps + 3, "sparse_categorical_crossentropy")


@pytest.mark.parametrize(
    ("columns", "loss", "labels"),
    [
        (1, "mse", np.arange(4.0)),
        (2, "mse", np.ones((4, 2))),
        (3, "binary_crossentropy", np.ones((4, 3), int)),
        (3, losses.SparseCategoricalCrossentropy(ignore_class=255), [0, 255, 2, 1]),
        (3, squared, np.ones((4, 3))),
    ],
)
def test_a_loss_that_fits_is_let_through(columns, loss, labels):
    check_loss(net_of((5,), layers.Dense(columns)), "taylor", labels, loss)


@pytest.mark.parametrize(
    ("columns", "loss", "labels", "message"),
    [
        (3, "mse", np.arange(4.0), r"loss mse cannot be computed .* \(4,\)"),
        (2, "mse", np.arange(2.0), r"labels of shape \(2,\) and .* \(None, 2\)"),
        (3, "categorical_crossentropy", CLASSES, "categorical_crossentropy cannot"),
        (3, "sparse_categorical_crossentropy", CLASSES + 9, "from 0 to 2"),
        (3, losses.SparseCategoricalCrossentropy(), CLASSES - 1, "from 0 to 2"),
        (3, lambda y, p: ops.mean(y - p), ROWS, "each example, not their mean"),
    ],
)
def test_a_loss_that_does_not_fit_is_told_in_one_line(columns, loss, labels, message):
    with pytest.raises(ValueError, match=message) as error:
        check_loss(net_of((5,), layers.Dense(columns)), "taylor", labels, loss)
    assert "\n" not in str(error.value)


def test_refuses_several_outputs():
    image = keras.Input((3,))
    net = keras.Model(image, [layers.Dense(2)(image), layers.Dense(2)(image)])
    with pytest.raises(ValueError, match="taylor needs a model with one output"):
        check_loss(net, "taylor", CLASSES, "mse")


@pytest.mark.parametrize(
    ("compiled", "name"),
    [
        ("mse", "mse"),
        (["mse"], "mse"),
        (squared, "squared"),
        (losses.BinaryCrossentropy(), "binary_crossentropy"),
        ("crossentropy", "crossentropy"),
        ("sparse_categorical_crossentropy", "sparse_categorical_crossentropy"),
        (
            losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
            "categorical_crossentropy",
        ),
    ],
)
def test_what_a_model_is_compiled_with_is_no_default(compiled, name):
    net = net_of((5,), layers.Dense(3))
    net.compile(loss=compiled)
    assert loss_name(compiled_loss(net, CLASSES)) == name
    with pytest.raises(ValueError, match="but without a `loss` taylor uses the cross"):
        check_loss(net, "taylor", CLASSES)


@pytest.mark.parametrize(
    "compiled",
    [
        None,
        losses.SparseCategoricalCrossentropy(from_logits=True, name="mine"),
        losses.CategoricalCrossentropy(from_logits=True, reduction="sum"),
    ],
)
def test_what_a_model_is_compiled_with_is_the_default(compiled):
    net = net_of((5,), layers.Dense(3))
    assert compiled_loss(net, CLASSES) is None
    net.compile(loss=compiled)
    assert compiled_loss(net, CLASSES) is None
    check_loss(net, "taylor", CLASSES)


STEP = functools.partial(l1_importance, steps=1)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("kind", [taylor, leave_one_out, STEP])
@pytest.mark.parametrize("recalibrate", [False, True])
def test_criteria_refuse_to_guess(kind, recalibrate):
    image = keras.Input((3,))
    x = layers.Add()([image, layers.Dense(3)(image)])
    net = keras.Model(image, layers.BatchNormalization()(x))
    criterion = kind(np.ones((4, 3)), ROWS, recalibrate=recalibrate)
    assert len(criterion(net)) == 1
    net.compile(loss="mse")
    with pytest.raises(ValueError, match="compiled with the loss mse, but without"):
        criterion(net)
    with pytest.raises(ValueError, match="from 0 to 2"):
        kind(np.ones((4, 3)), CLASSES + 1)(net_of((3,), layers.Dense(3)))


@pytest.mark.parametrize(
    ("outputs", "loss", "expected"),
    [
        (3, None, True),
        (3, "sparse_categorical_crossentropy", True),
        (3, keras.losses.CategoricalFocalCrossentropy(), True),
        (3, "crossentropy", True),
        (3, lambda y, p: keras.ops.mean(y * p), True),
        (3, "mse", False),
        (3, keras.losses.Huber(), False),
        (3, "binary_crossentropy", False),
        (1, None, False),
    ],
)
def test_whether_the_largest_output_is_a_decision(outputs, loss, expected):
    model = net_of((4,), layers.Dense(outputs))
    if loss is not None:
        model.compile("sgd", loss)
    assert decides(model) is expected
