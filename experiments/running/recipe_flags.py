"""Flags of the training: recipe, retraining, teacher, budget of another run."""

import pathlib

from absl import flags

from experiments.pages import scales
from experiments.running import budget, model_flags, run_flags
from resprune_cli.options.registries import registry

_EPOCHS = flags.DEFINE_integer("epochs", 200, "Epochs of the initial training.", 1)
_RETRAIN_EPOCHS = flags.DEFINE_integer(
    "retrain_epochs", None, "Epochs of each retraining. Default: --epochs.", 1
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images per step.", 1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 0.1, "Initial learning rate.")
_MOMENTUM = flags.DEFINE_float("momentum", 0.9, "Momentum of SGD.")
_NESTEROV = flags.DEFINE_bool("nesterov", True, "Use Nesterov momentum.")
_L2 = flags.DEFINE_float("l2", 1e-4, "L2 penalty on all weights and ω.")
_SCHEDULES = list(registry("training.schedules").SCHEDULES)
_SCHEDULE = flags.DEFINE_enum(
    "schedule",
    "step",
    _SCHEDULES,
    "Learning rate schedule: divided by ten at each of --drops, along half a cosine, "
    "or linearly to 0.",
)
_DROPS = flags.DEFINE_list(
    "drops",
    None,
    "Where the step schedule divides by ten, as fractions of the epochs. Multiplied by "
    "the number of epochs and rounded, each gives the first epoch with the lower rate. "
    "Default: as in the paper, epochs 81 and 122 of 200, on ImageNet 31 and 61 of 90.",
)
_RETRAIN_SCHEDULE = flags.DEFINE_enum(
    "retrain_schedule",
    None,
    _SCHEDULES,
    "Schedule of the retrainings. Default: --schedule.",
)
_RETRAIN_LEARNING_RATE = flags.DEFINE_float(
    "retrain_learning_rate",
    None,
    "Initial learning rate of each retraining. Default: --learning_rate.",
)
_PARTS = flags.DEFINE_integer(
    "parts",
    1,
    "Number of parts of an epoch. The state can be saved after each, which helps with "
    "long epochs.",
    1,
)
_PRECISION = flags.DEFINE_enum(
    "precision",
    "float32",
    ["float32", "bfloat16", "auto"],
    "Precision of the training; models are always saved and measured in float32. auto: "
    "bfloat16 if this machine computes it natively, else float32. A run keeps the "
    "precision when it continues, and so do runs that name it (--start_from, "
    "--twin_of, --teacher_from and others).",
)
_EPOCHS_OF = flags.DEFINE_string(
    "epochs_of",
    None,
    "Folder of a run: train for as many epochs as it took up to --of_round, with its "
    "initial training (scratch-E).",
)
_COMPUTE_OF = flags.DEFINE_string(
    "compute_of",
    None,
    "Folder of a run: train for as many MACs as it took up to --of_round (scratch-B).",
)
_DISTILL = flags.DEFINE_bool(
    "distill_from_initial", False, "Retrain with the trained initial model as teacher."
)
_TEMPERATURE = flags.DEFINE_float(
    "distillation_temperature", 4.0, "Divisor of the logits of both models."
)
_DISTILLATION_WEIGHT = flags.DEFINE_float(
    "distillation_weight", 0.9, "Weight of the teacher's part of the loss, 0 to 1."
)
_TEACHER_FROM = flags.DEFINE_string(
    "teacher_from",
    None,
    "Folder of a run whose trained initial model is the teacher of every training. "
    "With --max_rounds=0, this is the distillation baseline.",
)


def settings(rp, model=None):
    """The arguments of `prune_and_retrain` for training.

    Args:
        rp: the package, imported after the flags are parsed.
        model: the model to train, whose MACs --compute_of needs; None to check the
            other flags.

    Raises:
        ValueError: if a flag is out of range, or a folder has no such run.
    """
    recipe = _recipe(rp, model)
    guided = _DISTILL.value or _TEACHER_FROM.value
    guidance = rp.Guidance(
        _TEMPERATURE.value, _DISTILLATION_WEIGHT.value, teacher=_teacher()
    )
    return {
        "recipe": recipe,
        "retrain_recipe": _retrain_recipe(recipe),
        "guidance": guidance if guided else None,
    }


def _teacher():
    """Path of the requested teacher.

    If its folder is missing, as on another machine, this is the run's own copy.
    """
    folder = _TEACHER_FROM.value
    if not folder:
        return None
    own = pathlib.Path(run_flags.RUN_DIR.value) / "models" / "teacher.keras"
    if own.is_file() and not pathlib.Path(folder).is_dir():
        return own
    return budget.initial_model(folder)


def _recipe(rp, model):
    if _EPOCHS_OF.value and _COMPUTE_OF.value:
        raise ValueError(
            "--epochs_of and --compute_of both set the epochs. Give only one of them."
        )
    epochs = scales.epochs(_EPOCHS.value, run_flags.SCALE.value)
    of_round = model_flags.OF_ROUND.value
    if _EPOCHS_OF.value:
        epochs = budget.epochs(_EPOCHS_OF.value, of_round)
    elif _COMPUTE_OF.value and model is not None:
        macs = rp.cost(model).macs
        epochs = budget.epochs_of_compute(_COMPUTE_OF.value, macs, of_round)
    drops = {} if _DROPS.value is None else {"drops": tuple(map(float, _DROPS.value))}
    return rp.Recipe(
        epochs=epochs,
        batch_size=_BATCH_SIZE.value,
        learning_rate=_LEARNING_RATE.value,
        momentum=_MOMENTUM.value,
        nesterov=_NESTEROV.value,
        l2=_L2.value,
        schedule=_SCHEDULE.value,
        precision=_precision(rp),
        parts=_PARTS.value,
        **drops,
    )


# Flags of the runs that an experiment continues or is compared with.
_RELATED = (
    *("run_dir", "start_from", "twin_of", "compute_of", "epochs_of", "teacher_from"),
)


def _precision(rp):
    """The value of --precision; for auto that of this run or a related one."""
    if _PRECISION.value != "auto":
        return _PRECISION.value
    folders = [flags.FLAGS[name].value for name in _RELATED if name in flags.FLAGS]
    decided = (budget.precision(folder) for folder in folders if folder)
    return next(filter(None, decided), None) or rp.native_precision()


def _retrain_recipe(recipe):
    epochs = _RETRAIN_EPOCHS.value
    changes = {
        "epochs": epochs and scales.epochs(epochs, run_flags.SCALE.value),
        "schedule": _RETRAIN_SCHEDULE.value,
        "learning_rate": _RETRAIN_LEARNING_RATE.value,
    }
    return recipe.replace(
        **{name: value for name, value in changes.items() if value is not None}
    )
