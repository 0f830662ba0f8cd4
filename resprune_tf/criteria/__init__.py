"""Criteria: they score removable units; the smallest score is removed first.

A criterion is a function from a model to `{unit name: score}`. `importance` and
`largest` are criteria themselves; the other functions return one:

>>> scores = block_influence(images)(model)
>>> l1 = make("l1_importance", images, labels)
"""

# `import name as name` marks a name as public, so that no name is listed twice.

import types as _types

from resprune_tf.criteria.by_name import check_scored as check_scored
from resprune_tf.criteria.by_name import check_scores as check_scores
from resprune_tf.criteria.by_name import importance as importance
from resprune_tf.criteria.by_name import largest as largest
from resprune_tf.criteria.by_name import named as named
from resprune_tf.criteria.by_name import random as random
from resprune_tf.criteria.registry import LABELLED as LABELLED
from resprune_tf.criteria.registry import NAMES as NAMES
from resprune_tf.criteria.registry import ON_EXAMPLES as ON_EXAMPLES
from resprune_tf.criteria.registry import make as make
from resprune_tf.criteria.sensitivity import leave_one_out as leave_one_out
from resprune_tf.criteria.sensitivity import output_norm as output_norm
from resprune_tf.criteria.sensitivity import taylor as taylor
from resprune_tf.criteria.similarity import block_influence as block_influence
from resprune_tf.criteria.similarity import cka as cka
from resprune_tf.criteria.sparsity import l1_importance as l1_importance

# For tools that read `__all__` only, such as the generator of the API reference.
__all__ = sorted(
    name
    for name, value in globals().items()
    if not name.startswith("_") and not isinstance(value, _types.ModuleType)
)
