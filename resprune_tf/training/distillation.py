"""Knowledge distillation: trains a model with the outputs of a teacher."""

from __future__ import annotations

import dataclasses
import math
import os

import keras
from keras import ops

from resprune_tf import graph
from resprune_tf.graph.outputs import names_of_outputs, squashing
from resprune_tf.system.model_files import load_model

DISTANCES = ("kl", "mse")


def distance(student, teacher, kind="kl", temperature=4.0):
    """Distance between the outputs of a student and a teacher, mean over the batch.

    No gradient flows to the teacher.

    Args:
        student, teacher: float tensors of the same shape `(batch, ...)`. For `"kl"`,
            logits or logarithms of probabilities along the last axis.
        kind: `"kl"` for `T² * KL(softmax(teacher / T) || softmax(student / T))` in
            nats, mean over all axes but the last; the factor T² keeps the size of the
            gradient independent of T. `"mse"` for the mean squared difference.
        temperature: the temperature T, for `"kl"`.

    Returns:
        A float32 scalar.
    """
    student = ops.cast(student, "float32")
    teacher = ops.stop_gradient(ops.cast(teacher, "float32"))
    if kind == "mse":
        return ops.mean(ops.square(student - teacher))
    # Logarithms of the probabilities.
    target, guess = (ops.log_softmax(x / temperature) for x in (teacher, student))
    divergence = ops.sum(ops.exp(target) * (target - guess), axis=-1)
    return temperature**2 * ops.mean(divergence)


class Distillation(keras.layers.Layer):
    """Returns the student's logits; in training, adds a distillation loss.

    The layer is called with `[student_logits, teacher_logits]`. In training it adds
    `weight * distance(student, teacher, kind, temperature)` to the loss. Models with
    this layer or a `Teacher` are for training only and are not saved.

    The loss on the labels must be weighted by `1 - weight` when the model is compiled:

    >>> logits = Distillation(temperature=4.0, weight=0.9)([student, teacher])
    >>> model = keras.Model(pixels, logits)
    >>> model.compile(optimizer, loss, loss_weights=[1 - 0.9])

    Args:
        temperature: float > 0, dimensionless. Higher values emphasise the probabilities
            of the wrong classes.
        weight: float in [0, 1], share of the teacher in the loss.
        kind: kind of `distance`: `"kl"` or `"mse"`.
        `**kwargs`: base layer arguments.

    Input: two float tensors `(batch, classes)`. Output: the first of them.

    Raises:
        ValueError: if an argument is out of range, or the two shapes differ.

    Reference: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network,
    arXiv:1503.02531.
    """

    def __init__(self, temperature=4.0, weight=0.9, kind="kl", **kwargs):
        super().__init__(**kwargs)
        if not 0 < temperature < math.inf:
            raise ValueError(
                "`temperature` must be > 0 and finite, because it divides logits. "
                f"Received: temperature={temperature}."
            )
        if not 0 <= weight <= 1:
            raise ValueError(
                "`weight` must be in [0, 1]: it is the teacher's share of the loss. "
                f"Received: weight={weight}."
            )
        if kind not in DISTANCES:
            raise ValueError(
                f"`kind` must be one of {', '.join(DISTANCES)}. Received: {kind!r}."
            )
        self.temperature = float(temperature)
        self.weight = float(weight)
        self.kind = kind

    def build(self, input_shape):
        student, teacher = input_shape
        if len(student) != 2 or tuple(student)[1:] != tuple(teacher)[1:]:
            raise ValueError(
                "Student and teacher logits must have the shape `(batch, classes)` and "
                "the same number of classes. "
                f"Received: {tuple(student)} and {tuple(teacher)}."
            )

    def call(self, inputs, training=None):
        student, teacher = inputs
        if training:
            loss = distance(student, teacher, self.kind, self.temperature)
            self.add_loss(self.weight * loss)
        return student


class Teacher(keras.layers.Layer):
    """A frozen copy of a model that runs in inference mode even in training.

    This must be a layer, because a functional model in training passes `training=True`
    to nested models, even to those that were called with `training=False`.

    Args:
        model: a functional `keras.Model`; it is not changed.
        copy: function that copies the model, such as `fast_copy`.

    Input and output: those of the model. The layer has all variables of the model; none
    of them is trainable.

    Raises:
        TypeError: if `model` is not functional.
    """

    def __init__(self, model, copy=graph.rebuild):
        super().__init__(name="teacher")
        graph.check_functional(model, "Teacher")
        self.model = copy(model)
        self.trainable = False

    def call(self, inputs):
        return self.model(inputs, training=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Guidance:
    """Settings of knowledge distillation: how a teacher guides the training.

    The loss is `(1 - weight)` times the loss on the labels plus `weight` times the
    distance to the teacher's outputs for the same examples. Regularization losses keep
    their full weight.

    Args:
        temperature: float > 0, softens the probabilities that `kind="kl"` compares.
        weight: float in [0, 1], share of the teacher in the loss.
        teacher: a functional `keras.Model`, or the path of its `.keras` file; it is not
            changed, and a run keeps a copy. It is the teacher of every training,
            including the initial one, and needs the same inputs and output shape as
            the student. With `max_rounds=0` this gives the distillation baseline. By
            default the trained initial model is the teacher of every retraining.
        kind: `"kl"` compares class probabilities (from logits or a softmax); `"mse"`
            compares any outputs, such as regression outputs or features.
        output: name of the output to compare, for models with several outputs.

    Raises:
        ValueError: if an argument is out of range.

    Reference: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network,
    arXiv:1503.02531.

    >>> Guidance(weight=0.5)
    >>> Guidance(kind="mse", output="features", teacher="large.keras")
    """

    temperature: float = 4.0
    weight: float = 0.9
    teacher: keras.Model | str | os.PathLike | None = None
    kind: str = "kl"
    output: str | None = None

    def __post_init__(self):
        Distillation(self.temperature, self.weight, self.kind)

    def settings(self) -> dict:
        """Returns the settings that must agree to resume a run, as JSON values."""
        settings = {"temperature": self.temperature, "weight": self.weight}
        if self.kind != "kl":
            settings["kind"] = self.kind
        if self.output is not None:
            settings["output"] = self.output
        return settings

    def place(self, model: keras.Model) -> int:
        """Returns the index of the output to compare, from 0.

        Raises:
            ValueError: if the model does not have the output, if it has several and
                none is named, or if `kind="kl"` does not apply to the output.
        """
        names = names_of_outputs(model)
        if self.output is None and len(names) == 1:
            place = 0
        elif self.output in names:
            place = names.index(self.output)
        else:
            raise ValueError(
                "`Guidance(output=...)` must name the output to compare with the "
                f"teacher. Received: {self.output!r}. '{model.name}' has the outputs "
                f"{', '.join(names)}."
            )
        if self.kind == "kl":
            last, squashed = model.outputs[place], squashing(model, place)
            if last.shape[-1] in (None, 1) or squashed not in (None, "softmax"):
                raise ValueError(
                    '`kind="kl"` compares the probabilities of classes, from logits or '
                    f"a softmax along the last axis. '{names[place]}' of "
                    f"'{model.name}' has the shape {tuple(last.shape)}"
                    + (f", from a {squashed}" if squashed else "")
                    + '. Pass `Guidance(kind="mse")`.'
                )
        return place

    def __call__(self, student_logits, teacher, images, copy=graph.rebuild):
        """Returns the student's logits and adds the distillation loss.

        Args:
            student_logits, images: symbolic tensors; both models see the same images.
            teacher: a functional `keras.Model`; it is not changed.
            copy: function that copies the teacher.
        """
        guided = Distillation(self.temperature, self.weight, self.kind, dtype="float32")
        return guided([student_logits, Teacher(teacher, copy=copy)(images)])


def guided_model(model, teacher, guidance, copy=graph.rebuild):
    """Creates a model with the same layers whose training loss includes a teacher.

    It has the outputs and output names of `model`, so that losses and metrics by name
    still apply. Compile it afterwards.

    Args:
        model: a functional `keras.Model`; its layers are shared.
        teacher: a functional `keras.Model`; it is not changed and not part of the
            result.
        guidance: a `Guidance`.
        copy: function that copies the teacher.
    """
    guided = _Guided(model._inputs_struct, model._outputs_struct, name=model.name)
    frozen, place = copy(teacher), guidance.place(model)
    squashed = guidance.kind == "kl" and squashing(model, place)

    def teacher_distance(x, outputs):
        both = outputs, frozen(x, training=False)
        pair = [keras.tree.flatten(each)[place] for each in both]
        if squashed:  # the softmax of log probabilities gives the same probabilities
            pair = [
                ops.log(ops.maximum(ops.cast(each, "float32"), 1e-7)) for each in pair
            ]
        return distance(*pair, guidance.kind, guidance.temperature)

    # Inside a function, so that Keras does not track the teacher as a sublayer.
    guided.teacher_distance, guided.weight = teacher_distance, guidance.weight
    return guided


class _Guided(keras.Model):
    """A model with `teacher_distance(x, outputs)` in its training loss.

    `guided_model` sets that function and `weight`, the share of it in the loss.
    """

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return loss
        # Divided among replicas, as Keras does with every loss.
        shared = self._aggregate_additional_loss
        penalties = sum(map(shared, self.losses)) if self.losses else 0.0
        distillation = self.weight * shared(self.teacher_distance(x, y_pred))
        return (1 - self.weight) * (loss - penalties) + penalties + distillation


# Compared with retraining by the labels alone in docs/results/retraining.md.
_USUAL = {"temperature": 4.0, "weight": 0.7}
_CROSS_ENTROPIES = ("sparse_categorical_crossentropy", "categorical_crossentropy")


def usual_guidance(model, loss) -> Guidance | None:
    """The default guidance of a run that starts from a trained classifier.

    Args:
        model: a functional `keras.Model`.
        loss: the loss that it is compiled with, as Keras stores it; or a name.

    Returns:
        A `Guidance` with the model itself as teacher; None if the model is not a
        classifier with one output and a categorical cross entropy as loss.
    """
    if len(model.outputs) != 1 or (model.outputs[0].shape[-1] or 0) < 2:
        return None
    name = getattr(loss, "name", None) or getattr(loss, "__name__", loss)
    return Guidance(**_USUAL) if name in _CROSS_ENTROPIES else None


def load_teacher(guidance, student):
    """Loads and checks the teacher that a `Guidance` names; None if it names none.

    Args:
        guidance: a `Guidance`, or None.
        student: the model to train.

    Raises:
        ValueError: if inputs or outputs of teacher and student differ in shape, or if
            it is not clear which output to compare.
        TypeError: if the teacher is not functional.
    """
    if guidance is None:
        return None
    place, teacher = guidance.place(student), guidance.teacher
    if teacher is None:
        return None
    if isinstance(teacher, (str, os.PathLike)):
        teacher = load_model(teacher, compile=False)
    graph.check_functional(teacher, "teacher")
    shapes = [
        (
            [tuple(tensor.shape[1:]) for tensor in model.inputs],
            [tuple(tensor.shape[1:]) for tensor in model.outputs][place : place + 1],
        )
        for model in (teacher, student)
    ]
    if shapes[0] != shapes[1]:
        texts = [
            " to ".join(", ".join(map(str, part)) for part in pair) for pair in shapes
        ]
        raise ValueError(
            "Teacher and student must have inputs and outputs of the same shapes. "
            f"Received: a teacher from {texts[0]}, a student from {texts[1]}."
        )
    return teacher
