"""Architecture: depths, removable units, refusals."""

import dataclasses
import json

import pytest

from resprune_tf.nets.architecture import Architecture, UnitId


def test_unit_id_round_trip_and_order():
    assert str(UnitId(2, 5)) == "stage2_unit5"
    assert UnitId.parse("stage2_unit5") == UnitId(2, 5)
    assert UnitId.parse("stage12_unit34_conv1") == UnitId(12, 34)
    assert sorted([UnitId(2, 1), UnitId(1, 9)]) == [UnitId(1, 9), UnitId(2, 1)]


@pytest.mark.parametrize(
    "text", ["stage2", "unit5", "stage2_unit5x", "", "xstage1_unit2"]
)
def test_unit_id_refuses(text):
    with pytest.raises(ValueError, match="stage2_unit5"):
        UnitId.parse(text)


@pytest.mark.parametrize("depth", [11, 20, 29, 38, 47, 56, 110])
def test_bottleneck_depths(depth):
    net = Architecture.cifar(depth)
    assert net.depth == depth
    assert len(net.removable) == len(net.units) - 3 == (depth - 11) // 3


@pytest.mark.parametrize("depth", [8, 20, 32, 44, 56, 110])
def test_basic_depths(depth):
    assert Architecture.cifar(depth, "basic").depth == depth


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_imagenet_depths(depth):
    net = Architecture.imagenet(depth)
    assert net.depth == depth
    assert len(net.removable) == len(net.units) - 4


@pytest.mark.parametrize(
    ("depth", "kind", "message"),
    [
        (55, "bottleneck", r"9n\+2 layers, such as 38, 47, 56, 65.*depth=55"),
        (2, "bottleneck", r"such as 11, 20"),
        (0, "basic", r"6n\+2 layers, such as 8, 14"),
        (-7, "basic", r"such as 8"),
        (56, "dense", r"unit_kind='dense'"),
    ],
)
def test_wrong_depth_names_right_ones(depth, kind, message):
    with pytest.raises(ValueError, match=message):
        Architecture.cifar(depth, kind)


def test_wrong_imagenet_depth():
    with pytest.raises(ValueError, match="18, 34, 50, 101, 152.*depth=51"):
        Architecture.imagenet(51)


def test_without_keeps_numbers():
    net = Architecture.cifar(56).without(["stage1_unit4", UnitId(3, 2)])
    assert net.kept == ((1, 2, 3, 5, 6), (1, 2, 3, 4, 5, 6), (1, 3, 4, 5, 6))
    assert net.depth == 50
    assert UnitId(1, 5) in net.units and UnitId(1, 4) not in net.units


def test_without_refuses_and_lists():
    net = Architecture.cifar(20)
    with pytest.raises(ValueError, match="Cannot remove stage1_unit1, stage1_unit3"):
        net.without(["stage1_unit1", "stage1_unit3", "stage1_unit2"])
    smallest = net.without(net.removable)
    with pytest.raises(ValueError, match="Removable units: none"):
        smallest.without(["stage1_unit2"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"activation": "mid"}, "activation='mid'"),
        ({"stem": "x"}, "stem='x'"),
        ({"shortcut": "x"}, "shortcut='x'"),
        ({"kept": ((1,), (1,))}, "2 and 3 stages"),
        ({"kept": ((1,), (2, 3), (1,))}, "include unit 1.*stage 2"),
        ({"kept": ((1,), (1, 3, 2), (1,))}, "ascending.*stage 2"),
        ({"strided_convolution": 4}, "strided_convolution=4"),
    ],
)
def test_contradictions_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Architecture.cifar(20), **fields)


def test_json_round_trip():
    net = Architecture.cifar(38).without(["stage2_unit3"])
    again = Architecture(**json.loads(json.dumps(dataclasses.asdict(net))))
    assert again == net and hash(again) == hash(net)
