"""Criteria: they score removable units; the smallest score is removed first.

A criterion is a function from a model to `{unit name: score}`. `importance` and
`largest` are criteria themselves; the other functions return one:

>>> scores = block_influence(images)(model)
>>> l1 = make("l1_importance", images, labels)
"""

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
