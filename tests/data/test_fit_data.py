"""FitData and FitRecipe: what they accept, and the order of arrays."""

import keras
import numpy as np
import pytest

from resprune_tf import FitData, FitRecipe, random_crop_flip
from resprune_tf.data.fit_data import ShuffledBatches, as_split
from tests.made.fits import numbers

X, Y = numbers(10)


def test_arrays_of_any_structure():
    x = {"a": X, "b": [X[:, 0], X[:, 1].astype("float64")]}
    data = FitData((x, Y, np.ones(10)), (X, Y), batch_size=4)
    assert data.sizes == {"train": 10, "validation": 10, "test": None}
    assert list(data.splits) == ["train", "validation"]
    batch_x, batch_y, weight = data.splits["train"].first_batch()
    assert batch_x["b"][1].shape == (4,) and len(batch_y) == len(weight) == 4


def test_the_fingerprint_tells_data_apart():
    def fingerprint(x=X, y=Y):
        return FitData((x, y), (X, Y)).fingerprint

    same = fingerprint()
    assert fingerprint() == same and len(same) == 8
    changed = X.copy()
    changed[3, 3] += 1
    others = [fingerprint(changed), fingerprint(X.reshape(10, 3, 2)), fingerprint(y=X)]
    assert len({same, *others}) == 4


def test_the_fingerprint_of_a_pipeline_is_what_it_says_of_itself():
    import tensorflow as tf

    def fingerprint(batch, count=10):
        pairs = tf.data.Dataset.from_tensor_slices((X[:count], Y[:count]))
        return FitData(pairs.batch(batch), (X, Y)).fingerprint

    assert fingerprint(2) == fingerprint(2) != fingerprint(5)


def epochs(seed, first, count, **options):
    """Rows of the numbers 0 to 9 in the order of some epochs."""
    batches = ShuffledBatches((np.arange(10),), 4, seed, first, **options)
    rows = []
    for epoch in range(first, first + count):
        batches.on_epoch_end()  # as Keras tells before the first epoch, too
        batches.on_epoch_begin()
        batches.start(epoch)
        rows.append([*np.concatenate([batches[i][0] for i in range(3)])])
    assert batches.num_batches == 3
    return rows


def test_the_order_is_a_function_of_seed_and_epoch():
    whole = epochs(seed=1, first=0, count=4)
    assert all(sorted(rows) == list(range(10)) for rows in whole)
    assert whole[0] != whole[1]
    assert epochs(seed=1, first=2, count=2) == whole[2:]
    assert epochs(seed=2, first=0, count=1) != whole[:1]
    assert epochs(seed=1, first=3, count=1, shuffle=False) == [list(range(10))]


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"train": X}, TypeError, r"`train` must be `\(x, y\)`.*Received: ndarray"),
        ({"validation": None}, TypeError, "`validation` must be.*NoneType"),
        ({"train": (X, Y[:9])}, ValueError, "same number.*Received: 9, 10 examples"),
        ({"test": (X[:0], Y[:0])}, ValueError, "`test`.*not 0.*Received: 0"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be an integer >= 1"),
        ({"train": (X, Y.astype(str))}, ValueError, "Labels of `train` are text.*uniq"),
        ({"train": (X.astype(str), Y)}, ValueError, "`train` contains text.*pass a tf"),
        ({"augment": "flip"}, TypeError, "`augment` must be a function.*'flip'"),
        ({"augment": lambda x, rng: None}, TypeError, "returns other .*: NoneType"),
        ({"augment": lambda x, rng: x[:1]}, TypeError, "other numbers of inputs or ex"),
        ({"augment": lambda x: x}, TypeError, "fails on the first batch: .*1 posit"),
    ],
)
def test_other_data_are_refused(fields, error, message):
    with pytest.raises(error, match=message):
        FitData(**{"train": (X, Y), "validation": (X, Y), **fields})


def test_endless_pipelines():
    import tensorflow as tf

    endless = tf.data.Dataset.from_tensor_slices((X, Y)).batch(2).repeat()
    assert FitData(endless, (X, Y)).splits["train"].repeats
    with pytest.raises(ValueError, match=r"`test` repeats endlessly.*take"):
        FitData((X, Y), (X, Y), endless)


class NoBatches(keras.utils.PyDataset):
    num_batches = 0


def test_empty_pipelines():
    import tensorflow as tf

    whole = tf.data.Dataset.from_tensor_slices((X, Y)).batch(2)
    for empty in (whole.take(0), NoBatches()):
        with pytest.raises(ValueError, match="`train` contains no batch"):
            FitData(empty, (X, Y))
    with pytest.raises(TypeError, match="`train` must be.*Received: .*Iterator"):
        FitData(iter(whole), (X, Y))
    filtered = FitData((X, Y), whole.filter(lambda x, y: False))
    with pytest.raises(ValueError, match="`validation` contains no batch"):
        filtered.splits["validation"].first_batch()


def test_a_pipeline_is_read_once_for_its_first_batch():
    import tensorflow as tf

    reads = []

    def examples():
        reads.append(1)
        yield from zip(X, Y, strict=True)

    kinds = (tf.TensorSpec(X.shape[1:]), tf.TensorSpec(Y.shape[1:], Y.dtype))
    pipeline = tf.data.Dataset.from_generator(examples, output_signature=kinds)
    split = FitData(pipeline.batch(2), (X, Y)).splits["train"]
    assert split.data_to_check() is split.first_batch()
    np.testing.assert_array_equal(split.first_batch()[0], X[:2])
    assert len(reads) == 1


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"epochs": -1}, ValueError, "`epochs` must be an integer >= 0"),
        ({"epochs": 2.5}, ValueError, "`epochs` must be an integer >= 0.*2.5"),
        ({"learning_rate": 0}, ValueError, "must be a number > 0. Received: 0"),
        (
            {"learning_rate": keras.optimizers.schedules.CosineDecay(0.1, 10)},
            ValueError,
            "must be a number > 0.*CosineDecay.*pass `schedule`",
        ),
        (
            {"callbacks": [keras.callbacks.TerminateOnNaN()]},
            TypeError,
            "`callbacks` must be a function.*Received: list",
        ),
        ({"compile_fn": "adam"}, TypeError, "`compile_fn` must be a function.*str"),
        ({"fit_options": {"x": X}}, ValueError, "cannot set `x`. It is set by FitData"),
        ({"fit_options": {"verbose": 2}}, ValueError, "RunOptions"),
        (
            {"fit_options": {"stepz": 2}},
            ValueError,
            "no argument 'stepz'.*class_weight",
        ),
    ],
)
def test_other_recipes_are_refused(fields, error, message):
    with pytest.raises(error, match=message):
        FitRecipe(**{"epochs": 1, **fields})


def test_a_recipe_can_be_changed_and_recorded():
    recipe = FitRecipe(9, fit_options={"class_weight": {0: 1.0}})
    shorter = recipe.replace(epochs=3)
    assert shorter.settings() == {
        "epochs": 3,
        "fit_options": {"class_weight": "{0: 1.0}"},
    }
    assert shorter.make_callbacks() == [] and recipe.epochs == 9


@pytest.mark.parametrize("given", [([1.0, 2.0], [0, 1]), ([], [])])
def test_lists_are_no_arrays(given):
    with pytest.raises(ValueError, match=r"`train` must contain arrays.*np.array\("):
        FitData(train=given, validation=given)


def test_several_inputs_may_be_a_list():
    a, b, y = np.zeros((6, 2)), np.ones((6, 3)), np.arange(6.0)
    data = FitData(train=([a, b], y), validation=([a, b], y), batch_size=4)
    (first, second), labels = data.splits["train"].first_batch()
    assert first.shape == (4, 2) and second.shape == (4, 3) and labels.shape == (4,)


# Augmentation of arrays


def variants(image, padding, fill):
    """Every crop of an image and of its mirror image, as bytes."""
    size = image.shape[0]
    found = set()
    for each in (image, image[:, ::-1]):
        padded = np.pad(each, [(padding, padding)] * 2 + [(0, 0)], constant_values=fill)
        for row in range(2 * padding + 1):
            for column in range(2 * padding + 1):
                part = padded[row : row + size, column : column + size]
                found.add(np.ascontiguousarray(part).tobytes())
    return found


def test_crops_and_mirror_images_of_arrays():
    images = np.random.default_rng(0).integers(0, 255, (400, 3, 3, 2)).astype("uint8")
    images[:] = images[0]
    seen = random_crop_flip(padding=1, fill=7)(images, np.random.default_rng(1))
    assert seen.dtype == images.dtype
    expected = variants(images[0], 1, 7)
    assert len(expected) == 18
    assert {image.tobytes() for image in seen} == expected
    same = random_crop_flip(padding=0, flip=False)(images, np.random.default_rng(1))
    np.testing.assert_array_equal(same, images)
    with pytest.raises(
        ValueError, match="`padding` must be >= 0.* Received: padding=-1"
    ):
        random_crop_flip(-1)


def test_augmentation_is_a_function_of_seed_epoch_and_batch():
    x = np.arange(20.0).reshape(10, 2)
    y = np.arange(10)
    noise = lambda x, rng: x + rng.random(x.shape)  # noqa: E731
    data = FitData((x, y), (x, y), batch_size=4, augment=noise)
    assert data.fingerprint != FitData((x, y), (x, y), batch_size=4).fingerprint

    def batches(seed, epoch):
        arguments, (begin,) = data.splits["train"].training(seed, 0, True)
        begin.on_epoch_begin(epoch, {})
        return [arguments["x"][number] for number in range(3)]

    for one, two in zip(batches(0, 1), batches(0, 1), strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        assert np.all(np.floor(one[0]) == x[one[1]]) and np.any(one[0] != x[one[1]])
    assert np.any(batches(0, 1)[0][0] != batches(0, 2)[0][0])
    assert np.any(next(iter(data.splits["train"].sample(4, 0)))[0] % 1)
    np.testing.assert_array_equal(data.splits["validation"].measuring()["x"], x)


def test_pipelines_augment_by_themselves():
    x = np.zeros((4, 2))
    pipeline = ShuffledBatches((x, x), 2, seed=0)
    with pytest.raises(ValueError, match="`augment` can be used with arrays only"):
        FitData(pipeline, (x, x), augment=random_crop_flip())


@pytest.mark.parametrize("repeats", [False, True])
def test_a_pipeline_is_read_on_behind_the_epochs_that_are_done(repeats):
    """Three epochs of two batches: the fourth begins with the second of five."""
    tf = pytest.importorskip("tensorflow")
    dataset = tf.data.Dataset.range(5).batch(1)
    split = as_split(dataset.repeat() if repeats else dataset, "train")

    def first(epoch, steps):
        arguments, _ = split.training(0, epoch, True, steps)
        return [int(batch[0]) for batch in arguments["x"].take(5)]

    assert first(3, 2) == [1, 2, 3, 4, 0]
    assert first(3, None) == first(0, 2) == [0, 1, 2, 3, 4]
    assert split.batch_size == 1


def test_a_pipeline_gives_arrays_to_other_backends(monkeypatch):
    """JAX does not accept TensorFlow's tensors."""
    tf = pytest.importorskip("tensorflow")
    x = np.arange(6, dtype="float32").reshape(6, 1)
    pipeline = tf.data.Dataset.from_tensor_slices((x, x)).batch(2)
    data = FitData(pipeline, pipeline)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    train = data.splits["train"]
    batches = [train.first_batch(), *train.sample(2, 0)]
    assert len(batches) == 4
    assert all(isinstance(array, np.ndarray) for batch in batches for array in batch)
