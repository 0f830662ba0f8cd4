"""Units of models of every kind: nested, shared, opaque, subtracted, transformers."""

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.backend import get_keras_mask

import resprune_tf as rp
from resprune_tf.graph.tracing import trace
from resprune_tf.pruning.plan import Plan
from resprune_tf.units import expansion
from tests.conftest import randomise


def conv(name, filters=4, **kwargs):
    return layers.Conv2D(filters, 3, padding="same", name=name, **kwargs)


def unit(x, name):
    branch = conv(f"{name}_conv")(layers.ReLU(name=f"{name}_relu")(x))
    return layers.Add(name=f"{name}_add")([x, branch])


def backbone(shape=(8, 8, 4), name="backbone"):
    inputs = keras.Input(shape, name=f"{name}_in")
    return keras.Model(inputs, unit(unit(inputs, "a"), "b"), name=name)


class Block(layers.Layer):
    """A residual block as home-grown models write it: a layer of layers."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape):
        self.first = layers.Conv2D(self.filters, 3, padding="same", name="conv")
        self.norm = layers.BatchNormalization(name="norm")
        self.first.build(input_shape)
        self.norm.build(input_shape)

    def call(self, inputs):
        return inputs + keras.ops.relu(self.norm(self.first(inputs)))

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


class Stage(layers.Layer):
    """A layer of blocks."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [Block(4, name=f"block{index}") for index in range(2)]

    def call(self, inputs):
        for block in self.blocks:
            inputs = block(inputs)
        return inputs


class Tower(keras.Model):
    """A subclassed model of stages."""

    def __init__(self):
        super().__init__(name="tower")
        self.stem, self.stage = conv("stem"), Stage(name="stage")
        self.head = layers.Dense(3, name="head")

    def call(self, inputs):
        return self.head(keras.ops.mean(self.stage(self.stem(inputs)), axis=(1, 2)))


def images(*shape, count=2):
    return np.random.default_rng(0).normal(size=(count, *shape)).astype("float32")


def run(model, x):
    return np.asarray(model(x, training=False))


def assert_removal_is_exact(model, names, x):
    """Without `names`, `model` computes what it does with those branches at zero."""
    before = [np.array(weight) for weight in model.weights]
    shorter = rp.remove_units(model, names)
    silenced = rp.add_importance(model, names, value=0.0)
    np.testing.assert_array_equal(run(shorter, x), run(silenced, x))
    assert np.abs(run(shorter, x) - run(model, x)).max() > 1e-4
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    return shorter


def test_units_of_nested_models_carry_their_path():
    inputs = keras.Input((8, 8, 4))
    inner = backbone()
    x = keras.Sequential([layers.Conv2D(4, 1), inner], name="bag")(inputs)
    outer = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(unit(x, "top"))))
    randomise(outer)
    units = rp.find_units(outer)
    assert [u.name for u in units] == ["bag/backbone/a", "bag/backbone/b", "top"]
    assert units[0].layers == (
        "bag/backbone/a_relu",
        "bag/backbone/a_conv",
        "bag/backbone/a_add",
    )
    x = images(8, 8, 4)
    shorter = assert_removal_is_exact(outer, ["bag/backbone/a", "top"], x)
    left = [u.name for u in rp.find_units(shorter)]
    assert left == ["bag/backbone/b"]
    full, short = rp.cost(outer), rp.cost(shorter)
    gone = units[0], units[2]
    assert full.macs - short.macs == sum(u.macs for u in gone)
    assert full.parameters - short.parameters == sum(u.parameters for u in gone)
    scaled = rp.add_importance(outer)
    assert list(rp.importances(scaled)) == [u.name for u in units]
    np.testing.assert_array_equal(run(scaled, x), run(outer, x))


def test_a_sequential_of_models_has_units():
    bag = keras.Sequential([keras.Input((8, 8, 4)), backbone(), layers.Flatten()])
    randomise(bag)
    assert [u.name for u in rp.find_units(bag)] == ["backbone/a", "backbone/b"]
    assert_removal_is_exact(bag, "backbone/b", images(8, 8, 4))


def test_a_model_called_twice_is_shortened_in_both_places():
    twin = backbone()
    a, b = keras.Input((8, 8, 4), name="one"), keras.Input((8, 8, 4), name="two")
    model = keras.Model([a, b], layers.Subtract(name="difference")([twin(a), twin(b)]))
    randomise(model)
    units = rp.find_units(model)
    assert [u.name for u in units] == ["backbone/a", "backbone/b"]
    shorter = rp.remove_units(model, "backbone/a")
    assert rp.cost(model).macs - rp.cost(shorter).macs == units[0].macs
    assert units[0].macs == 2 * 8 * 8 * 9 * 4 * 4
    assert units[0].parameters == 9 * 4 * 4 + 4  # stored once
    silenced = rp.add_importance(model, "backbone/a", value=0.0)
    x = [images(8, 8, 4), images(8, 8, 4)[::-1].copy()]
    np.testing.assert_array_equal(run(shorter, x), run(silenced, x))


def test_a_nested_model_may_lose_all_it_does():
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, conv("last")(backbone()(inputs)))
    randomise(model)
    names = [unit.name for unit in rp.find_units(model)]
    shorter = assert_removal_is_exact(model, names, images(8, 8, 4))
    assert rp.find_units(shorter) == []
    assert rp.fold(shorter).count_params() == shorter.count_params()


def test_sizes_that_a_nested_model_leaves_open_are_those_it_meets():
    inputs = keras.Input((16, 16, 4))
    outer = keras.Model(inputs, backbone((None, None, 4))(inputs))
    first = rp.find_units(outer)[0]
    assert first.macs == 16 * 16 * 9 * 4 * 4 and first.shape == (16, 16, 4)
    assert rp.cost(outer).macs == 2 * 16 * 16 * 9 * 4 * 4
    loose = backbone((None, None, 4))
    units = rp.find_units(loose)
    assert units[0].macs is None and "?" in str(units)
    assert rp.cost(rp.with_input_shape(loose, (16, 16, 4))) == rp.cost(outer)


def test_a_shared_layer_stays_while_another_unit_needs_it():
    inputs = keras.Input((8, 8, 4))
    shared = conv("shared")
    x = layers.Add(name="a_add")([inputs, shared(inputs)])
    x = layers.Add(name="b_add")([x, shared(x)])
    model = keras.Model(inputs, x)
    first = rp.find_units(model)[0]
    assert first.layers == ("a_add",) and first.parameters == 0
    assert not first.weights
    assert first.macs == 8 * 8 * 9 * 4 * 4
    shorter = assert_removal_is_exact(model, "a", images(8, 8, 4))
    assert shorter.count_params() == model.count_params()


def test_units_nest():
    """A U-Net's skip holds the units between its ends."""
    inputs = keras.Input((8, 8, 4))
    down = unit(inputs, "encoder")
    deep = unit(layers.AveragePooling2D(2)(down), "bottom")
    up = layers.UpSampling2D()(deep)
    model = keras.Model(inputs, layers.Add(name="skip_add")([down, up]))
    randomise(model)
    units = {u.name: u for u in rp.find_units(model)}
    assert units["skip"].contains == ("bottom",)
    assert units["skip"].parameters == units["bottom"].parameters
    assert "units bottom" in str(rp.find_units(model))
    both = rp.remove_units(model, ["skip", "bottom"])
    assert [u.name for u in rp.find_units(both)] == ["encoder"]
    assert_removal_is_exact(model, ["skip"], images(8, 8, 4))
    assert [u.stage for u in rp.find_units(model)] == [1, 2, 3]


def test_a_shortcut_need_not_dominate_its_branch():
    """`x + CrossAttention(x, memory)`, whose second input then goes unused."""
    x, memory = keras.Input((5, 8), name="x"), keras.Input((3, 8), name="memory")
    attended = layers.MultiHeadAttention(2, 4, name="cross")(x, memory)
    y = layers.Add(name="cross_add")([x, attended])
    mlp = layers.Dense(8, name="mlp")(layers.LayerNormalization(name="norm")(y))
    model = keras.Model([x, memory], y + mlp)
    units = rp.find_units(model)
    assert [u.kind for u in units] == ["identity", "identity"]
    assert units[0].layers == ("cross", "cross_add")
    values = [images(5, 8), images(3, 8)]
    shorter = rp.remove_units(model, units[0])
    silenced = rp.add_importance(model, units[0], value=0.0)
    np.testing.assert_array_equal(run(shorter, values), run(silenced, values))


def test_several_shortcuts_are_none():
    """`x + f + g(f)` reads as `x0 + h + F(h)`: which one passes is not to be told."""
    inputs = keras.Input((8, 8, 4))
    x = conv("stem")(inputs)
    first = conv("first")(x)
    total = layers.Add(name="sum_add")([first, conv("second")(first), x])
    (found,) = rp.find_units(keras.Model(inputs, conv("last")(total)))
    assert found.reason == "any of 'first', 'stem' could be its shortcut"


def test_a_shortcut_that_is_added_twice_is_none():
    inputs = keras.Input((8, 8, 4))
    x = conv("stem")(inputs)
    total = layers.Add(name="sum_add")([x, x, conv("branch")(x)])
    (found,) = rp.find_units(keras.Model(inputs, total))
    assert found.reason == "its shortcut 'stem' is added more than once"


def test_an_identity_layer_on_the_shortcut_changes_nothing():
    """As `self.skip = Identity()` of blocks whose other variants have a projection."""
    x = inputs = keras.Input((8,))
    for name in "ab":
        skip = layers.Identity(name=f"{name}_skip")(x)
        x = layers.Add(name=f"{name}_add")([layers.Dense(8, name=name)(x), skip])
    model = keras.Model(inputs, layers.Dense(2)(x))
    assert [u.layers for u in rp.find_units(model)] == [
        ("a_skip", "a", "a_add"),
        ("b_skip", "b", "b_add"),
    ]
    for names in (["a"], ["b"], ["a", "b"]):
        assert_removal_is_exact(model, names, images(8))


@pytest.mark.parametrize(
    "trunk, branch, reason",
    [
        (
            layers.Rescaling(0.5, dtype="float32", name="trunk"),
            layers.Dense(8, dtype="mixed_bfloat16"),
            "its shortcut 'trunk' has another dtype than the sum",
        ),
        (
            layers.Reshape((1, 8), name="trunk"),
            layers.UpSampling1D(3),
            "its shortcut 'trunk' has another shape than the sum",
        ),
    ],
)
def test_a_shortcut_that_cannot_stand_in_for_the_sum(trunk, branch, reason):
    """The branch could, but it is not the shortcut, and its layers are not kept."""
    inputs = keras.Input((8,))
    x = trunk(inputs)
    y = branch(x)
    total = layers.Add(dtype=y.dtype, name="u_add")([x, y])
    model = keras.Model(inputs, total)
    (found,) = rp.find_units(model)
    assert found.kind == "identity" and found.reason.startswith(reason)
    with pytest.raises(ValueError, match=f"{reason}.* Projection units of .*: none"):
        rp.drop_branches(model, "u")


def test_parallel_branches_written_as_additions_are_a_unit_each():
    """`x + f(n) + g(n)`, twice; each addition adds a branch to what is left of it."""
    x = inputs = keras.Input((8,))
    model = keras.Model(inputs, inputs)
    for name in "ab":
        normed = layers.LayerNormalization(name=f"{name}_norm")(x)
        f, g = (layers.Dense(8, name=f"{name}_{part}")(normed) for part in "fg")
        x = (x + f) + g if name == "a" else g + (f + x)
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    randomise(model)
    units = rp.find_units(model)
    assert [(u.kind, u.removable) for u in units] == [("identity", True)] * 4
    assert [u.layers[0] for u in units] == ["a_f", "a_g", "b_f", "b_g"]
    names = [unit.name for unit in units]
    values = images(8)
    for some in (names[:1], names[1:2], names[2:], names):
        shorter = assert_removal_is_exact(model, some, values)
    np.testing.assert_array_equal(
        run(shorter, values), run(model.get_layer("head"), values)
    )


def test_what_is_not_computed_from_the_shortcut_is_never_removed():
    x, other = keras.Input((8,)), keras.Input((8,))
    z = layers.Dense(8, name="z")(other)
    branch = layers.Dense(8, name="f")
    total = layers.Add(name="u_add")([x, branch(x), z])
    (found,) = rp.find_units(keras.Model([x, other], total))
    assert found.reason.startswith("it also adds 'z', which is not computed from")
    for total in ((x + branch(x)) + z, (x + z) + branch(x)):
        model = keras.Model([x, other], total)
        (found,) = rp.find_units(model)
        assert found.removable and "z" not in found.layers
        shorter = rp.remove_units(model, found)
        values = images(8), images(8)[::-1]
        expected = values[0] + run(model.get_layer("z"), values[1])
        np.testing.assert_array_equal(run(shorter, values), expected)


def test_two_sums_of_one_tensor_have_no_shortcut():
    """`(x + f(x)) + (x + g(x))`: without either sum, half of the shortcut is lost."""
    x = keras.Input((8,))
    f, g = layers.Dense(8), layers.Dense(8)
    total = layers.Add(name="u_add")([x + f(x), x + g(x)])
    *_, found = rp.find_units(keras.Model(x, total))
    assert "could be its shortcut" in found.reason and found.kind == "identity"


def test_a_chain_of_skip_sums_is_searched_once():
    """Each sum adds the two before it, so the paths through them are without number."""
    x = keras.Input((4,))
    before = last = layers.Dense(4)(x)
    for _ in range(60):
        before, last = last, layers.Add()([last, before, layers.Dense(4)(last)])
    other = keras.Input((4,))
    total = layers.Add()([last, layers.Dense(4)(other)])
    assert len(rp.find_units(keras.Model([x, other], total))) == 60


def test_a_formula_is_no_unit():
    """A hand-written normalization subtracts a mean: nothing that was learned."""
    inputs = keras.Input((8,))
    centred = inputs - keras.ops.mean(inputs, axis=-1, keepdims=True)
    (found,) = rp.find_units(keras.Model(inputs, layers.Dense(2)(centred)))
    assert found.reason.startswith("nothing on its branch is learned")


@pytest.mark.parametrize("product", [lambda a, b: a * b, lambda a, b: b * a])
def test_what_lies_before_a_shortcut_is_not_on_its_branch(product):
    """Halves of one tensor are added and multiplied: what made both is before both."""
    inputs = keras.Input((8,))
    first, second = keras.ops.split(layers.Dense(8)(inputs), 2, axis=-1)
    total = first + product(first, second)
    (found,) = rp.find_units(keras.Model(inputs, layers.Dense(2)(total)))
    assert found.reason.startswith("nothing on its branch is learned")


def test_masks_are_those_of_the_silenced_net():
    """A raw addition drops the mask, an Add layer passes it on, and so does ω."""
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(tokens)
    x = layers.Add(name="kept_add")([x, layers.Dense(4, name="kept")(x)])
    x = x + layers.Dense(4, name="dropped")(x)
    model = keras.Model(tokens, layers.Dense(2)(layers.LSTM(3)(x)))
    randomise(model)
    values = np.array([[1, 2, 3, 0, 0, 0], [4, 1, 0, 0, 0, 0]])
    names = [unit.name for unit in rp.find_units(model)]
    np.testing.assert_array_equal(
        run(rp.add_importance(model), values), run(model, values)
    )
    for some in (names, names[:1], names[1:]):
        silenced = rp.add_importance(model, some, value=0.0)
        shorter = rp.remove_units(model, some)
        np.testing.assert_array_equal(run(shorter, values), run(silenced, values))
    masked = keras.Model(tokens, layers.Embedding(9, 4, mask_zero=True)(tokens))
    inner = layers.Add(name="u_add")([masked.output, layers.Dense(4)(masked.output)])
    model = keras.Model(tokens, inner)
    for made in (model, rp.add_importance(model), rp.remove_units(model, "u")):
        assert get_keras_mask(made(values)) is not None


@pytest.mark.filterwarnings("ignore:Layer 'encoder'.*does not support masking")
@pytest.mark.parametrize("added", ["layer", "raw"])
@pytest.mark.parametrize("loses_mask", [False, True])
def test_masks_in_a_nested_model_are_those_of_the_silenced_net(loses_mask, added):
    """They come from outside; an Add layer passes them on if both inputs have one."""
    inputs = keras.Input((6, 4), name="inside")
    branch = layers.Dense(4)(inputs)
    if loses_mask:
        branch = branch * 1.0
    total = layers.Add()([inputs, branch]) if added == "layer" else inputs + branch
    encoder = keras.Model(inputs, layers.LSTM(3)(total), name="encoder")
    tokens = keras.Input((6,), dtype="int32")
    embedded = layers.Embedding(9, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, encoder(embedded))
    randomise(model)
    names = [unit.name for unit in rp.find_units(model)]
    silenced = rp.add_importance(model, names, value=0.0)
    shorter = rp.remove_units(model, names)
    values = np.array([[1, 2, 3, 0, 0, 0], [4, 1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(run(shorter, values), run(silenced, values))


def test_units_are_removed_one_by_one_across_files(tmp_path):
    """A removed addition that dropped masks leaves an operation with a name."""
    tokens = keras.Input((6,), dtype="int32")
    embedded = layers.Embedding(9, 4, mask_zero=True)(tokens)
    halves = [
        layers.LSTM(3)(embedded + layers.Dense(4, name=name)(embedded))
        for name in ("left", "right")
    ]
    model = keras.Model(tokens, layers.Concatenate()(halves))
    values = np.array([[1, 2, 3, 0, 0, 0], [4, 1, 0, 0, 0, 0]])
    names = [unit.name for unit in rp.find_units(model)]
    silenced = rp.add_importance(model, names, value=0.0)
    rp.remove_units(model, names[0]).save(tmp_path / "one.keras")
    keras.backend.clear_session()  # Names start again, as in a new process.
    loaded = keras.saving.load_model(tmp_path / "one.keras")
    shorter = rp.remove_units(loaded, names[1])
    np.testing.assert_array_equal(run(shorter, values), run(silenced, values))


def test_models_within_layers_of_keras_are_named():
    frames = keras.Input((3, 8, 8, 4))
    model = keras.Model(frames, layers.TimeDistributed(backbone())(frames))
    (opaque,) = rp.find_units(model).opaque
    assert opaque.kind == "TimeDistributed"
    plain = keras.Model(frames, layers.TimeDistributed(layers.Flatten())(frames))
    assert rp.find_units(plain).opaque == ()


def test_what_cannot_be_counted_is_marked():
    inputs = keras.Input((5, 4))
    attended = layers.AdditiveAttention(name="attention")([inputs, inputs])
    model = keras.Model(inputs, layers.Add(name="u_add")([inputs, attended]))
    units = rp.find_units(model)
    assert units[0].uncounted == ("attention",) and units[0].macs == 0
    assert "0+?" in str(units) and "cannot be counted: attention." in str(units)


def test_subtraction_keeps_its_first_input():
    inputs = keras.Input((8, 8, 4))
    y = layers.Subtract(name="denoise")([inputs, conv("noise")(inputs)])
    z = keras.ops.subtract(conv("wrong")(y), y)  # f(y) - y: y is no shortcut
    model = keras.Model(inputs, z)
    randomise(model)
    units = rp.find_units(model)
    assert [(u.name, u.kind) for u in units] == [
        ("denoise", "identity"),
        (units[1].name, "projection"),
    ]
    assert_removal_is_exact(model, "denoise", images(8, 8, 4))


class GatedSum(layers.Layer):
    def call(self, inputs):
        return inputs[0] + 0.5 * inputs[1]


def test_registered_merges_end_units():
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, GatedSum(name="gated")([inputs, conv("f")(inputs)]))
    assert rp.find_units(model) == []
    with pytest.raises(ValueError, match=r"`register_merge\(GatedSum, shortcuts=\(0"):
        rp.remove_units(model, "gated")
    rp.register_merge(GatedSum, shortcuts=(0,))
    assert not rp.find_units(model).possible_merges
    assert [u.name for u in rp.find_units(model)] == ["gated"]
    assert_removal_is_exact(model, "gated", images(8, 8, 4))
    with pytest.raises(TypeError, match="a class of Keras layers.*Received: <function"):
        rp.register_merge(unit)


def test_opaque_layers_are_named_and_can_be_registered_or_opened():
    inputs = keras.Input((8, 8, 4))
    x = Block(4, name="first")(inputs)
    model = keras.Model(inputs, Block(4, name="second")(conv("between")(x)))
    randomise(model)
    found = rp.find_units(model)
    assert found == [] and [o.name for o in found.opaque] == ["first", "second"]
    assert all(o.residual and o.kind == "Block" for o in found.opaque)
    assert "`expand` opens such layers" in str(found)
    x = images(8, 8, 4)
    for call in (
        lambda: rp.remove_units(model, "first"),
        lambda: rp.achievable(model),
        lambda: rp.compare_scores(model, x),
        lambda: Plan.check(model, rp.Removal()),
    ):
        with pytest.raises(ValueError, match="Not searched .`expand` opens such lay"):
            call()
    calls = len(model.get_layer("first").first._inbound_nodes)
    opened = rp.expand(model, Block)
    bag = keras.Sequential([keras.Input((8, 8, 4)), Block(4)], name="bag")
    assert rp.expand(bag).name == "bag"
    assert len(model.get_layer("first").first._inbound_nodes) == calls
    np.testing.assert_array_equal(run(opened, x), run(model, x))
    assert [u.name for u in rp.find_units(opened)] == ["first", "second"]
    assert opened.get_layer("second_conv") is not None
    with pytest.raises(TypeError, match="expand expects a class .* Received: Block"):
        rp.expand(model, "Block")
    assert_removal_is_exact(opened, "second", x)


def test_a_registered_unit_is_removed_whole():
    class Closed(Block):
        def call(self, inputs):
            return inputs + self.norm(self.first(inputs))

    rp.register_unit(Closed)
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, conv("last")(Closed(4, name="closed")(inputs)))
    randomise(model)
    (found,) = rp.find_units(model)
    assert found.name == "closed" and found.removable and found.parameters == 156
    shorter = rp.remove_units(model, "closed")
    x = images(8, 8, 4)
    np.testing.assert_array_equal(run(shorter, x), run(model.get_layer("last"), x))
    advice = "no branch to scale. Call `expand\\(model, kinds=Closed\\)` first"
    with pytest.raises(ValueError, match=advice):
        rp.add_importance(model, "closed")
    # As the advice says: without `kinds`, registered units are not expanded.
    scaled = rp.add_importance(rp.expand(model, kinds=Closed), "closed")
    assert rp.importances(scaled) == {"closed": 1}


def test_subclassed_models_are_opened_to_the_bottom(tmp_path):
    tower = Tower()
    with pytest.raises(TypeError, match="'tower'.*expand.model"):
        rp.find_units(tower)
    inputs = keras.Input((8, 8, 4))
    tower(inputs)
    randomise(tower)
    tower.dtype_policy = "mixed_float16"
    opened = rp.expand(tower, inputs=inputs)
    assert opened.dtype_policy.name == "mixed_float16"  # `compile` scales the loss
    x = images(8, 8, 4)
    np.testing.assert_array_equal(run(opened, x), run(tower, x))
    names = [u.name for u in rp.find_units(opened)]
    assert names == ["stage_block0", "stage_block1"]
    shorter = assert_removal_is_exact(opened, names[0], x)
    shorter.save(tmp_path / "shorter.keras")  # plain layers: no class of the user's
    again = keras.saving.load_model(tmp_path / "shorter.keras")
    np.testing.assert_array_equal(run(again, x), run(shorter, x))


class OwnWeight(Block):
    def build(self, input_shape):
        super().build(input_shape)
        self.gain = self.add_weight(shape=(), name="gain")

    def call(self, inputs):
        return inputs + self.gain * self.first(inputs)


class Deceiver(Block):
    def call(self, inputs):
        if isinstance(inputs, keras.KerasTensor):
            return inputs + self.first(inputs)
        return inputs - self.first(inputs)


class Droppy(Block):
    """Drops its branch in training, by hand."""

    def call(self, inputs, training=None):
        branch = self.first(inputs)
        if training:
            branch = branch * 0.5
        return inputs + branch


class Picky(Block):
    """Has another layer of the same class in training."""

    def build(self, input_shape):
        super().build(input_shape)
        self.other = layers.Conv2D(self.filters, 3, padding="same", name="other")
        self.other.build(input_shape)

    def call(self, inputs, training=None):
        return inputs + (self.first(inputs) if training else self.other(inputs))


class Scaled(Block):
    def call(self, inputs, training=None):
        return inputs + self.first(inputs) * (0.5 if training else 1.0)


class FrozenNorm(Block):
    def call(self, inputs):
        return inputs + self.norm(self.first(inputs), training=False)


class Following(Block):
    """Passes its own `training` on, which is no difference."""

    def call(self, inputs, training=False):
        return inputs + self.norm(self.first(inputs), training=training)


class Inheriting(Block):
    """Dropout, whose own default is `training=False`, inherits the value of a call."""

    def build(self, input_shape):
        super().build(input_shape)
        self.drop = layers.Dropout(0.5, seed=0)

    def call(self, inputs):
        return inputs + self.norm(self.drop(self.first(inputs)))


class Making(Block):
    """Creates layers without weights in each call."""

    def call(self, inputs):
        branch = layers.ReLU(max_value=6.0)(self.first(inputs))
        return layers.add([inputs, keras.ops.map(lambda each: 2 * each, branch)])


class Wrapping(Block):
    """Creates layers that contain a layer, whose name Keras numbers, in each call."""

    def call(self, inputs):
        branch = layers.Activation(layers.ReLU())(self.first(inputs))
        return inputs + layers.TimeDistributed(layers.ReLU())(branch)


class Regularized(Block):
    def __init__(self, filters, **kwargs):
        super().__init__(filters, activity_regularizer="l2", **kwargs)


@pytest.mark.parametrize(
    "kind, message",
    [
        (Droppy, "behaves differently in training"),
        (Picky, "behaves differently in training"),
        (Scaled, "behaves differently in training"),
        (FrozenNorm, "passes `training=False` to 'norm', .* lost in training"),
        (Regularized, "an activity regularizer, which would be lost"),
        (OwnWeight, "'block' of type OwnWeight cannot be expanded: it has weights of"),
        (Deceiver, "'block' of type Deceiver .* `call` does more than call layers"),
        (GatedSum, "has no layer of the kinds GatedSum"),
    ],
)
def test_what_cannot_be_opened_is_refused(kind, message):
    inputs = keras.Input((8, 8, 4))
    block = (Block if kind is GatedSum else kind)(4, name="block")
    model = keras.Model(inputs, block(inputs))
    randomise(model)
    with pytest.raises(ValueError, match=message):
        rp.expand(model, kind)


def test_a_block_behind_a_mask_is_opened():
    class Recurrent(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = layers.LSTM(4, return_sequences=True)
            self.supports_masking = True

        def build(self, shape):
            self.inner.build(shape)

        def call(self, x):
            return x + self.inner(x)

    words = keras.Input((6,), dtype="int32")
    x = layers.Embedding(7, 4, mask_zero=True)(words)
    model = keras.Model(words, Recurrent(name="block")(x))
    (unit,) = rp.find_units(rp.expand(model))
    assert unit.removable


def test_what_is_too_large_to_be_compared_alone_is_compared_in_the_model(monkeypatch):
    monkeypatch.setattr(expansion, "_MOST", 0)
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, Deceiver(4, name="block")(inputs))
    with pytest.raises(ValueError, match="changes its outputs:"):
        rp.expand(model, kinds=Deceiver)


class OfBatch(Block):
    """Reshapes with the size of the batch, which is unknown when it is opened."""

    def call(self, inputs):
        batch = keras.ops.shape(inputs)[0]
        flat = keras.ops.reshape(self.norm(self.first(inputs)), (batch, -1))
        return keras.ops.reshape(flat, (batch, *inputs.shape[1:]))


class Around(Block):
    """A block that contains such a layer."""

    def build(self, input_shape):
        super().build(input_shape)
        self.inner = OfBatch(4, name="inner")
        self.inner.build(input_shape)

    def call(self, inputs):
        return inputs + self.inner(inputs)


def test_a_layer_that_cannot_be_opened_stays_closed_in_an_open_one():
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, conv("last")(Around(4, name="block")(inputs)))
    randomise(model)
    opened = rp.expand(model)
    (unit,) = rp.find_units(opened)
    assert unit.removable and "block_inner" in unit.layers
    np.testing.assert_array_equal(
        run(opened, images(8, 8, 4)), run(model, images(8, 8, 4))
    )
    assert_removal_is_exact(opened, unit.name, images(8, 8, 4))
    why = "'inner' of type OfBatch cannot be expanded: .* `reshape` accepts -1"
    with pytest.raises(ValueError, match=why):
        rp.expand(model, kinds=(Around, OfBatch))


def test_why_all_stays_closed_is_told():
    inputs = keras.Input((8, 8, 4))
    x = OwnWeight(4, name="first")(Droppy(4, name="second")(inputs))
    model = keras.Model(inputs, x)
    message = (
        "(?s)can be expanded.*'second' .* in training.*'first' .* weights of its own"
    )
    with pytest.raises(ValueError, match=message):
        rp.expand(model)


@pytest.mark.parametrize("kind", [Following, Inheriting, Making, Wrapping])
def test_a_block_that_passes_training_on_is_opened(kind):
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, kind(4, name="block")(inputs))
    x = images(8, 8, 4)
    whole, opened = (made(x, training=True) for made in (model, rp.expand(model)))
    np.testing.assert_array_equal(whole, opened)


def test_a_call_of_its_own_hides_a_graph():
    class Louder(keras.Model):
        def call(self, inputs):
            return 2 * super().call(inputs)

    inputs = keras.Input((8, 8, 4))
    model = Louder(inputs, unit(inputs, "a"))
    with pytest.raises(TypeError, match="a model with its own `call`"):
        rp.find_units(model)
    outer = keras.Model(inputs, model(inputs))
    assert rp.find_units(outer) == []
    assert [o.kind for o in rp.find_units(outer).opaque] == ["Louder"]


def test_a_sequential_with_a_call_of_its_own_is_no_stack_of_layers():
    class Residual(keras.Sequential):
        def call(self, inputs, training=None, mask=None):
            return inputs + super().call(inputs, training=training, mask=mask)

    inputs = keras.Input((4,))
    residual = Residual([keras.Input((4,)), layers.Dense(4, name="f")], name="res")
    x = residual(inputs)
    x = layers.Add(name="u_add")([x, layers.Dense(4)(x)])
    model = keras.Model(inputs, layers.Dense(2)(x))
    assert [o.name for o in rp.find_units(model).opaque] == ["res"]
    x = images(4)
    np.testing.assert_array_equal(run(rp.add_importance(model), x), run(model, x))
    opened = rp.expand(model)
    first, _ = rp.find_units(opened)
    assert "res_f" in first.layers
    np.testing.assert_array_equal(run(opened, x), run(model, x))


def test_the_table_names_every_unit_and_reason():
    inputs = keras.Input((8, 8, 4))
    x = unit(inputs, "same")
    x = layers.ReLU()(x)
    strided = conv("g", 8)(layers.Conv2D(8, 3, 2, padding="same", name="f")(x))
    x = layers.Add(name="wider_add")([strided, layers.Conv2D(8, 1, 2, name="p")(x)])
    text = str(rp.find_units(keras.Model(inputs, x, name="net")))
    assert text.startswith("'net': 2 residual units, 1 removable.")
    assert "same " in text and "8x8x4" in text and "identity" in text
    assert "wider: its shortcut passes through 'p'" in text
    plain = keras.Model(inputs, conv("only")(inputs), name="plain")
    assert str(rp.find_units(plain)) == "'plain' has no residual unit."


def test_traces_name_each_call_of_nested_models():
    twin = backbone()
    a = keras.Input((8, 8, 4))
    calls, _ = trace(keras.Model(a, twin(twin(a))))
    names = [call.operation.name for call in calls]
    once = ["a_relu", "a_conv", "a_add", "b_relu", "b_conv", "b_add"]
    assert names == once * 2
    made = [id(tensor) for call in calls for tensor in call.outputs]
    assert len(made) == len(set(made))
