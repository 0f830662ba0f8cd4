"""Scores of units by how much they change what passes through them.

Each function returns a criterion as those in `sensitivity.py`. No labels are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from resprune_tf import graph
from resprune_tf.criteria.probing import unit_means, unit_probe
from resprune_tf.criteria.scoring import criterion_on
from resprune_tf.data.examples import batches, count_images
from resprune_tf.units.finding import scored_units

_FEATURES = 2**14  # of a step of a Gram matrix, in float64


def block_influence(
    images: Any, batch_size: int = 128, recalibrate: bool = False
) -> Callable:
    """How far the unit turns its input: 1 - the cosine of x and x + F(x).

    The cosine is that of two vectors over the last axis, the channels; the mean is
    taken over positions (pixels, tokens) and images. 0 is a unit that changes no
    direction, though perhaps lengths; 2 one that reverses all.

    Args:
        images, batch_size, recalibrate: see `sensitivity.output_norm`.

    Raises:
        ValueError: if there are no images.

    Reference: the block influence of Men et al., ShortGPT, arXiv:2403.03853.
    """

    def measure(call):
        distance = _direction(call.total) - _direction(call.shortcut)
        # The same as 1 - cosine, which would lose the digits of a small change.
        turns = ops.sum(ops.square(distance), axis=-1, keepdims=True) / 2
        return ops.mean(turns, axis=tuple(range(1, len(turns.shape) - 1)))

    def score(model):
        means = unit_means(model, images, batch_size, measure)
        return {name: mean[0] for name, mean in means.items()}

    return criterion_on(images, "block_influence", score, batch_size, recalibrate)


def _direction(tensor):
    return ops.normalize(ops.cast(tensor, "float32"), axis=-1)


def cka(images: Any, batch_size: int = 128, recalibrate: bool = False) -> Callable:
    """How differently the unit's input and output tell the images apart: 1 - CKA.

    Linear centred kernel alignment compares the Gram matrices (all scalar products
    of images) of x and of x + F(x), each flattened and centred over the images: 1 if
    they are the same up to rotation and scale, whatever the channels mean. So a score
    of 0 is a unit that changes no relation between images, and 1 the largest.

    A unit at a time holds its input and output for all images in memory, float32.

    Args:
        images, batch_size, recalibrate: see `sensitivity.output_norm`; at least two
            images. With fewer images than the features have directions, CKA is larger
            than it would be with many: compare units, not numbers of images.

    Raises:
        ValueError: if there are fewer than two images.

    References: Kornblith et al., arXiv:1905.00414. Pons et al., Effective Layer Pruning
    Through Similarity Metric Perspective, arXiv:2405.17081, remove layers by the CKA of
    the net's last representation with and without them.
    """
    if count_images(images) == 1:
        raise ValueError("CKA compares images with each other: at least 2 are needed.")

    def score(model):
        copy = graph.rebuild(model)
        return {
            unit.name: _dissimilarity(copy, unit, images, batch_size)
            for unit in scored_units(copy)
        }

    return criterion_on(images, "cka", score, batch_size, recalibrate)


def _dissimilarity(model, unit, images, batch_size):
    """1 - CKA of what enters and leaves a unit: the mean over its calls."""

    def sides(found):
        (calls,) = found.values()
        return [side for call in calls for side in (call.shortcut, call.total)]

    def spec(found):
        return [keras.KerasTensor(side.shape, side.dtype) for side in sides(found)]

    probe = unit_probe(model, [unit], sides, spec)
    # Not compiled: that would take longer than the few batches.
    found = [probe(batch, training=False) for batch in batches(images, batch_size)]
    grams = list(map(_centred_gram, zip(*found, strict=True)))
    pairs = zip(grams[::2], grams[1::2], strict=True)
    return np.mean([1 - _alignment(before, after) for before, after in pairs])


def _alignment(gram, other):
    norms = np.linalg.norm(gram) * np.linalg.norm(other)
    if norms == 0:
        # One of them is the same for all images: alike only if both are.
        return float(not gram.any() and not other.any())
    return np.sum(gram * other) / norms


def _centred_gram(features):
    """Scalar products of images from batches of features: `(images, images)`."""
    features = np.concatenate([ops.convert_to_numpy(batch) for batch in features])
    flat = features.reshape(len(features), -1)
    gram = np.zeros((len(flat), len(flat)))
    for start in range(0, flat.shape[1], _FEATURES):
        part = flat[:, start : start + _FEATURES].astype("float64")
        part -= part.mean(axis=0)
        gram += part @ part.T
    return gram
