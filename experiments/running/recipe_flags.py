"""Flags of the training: recipe, retraining, a teacher, a budget taken from a run."""

import pathlib

from absl import flags

from experiments.pages import scales
from experiments.running import budget, net_flags, run_flags
from resprune_cli.options.registries import registry

_EPOCHS = flags.DEFINE_integer("epochs", 200, "Of the initial training.", 1)
_RETRAIN_EPOCHS = flags.DEFINE_integer(
    "retrain_epochs", None, "Of each retraining. Default: --epochs.", 1
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images a step.", 1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 0.1, "Initial learning rate.")
_MOMENTUM = flags.DEFINE_float("momentum", 0.9, "Of SGD.")
_NESTEROV = flags.DEFINE_bool("nesterov", True, "Nesterov's momentum.")
_L2 = flags.DEFINE_float("l2", 1e-4, "Weight decay, on all weights and ω.")
_SCHEDULES = list(registry("training.schedules").SCHEDULES)
_SCHEDULE = flags.DEFINE_enum(
    "schedule",
    "step",
    _SCHEDULES,
    "How the learning rate falls: ten times at each of --drops, along half a cosine, "
    "or along a line to 0.",
)
_DROPS = flags.DEFINE_list(
    "drops",
    None,
    "Where the step schedule divides by ten, in fractions of the epochs. Default: the "
    "paper's, from epoch 81 and 122 of 200 on, on ImageNet from 31 and 61 of 90 on.",
)
_RETRAIN_SCHEDULE = flags.DEFINE_enum(
    "retrain_schedule",
    None,
    _SCHEDULES,
    "Of the retrainings. Default: --schedule.",
)
_RETRAIN_LEARNING_RATE = flags.DEFINE_float(
    "retrain_learning_rate", None, "First of each retraining. Default: --learning_rate."
)
_PARTS = flags.DEFINE_integer(
    "parts",
    1,
    "Parts of an epoch, after each of which the state can be saved: for long epochs.",
    1,
)
_PRECISION = flags.DEFINE_enum(
    "precision",
    "float32",
    ["float32", "bfloat16", "auto"],
    "Of the training; what is saved and measured is float32 either way. auto: bfloat16 "
    "where this machine computes it natively, else float32; decided when a run starts "
    "and kept when it continues, and by runs that name it as where they start from or "
    "what they are compared with.",
)
_EPOCHS_OF = flags.DEFINE_string(
    "epochs_of",
    None,
    "Folder of a run: train for as many epochs as it took to the round of --of_round, "
    "initial training included (scratch-E).",
)
_COMPUTE_OF = flags.DEFINE_string(
    "compute_of",
    None,
    "Folder of a run: train for as many MACs as it took to the round of --of_round "
    "(scratch-B).",
)
_DISTILL = flags.DEFINE_bool(
    "distill_from_initial", False, "Retrain with the trained initial net as teacher."
)
_TEMPERATURE = flags.DEFINE_float(
    "distillation_temperature", 4.0, "By which both nets' logits are divided."
)
_DISTILLATION_WEIGHT = flags.DEFINE_float(
    "distillation_weight", 0.9, "Of the teacher against the labels, from 0 to 1."
)
_TEACHER_FROM = flags.DEFINE_string(
    "teacher_from",
    None,
    "Folder of a run: its trained initial net teaches every training, the first too, "
    "which with --max_rounds=0 is the distillation baseline.",
)


def settings(rp, model=None):
    """Arguments of `prune_and_retrain` on how nets are trained.

    Args:
        rp: the package, imported once the flags are known.
        model: the net to train, whose MACs --compute_of asks for; None to check the
            other flags.

    Raises:
        ValueError: if a flag is out of range, or a folder holds no such run.
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
    """Path of the teacher that is asked for.

    Where its folder is not, as after a journey, that of the run's own copy.
    """
    folder = _TEACHER_FROM.value
    if not folder:
        return None
    own = pathlib.Path(run_flags.RUN_DIR.value) / "models" / "teacher.keras"
    if own.is_file() and not pathlib.Path(folder).is_dir():
        return own
    return budget.initial_net(folder)


def _recipe(rp, model):
    if _EPOCHS_OF.value and _COMPUTE_OF.value:
        raise ValueError("--epochs_of and --compute_of both choose the epochs.")
    epochs = scales.epochs(_EPOCHS.value, run_flags.SCALE.value)
    of_round = net_flags.OF_ROUND.value
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


# Runs that an experiment continues or is compared with.
_RELATED = ("run_dir", "start_from", "twin_of", "compute_of", "epochs_of")


def _precision(rp):
    """What --precision says; for auto that of the run or of one that it names."""
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
