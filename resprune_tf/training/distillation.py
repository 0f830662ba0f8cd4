"""Training a net under the guidance of another: knowledge distillation."""

import dataclasses
import math
import os

import keras
from keras import ops

from resprune_tf import graph
from resprune_tf.system.model_files import load_model


@keras.saving.register_keras_serializable(package="resprune_tf")
class Distillation(keras.layers.Layer):
    """Passes a student's logits on, and in training adds the distance to a teacher's.

    Called as `layer([student_logits, teacher_logits])`. In training it adds
    `weight * T² * KL(softmax(teacher / T) || softmax(student / T))` to the loss, the
    mean over the batch in nats, in float32. T² keeps the size of the gradient when
    the temperature T changes. No gradient flows to the teacher.

    The cross entropy with the labels is the caller's, and is to weigh `1 - weight`:

    >>> logits = Distillation(temperature=4.0, weight=0.9)([student, teacher])
    >>> model = keras.Model(pixels, logits)
    >>> model.compile(optimizer, loss, loss_weights=[1 - 0.9])

    Args:
        temperature: float > 0, dimensionless. Higher ones show more of what the
            teacher thinks of the wrong classes.
        weight: float in [0, 1], of the teacher's word against the labels'.
        **kwargs: base layer arguments.

    Input shape: two of `(batch, classes)`. Output shape and values: the first's.

    Raises:
        ValueError: if an argument is out of range, or the two shapes differ.

    Reference: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network,
    arXiv:1503.02531.
    """

    def __init__(self, temperature=4.0, weight=0.9, **kwargs):
        super().__init__(**kwargs)
        if not 0 < temperature < math.inf:
            raise ValueError(
                "`temperature` divides logits and must be > 0 and finite. "
                f"Received: temperature={temperature}."
            )
        if not 0 <= weight <= 1:
            raise ValueError(
                "`weight` is the teacher's share of the loss and must be in [0, 1]. "
                f"Received: weight={weight}."
            )
        self.temperature = float(temperature)
        self.weight = float(weight)

    def build(self, input_shape):
        student, teacher = input_shape
        if len(student) != 2 or tuple(student)[1:] != tuple(teacher)[1:]:
            raise ValueError(
                "Student and teacher logits must be `(batch, classes)` with the same "
                f"classes. Received: {tuple(student)} and {tuple(teacher)}."
            )

    def call(self, inputs, training=None):
        student, teacher = inputs
        if training:
            target = self._log_probabilities(ops.stop_gradient(teacher))
            guess = self._log_probabilities(student)
            distance = ops.sum(ops.exp(target) * (target - guess), axis=-1)
            self.add_loss(self.weight * self.temperature**2 * ops.mean(distance))
        return student

    def _log_probabilities(self, logits):
        return ops.log_softmax(ops.cast(logits, "float32") / self.temperature)

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "weight": self.weight,
        }


@keras.saving.register_keras_serializable(package="resprune_tf")
class Teacher(keras.layers.Layer):
    """A frozen copy of a model that works as at inference even in training.

    A layer of its own, because a functional model that is trained passes
    `training=True` on to nested models, also to those called with `training=False`.

    Args:
        model: a functional `keras.Model`; it is only read.
        copy: function from the model to the copy that works here, such as `fast_copy`.
        **kwargs: base layer arguments. `name` defaults to `"teacher"`.

    Input and output: those of the model. All its variables are there and none trains.

    Raises:
        TypeError: if `model` is not functional.
    """

    def __init__(self, model, name="teacher", copy=graph.rebuild, **kwargs):
        super().__init__(name=name, **kwargs)
        graph.check_functional(model, "Teacher")
        self.model = copy(model)
        self.trainable = False

    def call(self, inputs):
        return self.model(inputs, training=False)

    def get_config(self):
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
        }

    @classmethod
    def from_config(cls, config):
        model = keras.saving.deserialize_keras_object(config["model"])
        return cls(**{**config, "model": model})


@dataclasses.dataclass(frozen=True, eq=False)
class Guidance:
    """How a net is taught by another.

    Args:
        temperature, weight: as for `Distillation`.
        teacher: a functional `keras.Model`, or the path of its `.keras` file, that
            teaches in every training, the initial one too; it takes the same images,
            gives as many logits and is only read, and a run keeps a copy. With
            `max_rounds=0` that is the distillation baseline. None for the trained
            initial net, which teaches in every retraining.

    Raises:
        ValueError: if an argument is out of range.
    """

    temperature: float = 4.0
    weight: float = 0.9
    teacher: keras.Model | str | os.PathLike | None = None

    def __post_init__(self):
        Distillation(self.temperature, self.weight)

    def settings(self) -> dict:
        """What must agree for a run to be continued, as JSON values."""
        return {"temperature": self.temperature, "weight": self.weight}

    def __call__(self, student_logits, teacher, images, copy=graph.rebuild):
        """The student's logits, with the distance to a teacher's added to the loss.

        Args:
            student_logits, images: symbolic tensors; the images both models see.
            teacher: a functional `keras.Model`; it is only read.
            copy: function from the teacher to the copy that computes.
        """
        guided = Distillation(self.temperature, self.weight, dtype="float32")
        return guided([student_logits, Teacher(teacher, copy=copy)(images)])


def load_teacher(guidance, student):
    """The teacher from elsewhere as a model, checked; None if there is none.

    Args:
        guidance: a `Guidance`, or None.
        student: the model to teach.

    Raises:
        ValueError: if the teacher takes other images or gives other logits than the
            student.
        TypeError: if the teacher is not functional.
    """
    teacher = guidance and guidance.teacher
    if teacher is None:
        return None
    if isinstance(teacher, (str, os.PathLike)):
        teacher = load_model(teacher, compile=False)
    graph.check_functional(teacher, "teacher")
    shapes = [
        (tuple(model.input_shape[1:]), tuple(model.output_shape[1:]))
        for model in (teacher, student)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "A teacher must take the student's images and give as many logits. "
            f"Received: {shapes[0][0]} to {shapes[0][1]}, the student from "
            f"{shapes[1][0]} to {shapes[1][1]}."
        )
    return teacher
