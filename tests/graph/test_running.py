"""Running a model on few batches: its memory, and that compiling changes nothing."""

import keras
import numpy as np
import pytest

from resprune_tf import criteria, find_units, graph, recalibrate
from resprune_tf.graph import running
from tests.conftest import images_of, shallow_net, small_net

tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="other backends always compile"
)


def test_the_outputs_of_all_layers_are_counted():
    # Input 8x8x3, convolution 2x2x4, BatchNormalization and ReLU, pooled 4, three units
    # of a dense layer, a scale and a sum, and 3 logits.
    values = 192 + 3 * 16 + 4 + 3 * 3 * 4 + 3
    net = shallow_net()
    assert running.layer_output_bytes(net, images_of(net, 5)) == 5 * values * 4


def test_a_batch_is_halved_until_its_outputs_fit(monkeypatch):
    net = shallow_net()
    images = images_of(net, 5)
    example = running.layer_output_bytes(net, images[:1])
    assert graph.fitting_batch(net, images, 100) == 100
    monkeypatch.setattr(running, "_LARGEST_BATCH", 26 * example)
    assert graph.fitting_batch(net, images, 100) == 25
    assert graph.fitting_batch(net, images, 26) == 26
    assert graph.fitting_batch(net, images, 100, gradients=True) == 3
    assert graph.fitting_batch(net, images, 100, least=60) == 60
    assert graph.fitting_batch(net, images, 100, least=200) == 100


def test_a_batch_keeps_its_size_if_sizes_are_open(monkeypatch):
    """The largest input size would count for every layer, also after strides."""
    monkeypatch.setattr(running, "_LARGEST_BATCH", 1)
    inner = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(8, 3, strides=4)]
    )
    images = keras.Input((None, None, 3))
    net = keras.Model(images, inner(images))
    assert graph.fitting_batch(net, np.zeros((2, 64, 64, 3)), 100) == 100


def test_nested_models_and_open_sizes_count():
    inner = keras.Sequential([keras.Input((None, 4)), keras.layers.Dense(2)])
    tokens = keras.Input((None, 4))
    net = keras.Model(tokens, inner(tokens))
    # The inputs, those of the nested model, and its output.
    values = 6 * (4 + 4 + 2)
    assert running.layer_output_bytes(net, np.zeros((3, 6, 4))) == 3 * values * 4


def test_no_warning_of_arrays_if_the_only_input_is_in_a_list():
    model = shallow_net()
    model = keras.Model([model.inputs[0]], model.outputs)
    model.compile("sgd", "sparse_categorical_crossentropy")
    images = np.zeros((2, *model.inputs[0].shape[1:]), "float32")
    graph.run(model, images)
    graph.compilation.create_state(model, (images, np.zeros(2)))


@tensorflow_only
@pytest.mark.parametrize("most, compiled", [(2**30, False), (0, True)])
def test_a_model_is_compiled_if_its_outputs_take_much_memory(
    monkeypatch, most, compiled
):
    monkeypatch.setattr(running, "_MOST", most)
    net = shallow_net()
    net.compile("sgd", "mse", jit_compile=True)
    images = images_of(net)
    found = keras.ops.convert_to_numpy(graph.run(net, images))
    assert (net.predict_function is not None) == compiled
    assert net.jit_compile  # as it was
    np.testing.assert_allclose(found, net(images, training=False), rtol=1e-5)


@tensorflow_only
def test_recalibration_and_cka_are_the_same_when_compiled(monkeypatch):
    net = small_net(11)
    images = images_of(net, 12)

    def found():
        copy = recalibrate(net, images, batch_size=8)
        return [*copy.get_weights(), *criteria.cka(images)(net).values()]

    directly = found()
    monkeypatch.setattr(running, "_MOST", 0)
    assert len(find_units(net)) == 3
    for value, expected in zip(found(), directly, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
