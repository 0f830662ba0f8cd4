"""RandomCropFlip against all crops and mirrors that NumPy can make."""

import keras
import numpy as np
import pytest

from resprune_tf.data.augment import RandomCropFlip

FILL = (125.25, 3.0, 250.5)
SHAPE = (6, 5, 3)  # not square, so that swapped axes show


def images_of(count, dtype="uint8", seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *SHAPE)).astype(dtype)


def augment(layer, images):
    return keras.ops.convert_to_numpy(layer(images, training=True))


def candidates(image, padding, flip):
    """Every possible result: dict from (top, left, mirrored) to the image."""
    padded = np.empty((SHAPE[0] + 2 * padding, SHAPE[1] + 2 * padding, 3), "float32")
    padded[:] = FILL
    padded[padding : padding + SHAPE[0], padding : padding + SHAPE[1]] = image
    found = {}
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            crop = padded[top : top + SHAPE[0], left : left + SHAPE[1]]
            found[top, left, False] = crop
            if flip:
                found[top, left, True] = crop[:, ::-1]
    return found


def places(images, outputs, padding, flip):
    """Which candidate each output is; exactly one must be equal."""
    found = []
    for image, output in zip(images, outputs, strict=True):
        equal = [
            key
            for key, candidate in candidates(image, padding, flip).items()
            if np.array_equal(candidate, output)
        ]
        assert len(equal) == 1
        found.append(equal[0])
    return found


def compiled(layer):
    """The training call under XLA, with a batch of unknown size where that exists."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(
            lambda x: layer(x, training=True),
            input_signature=[tf.TensorSpec((None, *SHAPE), tf.uint8)],
            jit_compile=True,
        )
    if keras.backend.backend() == "jax":
        import jax

        step = jax.jit(
            lambda state, x: layer.stateless_call([], state, x, training=True)
        )

        def call(images):
            output, state = step(
                [v.value for v in layer.non_trainable_variables], images
            )
            for variable, value in zip(
                layer.non_trainable_variables, state, strict=True
            ):
                variable.assign(value)
            return output

        return call
    pytest.skip(f"no compiled call for backend {keras.backend.backend()}")


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    ("padding", "flip"), [(2, True), (2, False), (0, True), (1, True)]
)
def test_every_output_is_a_crop_or_its_mirror(padding, flip, dtype):
    images = images_of(512, dtype)
    layer = RandomCropFlip(padding, flip, FILL, seed=1)
    outputs = augment(layer, images)
    assert outputs.dtype == np.float32
    found = places(images, outputs, padding, flip)
    # All shifts occur, in both directions, independent of the mirroring.
    assert len(set(found)) == (2 * padding + 1) ** 2 * (1 + flip)
    assert 0.4 < np.mean([mirrored for _, _, mirrored in found]) < 0.6 or not flip
    for axis in (0, 1):
        assert np.mean([place[axis] for place in found]) == pytest.approx(
            padding, abs=0.2
        )


def test_images_of_a_batch_and_batches_differ():
    images = np.repeat(images_of(1), 64, axis=0)
    layer = RandomCropFlip(2, True, FILL, seed=1)
    first, second = augment(layer, images), augment(layer, images)
    assert len({each.tobytes() for each in first}) > 20
    assert not np.array_equal(first, second)


def test_seed_fixes_the_sequence():
    images = images_of(16)
    layers = [RandomCropFlip(2, fill=FILL, seed=seed) for seed in (7, 7, 8)]
    first, same, other = ([augment(a, images) for _ in range(3)] for a in layers)
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_stored_state_continues_the_sequence():
    images = images_of(16)
    layer = RandomCropFlip(2, fill=FILL, seed=7)
    augment(layer, images)
    state = [keras.ops.convert_to_numpy(v) for v in layer.non_trainable_variables]
    assert len(state) == 1
    expected = [augment(layer, images) for _ in range(3)]
    resumed = RandomCropFlip(2, fill=FILL, seed=99)
    for variable, value in zip(resumed.non_trainable_variables, state, strict=True):
        variable.assign(value)
    np.testing.assert_array_equal(
        [augment(resumed, images) for _ in range(3)], expected
    )


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_inference_is_a_cast(dtype):
    images = images_of(4, dtype)
    layer = RandomCropFlip(2, fill=FILL, seed=0)
    state = keras.ops.convert_to_numpy(layer.seed_generator.state.value)
    for outputs in (layer(images), layer(images, training=False)):
        assert keras.backend.standardize_dtype(outputs.dtype) == "float32"
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(outputs), images)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(layer.seed_generator.state.value), state
    )


def test_nothing_to_do_is_a_cast():
    images = images_of(4)
    outputs = augment(RandomCropFlip(padding=0, flip=False), images)
    np.testing.assert_array_equal(outputs, images.astype("float32"))


def test_xla_gives_the_same_images():
    eager, traced = (RandomCropFlip(2, fill=FILL, seed=3) for _ in range(2))
    traced.build((None, *SHAPE))
    step = compiled(traced)
    for count in (8, 8, 5):
        images = images_of(count)
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(step(images)), augment(eager, images)
        )


def test_global_policy_does_not_round_pixels():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = RandomCropFlip(1, fill=FILL, seed=0)
    finally:
        keras.config.set_dtype_policy(before)
    images = images_of(8, "float32") + 0.25
    places(images, augment(layer, images), 1, True)


@pytest.mark.slow
def test_model_trains_through_it_and_reloads(tmp_path):
    image = keras.Input(SHAPE, dtype="uint8")
    x = RandomCropFlip(1, fill=FILL, seed=0, name="augment")(image)
    x = keras.layers.Dense(2)(keras.layers.Flatten()(x))
    model = keras.Model(image, x)
    model.compile("sgd", "mse", jit_compile=True)
    images = images_of(8)
    model.train_on_batch(images, np.zeros((8, 2), "float32"))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    layer = loaded.get_layer("augment")
    assert isinstance(layer, RandomCropFlip)
    assert layer.get_config() == model.get_layer("augment").get_config()
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(loaded(images)),
        keras.ops.convert_to_numpy(model(images)),
    )


def test_config_round_trip():
    layer = RandomCropFlip(3, False, FILL, seed=5, name="augment", dtype="float16")
    clone = RandomCropFlip.from_config(layer.get_config())
    assert clone.get_config() == layer.get_config()
    assert (clone.padding, clone.flip, clone.fill) == (3, False, list(FILL))
    assert (clone.seed, clone.compute_dtype) == (5, "float16")
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"] == "resprune_tf>RandomCropFlip"


def test_one_fill_for_all_channels():
    layer = RandomCropFlip(1, flip=False, fill=9, seed=0)
    outputs = augment(layer, np.zeros((64, 2, 2, 3), "uint8"))
    assert set(np.unique(outputs)) == {0.0, 9.0}


def test_errors():
    with pytest.raises(ValueError, match=r">= 0.*Received: padding=-1"):
        RandomCropFlip(padding=-1)
    with pytest.raises(ValueError, match=r"Received: \(6, 5, 3\)"):
        RandomCropFlip()(np.zeros(SHAPE, "uint8"))
    with pytest.raises(ValueError, match="only the batch may be open"):
        RandomCropFlip()(keras.Input((None, None, 3)))
    with pytest.raises(ValueError, match="Received: 2 values for 3 channels"):
        RandomCropFlip(fill=(1, 2))(np.zeros((1, *SHAPE), "uint8"))
