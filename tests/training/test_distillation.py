"""Distillation: the published loss, its gradient, and a teacher that never changes."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from resprune_tf.training.distillation import Distillation, Teacher
from tests.conftest import images_of, outputs, shallow_net

pytestmark = pytest.mark.slow


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def loss_of(student, teacher, training=True, **arguments):
    layer = Distillation(**arguments)
    out = layer([ops.convert_to_tensor(student), teacher], training=training)
    np.testing.assert_array_equal(ops.convert_to_numpy(out), student)
    return [float(value) for value in layer.losses]


def logits_of(seed, shape=(6, 5), scale=3.0):
    values = np.random.default_rng(seed).normal(scale=scale, size=shape)
    return values.astype("float32")


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    temperature=st.floats(0.5, 20),
    weight=st.floats(0, 1),
)
def test_loss_is_the_published_formula(seed, temperature, weight):
    student, teacher = logits_of(seed), logits_of(seed + 1)
    p = softmax(teacher.astype("float64") / temperature)
    q = softmax(student.astype("float64") / temperature)
    expected = weight * temperature**2 * (p * np.log(p / q)).sum(axis=1).mean()
    [loss] = loss_of(student, teacher, temperature=temperature, weight=weight)
    assert loss == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_no_loss_where_student_and_teacher_agree():
    logits = logits_of(0)
    assert loss_of(logits, logits.copy()) == [0.0]
    shifted = logits + np.float32(2.0)  # the same probabilities
    assert loss_of(logits, shifted)[0] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("training", [False, None])
def test_no_loss_outside_training(training):
    assert loss_of(logits_of(0), logits_of(1), training=training) == []


# TensorFlow notices that the teacher's table gets no gradient, as it should not.
no_gradient = pytest.mark.filterwarnings("ignore:Gradients do not exist")


def one_step(temperature=3.0, weight=0.7, loss_weight=0.0):
    """A model of two free logit tables, and their change in one step of SGD(1)."""
    index = keras.Input((), dtype="int32")
    student = layers.Embedding(4, 5, name="student")
    teacher = layers.Embedding(4, 5, name="teacher")
    logits = Distillation(temperature, weight)([student(index), teacher(index)])
    model = keras.Model(index, logits)
    student.embeddings.assign(logits_of(0, (4, 5)))
    teacher.embeddings.assign(logits_of(1, (4, 5)))
    model.compile(
        keras.optimizers.SGD(1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        loss_weights=[loss_weight],
    )
    loss = model.train_on_batch(np.arange(4), np.array([3, 1, 0, 2]))
    moved = ops.convert_to_numpy(student.embeddings) - logits_of(0, (4, 5))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(teacher.embeddings), logits_of(1, (4, 5))
    )
    return float(loss), moved


@no_gradient
def test_gradient_moves_the_student_towards_the_teacher_alone():
    _, moved = one_step(temperature=3.0, weight=0.7)
    difference = softmax(logits_of(1, (4, 5)) / 3) - softmax(logits_of(0, (4, 5)) / 3)
    np.testing.assert_allclose(moved, 0.7 * 3.0 * difference / 4, atol=1e-6)


@no_gradient
def test_labels_take_the_rest_of_the_loss():
    loss, moved = one_step(temperature=3.0, weight=0.7, loss_weight=0.3)
    student, teacher = logits_of(0, (4, 5)), logits_of(1, (4, 5))
    hot = np.eye(5)[[3, 1, 0, 2]]
    p, q = softmax(teacher / 3), softmax(student / 3)
    expected = 0.7 * 9 * (p * np.log(p / q)).sum(axis=1).mean()
    expected -= 0.3 * np.log((softmax(student) * hot).sum(axis=1)).mean()
    assert loss == pytest.approx(expected, rel=1e-5)
    gradient = 0.7 * 3 * (q - p) + 0.3 * (softmax(student) - hot)
    np.testing.assert_allclose(moved, -gradient / 4, atol=1e-6)


def test_half_precision_logits_are_compared_in_float32():
    student, teacher = logits_of(0), logits_of(1)
    half = [ops.cast(logits, "bfloat16") for logits in (student, teacher)]
    layer = Distillation(dtype="mixed_bfloat16")
    layer(half, training=True)
    assert keras.backend.standardize_dtype(layer.losses[0].dtype) == "float32"
    [expected] = loss_of(student, teacher)
    assert float(layer.losses[0]) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    "arguments",
    [
        {"temperature": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"weight": -0.1},
        {"weight": 1.5},
        {"weight": float("nan")},
    ],
)
def test_refuses_arguments_out_of_range(arguments):
    [(name, value)] = arguments.items()
    with pytest.raises(ValueError, match=f"Received: {name}={value}"):
        Distillation(**arguments)


def test_refuses_logits_of_other_classes():
    with pytest.raises(ValueError, match=r"Received: \(6, 5\) and \(6, 4\)"):
        Distillation()([logits_of(0), logits_of(1, (6, 4))])


def with_dropout():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(image)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Dropout(0.5, name="drop")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(5, name="logits")(x), name="net")


def test_teacher_is_at_inference_even_in_training():
    net = with_dropout()
    x = images_of(net)
    image = keras.Input(net.input_shape[1:])
    outer = keras.Model(image, Teacher(net)(image))
    np.testing.assert_array_equal(outer(x, training=True), outputs(net, x))


def test_teacher_is_a_frozen_copy():
    net = shallow_net()
    x = images_of(net)
    expected = outputs(net, x)
    teacher = Teacher(net)
    assert teacher.name == "teacher"
    assert teacher.trainable_variables == []
    assert not {id(v) for v in teacher.variables} & {id(v) for v in net.variables}
    assert net.trainable_variables != []
    net.get_layer("logits").kernel.assign(
        np.zeros(net.get_layer("logits").kernel.shape)
    )
    np.testing.assert_array_equal(outputs(teacher.model, x), expected)


def test_teacher_needs_a_graph():
    with pytest.raises(TypeError, match="Teacher reads the graph of a functional"):
        Teacher(keras.Sequential([layers.Dense(2)]))


def distilled(core, model):
    """A training model: `core` learns from labels and from a frozen `model`."""
    image = keras.Input(core.input_shape[1:])
    logits = Distillation(2.0, 0.9)([core(image), Teacher(model)(image)])
    training = keras.Model(image, logits)
    training.compile(
        keras.optimizers.SGD(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        loss_weights=[0.1],
    )
    return training


def test_a_student_of_the_same_names_comes_closer_and_the_teacher_stays():
    core, model = shallow_net(), shallow_net()
    for layer in core.layers:
        if hasattr(layer, "importance"):
            layer.importance.assign(0.0)
    training = distilled(core, model)
    x = images_of(core, 8)
    teacher = training.get_layer("teacher").model
    before = [ops.convert_to_numpy(v).copy() for v in teacher.variables]
    losses = [training.train_on_batch(x, np.zeros(8, "int32")) for _ in range(10)]
    assert float(losses[-1]) < float(losses[0])
    for old, new in zip(before, teacher.variables, strict=True):
        np.testing.assert_array_equal(old, ops.convert_to_numpy(new))
