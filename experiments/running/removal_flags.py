"""Flags of Algorithm 1: units to remove, units per round, target, selection."""

from absl import flags

from experiments.running import run_flags
from resprune_cli.options.registries import registry

_UNITS_PER_ROUND = flags.DEFINE_integer(
    "units_per_round",
    1,
    "Units to remove before each retraining (k). 0: retrain --max_rounds times, remove "
    "nothing and use no target.",
    0,
)
_TARGET_LAYERS = flags.DEFINE_integer(
    "target_layers", None, "Stop at this number of layers. Default: remove all."
)
_TARGET_UNITS = flags.DEFINE_integer(
    "target_units", None, "Stop at this number of residual units of any kind."
)
_MAX_ROUNDS = flags.DEFINE_integer(
    "max_rounds", None, "Largest number of rounds; 0 only trains (baselines).", 0
)
_PROTECT = flags.DEFINE_list(
    "protect", [], "Units to keep, such as stage1_unit3,stage2_unit2."
)
_STOP_ON_DROP = flags.DEFINE_bool(
    "stop_on_drop", False, "Stop after the first round below the initial accuracy."
)
_TOLERANCE = flags.DEFINE_float(
    "tolerance", 0.0, "Accepted accuracy decrease, as a fraction."
)
_CRITERION = flags.DEFINE_enum(
    "criterion",
    "importance",
    registry("criteria.registry").NAMES,
    "Criterion that selects the units to remove (docs/scores.md).",
)
_CRITERION_EXAMPLES = flags.DEFINE_integer(
    "criterion_examples", 512, "Training images for criteria that need images.", 1
)
_RECALIBRATE = flags.DEFINE_bool(
    "recalibrate", False, "Recalibrate BatchNormalization before scoring."
)
_SELECT_ON = flags.DEFINE_enum(
    "select_on",
    "validation",
    ["validation", "test"],
    "Images that select the round: held out of training, or the test set as in the "
    "paper.",
)
START_FROM = flags.DEFINE_string(
    "start_from",
    None,
    "Folder of a run with the same data, model, recipe and seed, whose initial "
    "training is reused.",
)


def removal(rp, dataset=None):
    """The `Removal` that the flags request.

    Args:
        rp: the package, imported after the flags are parsed.
        dataset: the data for the criterion; None to check the other flags.

    Raises:
        ValueError: if a flag is out of range.
    """
    criterion = {} if dataset is None else {"criterion": _criterion(rp, dataset)}
    return rp.Removal(
        target=_target(rp),
        units_per_round=_UNITS_PER_ROUND.value,
        max_rounds=_MAX_ROUNDS.value,
        protected=tuple(_PROTECT.value),
        tolerance=_TOLERANCE.value,
        select_on=_SELECT_ON.value,
        stop_on_drop=_STOP_ON_DROP.value,
        **criterion,
    )


def _criterion(rp, dataset):
    return rp.criteria.named(
        _CRITERION.value,
        dataset,
        run_flags.SEED.value,
        _CRITERION_EXAMPLES.value,
        recalibrate=_RECALIBRATE.value,
    )


def _target(rp):
    limits = {"layers": _TARGET_LAYERS.value, "units": _TARGET_UNITS.value}
    given = {name: limit for name, limit in limits.items() if limit is not None}
    return rp.Target(**given) if given else None
