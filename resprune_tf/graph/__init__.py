"""The graph of a functional model: read it, trace it, count its MACs, rebuild it."""

from resprune_tf.graph.cloning import clone_operation, copy_state, without_names
from resprune_tf.graph.functional import (
    as_functional,
    check_functional,
    fits,
    inner,
    input_like,
    levels,
    node_of,
    nodes,
    nodes_between,
    rebuild,
    resolve,
    scope_of,
)
from resprune_tf.graph.running import fitting_batch, run

__all__ = [
    "as_functional",
    "check_functional",
    "clone_operation",
    "copy_state",
    "fits",
    "fitting_batch",
    "inner",
    "input_like",
    "levels",
    "node_of",
    "nodes",
    "nodes_between",
    "rebuild",
    "resolve",
    "run",
    "scope_of",
    "without_names",
]
