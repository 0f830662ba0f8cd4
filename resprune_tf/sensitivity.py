"""Scores of units that are measured on images, labelled ones but for `output_norm`.

Each function here returns a criterion: a function from a model to
`{unit name: score}` for `scored_units(model)`, in their order, the smallest to be
removed first. Models take float pixels and return logits; they are only read. Images
belong to the training split: what is held out must not choose the net.
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from resprune_tf import graph, recalibration
from resprune_tf.gates import add_gates, gate_gradients
from resprune_tf.importance import SUFFIX, ImportanceScale, importances
from resprune_tf.recalibration import batches, check_images
from resprune_tf.units import scored_units


def output_norm(images, batch_size=128, recalibrate=False):
    """How large the branch is beside the shortcut it is added to.

    The score is the mean over images of `||ω·F(x)|| / ||x||`, Euclidean norms of the
    two addends of the unit's sum. 0 is a unit that does nothing.

    Args:
        images: `(images, height, width, channels)`.
        batch_size: images a step.
        recalibrate: whether the BatchNormalization statistics are first estimated
            anew from `images`.

    Raises:
        ValueError: if there are no images.

    Reference: the ratio by which Jastrzębski et al., arXiv:1710.04773, judge how much
    a residual unit changes its input.
    """
    check_images(images, batch_size)

    def criterion(model):
        graph.check_functional(model, "output_norm")
        if recalibrate:
            model = recalibration.recalibrate(model, images, batch_size)
        norms = unit_norms(model, images, batch_size)
        return {name: norm.ratio for name, norm in norms.items()}

    return _named(criterion, "output_norm", images, recalibrate)


@dataclasses.dataclass(frozen=True)
class UnitNorms:
    """How large the parts of a unit's sum `x + ω·F(x)` are: means over images.

    Attributes:
        importance: ω; None where the unit has none and so adds F(x) itself.
        scaled: Euclidean norm of ω·F(x), what the unit adds.
        branch: norm of F(x).
        shortcut: norm of x.
        ratio: of the norms of ω·F(x) and x, image by image.
    """

    importance: float | None
    scaled: float
    branch: float
    shortcut: float
    ratio: float


def unit_norms(model, images, batch_size=128):
    """Norms of what each unit adds and of what it adds it to (Figure 5 of the paper).

    Args:
        model: a functional `keras.Model`; it is only read.
        images: `(images, height, width, channels)`, pixels of 0 to 255.
        batch_size: images a step.

    Returns:
        dict from the name of each of `scored_units(model)` to its `UnitNorms`.

    Raises:
        ValueError: if there are no images.
        TypeError: if `model` is not functional.
    """
    check_images(images, batch_size)
    graph.check_functional(model, "unit_norms")
    copy = graph.rebuild(model)
    units = scored_units(copy)
    if not units:
        return {}
    rows = []
    for unit in units:
        scaled, shortcut = _norm(_sum(unit.branches)), _norm(unit.shortcut)
        branch = _norm(_sum(map(_unscaled, unit.branches)))
        ratio = scaled / ops.maximum(shortcut, keras.config.epsilon())
        rows.append(ops.stack([scaled, branch, shortcut, ratio], axis=-1))
    probe = keras.Model(copy.input, ops.stack(rows, axis=1))
    means = _predict(probe, images, batch_size).mean(axis=0)
    omegas = importances(copy)
    return {
        unit.name: UnitNorms(
            omegas[unit.importance.removesuffix(SUFFIX)] if unit.importance else None,
            *map(float, row),
        )
        for unit, row in zip(units, means, strict=True)
    }


def taylor(images, labels, batch_size=128, recalibrate=False):
    """First-order estimate of how much the loss changes without the unit.

    A gate g = 1 multiplies every branch. The score is the mean over images of
    `(dL/dg)²`, L being an image's cross entropy: closing the gate changes L by -dL/dg
    to first order. The squares are of single images, not of batches: over a whole
    training set `dL/dg = ω dL/dω` nearly vanishes for every unit of a trained net.

    Args:
        images: `(images, height, width, channels)`.
        labels: integers `(images,)`.
        batch_size, recalibrate: see `output_norm`.

    Raises:
        ValueError: if there are no images, or not as many labels.

    Reference: Molchanov et al., Importance Estimation for Neural Network Pruning,
    arXiv:1906.10771, its gate method with one image a mini-batch.
    """
    check_images(images, batch_size)
    _check_labels(images, labels)

    def criterion(model):
        if recalibrate:
            model = recalibration.recalibrate(model, images, batch_size)
        units = scored_units(model)
        if not units:
            return {}
        gated, gates = add_gates(model, units, min(batch_size, len(images)))
        gradients = gate_gradients(gated, gates)
        squares = np.zeros(len(units))
        starts = range(0, len(images), batch_size)
        for start, batch in zip(starts, batches(images, batch_size), strict=True):
            targets = np.asarray(labels[start : start + batch_size], "int32")
            values = [ops.convert_to_numpy(g) for g in gradients(batch, targets)]
            squares += np.square(np.array(values, "float64")).sum(axis=1)
        return _by_unit(units, squares / len(images))

    return _named(criterion, "taylor", images, recalibrate)


def leave_one_out(images, labels, batch_size=128, recalibrate=False):
    """By how much the mean cross entropy grows when the unit alone is removed.

    The unit is silenced by a gate, which equals its removal, so that one compiled
    model serves all units. Negative if the net is better without it.

    Args:
        images, labels, batch_size: see `taylor`.
        recalibrate: whether the BatchNormalization statistics are estimated anew
            from `images` for the net as it is and for the net without each unit.

    Raises:
        ValueError: if there are no images, or not as many labels.

    Reference: the lesion study of Veit et al., arXiv:1605.06431.
    """
    check_images(images, batch_size)
    _check_labels(images, labels)

    def criterion(model):
        units = scored_units(model)
        if not units:
            return {}
        gated, gates = add_gates(model, units)
        models = [gated]
        if recalibrate:
            statistics = recalibration.Recalibration(gated)
            models.append(statistics.recorder)

        def loss(without=None):
            for each in models:
                for name, gate in gates.items():
                    each.get_layer(gate.name).set(0.0 if name == without else 1.0)
            if recalibrate:
                statistics.run(images, batch_size)
            return _cross_entropy(_predict(gated, images, batch_size), labels)

        whole = loss()
        return {unit.name: loss(without=unit.name) - whole for unit in units}

    return _named(criterion, "leave_one_out", images, recalibrate)


def _sum(tensors):
    first, *others = tensors
    return sum(others, first)


def _unscaled(tensor):
    """What an `ImportanceScale` was given; another tensor is returned as it is."""
    history = tensor._keras_history
    if not isinstance(history.operation, ImportanceScale):
        return tensor
    node = history.operation._inbound_nodes[history.node_index]
    return node.input_tensors[0]


def _by_unit(units, values):
    return {unit.name: float(value) for unit, value in zip(units, values, strict=True)}


def _named(criterion, name, images, recalibrate):
    """The name under which a record keeps the criterion."""
    suffix = ", recalibrated" if recalibrate else ""
    criterion.__name__ = f"{name}({len(images)} images{suffix})"
    return criterion


def _check_labels(images, labels):
    if len(labels) != len(images):
        raise ValueError(
            "There must be one label for each image. "
            f"Received: {len(labels)} labels for {len(images)} images."
        )


def _norm(tensor):
    """Euclidean norm of each image's values, float32 `(batch,)`."""
    axes = tuple(range(1, len(tensor.shape)))
    return ops.sqrt(ops.sum(ops.square(ops.cast(tensor, "float32")), axis=axes))


def _predict(model, images, batch_size):
    """Outputs for all images, float64 `(images, ...)`."""
    outputs = [model.predict_on_batch(batch) for batch in batches(images, batch_size)]
    return np.concatenate(outputs).astype("float64")


def _cross_entropy(logits, labels):
    """Mean cross entropy of float64 logits `(images, classes)`, in nats."""
    logits = logits - logits.max(axis=1, keepdims=True)
    chosen = logits[np.arange(len(labels)), labels]
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - chosen))
