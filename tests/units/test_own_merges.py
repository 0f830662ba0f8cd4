"""Merges of the user's own: found, suggested, and checked before a removal."""

from unittest import mock

import keras
import numpy as np
import pytest
from keras import layers

import resprune_tf as rp
from resprune_tf.graph import node_of
from resprune_tf.units import own_merges
from resprune_tf.units.own_merges import returns_shortcut
from tests.conftest import randomise


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
    # Only the second input of this sum is an ancestor of the other.
    assert possible(Sum(name="sum")) == [("sum", (1,))]
    assert possible(layers.Lambda(lambda t: t[0] * 0.1 + t[1], name="f"))[0][1] == (1,)
    # The shape may be open, apart from the channels.
    assert possible(Sum(name="sum"), shape=(None, None, 4)) == [("sum", (1,))]


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


def test_layers_that_cannot_be_run_alone_are_trusted_but_not_suggested():
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


def with_weight(call, initial):
    """A new class of layers with a scalar weight `g`."""

    def build(self, shapes):
        self.g = self.add_weight(shape=(), initializer=initial, name="g")

    return own(call, build=build)


@pytest.mark.parametrize("initial", ["zeros", "ones"])
@pytest.mark.parametrize(
    "call",
    [
        lambda self, t: t[1] + self.g * (t[0] - t[1]),  # exact while g is 0
        lambda self, t: self.g * t[1] + t[0],  # exact while g is 1
        lambda self, t: t[1] + t[0] + self.g,
    ],
)
def test_a_merge_must_be_exact_for_all_weights(call, initial):
    kind = with_weight(call, initial)
    model = net(kind(name="mix"))
    assert not rp.find_units(model).possible_merges
    rp.register_merge(kind, shortcuts=(1,))
    before = np.array(model.get_layer("mix").g)
    (unit,) = rp.find_units(model)
    assert np.array(model.get_layer("mix").g) == before
    with pytest.raises(ValueError, match=r"its merge \(Own\) does not always return"):
        rp.remove_units(model, unit.name)


def test_a_gate_that_is_computed_elsewhere_is_no_branch():
    """Adaptive normalization: the gate depends on a condition, not on the shortcut."""
    kind = own(lambda self, x, y, gate: x + y * gate)
    x, condition = keras.Input((4,), name="x"), keras.Input((3,), name="condition")
    branch = layers.Dense(4, name="branch")(x)
    y = kind(name="m")(x, branch, layers.Dense(4, name="gate")(condition))
    model = keras.Model([x, condition], layers.Dense(2, name="head")(y))
    randomise(model)
    (found,) = rp.find_units(model).possible_merges
    assert found.shortcuts == (0,)
    rp.register_merge(kind, shortcuts=(0,))
    (unit,) = rp.find_units(model)
    assert unit.removable and [t.name for t in unit.branches] == [branch.name]
    assert {"branch", "gate"} <= set(unit.layers)
    removed = rp.remove_units(model, "m", clone=lambda layer: None)
    for weight in model.get_layer("branch").weights:
        weight.assign(0 * weight)
    images = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    expected = model([images, np.ones((2, 3), "float32")], training=False)
    found = removed([images, np.ones((2, 3), "float32")], training=False)
    np.testing.assert_array_equal(found, expected)

    # A sum that is multiplied afterwards is not the shortcut where the branch is 0.
    kind = own(lambda self, x, y, gate: (x + y) * gate)
    y = kind(name="m")(x, layers.Dense(4)(x), layers.Dense(4)(condition))
    model = keras.Model([x, condition], y)
    assert not rp.find_units(model).possible_merges


def test_layers_that_ignore_the_branch_or_add_a_loss_are_not_suggested():
    def measures(self, tensors):
        self.add_loss(keras.ops.mean(keras.ops.square(tensors[0])))
        return tensors[1] + tensors[0]

    assert possible(own(lambda self, t: 1.0 * t[1])()) == []
    assert possible(own(measures)()) == []


def test_only_real_shortcuts_are_suggested():
    """The input that is returned must be the one that the branch is computed from."""
    assert possible(own(lambda self, t: t[0] + 0.5 * keras.ops.tanh(t[1]))()) == []
    x = keras.Input((4,))
    y = layers.Dense(4)(x)
    twice = own(lambda self, t: t[0] + t[1] * t[2])()([x, y, x])
    assert not rp.find_units(keras.Model(x, twice)).possible_merges


def test_classes_that_are_called_in_two_orders_are_suggested_once():
    kind = own(lambda self, t: t[0] + t[1])
    x = keras.Input((4,))
    y = kind(name="first")([layers.Dense(4)(x), x])
    y = kind(name="second")([y, layers.Dense(4)(y)])
    text = str(rp.find_units(keras.Model(x, y)))
    assert "`register_merge(Own, shortcuts=(0, 1))`: first, second." in text


def test_merges_with_several_outputs_end_no_removable_unit():
    kind = own(lambda self, t: (t[0] + t[1], keras.ops.mean(t[0], axis=-1)))
    x = keras.Input((4,))
    model = keras.Model(x, kind(name="m")([layers.Dense(4)(x), x]))
    assert not rp.find_units(model).possible_merges
    rp.register_merge(kind, shortcuts=(1,))
    (unit,) = rp.find_units(model)
    assert unit.reason == "its merge (Own) has several outputs"


def test_merges_that_return_a_dict_are_checked():
    for factor, removable in ((1, True), (0.5, False)):
        kind = own(lambda self, t, f=factor: {"sum": f * t[1] + t[0]})
        rp.register_merge(kind, shortcuts=(1,))
        x = keras.Input((4,))
        y = kind(name="m")([layers.Dense(4)(x), x])["sum"]
        (unit,) = rp.find_units(keras.Model(x, y))
        assert unit.removable == removable


def test_merges_of_several_examples_are_checked():
    """Frames of a video: only a multiple of four is a batch."""

    def call(self, tensors):
        total = self.factor * tensors[1] + tensors[0]
        return keras.ops.reshape(keras.ops.reshape(total, (-1, 4, 4)), (-1, 4))

    kind = own(call, factor=1.0)
    assert possible(kind(name="m")) == [("m", (1,))]
    rp.register_merge(kind, shortcuts=(1,))
    model = net(kind(name="m"))
    assert rp.find_units(model)[0].removable
    model = net(kind(name="m"))
    model.get_layer("m").factor = 0.5
    assert not rp.find_units(model)[0].removable


def test_masks_are_random_too():
    def call(self, tensors, mask=None):
        total = tensors[0] + tensors[1]
        if mask is None or mask[0] is None:
            return total
        return total * keras.ops.cast(mask[0], total.dtype)[..., None]

    kind = own(call, supports_masking=True, compute_mask=lambda self, t, mask: mask[0])
    rp.register_merge(kind, shortcuts=(0,))
    for zero in (True, False):
        words = keras.Input((5,), dtype="int32")
        x = layers.Embedding(7, 4, mask_zero=zero)(words)
        (unit,) = rp.find_units(
            keras.Model(words, kind(name="m")([x, layers.Dense(4)(x)]))
        )
        assert unit.removable != zero
    keeping = own(lambda self, x, y, keep: keras.ops.where(keep, x + y, x))
    clearing = own(lambda self, x, y, keep: keras.ops.where(keep, x + y, 0.0))
    for kind, removable in ((keeping, True), (clearing, False)):
        rp.register_merge(kind, shortcuts=(0,))
        x = keras.Input((4,))
        y = kind(name="m")(x, layers.Dense(4)(x), x > 0)
        assert rp.find_units(keras.Model(x, y))[0].removable == removable


def test_branches_of_inexact_merges_are_not_dropped():
    kind = own(lambda self, x, y: (x + y) / 2)
    rp.register_merge(kind)
    x = keras.Input((4,))
    y = kind(name="m")(layers.Dense(3)(x), layers.Dense(3)(layers.Dense(3)(x)))
    model = keras.Model(x, y)
    assert rp.find_units(model)[0].kind == "projection"
    with pytest.raises(ValueError, match="'m' cannot be dropped: its merge .Own. does"):
        rp.drop_branches(model, "m")


@pytest.mark.parametrize("limit", [1, 6, 100])
def test_limits_of_a_merge_are_seen(limit):
    kind = own(lambda self, t: keras.ops.clip(t[0] + t[1], -limit, limit))
    assert not possible(kind())


def test_masks_that_are_always_there_are_given():
    def call(self, t, mask=None):
        return t[0] + t[1] * keras.ops.cast(mask[1], t[0].dtype)[..., None]

    kind = own(call, supports_masking=True, compute_mask=lambda self, t, mask: mask[0])
    words = keras.Input((5,), dtype="int32")
    x = layers.Embedding(7, 4, mask_zero=True)(words)
    model = keras.Model(words, kind(name="m")([x, layers.Dense(4)(x)]))
    (found,) = rp.find_units(model).possible_merges
    assert found.shortcuts == (0,)
    rp.register_merge(kind, shortcuts=(0,))
    assert rp.find_units(model)[0].removable


def test_gates_and_weights_may_have_to_be_positive():
    def build(self, shapes):
        self.g = self.add_weight(shape=(64,), initializer="ones", constraint="non_neg")

    rooted = own(lambda self, t: t[1] + keras.ops.sqrt(self.g) * t[0], build=build)
    assert possible(rooted(name="m"), shape=(64,)) == [("m", (1,))]
    kind = own(lambda self, x, y, gate: x + y * keras.ops.sqrt(gate))
    x, condition = keras.Input((4,)), keras.Input((3,))
    gate = layers.Dense(4, activation="sigmoid")(condition)
    y = kind(name="m")(x, layers.Dense(4)(x), gate)
    (found,) = rp.find_units(keras.Model([x, condition], y)).possible_merges
    assert found.shortcuts == (0,)


def test_a_class_may_be_the_gate():
    def build(self, *shapes):
        self.table = layers.Embedding(3, 4)
        self.table.build((None,))

    kind = own(lambda self, x, y, label: x + y * self.table(label), build=build)
    x, label = keras.Input((4,)), keras.Input((), dtype="int32")
    y = kind(name="m")(x, layers.Dense(4)(x), label)
    (found,) = rp.find_units(keras.Model([x, label], y)).possible_merges
    assert found.shortcuts == (0,)


def test_each_merge_is_called_once():
    kind = own(lambda self, t: self.factor * t[1] + t[0], factor=1.0)
    rp.register_merge(kind, shortcuts=(1,))
    model = net(kind(name="m"))
    with mock.patch.object(
        own_merges, "_returns_shortcut", wraps=own_merges._returns_shortcut
    ) as call:
        for _ in range(3):
            rp.find_units(model)
        assert call.call_count == 1
        model.get_layer("m").factor = 0.5  # a change is seen
        (unit,) = rp.find_units(model)
        assert call.call_count == 2 and not unit.removable


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.function")
def test_traced_merges_are_checked_and_not_changed():
    import tensorflow as tf

    def build(self, shape):
        self.gain = self.add_weight(name="gain", shape=(), initializer="ones")

    @tf.function
    def adds(self, t, training=None):
        return t[1] + self.gain * t[0]

    model = net(own(adds, build=build)(name="m"))
    x = np.ones((2, 4), "float32")  # the batch of the check
    before = model(x)  # another trace than that of `training=False`
    assert [each.shortcuts for each in rp.find_units(model).possible_merges] == [(1,)]
    np.testing.assert_array_equal(model(x, training=False), before)
    model.get_layer("m").gain.assign(5.0)
    assert np.abs(model(x, training=False) - before).max() > 1e-3
    assert not tf.config.functions_run_eagerly()

    @tf.function
    def scales(self, t):
        return self.gain * t[1] + t[0]

    kind = own(scales, build=build)
    rp.register_merge(kind, shortcuts=(1,))
    model = net(kind(name="m"))
    model.get_layer("m").gain.assign(1.0)
    model(x)  # a trace with a gain of 1, which must not decide
    (unit,) = rp.find_units(model)
    assert not unit.removable


def test_rounding_of_a_step_is_no_difference():
    kind = own(lambda self, t: 0.7 * (t[1] / 0.7 + t[0]))
    rp.register_merge(kind, shortcuts=(1,))
    (unit,) = rp.find_units(net(kind(name="m")))
    assert unit.removable


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
    wrong = own(lambda self, t: t[1] * 1.01 + t[0])
    y = wrong(dtype=policy)([layers.Dense(4, dtype=policy)(y), y])
    assert not returns_shortcut(node_of(y), 1)


def test_calls_that_are_too_large_are_not_tried():
    x = keras.Input((2**13, 2**13))
    y = own(lambda self, t: t[0] + t[1])()([x, layers.Dense(2**13)(x)])
    assert returns_shortcut(node_of(y), 0) is None
