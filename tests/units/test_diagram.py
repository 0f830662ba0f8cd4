"""The picture of a model's units."""

import keras
import pytest
from keras import layers
from matplotlib.colors import to_rgba
from matplotlib.patches import Arc, Rectangle

from resprune_tf import Architecture, build_resnet, draw_units, find_units
from resprune_tf.units.importances import importances
from tests.conftest import randomise


@pytest.fixture
def net():
    """A ResNet of three stages and of six units, three of which are removable."""
    shape = {"kept": ((1, 2, 3), (1, 2), (1,)), "widths": (4, 8, 16)}
    model = build_resnet(Architecture(image_shape=(8, 8, 3), **shape))
    randomise(model)
    return model


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_boxes_show_units_stages_scores_and_savings(net, tmp_path):
    units = find_units(net)
    figure = draw_units(net, path=tmp_path / "units.svg")
    patches = figure.axes[0].patches
    boxes = [patch for patch in patches if isinstance(patch, Rectangle)]
    arcs = [patch for patch in patches if isinstance(patch, Arc)]
    assert len(boxes) == len(units)
    dashed = [arc.get_linestyle() == "--" for arc in arcs]
    assert dashed == [unit.kind == "projection" for unit in units]
    grey = [box.get_facecolor() == to_rgba("#e6e4de") for box in boxes]
    assert grey == [not unit.removable for unit in units]
    shown = texts(figure)
    for value in importances(net).values():
        assert f"{value:.2g}" in shown
    assert sum(text.startswith("stage ") for text in shown) == 3
    assert sum(text.endswith("%") for text in shown) == len(units)
    assert "<svg" in (tmp_path / "units.svg").read_text()


def test_scores_of_ones_own_colour_the_boxes(net):
    names = [unit.name for unit in find_units(net) if unit.removable]
    figure = draw_units(net, {names[0]: 0.0, names[1]: 3.0}, label="taylor")
    assert figure.axes[1].get_ylabel() == "taylor"
    colours = {
        box.get_facecolor()
        for box in figure.axes[0].patches
        if isinstance(box, Rectangle)
    }
    assert len(colours) == 4  # two scores, white for no score, grey for fixed
    with pytest.raises(ValueError, match="`scores` names units.*not have: stage9"):
        draw_units(net, {"stage9": 1.0})


def test_models_without_units_or_sizes():
    inputs = keras.Input((None, None, 3))
    plain = keras.Model(inputs, layers.Conv2D(3, 3, padding="same")(inputs))
    with pytest.raises(ValueError, match="has no residual unit"):
        draw_units(plain)
    loose = keras.Model(inputs, layers.Add(name="u_add")([inputs, plain(inputs)]))
    assert texts(draw_units(loose)) == ["stage 1\n?×?×3", "u"]
