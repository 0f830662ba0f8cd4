"""Algorithm 1 around a `fit` of one's own: train, let the callback delete, repeat."""

from __future__ import annotations

import dataclasses

from resprune_tf import graph
from resprune_tf.graph.compilation import check_steps, compile_like
from resprune_tf.system.memory import Release
from resprune_tf.training.data_check import check_fit_arguments
from resprune_tf.training.fit_recipe import check_callbacks


@dataclasses.dataclass(frozen=True)
class DeletionRound:
    """One training of `fit_with_deletion`.

    Attributes:
        removed: names of the units taken out before it.
        history: dict from logged name to its value after each epoch.
        accepted: whether it did not diverge, and the monitored value was good enough.
    """

    removed: tuple[str, ...]
    history: dict
    accepted: bool


def fit_with_deletion(
    model, deletion, *args, make_callbacks=None, compile_fn=None, **kwargs
):
    """Repeats `fit` on ever shorter models until `deletion` removes no more.

    Every round trains for `deletion.epochs` with a fresh optimizer at its initial
    learning rate, as Algorithm 1 asks.

    Args:
        model: a compiled functional `keras.Model`; it gets trained.
        deletion: a `LayerDeletion`.
        `*args`, `**kwargs`: passed to `fit`; `epochs`, `initial_epoch` and `callbacks`
            are not allowed. A generator must never end: every round keeps reading it.
        make_callbacks: function without arguments that returns further callbacks.
            Callbacks keep state (the best value so far, say), so that every round
            needs its own.
        compile_fn: function that compiles a model, for compile settings that Keras
            cannot repeat: a lambda as loss, `exclude_from_weight_decay`.

    Returns:
        `(model, rounds)`: the shortest model whose monitored value held, trained and
        compiled, and a `DeletionRound` for each training.

    Raises:
        TypeError: if `epochs`, `initial_epoch` or `callbacks` is given.
        ValueError: if `model` is not compiled, has a `train_step` or the like of its
            own, or Keras cannot repeat its settings; or if arrays, or the first batch
            of a pipeline, hold NaN, labels that the loss does not take, or pixels of
            another range than the model's first layer, or the other split, has.
        TrainingDiverged: as `LayerDeletion` does.
    """
    for name, instead in (
        ("epochs", "LayerDeletion(epochs=...)"),
        ("initial_epoch", "LayerDeletion(epochs=...)"),
        ("callbacks", "`make_callbacks`"),
    ):
        if name in kwargs:
            raise TypeError(f"fit_with_deletion takes no `{name}`: use {instead}.")
    if not model.compiled:
        raise ValueError(f"'{model.name}' is not compiled. Call its `compile()` first.")
    check_steps(model)
    if compile_fn is None:
        with graph.scope_of(model):  # tried before any training is spent
            compile_like(graph.rebuild(model), model)
        # Read before any training: later it would hold the last learning rate.
        settings = model.get_compile_config()

        def compile_fn(shorter):
            shorter.compile_from_config(settings)

    if make_callbacks is not None:
        check_callbacks(make_callbacks, "make_callbacks")
    check_fit_arguments(model, args, kwargs)
    rounds, best, removed = [], model, ()
    deletion._data, free = (args[:2], kwargs), Release()
    while True:
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
            deletion._data = None
            return best, rounds
        removed, model = deletion.removed, deletion.pruned_model
        del history  # which holds the net just trained
        free()
        with graph.scope_of(model):
            compile_fn(model)
