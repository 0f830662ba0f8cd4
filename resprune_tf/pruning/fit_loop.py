"""Algorithm 1 with the user's own call of `fit`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from resprune_tf import graph
from resprune_tf.graph.compilation import check_steps, compile_like, create_state
from resprune_tf.pruning.deletion import LayerDeletion
from resprune_tf.system.memory import Release
from resprune_tf.training.data_check import check_fit_arguments, fit_arguments
from resprune_tf.training.fit_recipe import check_callbacks


@dataclasses.dataclass(frozen=True)
class DeletionRound:
    """One training of `fit_with_deletion`.

    Attributes:
        removed: names of the units that were removed before it.
        history: dict from logged name to the list of its values, one per epoch.
        accepted: whether it did not diverge and the monitored value was within the
            tolerance.
    """

    removed: tuple[str, ...]
    history: dict
    accepted: bool


def fit_with_deletion(
    model: keras.Model,
    deletion: LayerDeletion,
    *args: Any,
    make_callbacks: Callable | None = None,
    compile_fn: Callable | None = None,
    **kwargs: Any,
) -> tuple[keras.Model, list[DeletionRound]]:
    """Repeats `fit` and the removal of units until `deletion` removes no more.

    Every round trains for `deletion.epochs` with a new optimizer at its initial
    learning rate, as in Algorithm 1.

    Args:
        model: a compiled functional `keras.Model`. It is trained.
        deletion: a `LayerDeletion`.
        `*args`, `**kwargs`: arguments of `fit`, except `epochs`, `initial_epoch` and
            `callbacks`. A generator must not end, because all rounds read from it.
        make_callbacks: function without arguments that returns a list of further
            callbacks. It is called in every round, because callbacks have state.
        compile_fn: function that compiles a model. It is needed for compile settings
            that Keras cannot repeat, such as a lambda as loss or
            `exclude_from_weight_decay`.

    Returns:
        `(model, rounds)`: the smallest model whose monitored value was within the
        tolerance, trained and compiled, and a list of `DeletionRound`, one per
        training.

    Raises:
        TypeError: if `epochs`, `initial_epoch` or `callbacks` is passed.
        ValueError: if `model` is not compiled, if its class overrides `train_step` or a
            similar method, if Keras cannot repeat its compile settings, or if a
            callback would be used in several rounds; if arrays, or the first batch of a
            pipeline, contain NaN, labels that do not fit the loss, or pixels in another
            range than the first layer of the model or the other split expects; or as
            for `LayerDeletion`.
        CloneError, TrainingDiverged: as for `LayerDeletion`.

    >>> criterion = rp.criteria.block_influence(images[:512])  # or |ω| by default
    >>> deletion = rp.LayerDeletion(10, monitor="val_accuracy", criterion=criterion)
    >>> smaller, rounds = rp.fit_with_deletion(
    ...     model, deletion, images, labels, validation_split=0.1
    ... )
    """
    for name, instead in (
        ("epochs", "LayerDeletion(epochs=...)"),
        ("initial_epoch", "LayerDeletion(epochs=...)"),
        ("callbacks", "`make_callbacks`"),
    ):
        if name in kwargs:
            raise TypeError(
                f"`fit_with_deletion` does not accept `{name}`. Use {instead} instead."
            )
    if not model.compiled:
        raise ValueError(f"'{model.name}' is not compiled. Call its `compile()` first.")
    check_steps(model)
    if compile_fn is None:
        with graph.scope_of(model):  # fails before any training
            compile_like(graph.rebuild(model), model)
        # After a training the settings would contain its last learning rate.
        settings = model.get_compile_config()

        def compile_fn(pruned):
            pruned.compile_from_config(settings)

    if make_callbacks is not None:
        check_callbacks(make_callbacks, "make_callbacks")
    given = fit_arguments(model, args, kwargs)
    if make_callbacks is None:  # which may log further values
        _check_monitor(deletion.removal.monitor, given)
    splits = check_fit_arguments(model, args, kwargs)
    batch = splits["train"].first_batch() if "train" in splits else None
    rounds, best, removed, release_memory = [], model, (), Release()
    deletion._fit_arguments = given
    while True:
        if batch is not None:  # so that `fit` traces its step once
            create_state(model, batch)
        history = model.fit(
            *args,
            epochs=deletion.epochs,
            callbacks=[*(make_callbacks() if make_callbacks else ()), deletion],
            **kwargs,
        )
        rounds.append(DeletionRound(removed, history.history, deletion.accepted))
        if deletion.accepted:
            best = model
        if deletion.pruned_model is None:
            deletion._fit_arguments = {}
            return best, rounds
        removed, model = deletion.removed, deletion.pruned_model
        del history  # it refers to the model just trained
        release_memory()
        with graph.scope_of(model):
            compile_fn(model)


def _check_monitor(monitor, given):
    """Raises a ValueError if a value of validation is monitored without such data."""
    validated = given.get("validation_data") is not None
    validated = validated or given.get("validation_split")
    if monitor and monitor.startswith("val_") and not validated:
        raise ValueError(
            f"`monitor={monitor!r}` needs validation data. Pass `validation_data` or "
            "`validation_split`."
        )
