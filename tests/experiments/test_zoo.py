"""Units of other people's nets: the survey, its page, and nets of KerasHub."""

import json

import numpy as np
import pytest

import resprune_tf as rp
from experiments.zoo import __main__ as zoo
from experiments.zoo import page as zoo_page
from experiments.zoo.models import NETS, TIMED, ZooModel
from tests.conftest import shallow_net

pytestmark = pytest.mark.slow


class Shallow(ZooModel):
    """Three units of a layer each: every export takes seconds for the odd net."""

    def build(self):
        return shallow_net(importance=False)


def test_the_page_says_what_the_record_says(tmp_path, capsys):
    """A real survey of the odd net, small, and a real timing of a smaller one."""
    odd = ZooModel("odd_net", "experiments/zoo/odd_net.py", 16, opened=True)
    zoo.main([], records=tmp_path, nets=[odd])
    small = Shallow("odd_net", "a test", 8)  # only nets of certain names are timed
    zoo.main(["--latency", "--runs=2"], records=tmp_path, nets=[small])
    record = json.loads((tmp_path / "zoo" / "units.json").read_text())
    (net,) = record["nets"].values()
    assert (net["units"], net["removable"], net["opaque"]) == (10, 9, [])
    for key, count in (("third", 3), ("all", 9)):
        assert net[key]["removed"] == count
        assert net[key]["difference_to_silenced"] == 0
        assert net[key]["difference_to_full"] > 1e-3
        assert net[key]["macs"] < net["full"]["macs"]
    assert net["difference_inserted"] == 0
    page = zoo_page.make(tmp_path).text
    assert "| odd_net, experiments/zoo/odd_net.py | 16×16×3 | 10 | 9 |" in page
    assert "| odd_net, litert |" in page and "| odd_net, onnxruntime |" in page
    assert "opened with `expand`" in page and "not run" not in page
    capsys.readouterr()
    zoo.main([], records=tmp_path, nets=[odd])  # nothing is done twice
    assert "odd_net" not in capsys.readouterr().out


def test_without_records_there_is_no_page(tmp_path):
    assert zoo_page.make(tmp_path) is None


def test_the_named_nets_are_there():
    names = {net.name for net in NETS}
    assert set(TIMED) <= names and len(NETS) == len({(n.name, n.source) for n in NETS})


def survives(model):
    """Removes every second unit of a model exactly."""
    shape = (2, *model.input_shape[1:])
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    model = zoo.randomize(model, x)
    names = [u.name for u in rp.find_units(model) if u.removable][::2]
    shorter = rp.remove_units(model, names)
    silenced = rp.add_importance(model, names, value=0.0)
    found, expected, full = (np.asarray(each(x)) for each in (shorter, silenced, model))
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found - full).max() > 1e-3
    return names


def test_a_classifier_of_keras_hub_is_a_nested_model():
    models = pytest.importorskip("keras_hub").models
    options = dict(NETS[[n.name for n in NETS].index("ResNet-18")].options)
    backbone = getattr(models, options.pop("model"))(
        image_shape=(32, 32, 3),
        **{**options, "stackwise_num_filters": [64, 64], "stackwise_num_blocks": [2, 2]}
        | {"stackwise_num_strides": [1, 2]},
    )
    names = survives(models.ResNetImageClassifier(backbone=backbone, num_classes=3))
    assert all(name.startswith("res_net_backbone/stack") for name in names)


def test_a_transformer_of_keras_hub_is_opened():
    models = pytest.importorskip("keras_hub").models
    vit = models.ViTBackbone(
        image_shape=(16, 16, 3),
        patch_size=(8, 8),
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=8,
    )
    assert rp.find_units(vit) == []
    opened = rp.expand(vit)
    assert len(rp.find_units(opened)) == 4
    # What has weights of its own stays closed, and is cloned although its
    # configuration does not fit its constructor.
    assert [o.kind for o in rp.find_units(opened).opaque] == ["ViTPatchingAndEmbedding"]
    survives(opened)


def test_macs_of_attention_in_windows():
    """Counted by hand from the products in its TensorFlow graph."""
    hub = pytest.importorskip("keras_hub")
    swin = hub.models.SwinTransformerBackbone(
        image_shape=(64, 64, 3),
        patch_size=4,
        embed_dim=8,
        depths=[1, 1],
        num_heads=[2, 2],
        window_size=4,
    )
    counted = rp.cost(swin)
    assert (counted.macs, counted.uncounted) == (622_592, ())
