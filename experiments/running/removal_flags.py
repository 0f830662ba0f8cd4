"""Flags of Algorithm 1: what goes, how much at a time, when to stop, what to keep."""

from absl import flags

from experiments.running import run_flags
from resprune_cli.options.registries import registry

_UNITS_PER_ROUND = flags.DEFINE_integer(
    "units_per_round",
    1,
    "Units to remove before each retraining (k). 0: retrain --max_rounds times and "
    "remove nothing, without a target.",
    0,
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
    registry("criteria.registry").NAMES,
    "Which units go first: docs/scores.md tells what each criterion looks at.",
)
_CRITERION_EXAMPLES = flags.DEFINE_integer(
    "criterion_examples", 512, "Training images for criteria that look at images.", 1
)
_RECALIBRATE = flags.DEFINE_bool(
    "recalibrate", False, "Estimate BatchNormalization statistics anew before scoring."
)
_SELECT_ON = flags.DEFINE_enum(
    "select_on",
    "validation",
    ["validation", "test"],
    "What rounds are judged by: images held out of training, or the test set as in "
    "the paper.",
)
START_FROM = flags.DEFINE_string(
    "start_from",
    None,
    "Folder of a run with the same data, net, recipe and seed: its initial training "
    "is taken over.",
)


def removal(rp, dataset=None):
    """The `Removal` that the flags ask for.

    Args:
        rp: the package, imported once the flags are known.
        dataset: that a criterion is measured on; None to check the other flags.

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
    limits = {
        "layers": _TARGET_LAYERS.value,
        "units": _TARGET_UNITS.value,
        "macs": _TARGET_MACS.value,
        "parameters": _TARGET_PARAMETERS.value,
    }
    given = {name: limit for name, limit in limits.items() if limit is not None}
    return rp.Target(**given) if given else None
