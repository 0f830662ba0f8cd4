"""Criteria based on the similarity of a unit's input and output.

Each function returns a criterion like those in `sensitivity.py`. No labels are needed.
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
from resprune_tf.data.examples import batch_count, batches, count_images
from resprune_tf.system.progress import tracked_part
from resprune_tf.units.finding import scored_units

_FEATURES = 2**14  # features per step of a Gram matrix, to limit float64 memory


def block_influence(
    images: Any, batch_size: int = 128, recalibrate: bool = False
) -> Callable:
    """Creates a criterion: 1 - cosine similarity of a unit's input and output.

    The cosine is taken between the channel vectors (last axis) of x and x + F(x), and
    the score is the mean over positions (pixels, tokens) and images. It is 0 if the
    unit does not change the direction of any vector, and 2 if it reverses all.

    Args:
        images, batch_size, recalibrate: see `output_norm`.

    Returns:
        A criterion with scores from 0 to 2.

    Raises:
        ValueError: if there are no images.

    Reference: Men et al., ShortGPT: Layers in Large Language Models are More Redundant
    Than You Expect, arXiv:2403.03853.

    >>> scores = block_influence(images)(model)
    """

    def measure(call):
        difference = _direction(call.total) - _direction(call.shortcut)
        # Equal to 1 - cosine, but without its rounding error for small changes.
        dissimilarity = ops.sum(ops.square(difference), axis=-1, keepdims=True) / 2
        positions = tuple(range(1, len(dissimilarity.shape) - 1))
        return ops.mean(dissimilarity, axis=positions)

    def score(model):
        means = unit_means(model, images, batch_size, measure)
        return {name: mean[0] for name, mean in means.items()}

    return criterion_on(images, "block_influence", score, batch_size, recalibrate)


def _direction(tensor):
    return ops.normalize(ops.cast(tensor, "float32"), axis=-1)


def cka(images: Any, batch_size: int = 128, recalibrate: bool = False) -> Callable:
    """Creates a criterion: 1 - CKA of a unit's input and output.

    Linear centred kernel alignment (CKA) compares the Gram matrices of x and x + F(x)
    over the images, each flattened and centred. CKA is 1 if both representations agree
    up to rotation and scale. So a score of 0 means that the unit does not change the
    relations between images; the maximum score is 1.

    The input and output of one unit for all images are in memory at once, in float32.

    Args:
        images, batch_size, recalibrate: see `output_norm`; at least two images. CKA is
            biased upwards if there are fewer images than features, so compare scores
            only if they were computed from the same number of images.

    Returns:
        A criterion with scores from 0 to 1.

    Raises:
        ValueError: if there are fewer than two images.

    References: Kornblith et al., Similarity of Neural Network Representations
    Revisited, arXiv:1905.00414. Pons et al., Effective Layer Pruning Through Similarity
    Metric Perspective, arXiv:2405.17081, use the CKA of the last representation with
    and without a layer.

    >>> scores = cka(images)(model)
    """
    if count_images(images) == 1:
        raise ValueError(
            "CKA compares images with each other, so it needs at least 2. Received: 1."
        )

    def score(model):
        copy = graph.rebuild(model)
        units = scored_units(copy)
        # A late unit needs more layers, and an early one often has more features.
        return {
            unit.name: _dissimilarity(copy, unit, images, batch_size)
            for unit in tracked_part(
                units, lambda unit: f"Computing cka of {unit.name}", even=False
            )
        }

    return criterion_on(images, "cka", score, batch_size, recalibrate)


def _dissimilarity(model, unit, images, batch_size):
    """1 - CKA of a unit's input and output: the mean over its calls."""

    def sides(found):
        (calls,) = found.values()
        return [side for call in calls for side in (call.shortcut, call.total)]

    def spec(found):
        return [keras.KerasTensor(side.shape, side.dtype) for side in sides(found)]

    probe = unit_probe(model, [unit], sides, spec)
    found = (
        [
            ops.convert_to_numpy(side)
            for side in keras.tree.flatten(graph.run(probe, batch, model))
        ]
        for batch in tracked_part(
            batches(images, batch_size),
            f"Computing cka of {unit.name}, batch",
            batch_count(images, batch_size),
        )
    )
    joined = _joined(found, count_images(images))
    grams = []
    while joined:  # each side is freed once its Gram matrix is computed
        grams.append(_centred_gram(joined.pop(0), unit.name))
    pairs = zip(grams[::2], grams[1::2], strict=True)
    return np.mean([1 - _alignment(before, after) for before, after in pairs])


def _joined(found, count):
    """Joins the batches of several arrays one by one, so that no batch is kept.

    Args:
        found: iterable of lists of arrays `(batch, ...)`.
        count: sum of the lengths of the batches.

    Returns:
        List of arrays `(count, ...)`.
    """
    joined, start = [], 0
    for batch in found:
        joined = joined or [np.empty((count, *a.shape[1:]), a.dtype) for a in batch]
        stop = start + len(batch[0])
        for whole, part in zip(joined, batch, strict=True):
            whole[start:stop] = part
        start = stop
    return joined


def _alignment(gram, other):
    norms = np.linalg.norm(gram) * np.linalg.norm(other)
    if norms == 0:
        # A representation that is constant over the images agrees only with another
        # constant one.
        return float(not gram.any() and not other.any())
    return np.sum(gram * other) / norms


def _centred_gram(features, name):
    """Gram matrix `(images, images)` of centred features.

    Args:
        features: array `(images, ...)`.
        name: name of the unit, for the report of progress.
    """
    flat = features.reshape(len(features), -1)
    gram = np.zeros((len(flat), len(flat)))
    starts = range(0, flat.shape[1], _FEATURES)
    for start in tracked_part(starts, f"Computing cka of {name}, part"):
        part = flat[:, start : start + _FEATURES].astype("float64")
        part -= part.mean(axis=0)
        gram += part @ part.T
    return gram
