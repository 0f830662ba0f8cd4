"""Shared code of the criteria that use images."""

from resprune_tf import graph
from resprune_tf.data.examples import check_images, count_images
from resprune_tf.training import recalibration


def criterion_on(images, name, score, batch_size, recalibrate, details=(), check=None):
    """Makes a criterion from a function that scores the units of a model on images.

    Args:
        images: see `examples.count_images`.
        name: name of the criterion, for records.
        score: function from a functional model to `{unit name: number}`.
        batch_size: int, images per step.
        recalibrate: if True, `score` receives a copy of the model whose
            BatchNormalization statistics are re-estimated from `images`.
        details: list of str, settings to add to the name.
        check: function that raises an error if the model cannot be scored, or None.

    Returns:
        A criterion.

    Raises:
        ValueError: if there are no images.
    """
    check_images(images, batch_size)

    def criterion(model):
        graph.check_functional(model, name)
        if check is not None:
            check(model)
        if recalibrate:
            model = recalibration.recalibrate(model, images, batch_size)
        return {unit: float(value) for unit, value in score(model).items()}

    return with_details(criterion, images, name, recalibrate, details)


def with_details(criterion, images, name, recalibrate, details=()):
    """Sets the `__name__` of a criterion to its name and settings; returns it."""
    parts = [f"{count_images(images)} images", *details]
    if recalibrate:
        parts.append("recalibrated")
    criterion.__name__ = f"{name}({', '.join(parts)})"
    return criterion
