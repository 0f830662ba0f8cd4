"""A teacher in any Keras model's training: what it adds to the loss, and no more."""

import keras
import numpy as np
import pytest

import resprune_tf as rp
from resprune_tf.training.distillation import guided_model, load_teacher
from tests.made.fits import dense_net, numbers, regression_data, regression_net, shorten
from tests.made.options import options

pytestmark = pytest.mark.slow


def classifier(activation=None, **fields):
    return dense_net(outputs=3, activation=activation, **fields)


def softened(logits, temperature):
    powers = np.exp(logits / temperature)
    return powers / powers.sum(axis=-1, keepdims=True)


def loss_of(model, x, y):
    """The training loss of one batch, of a compiled model."""
    loss = model.compute_loss(x, y, model(x, training=True), training=True)
    return float(keras.ops.convert_to_numpy(loss))


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_probabilities_of_logits_and_of_a_softmax_are_compared_alike(activation):
    x, _ = numbers(8)
    y = np.arange(8) % 3
    student, teacher = classifier(activation), classifier(activation, seed=1)
    guided = guided_model(student, teacher, rp.Guidance(temperature=2.0, weight=0.25))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None)
    guided.compile("sgd", loss)
    logits = [classifier(seed=seed)(x).numpy() for seed in (0, 1)]
    own = softened(logits[0], 1.0)[np.arange(8), y]
    p, q = (softened(each, 2.0) for each in logits[::-1])
    apart = 2.0**2 * np.mean(np.sum(p * np.log(p / q), axis=-1))
    expected = 0.75 * -np.log(own).mean() + 0.25 * apart
    assert loss_of(guided, x, y) == pytest.approx(expected, rel=1e-4)


def test_penalties_weigh_as_without_a_teacher():
    x, y = numbers(8)
    student, teacher = dense_net(), dense_net(seed=1)
    student.get_layer("stem").kernel_regularizer = keras.regularizers.L2(0.1)
    student.get_layer("stem").kernel.regularizer = keras.regularizers.L2(0.1)
    guided = guided_model(student, teacher, rp.Guidance(weight=0.5, kind="mse"))
    guided.compile("sgd", "mse")
    mine, other = student(x).numpy(), teacher(x).numpy()
    penalty = 0.1 * np.square(student.get_layer("stem").kernel.numpy()).sum()
    expected = np.mean((mine - y) ** 2) / 2 + np.mean((mine - other) ** 2) / 2
    assert loss_of(guided, x, y) == pytest.approx(expected + penalty, rel=1e-5)


def with_features(**fields):
    net = dense_net(**fields)
    features = net.get_layer("unit2_add").output
    return keras.Model(net.input, {"features": features, "head": net.output})


def test_a_named_output_is_taught_and_losses_by_name_stay():
    x, y = numbers(8)
    student, teacher = with_features(), with_features(seed=1)
    guidance = rp.Guidance(kind="mse", output="features", weight=0.5)
    guided = guided_model(student, teacher, guidance)
    guided.compile("sgd", {"head": "mse"}, metrics={"head": ["mae"]})
    mine, other = student(x), teacher(x)
    apart = np.mean((mine["features"].numpy() - other["features"].numpy()) ** 2)
    expected = (np.mean((mine["head"].numpy() - y) ** 2) + apart) / 2
    assert loss_of(guided, x, {"head": y}) == pytest.approx(expected, rel=1e-5)


def test_a_teacher_is_no_part_of_the_model_and_is_only_read():
    x, y = numbers()
    student, teacher = regression_net(), regression_net(seed=1)
    before = teacher.get_weights()
    guided = guided_model(student, teacher, rp.Guidance(kind="mse"))
    assert len(guided.weights) == len(student.weights)
    assert guided.output_names == student.output_names
    guided.compile("sgd", "mse")
    guided.fit(x, y, verbose=0)
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_student_of_its_teacher_alone_becomes_like_it():
    """By the teacher's word alone, whose own labels are noise."""
    x, _ = numbers()
    noise = np.random.default_rng(3).normal(size=(48, 1)).astype("float32")
    teacher, student = (regression_net(units=1, seed=seed) for seed in (1, 0))
    guidance = rp.Guidance(kind="mse", weight=1.0, teacher=teacher)
    data = rp.FitData((x, noise), (x, teacher.predict(x, verbose=0)), batch_size=16)
    result = rp.prune_and_retrain(
        student,
        data,
        rp.FitRecipe(epochs=20),
        guidance=guidance,
        **options(max_rounds=0, monitor="mae"),
    )
    first = np.abs(student.predict(x, verbose=0) - teacher.predict(x, verbose=0))
    assert result.rounds[0].validation["mae"] < first.mean() / 3


def eager(model):
    """Compiled for a few steps, which take less than tracing one."""
    model.compile("sgd", "mse", metrics=["mae"], run_eagerly=True)
    return model


def test_the_trained_net_teaches_the_shorter_ones(tmp_path):
    guidance = rp.Guidance(kind="mse", weight=1.0)
    taught, alone = (
        shorten(
            eager(regression_net(units=1)),
            regression_data(),
            rp.FitRecipe(epochs=1),
            guidance=given,
            max_rounds=1,
            run_dir=tmp_path / name,
        )
        for name, given in (("taught", guidance), ("alone", None))
    )
    first, second = zip(
        *(
            [rp_round.validation["mae"] for rp_round in each.rounds]
            for each in (taught, alone)
        ),
        strict=True,
    )
    assert first[0] == first[1]  # nobody teaches the initial net
    assert second[0] != second[1]


@pytest.mark.parametrize(
    ("model", "guidance", "message"),
    [
        (regression_net, {}, 'kind="kl".*shape.*Pass `Guidance.kind="mse"'),
        (lambda: classifier("sigmoid"), {}, "from a sigmoid"),
        (with_features, {"kind": "mse"}, "output=...*has the outputs features, head"),
        (with_features, {"kind": "mse", "output": "x"}, "Received: 'x'"),
    ],
)
def test_what_cannot_be_taught(model, guidance, message):
    with pytest.raises(ValueError, match=message):
        load_teacher(rp.Guidance(**guidance), model())


def test_kinds_and_teachers_that_do_not_fit():
    with pytest.raises(ValueError, match="one of kl, mse. Received: 'l1'"):
        rp.Guidance(kind="l1")
    guidance = rp.Guidance(kind="mse", teacher=dense_net(outputs=2))
    with pytest.raises(ValueError, match=r"to \(2,\), a student from \(6,\) to \(1"):
        load_teacher(guidance, dense_net())
