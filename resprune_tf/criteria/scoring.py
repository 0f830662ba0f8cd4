"""What the criteria that look at images share."""

from resprune_tf import graph
from resprune_tf.data.examples import check_images, count_images
from resprune_tf.training import recalibration


def criterion_on(images, name, score, batch_size, recalibrate, details=(), check=None):
    """A criterion from a function that scores the units of a model on images.

    Args:
        images: see `examples.count_images`.
        name: under which records keep it.
        score: function from a functional model to `{unit name: number}`.
        batch_size: images a step.
        recalibrate: whether `score` is given a copy of the model whose
            BatchNormalization statistics are estimated anew from `images`.
        details: what else sets the criterion apart, in words.
        check: function that raises an error if the model cannot be scored, or None.

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
    """The criterion under a name that says what sets it apart."""
    parts = [f"{count_images(images)} images", *details]
    if recalibrate:
        parts.append("recalibrated")
    criterion.__name__ = f"{name}({', '.join(parts)})"
    return criterion
