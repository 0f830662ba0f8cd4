"""Similarity of what enters and leaves a unit, against independent formulas."""

import tracemalloc

import keras
import numpy as np
import pytest
from keras import layers

from resprune_tf.criteria.similarity import (
    _centred_gram,
    _joined,
    block_influence,
    cka,
)
from resprune_tf.training.recalibration import recalibrate
from tests.conftest import images_of, outputs
from tests.made.foreign_nets import flat, two_inputs


def sides(net, name, images):
    """What enters and leaves a unit, float64."""
    merge = net.get_layer(f"{name}_add")
    probe = keras.Model(net.input, [merge.input[0], merge.output])
    return [np.asarray(side, "float64") for side in probe(images, training=False)]


def feature_cka(x, y):
    """CKA of centred features by their cross-covariances (Kornblith et al., eq. 5)."""
    x, y = (v.reshape(len(v), -1) - v.reshape(len(v), -1).mean(axis=0) for v in (x, y))
    cross = np.linalg.norm(y.T @ x) ** 2
    return cross / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


@pytest.fixture(scope="module")
def net():
    return flat()


def test_cka_is_that_of_the_features(net, monkeypatch):
    x = images_of(net, 8)
    monkeypatch.setattr("resprune_tf.criteria.similarity._FEATURES", 40)  # of 96
    scores = cka(x, batch_size=3)(net)
    assert list(scores) == ["a", "b", "c"]
    for name, score in scores.items():
        assert score == pytest.approx(1 - feature_cka(*sides(net, name, x)), abs=1e-6)


def test_cka_sees_no_rotation_and_no_scale():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(6, 4))
    rotation, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    gram = _centred_gram(features, "unit")
    turned = _centred_gram(3 * features @ rotation + 5, "unit")
    np.testing.assert_allclose(turned, 9 * gram, rtol=1e-10, atol=1e-10)


def test_batches_are_not_kept_while_they_are_joined():
    def batches():
        for start in range(0, 64, 8):
            rows = np.arange(start, min(start + 8, 60), dtype="float32")
            yield [np.repeat(rows[:, None], 10_000, axis=1), rows]

    tracemalloc.start()
    try:
        features, rows = _joined(batches(), 60)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert features.dtype == "float32" and features.shape == (60, 10_000)
    np.testing.assert_array_equal(features[:, 9_999], np.arange(60))
    np.testing.assert_array_equal(rows, np.arange(60))
    assert peak < 1.5 * features.nbytes


@pytest.mark.usefixtures("eagerly")
def test_block_influence_is_one_minus_the_cosine(net):
    x = images_of(net, 8)
    for name, score in block_influence(x, batch_size=4)(net).items():
        before, after = sides(net, name, x)
        norms = np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1)
        cosine = (before * after).sum(axis=-1) / norms
        assert score == pytest.approx(np.mean(1 - cosine), rel=1e-5)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("kind", [cka, block_influence])
def test_a_silent_unit_changes_nothing(kind):
    net = flat()
    convolution = net.get_layer("b_conv")
    convolution.set_weights([np.zeros(w.shape) for w in convolution.get_weights()])
    scores = kind(images_of(net, 4))(net)
    assert scores["b"] == pytest.approx(0, abs=1e-12)
    assert scores["a"] > 0.01 and scores["c"] > 0.01


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("kind", [cka, block_influence])
def test_recalibrated_scores_are_those_of_the_recalibrated_net(net, kind):
    x = images_of(net, 8)
    criterion = kind(x, 4, recalibrate=True)
    assert criterion.__name__ == f"{kind.__name__}(8 images, recalibrated)"
    expected = kind(x, 4)(recalibrate(net, x, 4))
    assert criterion(net) == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("eagerly")
def test_dense_units_and_several_inputs_are_scored():
    net = two_inputs()
    rng = np.random.default_rng(0)
    x = {"image": rng.normal(size=(9, 4, 4, 3)), "tokens": rng.integers(0, 50, (9, 7))}
    before, after = sides(net, "second", x)
    assert cka(x)(net)["second"] == pytest.approx(
        1 - feature_cka(before, after), abs=1e-6
    )
    norms = np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1)
    expected = np.mean(1 - (before * after).sum(axis=-1) / norms)
    assert block_influence(x)(net)["second"] == pytest.approx(expected, rel=1e-5)


def test_images_that_are_all_the_same_tell_nothing(net):
    x = np.ones((3, 4, 4, 3), "float32")
    assert cka(x)(net) == {"a": 0.0, "b": 0.0, "c": 0.0}


@pytest.mark.usefixtures("eagerly")
def test_dead_positions_have_no_direction():
    image = keras.Input((2, 3))
    x = layers.ReLU()(image)
    half = layers.Dense(3, use_bias=False)
    net = keras.Model(image, layers.Add(name="unit_add")([x, half(x)]))
    half.kernel.assign(0.5 * np.eye(3))
    x = np.array([[[-1, -1, -1], [1, 2, 3]]], "float32")
    assert block_influence(x)(net)["unit"] == pytest.approx(0, abs=1e-12)
    assert outputs(net, x)[0, 0].any() == 0


def test_cka_needs_images_to_compare(net):
    with pytest.raises(ValueError, match="so it needs at least 2. Received: 1"):
        cka(images_of(net, 1))
