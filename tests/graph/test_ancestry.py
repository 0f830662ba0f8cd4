"""What leads to what, and what an edit leaves out, beside their plain definitions."""

import functools
import pathlib
import sys

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import resprune_tf as rp
from resprune_tf import graph
from resprune_tf.graph.ancestry import Ancestry, Uses
from resprune_tf.graph.macs import count_macs
from resprune_tf.graph.tracing import trace
from resprune_tf.targets.savings import unit_savings
from resprune_tf.units.survey import Survey
from tests.conftest import net_of

pytestmark = pytest.mark.slow

PACKAGE = str(pathlib.Path(rp.__file__).parent)


class Halves(keras.Operation):
    """An operation of two outputs."""

    def compute_output_spec(self, x):
        return [keras.KerasTensor(x.shape, x.dtype) for _ in range(2)]


class Plan:
    """A small random graph: kinds of calls, and how far back their inputs lie."""

    kinds = ("add", "add", "halves", "relu", "dense", "shared", "inner", "twin")
    far = st.integers(0, 5)
    steps = st.lists(st.tuples(st.sampled_from(kinds), far, far), min_size=3)
    any = st.tuples(st.integers(1, 3), steps, far)

    @staticmethod
    def build(plan, inside=None):
        """The model of a plan, whose nested models are called on two tensors each."""
        count, steps, extra = plan
        inputs = [keras.Input((4,)) for _ in range(count)]
        made = list(inputs)
        shared = layers.Dense(4)
        for kind, *far in steps:
            given = [made[max(0, len(made) - 1 - back)] for back in far]
            if inside and kind in inside:
                outputs = inside[kind](given)
            elif kind == "add":
                outputs = layers.Add()(given)
            elif kind == "halves":
                outputs = Halves()(given[0])
            elif kind == "dense":
                outputs = layers.Dense(4)(given[0])
            elif kind == "shared":
                outputs = shared(given[0])
            else:
                outputs = keras.ops.relu(given[0])
            made += keras.tree.flatten(outputs)
        for tensor in inputs:
            keras.ops.copy(tensor)  # Keras 3.12 refuses inputs that nothing takes
        return keras.Model(inputs, [made[-1], made[max(0, len(made) - 2 - extra)]])

    @classmethod
    def build_nested(cls, outer, inner):
        """A model that calls two others, which were made of the same tensors."""
        whole = cls.build((2, *inner[1:]))
        twin = keras.Model(whole.inputs, whole.outputs[1])
        return cls.build(outer, {"inner": whole, "twin": twin})


def tensors_of(model):
    return [tensor for node in graph.nodes(model) for tensor in node.outputs]


def leading_to(tensor, barred=None):
    """Ids of all tensors that one is computed from, and its own, by paths past one."""
    if tensor is barred:
        return set()
    above = [leading_to(t, barred) for t in graph.node_of(tensor).input_tensors]
    return {id(tensor)}.union(*above)


def share_dominator(model, ends):
    """Whether some tensor lies on every path from an input to an end."""
    sources = set(map(id, model.inputs))
    return any(
        not any(sources & leading_to(end, barred) for end in ends)
        for barred in tensors_of(model)
    )


@settings(max_examples=40, deadline=None)
@given(plan=Plan.any, chosen=st.lists(st.integers(0, 20), min_size=2, max_size=4))
def test_ancestry_is_that_of_the_definitions(plan, chosen):
    model = Plan.build(plan)
    every = tensors_of(model)
    ends = [every[place % len(every)] for place in chosen]
    some = list({id(tensor): tensor for tensor in ends[1:]}.values())
    ancestry = Ancestry(graph.nodes(model))
    expected = [
        t
        for t in some
        if any(t is not end and id(t) in leading_to(end) for end in ends)
    ]
    assert list(map(id, ancestry.feeding(some, ends))) == list(map(id, expected))
    assert ancestry.feeding([], ends) == []
    fewest = min(some, key=lambda tensor: len(leading_to(tensor)))
    assert ancestry.with_fewest_ancestors(some) is fewest
    assert ancestry.share_dominator(ends) == share_dominator(model, ends)


def edit_of(model, places):
    """A tensor of a model, and one of those that it is computed from, or itself."""
    later, earlier = places
    every = tensors_of(model)
    tensor = every[later % len(every)]
    before = [each for each in every if id(each) in leading_to(tensor)]
    return tensor, before[earlier % len(before)]


PLACES = st.lists(st.integers(0, 40), min_size=2, max_size=2)


@settings(max_examples=40, deadline=None)
@given(plan=Plan.any, places=PLACES)
def test_nodes_that_nothing_needs_are_those_that_no_walk_meets(plan, places):
    model = Plan.build(plan)
    tensor, stand_in = edit_of(model, places)
    if tensor is stand_in:
        return
    left = set(map(id, graph.nodes(model, {id(tensor): stand_in})))
    expected = {id(node) for node in graph.nodes(model)} - left
    found = Uses(model).unneeded(tensor, stand_in)
    assert sorted(map(id, found)) == sorted(expected)


@settings(max_examples=40, deadline=None)
@given(outer=Plan.any, inner=Plan.any, places=PLACES, level=st.integers(0, 2))
def test_what_an_edit_loses_is_what_the_edited_model_lacks(outer, inner, places, level):
    model = Plan.build_nested(outer, inner)
    levels = [each for _, each in graph.levels(model)]
    tensor, stand_in = edit_of(levels[level % len(levels)], places)
    if tensor is stand_in:
        return
    before, _ = trace(model)
    after, _ = trace(model, {id(tensor): stand_in})
    lost = Survey(model).without(tensor, stand_in)
    left = {id(call.node) for call in after}
    gone = dict.fromkeys(id(call.node) for call in before if id(call.node) not in left)
    assert lost.nodes == tuple(gone)
    left = {id(call.operation) for call in after}
    expected = {id(call.operation): call.operation for call in before}
    assert lost.operations == tuple(
        operation for key, operation in expected.items() if key not in left
    )
    assert lost.macs == sum(map(count_macs, before)) - sum(map(count_macs, after))


@functools.cache
def chain(units):
    """Units in a row, in a nested model and around it."""

    def run(x, count):
        for _ in range(count):
            x = layers.Add()([x, layers.Dense(4)(layers.ReLU()(x))])
        return x

    return net_of((4,), net_of((4,), lambda x: run(x, units)), lambda x: run(x, units))


def shorten(model):
    rp.remove_units(model, rp.find_units(model)[::2])


def save(model):
    units = rp.find_units(model)
    sizes = {"macs": 16 * len(units) + 1, "parameters": 20 * len(units) + 1}
    target = rp.Target(macs=0.5, parameters=0.5)
    return unit_savings(model, units, target, sizes, dict.fromkeys(sizes, 0))


def calls_of(function, model):
    """How many calls of this package's functions a function makes."""
    count = 0

    def note(frame, event, _):
        nonlocal count
        count += event == "call" and frame.f_code.co_filename.startswith(PACKAGE)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function(model)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("function", [rp.find_units, rp.add_importance, shorten, save])
def test_twice_the_graph_is_twice_the_work(function):
    short, long = (calls_of(function, chain(units)) for units in (10, 20))
    assert long < 2.1 * short


class Block(layers.Layer):
    """A unit in a layer."""

    def build(self, _):
        self.dense = layers.Dense(4)

    def call(self, inputs):
        return inputs + self.dense(keras.ops.relu(inputs))


def test_twice_the_layers_are_opened_with_twice_the_work():
    short, long = (
        calls_of(rp.expand, net_of((4,), *(Block() for _ in range(units))))
        for units in (10, 20)
    )
    assert long < 2.1 * short
