"""The copy that is trained: same graph, same variables, other layers."""

import keras
import numpy as np
import pytest

from resprune_tf.graph.transfer import copy_values
from resprune_tf.training.fast_copy import (
    OnePassBatchNormalization,
    SubsampledConv2D,
    exact_copy,
    fast_copy,
)
from tests.conftest import images_of, outputs, randomise, shallow_net
from tests.training.gradients import two_stages


def test_same_names_variables_and_outputs():
    model = two_stages(unit_kind="basic")
    copy = fast_copy(model)
    assert [layer.name for layer in model.layers] == [la.name for la in copy.layers]
    assert [v.path for v in model.variables] == [v.path for v in copy.variables]
    kinds = {type(la) for la in copy.layers if "bn" in la.name}
    assert kinds == {OnePassBatchNormalization}
    images = images_of(model)
    np.testing.assert_allclose(
        outputs(model, images), outputs(copy, images), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("activation", ["pre", "post"])
def test_values_come_back_and_the_model_stays_stock(activation):
    model = two_stages(unit_kind="basic", activation=activation, shortcut="zero_pad")
    copy = fast_copy(model, "bfloat16")
    randomise(copy, seed=7)
    copy_values(copy, model)
    for a, b in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not [la for la in model.layers if isinstance(la, OnePassBatchNormalization)]


def test_bfloat16_keeps_what_needs_digits():
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Rescaling(1 / 255, name="scale")(image)
    x = keras.layers.Conv2D(4, 3, name="conv")(x)
    x = keras.layers.Conv2D(4, 3, dtype="bfloat16", name="own")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dense(3, name="logits")(x)
    copy = fast_copy(keras.Model(image, x), "bfloat16")
    policies = {layer.name: layer.dtype_policy.name for layer in copy.layers}
    assert policies == {
        "image": "float32",
        "scale": "float32",
        "conv": "mixed_bfloat16",
        "own": "bfloat16",
        "pool": "mixed_bfloat16",
        "logits": "float32",
    }
    assert {v.dtype for v in copy.get_layer("conv").variables} == {"float32"}


def test_layers_without_a_one_pass_form_stay():
    image = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization(axis=1, name="rows")(image)
    x = keras.layers.BatchNormalization(axis=3, name="last")(x)
    copy = fast_copy(keras.Model(image, x))
    assert type(copy.get_layer("rows")) is keras.layers.BatchNormalization
    assert type(copy.get_layer("last")) is OnePassBatchNormalization


def test_a_batch_normalization_of_masked_inputs_stays():
    """Its statistics must not include the masked steps."""
    steps = keras.Input((5, 3))
    masked = keras.layers.Masking(name="mask")(steps)
    model = keras.Model(steps, keras.layers.BatchNormalization(name="bn")(masked))
    copy = fast_copy(model)
    assert type(copy.get_layer("bn")) is keras.layers.BatchNormalization


def test_nested_models_are_copied_too():
    inner = two_stages(unit_kind="basic")
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, inner(image))
    copy = fast_copy(model)
    nested = copy.get_layer(inner.name)
    assert type(nested.get_layer("final_bn")) is OnePassBatchNormalization
    images = images_of(model)
    np.testing.assert_allclose(
        outputs(model, images), outputs(copy, images), rtol=1e-5, atol=1e-5
    )


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="one of float32, bfloat16.*float16"):
        fast_copy(shallow_net(), "float16")


@pytest.mark.parametrize("copied", [fast_copy, exact_copy])
@pytest.mark.parametrize(
    ("channels", "size", "strides", "padding", "replaced"),
    [
        (4, 1, 2, "same", True),
        (3, 1, (3, 2), "valid", True),
        (4, 1, 1, "same", False),
        (4, 3, 2, "same", False),
        (16, 1, 2, "same", False),
    ],
)
def test_narrow_strided_pointwise_convolutions_are_subsampled_first(
    channels, size, strides, padding, replaced, copied
):
    """Odd sizes too: the last pixel is used or left out as by Keras."""
    image = keras.Input((7, 8, channels))
    conv = keras.layers.Conv2D(5, size, strides, padding, name="conv")
    model = keras.Model(image, conv(image))
    randomise(model)
    copy = copied(model)
    assert isinstance(copy.get_layer("conv"), SubsampledConv2D) == replaced
    copy_values(model, copy)
    images = images_of(model)
    assert outputs(copy, images).shape == outputs(model, images).shape
    np.testing.assert_allclose(
        outputs(copy, images), outputs(model, images), rtol=1e-5, atol=1e-5
    )


def test_what_is_not_changed_is_copied_as_elsewhere():
    """A batch renormalization has more statistics; a Lambda has its function."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Lambda(lambda pixels: 2 * pixels, name="twice")(image)
    if "renorm" in keras.layers.BatchNormalization().get_config():
        x = keras.layers.BatchNormalization(renorm=True, name="bn")(x)
    model = keras.Model(image, keras.layers.Flatten()(x))
    images = images_of(model)
    for precision in ("float32", "bfloat16"):
        copy = fast_copy(model, precision)
        kinds = [type(layer) for layer in copy.layers]
        assert kinds == [type(layer) for layer in model.layers]
        policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]
        assert copy.get_layer("twice").dtype_policy.name == policy
    copy = fast_copy(model)
    np.testing.assert_array_equal(outputs(model, images), outputs(copy, images))
