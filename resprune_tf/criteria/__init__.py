"""Scores of units: how little would be lost with each of them."""

from resprune_tf.criteria.by_name import (
    check_scored,
    check_scores,
    importance,
    largest,
    named,
    random,
)
from resprune_tf.criteria.registry import LABELLED, NAMES, ON_EXAMPLES, make
from resprune_tf.criteria.sensitivity import leave_one_out, output_norm, taylor
from resprune_tf.criteria.similarity import block_influence, cka
from resprune_tf.criteria.sparsity import l1_importance

__all__ = [
    "LABELLED",
    "NAMES",
    "ON_EXAMPLES",
    "block_influence",
    "check_scored",
    "check_scores",
    "cka",
    "importance",
    "l1_importance",
    "largest",
    "leave_one_out",
    "make",
    "named",
    "output_norm",
    "random",
    "taylor",
]
