"""Merges of the user's own: found, suggested, and checked before a removal."""

import keras
import numpy as np
import pytest
from keras import layers

import resprune_tf as rp
from resprune_tf.graph import node_of
from resprune_tf.units.own_merges import returns_shortcut
from tests.conftest import outputs, randomise


def own(call, **members):
    """A new class of layers with this `call`."""
    return type("Own", (layers.Layer,), {"call": call, **members})


def net(merge, shape=(4,), dtype=None):
    """A dense branch and a merge of it with the shortcut, in this order."""
    x = keras.Input(shape, name="x", dtype=dtype)
    branch = layers.Dense(shape[-1], activation="tanh", name="branch")(x)
    model = keras.Model(x, layers.Dense(2, name="head")(merge([branch, x])))
    randomise(model)
    return model


def possible(merge, **settings):
    found = rp.find_units(net(merge, **settings))
    assert not found
    return [(each.name, each.shortcuts) for each in found.possible_merges]


def test_layers_that_return_an_input_are_suggested():
    class Sum(layers.Add):
        pass

    assert possible(own(lambda self, t: t[1] + 2 * t[0])(name="m")) == [("m", (1,))]
    # Either input of a sum may be the shortcut.
    assert possible(Sum(name="sum")) == [("sum", (0, 1))]
    assert possible(layers.Lambda(lambda t: t[0] * 0.1 + t[1], name="f"))[0][1] == (1,)
    # The shape may be open, apart from the channels.
    assert possible(Sum(name="sum"), shape=(None, None, 4)) == [("sum", (0, 1))]


@pytest.mark.parametrize(
    "call",
    [
        lambda self, t: (t[0] + t[1]) / 2,
        lambda self, t: t[0] * t[1],
        lambda self, t: keras.ops.maximum(t[0], t[1]),
        lambda self, t: keras.ops.concatenate([t[1], t[0]], axis=-1),
    ],
)
def test_layers_that_return_no_input_are_not_suggested(call):
    assert possible(own(call)()) == []
    units = rp.find_units(net(own(call)()))
    assert "merge" not in str(units)


def test_layers_that_fail_by_themselves_are_trusted_but_not_suggested():
    def call(self, tensors):
        if self.broken:
            raise ValueError("not now")
        return tensors[1] + tensors[0]

    kind = own(call, broken=False)
    model = net(kind(name="m"))
    model.get_layer("m").broken = True
    assert not rp.find_units(model).possible_merges
    rp.register_merge(kind, shortcuts=(1,))
    (unit,) = rp.find_units(model)
    assert unit.removable


def test_layers_of_one_tensor_and_layers_of_keras_are_not_suggested():
    x = keras.Input((3, 4))
    y = own(lambda self, t: t * 2)()(x)
    y = layers.Attention()([x, layers.Dense(4)(y)])
    unrelated = keras.Input((3, 4), name="other")
    y = own(lambda self, t: t[0] + t[1])()([unrelated, y])
    found = rp.find_units(keras.Model([x, unrelated], y))
    assert not found and not found.possible_merges


def test_the_table_states_how_to_register_them():
    kind = own(lambda self, t: t[1] + t[0] * 0.5)
    x = keras.Input((4,))
    y = kind(name="first")([layers.Dense(4)(x), x])
    inner = keras.Model(x, y, name="inner")
    y = inner(x)
    y = kind(name="second")([layers.Dense(4)(y), y])
    text = str(rp.find_units(keras.Model(x, y)))
    assert "`register_merge(Own, shortcuts=(1,))`: second, inner/first." in text


def test_a_merge_that_is_not_exact_ends_no_removable_unit():
    """x + g * (f(x) - x) returns x for g = 0, and not where f(x) is 0."""

    def build(self, shapes):
        self.g = self.add_weight(shape=(), initializer="zeros", name="g")

    kind = own(lambda self, t: t[1] + self.g * (t[0] - t[1]), build=build)
    rp.register_merge(kind, shortcuts=(1,))
    model = net(kind(name="mix"))
    mix = model.get_layer("mix")
    mix.g.assign(0.5)
    (unit,) = rp.find_units(model)
    assert not unit.removable
    why = r"its merge \(Own\) does not return the shortcut where the branch is 0"
    with pytest.raises(ValueError, match=why):
        rp.remove_units(model, "mix")
    mix.g.assign(0.0)
    images = np.ones((2, 4), "float32")
    expected = outputs(model, images)
    removed = rp.remove_units(model, "mix", clone=lambda layer: None)
    np.testing.assert_array_equal(outputs(removed, images), expected)


def test_what_a_merge_does_in_training_or_with_masks_does_not_matter():
    def call(self, inputs, keep=None, training=False):
        x, branch = inputs
        return x + branch if not training else x * 2

    kind = own(call)
    rp.register_merge(kind, shortcuts=(0,))
    x = keras.Input((4,))
    y = kind(name="kept")([x, layers.Dense(4)(x)], keep=x > 0, training=True)
    (unit,) = rp.find_units(keras.Model(x, y))
    assert unit.removable


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_every_precision_is_checked(policy):
    kind = own(lambda self, t: t[1] + t[0] / 3)
    x = keras.Input((4,), dtype="float64" if policy == "float64" else None)
    y = layers.Dense(4, dtype=policy)(x)
    y = kind(name="m", dtype=policy)([layers.Dense(4, dtype=policy)(y), y])
    node = node_of(y)
    assert returns_shortcut(node, 1) and not returns_shortcut(node, 0)


def test_calls_that_are_too_large_are_not_tried():
    x = keras.Input((2**13, 2**13))
    y = own(lambda self, t: t[0] + t[1])()([x, layers.Dense(2**13)(x)])
    assert returns_shortcut(node_of(y), 0) is None
