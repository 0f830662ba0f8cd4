"""Flags that every experiment shares, and what they ask for."""

import contextlib
import importlib.util

from absl import flags
from absl.testing import flagsaver

RUN_DIR = flags.DEFINE_string(
    "run_dir",
    None,
    "Folder of this run's records; a run there is continued. {seed} in it, and in the "
    "other names of files and folders below, stands for the seed.",
)
SEED = flags.DEFINE_integer(
    "seed", 0, "Of weights, held-out images, image order and augmentation.", 0
)
_SEEDS = flags.DEFINE_list(
    "seeds",
    None,
    "Several seeds, each with its own --run_dir, trained side by side in one program "
    "(JAX only).",
)
_DATA_SEED = flags.DEFINE_integer(
    "data_seed", None, "Of the held-out images. Default: --seed, or the first seed.", 0
)
_EPOCHS = flags.DEFINE_integer("epochs", 200, "Of the initial training.", 1)
_RETRAIN_EPOCHS = flags.DEFINE_integer(
    "retrain_epochs", None, "Of each retraining. Default: --epochs.", 1
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images a step.", 1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 0.1, "Initial learning rate.")
_MOMENTUM = flags.DEFINE_float("momentum", 0.9, "Of SGD.")
_NESTEROV = flags.DEFINE_bool("nesterov", True, "Nesterov's momentum.")
_L2 = flags.DEFINE_float("l2", 1e-4, "Weight decay, on all weights and ω.")
_SCHEDULE = flags.DEFINE_enum(
    "schedule",
    "step",
    ["step", "cosine", "linear"],
    "How the learning rate falls: ten times at 81 and 122 of 200 epochs (scaled to "
    "--epochs), along half a cosine, or along a line to 0.",
)
_RETRAIN_SCHEDULE = flags.DEFINE_enum(
    "retrain_schedule",
    None,
    ["step", "cosine", "linear"],
    "Of the retrainings. Default: --schedule.",
)
_RETRAIN_LEARNING_RATE = flags.DEFINE_float(
    "retrain_learning_rate", None, "First of each retraining. Default: --learning_rate."
)
_PRECISION = flags.DEFINE_enum(
    "precision",
    "float32",
    ["float32", "bfloat16"],
    "Of the training; what is saved and measured is float32 either way.",
)
_UNITS_PER_ROUND = flags.DEFINE_integer(
    "units_per_round", 1, "Units to remove before each retraining (k).", 1
)
_TARGET_LAYERS = flags.DEFINE_integer(
    "target_layers", None, "Stop at so many layers. Default: remove all units."
)
_TARGET_UNITS = flags.DEFINE_integer(
    "target_units", None, "Stop at so many residual units, fixed ones included."
)
_TARGET_MACS = flags.DEFINE_float(
    "target_macs", None, "Stop at so many MACs; below 1: a fraction of the initial."
)
_TARGET_PARAMETERS = flags.DEFINE_float(
    "target_parameters",
    None,
    "Stop at so many parameters; below 1: a fraction of the initial.",
)
_MAX_ROUNDS = flags.DEFINE_integer(
    "max_rounds", None, "Most removals; 0 only trains, as baselines do.", 0
)
_PROTECT = flags.DEFINE_list(
    "protect", [], "Units that must stay, such as stage1_unit3,stage2_unit2."
)
_STOP_ON_DROP = flags.DEFINE_bool(
    "stop_on_drop", False, "Stop at the first round below the initial accuracy."
)
_TOLERANCE = flags.DEFINE_float(
    "tolerance", 0.0, "Accuracy (a fraction) that may be lost and counts as held."
)
_CRITERION = flags.DEFINE_enum(
    "criterion",
    "importance",
    ["importance", "random", "largest", "output_norm", "taylor", "leave_one_out"],
    "Which units go first: smallest |ω|, a random order, largest |ω|, smallest output "
    "next to the shortcut's, smallest estimated or measured loss without them.",
)
_CRITERION_EXAMPLES = flags.DEFINE_integer(
    "criterion_examples", 512, "Training images that output_norm and on look at.", 1
)
_RECALIBRATE = flags.DEFINE_bool(
    "recalibrate", False, "Estimate BatchNormalization statistics anew before scoring."
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
_START_FROM = flags.DEFINE_string(
    "start_from",
    None,
    "Folder of a run with the same data, net, recipe and seed: its initial training "
    "is taken over.",
)
_SELECT_ON = flags.DEFINE_enum(
    "select_on",
    "validation",
    ["validation", "test"],
    "What rounds are judged by: images held out of training, or the test set as in "
    "the paper.",
)
TIME_BUDGET = flags.DEFINE_float(
    "time_budget_minutes",
    None,
    "Stop before so many minutes, resumably. Default: none.",
    lower_bound=0,
)
STATE_FILE = flags.DEFINE_string(
    "state_file",
    None,
    "File (.tar) in which the run travels: continued from if it is further than "
    "--run_dir, and written whenever the run stops or ends.",
)
_EXPORT = flags.DEFINE_list(
    "export",
    None,
    "Formats to export the chosen net to. Default: saved_model and keras, without "
    "TensorFlow keras alone.",
)
STRATEGY = flags.DEFINE_enum(
    "strategy",
    "none",
    ["none", "mirrored", "multiworker"],
    "Devices to train on: one, all of this machine, or those of several workers, each "
    "with this command and its own TF_CONFIG.",
)
REPEATABLE = flags.DEFINE_bool(
    "repeatable",
    True,
    "Same seed, same weights, to the last bit: TensorFlow on a CPU then runs one "
    "operation at a time.",
)
_NOTE = flags.DEFINE_string("note", None, "A remark to show in the report.")

# Of a machine or a call, not of the run: not recorded.
_PER_CALL = ("data_dir", "time_budget_minutes", "state_file", "seeds")
_PATHS = ("run_dir", "start_from", "state_file")


def seeds():
    """The seeds to run.

    Raises:
        ValueError: if one is no number or comes twice, or if they would share a
            folder.
    """
    if _SEEDS.value is None:
        return [SEED.value]
    found = [int(seed) for seed in _SEEDS.value if seed.isdigit()]
    if not found or len({*found}) != len(_SEEDS.value):
        raise ValueError(
            "--seeds must be different numbers, such as --seeds=0,1,2. "
            f"Received: {','.join(_SEEDS.value)}."
        )
    for name in ("run_dir", "state_file"):
        path = flags.FLAGS[name].value
        if len(found) > 1 and path and "{seed}" not in path:
            raise ValueError(
                f"Each seed needs its own --{name}: put {{seed}} into it. "
                f"Received: {path}."
            )
    return found


def data_seed():
    """Seed of the held-out images."""
    return seeds()[0] if _DATA_SEED.value is None else _DATA_SEED.value


@contextlib.contextmanager
def of_seed(seed):
    """The flags as they are for one seed."""
    values = {name: flags.FLAGS[name].value for name in _PATHS}
    filled = {name: path.format(seed=seed) for name, path in values.items() if path}
    own = {"data_seed": data_seed()} if _SEEDS.value is not None else {}
    with flagsaver.flagsaver(seed=seed, seeds=None, **own, **filled):
        yield


def settings(rp):
    """Arguments of `prune_and_retrain` that need no data.

    Args:
        rp: the package, imported once the flags are known.

    Raises:
        ValueError: if a flag is out of range.
    """
    recipe = _recipe(rp)
    guidance = None
    if _DISTILL.value:
        guidance = rp.Guidance(_TEMPERATURE.value, _DISTILLATION_WEIGHT.value)
    return {
        "recipe": recipe,
        "retrain_recipe": _retrain_recipe(recipe),
        "units_per_round": _UNITS_PER_ROUND.value,
        "target": _target(rp),
        "max_rounds": _MAX_ROUNDS.value,
        "stop_on_drop": _STOP_ON_DROP.value,
        "tolerance": _TOLERANCE.value,
        "select_on": _SELECT_ON.value,
        "guidance": guidance,
        "protected": _PROTECT.value,
        "seed": SEED.value,
        "start_from": _START_FROM.value,
        "note": _NOTE.value or "",
    }


def criterion(rp, dataset):
    """The criterion that is asked for."""
    return rp.criteria.named(
        _CRITERION.value,
        dataset,
        SEED.value,
        _CRITERION_EXAMPLES.value,
        recalibrate=_RECALIBRATE.value,
    )


def formats():
    """What to export the chosen net to."""
    if _EXPORT.value is not None:
        return _EXPORT.value
    tensorflow = importlib.util.find_spec("tensorflow") is not None
    return ["saved_model", "keras"] if tensorflow else ["keras"]


def _target(rp):
    limits = {
        "layers": _TARGET_LAYERS.value,
        "units": _TARGET_UNITS.value,
        "macs": _TARGET_MACS.value,
        "parameters": _TARGET_PARAMETERS.value,
    }
    given = {name: limit for name, limit in limits.items() if limit is not None}
    return rp.Target(**given) if given else None


def _recipe(rp):
    return rp.Recipe(
        epochs=_EPOCHS.value,
        batch_size=_BATCH_SIZE.value,
        learning_rate=_LEARNING_RATE.value,
        momentum=_MOMENTUM.value,
        nesterov=_NESTEROV.value,
        l2=_L2.value,
        schedule=_SCHEDULE.value,
        precision=_PRECISION.value,
    )


def _retrain_recipe(recipe):
    changes = {
        "epochs": _RETRAIN_EPOCHS.value,
        "schedule": _RETRAIN_SCHEDULE.value,
        "learning_rate": _RETRAIN_LEARNING_RATE.value,
    }
    return recipe.replace(
        **{name: value for name, value in changes.items() if value is not None}
    )


def flag_lines(module):
    """Text of flags.txt, of which `--flagfile` makes the same run again."""
    lines = [
        flag.serialize()
        for flag in flags.FLAGS.get_key_flags_for_module(module)
        if flag.name not in _PER_CALL and flag.value is not None
    ]
    return "".join(f"{line}\n" for line in lines if line)
