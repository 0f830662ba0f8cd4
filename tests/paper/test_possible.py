"""Counts of pruned models without building them."""

import pytest

from experiments.paper import possible, published
from resprune_tf import cost
from resprune_tf.nets.architecture import Architecture
from resprune_tf.nets.resnet import build_resnet


@pytest.mark.parametrize(
    ("kept", "classes", "macs", "parameters"),
    [
        ((6, 6, 6), 10, 84_068_864, 590_426),
        ((1, 5, 4), 10, 48_417_280, 409_114),
        ((1, 4, 6), 100, 52_896_768, 555_252),
    ],
)
def test_counts_are_those_of_the_reference(kept, classes, macs, parameters):
    found = possible._counts((16, 32, 64), kept, classes)
    assert found == {"macs": macs, "parameters": parameters}


def test_counts_are_those_of_the_built_model():
    kept = tuple(tuple(range(1, count + 1)) for count in (2, 1, 3))
    net = build_resnet(Architecture(kept, (16, 32, 64), importance=False))
    counted = cost(net)
    found = possible._counts((16, 32, 64), (2, 1, 3), 10)
    assert found == {"macs": counted.macs, "parameters": counted.parameters}


def test_what_no_choice_of_units_has(monkeypatch):
    assert possible.impossible("cifar10") == ("macs", "parameters")
    assert possible.impossible("cifar100") == ()
    assert possible.impossible("imagenet2012") == ()  # not enumerated
    own = possible.shares("cifar10")[2, 4, 4]
    monkeypatch.setitem(published.COSTS, "cifar10", own)
    assert possible.impossible("cifar10") == ()
