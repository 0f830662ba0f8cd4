"""The graph of a functional model: read it, trace it, count its MACs, rebuild it."""

from resprune_tf.graph.cloning import clone_operation as clone_operation
from resprune_tf.graph.cloning import copy_state as copy_state
from resprune_tf.graph.cloning import without_names as without_names
from resprune_tf.graph.functional import as_functional as as_functional
from resprune_tf.graph.functional import check_functional as check_functional
from resprune_tf.graph.functional import fits as fits
from resprune_tf.graph.functional import inner as inner
from resprune_tf.graph.functional import input_like as input_like
from resprune_tf.graph.functional import levels as levels
from resprune_tf.graph.functional import node_of as node_of
from resprune_tf.graph.functional import nodes as nodes
from resprune_tf.graph.functional import nodes_between as nodes_between
from resprune_tf.graph.functional import rebuild as rebuild
from resprune_tf.graph.functional import resolve as resolve
from resprune_tf.graph.functional import scope_of as scope_of
from resprune_tf.graph.running import fitting_batch as fitting_batch
from resprune_tf.graph.running import run as run
