"""Models of open sizes, given fixed ones."""

import keras
import numpy as np
import pytest
from keras import layers

import resprune_tf as rp
from tests.conftest import net_of, outputs, randomise


def backbone():
    """Two units and a strided convolution, at any size."""
    x = image = keras.Input((None, None, 4), name="image")
    for name in ("first", "second"):
        f = layers.Conv2D(4, 3, padding="same", name=f"{name}_conv")(x)
        x = layers.Add(name=f"{name}_add")([x, layers.BatchNormalization()(f)])
    return keras.Model(image, layers.Conv2D(3, 3, 2, name="stem")(x), name="any_size")


@pytest.fixture
def model():
    net = backbone()
    randomise(net)
    return net


def test_same_weights_and_outputs_at_that_size(model):
    fixed = rp.with_input_shape(model, (8, 6, 4))
    assert fixed.inputs[0].shape == (None, 8, 6, 4)
    assert fixed.outputs[0].shape == (None, 3, 2, 3)
    assert [layer.name for layer in fixed.layers] == [x.name for x in model.layers]
    images = np.random.default_rng(0).normal(size=(2, 8, 6, 4)).astype("float32")
    np.testing.assert_array_equal(outputs(fixed, images), outputs(model, images))
    assert model.inputs[0].shape == (None, None, None, 4)


def test_what_is_found_at_a_size_can_be_removed_from_the_open_model(model):
    with pytest.raises(ValueError, match="with_input_shape"):
        rp.achievable(model)
    fixed = rp.with_input_shape(model, (8, 8, 4))
    macs = 8 * 8 * 3 * 3 * 4 * 4
    units = rp.find_units(fixed)
    assert [unit.macs for unit in units] == [macs, macs]
    solution = rp.solve_target(fixed, rp.Target(units=1), {"first": 0.2, "second": 0.1})
    assert rp.remove_units(model, solution.units).inputs[0].shape[1] is None


def test_a_nested_model_meets_the_size(model):
    inputs = keras.Input((None, None, 4))
    whole = keras.Model(inputs, layers.GlobalAveragePooling2D()(model(inputs)))
    fixed = rp.with_input_shape(whole, (9, 9, 4))
    assert rp.find_units(fixed)[0].shape == (9, 9, 4)
    assert rp.cost(fixed).macs == (2 * 81 * 4 + 16 * 3) * 9 * 4


def test_several_inputs():
    image = keras.Input((None, 4), name="image")
    mask = keras.Input((None, 1), name="mask")
    model = keras.Model({"image": image, "mask": mask}, image * mask)
    fixed = rp.with_input_shape(model, [(5, 4), (5, 1)])
    assert fixed.output_shape == (None, 5, 4)
    assert set(fixed.input) == {"image", "mask"}
    by_name = rp.with_input_shape(model, {"mask": (5, 1), "image": (5, 4)})
    assert by_name.input_shape == fixed.input_shape
    with pytest.raises(ValueError, match="leaves open. Received: {'image'"):
        rp.with_input_shape(model, {"image": (5, 4)})


def test_sizes_may_be_integers_of_numpy_or_stay_open(model):
    shape = np.array([8, 6, 4])
    for given in (shape, tuple(shape), [list(shape)]):
        assert rp.with_input_shape(model, given).input_shape == (None, 8, 6, 4)
    half = rp.with_input_shape(model, (None, 6, 4))
    assert half.input_shape == (None, None, 6, 4)


@pytest.mark.parametrize(
    "shape",
    [
        (8, 8),
        (8, 8, 3),
        [(8, 8, 4), (8, 8, 4)],
        8,
        None,
        (),
        (-1, 8, 4),
        (0, 8, 4),
        (8, 8, None),
        (8.0, 8, 4),
        "884",
        {"other": (8, 8, 4)},
    ],
)
def test_a_shape_that_does_not_fit(model, shape):
    with pytest.raises(ValueError, match=r"leaves open. Received: .*\(None, None, 4\)"):
        rp.with_input_shape(model, shape)


def test_a_model_of_fixed_sizes_may_be_given_its_own():
    model = net_of((5,), layers.Dense(2))
    assert rp.with_input_shape(model, (5,)).input_shape == (None, 5)
