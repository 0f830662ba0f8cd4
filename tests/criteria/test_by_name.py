"""Criteria: exact scores, for the same units in the same order."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from resprune_tf import criteria
from resprune_tf.criteria import by_name, sensitivity, similarity
from resprune_tf.criteria.registry import make
from resprune_tf.data.fit_data import FitData
from resprune_tf.graph import running
from resprune_tf.nets.architecture import Architecture
from resprune_tf.nets.resnet import build_resnet
from resprune_tf.pruning.identity import criterion_settings
from resprune_tf.pruning.plan import select_units
from resprune_tf.training.recalibration import recalibrate
from resprune_tf.units.finding import find_units, scored_units
from resprune_tf.units.removal import remove_units
from tests.conftest import images_of, outputs, randomise, shallow_net, toy_dataset
from tests.made.fits import dense_net, numbers
from tests.made.foreign_nets import flat, two_inputs

pytestmark = pytest.mark.slow

NAMES = ["stage1_unit2", "stage1_unit3", "stage1_unit4"]


def labels_of(images, classes=5):
    return np.random.default_rng(3).integers(0, classes, len(images)).astype("int32")


def foreign():
    """A net of two removable units without ω, one with a fork and one with `+`."""
    image = keras.Input((4, 4, 3))
    x = layers.Conv2D(6, 3, padding="same", name="stem")(image)
    sides = [
        layers.Conv2D(6, 3, padding="same", name=f"side{i}", activation="relu")(x)
        for i in range(2)
    ]
    x = layers.Add(name="first_add")([x, *sides])
    branch = layers.BatchNormalization(name="second_bn")(x)
    x = layers.Conv2D(6, 1, name="second_conv")(branch) + x
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, layers.Dense(5, name="logits")(x), name="foreign")
    randomise(model)
    return model


def cross_entropies(model, images, labels):
    """Cross entropy of each image, in float64 from the logits on."""
    logits = outputs(model, images).astype("float64")
    logits -= logits.max(axis=1, keepdims=True)
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]


def state(model):
    return [ops.convert_to_numpy(v.value).copy() for v in model.variables]


def all_criteria(images, labels, **options):
    return {
        "output_norm": sensitivity.output_norm(images, **options),
        "taylor": sensitivity.taylor(images, labels, **options),
        "leave_one_out": sensitivity.leave_one_out(images, labels, **options),
    }


def test_weight_criteria():
    net = shallow_net()
    omegas = [float(net.get_layer(f"{name}_importance").importance) for name in NAMES]
    assert criteria.importance(net) == dict(zip(NAMES, np.abs(omegas), strict=True))
    assert criteria.largest(net) == dict(zip(NAMES, -np.abs(omegas), strict=True))


def test_largest_removes_in_the_opposite_order():
    net = dense_net(units=6)
    randomise(net)
    smallest = select_units(criteria.importance(net), 6)
    assert select_units(criteria.largest(net), 6) == smallest[::-1]


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(-(10**9), 10**9),
    # Of few characters: hypothesis takes seconds to look up those of all languages.
    names=st.sets(st.text("au12_/#ω", min_size=1), min_size=2, max_size=12),
    data=st.data(),
)
def test_random_order_does_not_depend_on_which_units_are_left(seed, names, data):
    left = data.draw(st.sets(st.sampled_from(sorted(names)), min_size=1))
    scores = {name: by_name._uniform(f"{seed} {name}") for name in sorted(names)}
    assert all(0 <= score < 1 for score in scores.values())
    assert len(set(scores.values())) == len(names)
    whole = select_units(scores, len(names))
    some = select_units({name: scores[name] for name in left}, len(left))
    assert some == tuple(name for name in whole if name in left)


def test_random_keeps_its_order_through_removals_and_differs_between_seeds():
    net = dense_net(units=8)
    criterion = criteria.random(7)
    scores = criterion(net)
    first, *rest = select_units(scores, len(scores))
    assert len(rest) == 7
    assert list(select_units(criterion(remove_units(net, first)), 7)) == rest
    orders = {select_units(criteria.random(seed)(net), 8) for seed in range(20)}
    assert len(orders) == 20
    assert criteria.random(7)(net) == scores


def test_every_unit_comes_first_equally_often():
    names = [f"stage1_unit{i}" for i in range(2, 7)]
    first = [
        min(names, key=lambda name: by_name._uniform(f"{seed} {name}"))  # noqa: B023
        for seed in range(2000)
    ]
    # 400 each, with a standard deviation of 18.
    assert all(320 < first.count(name) < 480 for name in names)


@pytest.mark.parametrize("build", [shallow_net, foreign], ids=["with ω", "foreign"])
def test_output_norm_is_the_ratio_of_the_addends(build):
    net = build()
    x = images_of(net, 7)
    expected = {}
    for unit in scored_units(net):
        addends = keras.Model(net.input, [unit.shortcut, *unit.branches])
        shortcut, *branches = (
            ops.convert_to_numpy(t).astype("float64").reshape(7, -1)
            for t in addends(x, training=False)
        )
        ratios = [np.linalg.norm(v, axis=1) for v in (sum(branches), shortcut)]
        expected[unit.name] = (ratios[0] / ratios[1]).mean()
    scores = sensitivity.output_norm(x, batch_size=3)(net)
    assert list(scores) == list(expected)
    assert scores == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("eagerly")
def test_output_norm_grows_with_importance_and_survives_black_images():
    net = flat(importance=True)
    x = images_of(net, 4)
    score = sensitivity.output_norm(x)(net)["b"]
    omega = net.get_layer("b_importance").importance
    omega.assign(3 * float(omega))
    assert sensitivity.output_norm(x)(net)["b"] == pytest.approx(3 * score)
    omega.assign(0.0)
    assert sensitivity.output_norm(x)(net)["b"] == 0
    net.get_layer("stem").bias.assign(np.zeros(6))  # so that x is 0
    dark = sensitivity.output_norm(np.zeros_like(x))(net)
    assert all(np.isfinite(score) for score in dark.values())


def scaled(net, unit, factor):
    """The net with one unit's branch multiplied through its ω."""
    omega = net.get_layer(f"{unit}_importance").importance
    value = float(omega)
    omega.assign(factor * value)
    return lambda: omega.assign(value)


@pytest.mark.usefixtures("eagerly")
def test_taylor_is_the_mean_square_of_the_numerical_derivative():
    net = flat(importance=True)
    x = images_of(net, 7)
    y = labels_of(x)
    scores = sensitivity.taylor(x, y, batch_size=3)(net)
    step = 2.0**-7
    for name in scores:
        losses = []
        for factor in (1 + step, 1 - step):
            restore = scaled(net, name, factor)
            losses.append(cross_entropies(net, x, y))
            restore()
        slopes = (losses[0] - losses[1]) / (2 * step)
        assert scores[name] == pytest.approx(np.mean(slopes**2), rel=5e-3)


@pytest.mark.usefixtures("eagerly")
def test_taylor_does_not_depend_on_the_batch_size():
    net = foreign()
    x = images_of(net, 7)
    y = labels_of(x)
    whole = sensitivity.taylor(x, y, batch_size=100)(net)
    assert sensitivity.taylor(x, y, batch_size=4)(net) == pytest.approx(whole, rel=1e-4)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    "build", [lambda: flat(importance=True), foreign], ids=["with ω", "foreign"]
)
def test_leave_one_out_is_the_loss_after_removal(build):
    net = build()
    x = images_of(net, 7)
    y = labels_of(x)
    whole = cross_entropies(net, x, y).mean()
    scores = sensitivity.leave_one_out(x, y, batch_size=4)(net)
    for name, score in scores.items():
        alone = cross_entropies(remove_units(net, name), x, y).mean()
        assert score == pytest.approx(alone - whole, abs=1e-5)
    assert list(scores) == [unit.name for unit in scored_units(net)]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("kind", ["leave_one_out", "taylor", "l1_importance"])
def test_padding_does_not_count(kind):
    """The same scores, whatever the labels of masked positions are."""
    tokens = keras.Input((3,), dtype="int32")
    x = layers.Embedding(5, 4, mask_zero=True)(tokens)
    x = layers.Add(name="unit_add")([x, layers.Dense(4, name="dense")(x)])
    model = keras.Model(tokens, layers.Dense(2, name="logits")(x))
    rows = np.array([[1, 2, 0], [3, 0, 0]])
    labels = np.array([[0, 1, 0], [1, 0, 0]])
    options = {"steps": 3} if kind == "l1_importance" else {}

    def scores(labels):
        return getattr(criteria, kind)(rows, labels, **options)(model)

    assert scores(labels) == scores(np.where(rows, labels, 1))
    assert scores(labels) != scores(np.where(rows, 1 - labels, 0))


def test_recalibrated_leave_one_out_recalibrates_every_net():
    net = foreign()
    x = images_of(net, 8)
    y = labels_of(x)
    whole = cross_entropies(recalibrate(net, x, 5), x, y).mean()
    scores = sensitivity.leave_one_out(x, y, batch_size=5, recalibrate=True)(net)
    for name, score in scores.items():
        short = recalibrate(remove_units(net, name), x, 5)
        alone = cross_entropies(short, x, y).mean()
        assert score == pytest.approx(alone - whole, abs=2e-5)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("kind", ["output_norm", "taylor"])
def test_recalibrated_scores_are_those_of_the_recalibrated_net(kind):
    net = foreign()
    x = images_of(net, 8)
    plain = all_criteria(x, labels_of(x), batch_size=4)[kind]
    recalibrated = all_criteria(x, labels_of(x), batch_size=4, recalibrate=True)[kind]
    scores = recalibrated(net)
    assert scores == pytest.approx(plain(recalibrate(net, x, 4)), rel=1e-5)
    assert scores != pytest.approx(plain(net), rel=1e-2)


def every_criterion(dataset):
    """All of them on 8 images, the last batch of which is smaller."""
    return [
        criteria.named(name, dataset, examples=8, batch_size=3)
        for name in criteria.NAMES
    ]


def test_all_score_the_same_units_in_the_same_order_and_leave_the_model_alone():
    net = shallow_net()
    dataset = toy_dataset()
    before = state(net)
    trainable = [v.path for v in net.trainable_variables]
    for criterion in every_criterion(dataset):
        scores = criterion(net)
        assert list(scores) == NAMES
        assert all(type(score) is float for score in scores.values())
        assert len(set(scores.values())) == 3
    for old, new in zip(before, state(net), strict=True):
        np.testing.assert_array_equal(old, new)
    assert [v.path for v in net.trainable_variables] == trainable
    assert all(not unit.layers[-1].endswith("_gate") for unit in find_units(net))


def test_units_without_importance_are_scored_where_no_unit_has_one():
    net = foreign()
    assert [unit.name for unit in scored_units(net)] == ["first", "add"]
    assert criteria.importance(net) == criteria.largest(net) == {}
    # The first unit of a basic net has an identity shortcut, but no ω.
    basic = {"unit_kind": "basic", "activation": "post", "image_shape": (8, 8, 3)}
    net = build_resnet(Architecture(kept=((1, 2),), widths=(4,), **basic))
    assert "stage1_unit1" in [unit.name for unit in find_units(net) if unit.removable]
    assert [unit.name for unit in scored_units(net)] == list(criteria.importance(net))


def test_a_net_without_removable_units_has_no_scores():
    net = remove_units(shallow_net(), NAMES)
    assert [criterion(net) for criterion in every_criterion(toy_dataset())] == [
        {}
    ] * len(criteria.NAMES)


@pytest.mark.usefixtures("eagerly")
def test_mixed_precision_nets_are_scored():
    net, exact = flat(True, "mixed_bfloat16"), flat(True)
    x = images_of(net, 6)
    for criterion in all_criteria(x, labels_of(x)).values():
        assert criterion(net) == pytest.approx(criterion(exact), rel=0.1, abs=5e-3)


@pytest.mark.usefixtures("eagerly")
def test_the_same_criterion_scores_several_models():
    net = flat()
    x = images_of(net, 6)
    criterion = sensitivity.taylor(x, labels_of(x))
    first = criterion(net)
    assert list(criterion(remove_units(net, "a"))) == ["b", "c"]
    assert criterion(net) == first


@pytest.mark.parametrize(
    "name, expected",
    {
        "importance": "importance",
        "largest": "largest",
        "random": "random(seed 5)",
        "output_norm": "output_norm(8 images, seed 5)",
        "taylor": "taylor(8 images, seed 5)",
        "leave_one_out": "leave_one_out(8 images, seed 5)",
        "cka": "cka(8 images, seed 5)",
        "l1_importance": "l1_importance(8 images, seed 5)",
    }.items(),
)
def test_names_say_what_sets_a_criterion_apart(name, expected):
    dataset = toy_dataset()
    assert criteria.named(name, dataset, seed=5, examples=8).__name__ == expected
    if "images" in expected:
        again = criteria.named(name, dataset, seed=5, examples=8, recalibrate=True)
        assert again.__name__ == expected[:-1] + ", recalibrated)"
        few = criteria.named(name, dataset, examples=10**6)
        assert few.__name__ == f"{name}(64 images, seed 0)"


@pytest.mark.usefixtures("eagerly")
def test_named_uses_a_fixed_choice_of_training_images():
    net = flat(size=8)
    dataset = toy_dataset()
    order = np.random.default_rng(2).permutation(64)[:10]
    chosen = np.sort(order)
    expected = sensitivity.taylor(
        dataset.train.images[chosen], dataset.train.labels[chosen]
    )(net)
    found = criteria.named("taylor", dataset, seed=2, examples=10)(net)
    assert found == expected
    other = criteria.named("taylor", dataset, seed=3, examples=10)(net)
    assert other != expected


class Arrays(keras.utils.PyDataset):
    num_batches = 1

    def __getitem__(self, index):
        return np.ones((4, 6)), np.ones(4)


@pytest.mark.usefixtures("eagerly")
def test_named_takes_arrays_of_fit_data():
    rng, net = np.random.default_rng(0), two_inputs()
    image, tokens = rng.normal(size=(40, 4, 4, 3)), rng.integers(0, 50, (40, 7))
    x, y = {"image": image, "tokens": tokens}, rng.normal(size=40)
    data = FitData(train=(x, [y], np.ones(40)), validation=(x, y))
    chosen = np.sort(np.random.default_rng(2).permutation(40)[:10])
    few = {"image": image[chosen], "tokens": tokens[chosen]}
    criterion = criteria.named("output_norm", data, seed=2, examples=10)
    assert criterion(net) == sensitivity.output_norm(few)(net)
    criterion = criteria.named("taylor", data, seed=2, examples=10, loss="mse")
    assert criterion(net) == sensitivity.taylor(few, y[chosen], loss="mse")(net)
    assert criterion.__name__ == "taylor(10 images, seed 2, loss mse)"
    assert criteria.named("random", data, seed=2)(net) == criteria.random(2)(net)
    assert criteria.named("cka", data).__name__ == "cka(40 images, seed 0)"


@pytest.mark.parametrize(
    ("name", "train", "loss", "message"),
    [
        ("taylor", Arrays(), None, "chosen from arrays.*Choose some"),
        ("taylor", (numbers(4)[0], [np.ones(4)] * 2), "mse", "labels of one output"),
        ("cka", numbers(4), "mse", "'cka' uses no labels, so it takes no `loss`"),
        ("random", numbers(4), "mse", "labels: taylor, leave_one_out, l1_importance"),
    ],
)
def test_what_named_does_not_take(name, train, loss, message):
    data = FitData(train=train, validation=numbers(4))
    with pytest.raises(ValueError, match=message):
        criteria.named(name, data, loss=loss)


@pytest.mark.parametrize(
    ("name", "advice"),
    [("taylor", r"taylor\(images, labels\)"), ("cka", r"cka\(images\)")],
)
def test_named_takes_no_arrays(name, advice):
    with pytest.raises(TypeError, match=f"Received: tuple. .*{advice}"):
        criteria.named(name, numbers(4))


UNITS = find_units(dense_net())


@pytest.mark.parametrize("number", [2, True, np.float32(2), np.array(2), ops.ones(())])
def test_scores_are_floats(number):
    scores = criteria.check_scores({"unit2": number, "unit1": 0}, UNITS)
    assert list(scores.items()) == [("unit2", float(number)), ("unit1", 0.0)]
    assert all(type(score) is float for score in scores.values())


@pytest.mark.parametrize(
    "number", [math.nan, math.inf, -np.inf, None, "high", np.ones(2), [1.0]]
)
def test_scores_that_are_no_numbers_are_refused(number):
    with pytest.raises(ValueError, match="score of 'unit2' must be a finite number"):
        criteria.check_scores({"unit1": 1.0, "unit2": number}, UNITS)


def test_scores_of_other_units_are_refused_unless_they_were_there():
    scores = {"unit1": 1.0, "unit3": 2.0}
    with pytest.raises(ValueError, match="'mine' has no unit 'unit3'.*: unit1, unit2"):
        criteria.check_scores(scores, UNITS)
    assert criteria.check_scores(scores, UNITS, {"unit3"}) == {"unit1": 1.0}
    for wrong in ([1.0, 2.0], criteria.importance):
        with pytest.raises(
            TypeError, match="must return a dict from unit name to number"
        ):
            criteria.check_scores(wrong, UNITS)


def test_refuses_unknown_names():
    with pytest.raises(ValueError, match="no criterion 'size'.* importance, random"):
        criteria.named("size", toy_dataset())


@pytest.mark.parametrize("name", ["importance", "random", "largest"])
def test_refuses_to_recalibrate_where_no_image_is_looked_at(name):
    with pytest.raises(ValueError, match=f"'{name}' uses no images"):
        criteria.named(name, toy_dataset(), recalibrate=True)


@pytest.mark.parametrize("name", criteria.ON_EXAMPLES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"examples": 0}, "At least one image is needed. Received: 0 images"),
        ({"batch_size": 0}, "`batch_size` must be an integer >= 1. Received: .*=0"),
    ],
)
def test_refuses_no_images(name, options, message):
    with pytest.raises(ValueError, match=message):
        criteria.named(name, toy_dataset(), **options)


@pytest.mark.parametrize("name", criteria.LABELLED)
def test_refuses_missing_labels(name):
    for labels in ({"a": [1, 2]}, [np.zeros((4, 2)), np.zeros((4, 3))]):
        with pytest.raises(ValueError, match="labels of several outputs: .*Select one"):
            criteria.taylor(np.zeros((4, 8, 8, 3)), labels)
    with pytest.raises(ValueError, match="3 labels for 4 images"):
        getattr(criteria, name)(np.zeros((4, 8, 8, 3)), np.zeros(3, "int32"))


def test_refuses_models_without_a_graph():
    model = keras.Sequential([layers.Dense(2)])
    x = np.zeros((2, 3))
    weights = [criteria.importance, criteria.largest, criteria.random(0)]
    others = [similarity.cka(x), similarity.block_influence(x)]
    for criterion in [*weights, *others, *all_criteria(x, [0, 1]).values()]:
        with pytest.raises(TypeError, match="reads the graph of a functional model"):
            criterion(model)


def test_named_limits_batches_by_memory_down_to_those_of_a_training(monkeypatch):
    """Its settings stay those of the criterion that it makes."""
    net, x = shallow_net(), np.zeros((64, 8, 8, 3), "float32")
    sizes = []

    def making(*arguments, batch_size, **options):
        sizes.append(batch_size)
        return make(*arguments, batch_size=batch_size, **options)

    monkeypatch.setattr(by_name, "make", making)
    data = FitData((x, np.zeros(64)), (x, x), batch_size=12)
    criterion = criteria.named("output_norm", data)
    assert criterion(net).keys() == set(NAMES) and sizes == [128]
    monkeypatch.setattr(running, "_LARGEST_BATCH", 0)
    assert criterion(net).keys() == set(NAMES) and sizes == [128, 12]
    plain = make("output_norm", x)
    plain.__name__ = criterion.__name__
    assert criterion_settings(criterion) == criterion_settings(plain)
