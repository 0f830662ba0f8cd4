"""Flags of a run as a whole: folder, seed, scale, devices, time budget, export."""

import importlib.util
import sys

from absl import flags

RUN_DIR = flags.DEFINE_string(
    "run_dir",
    None,
    "Folder for the records of this run. An existing run is continued.",
)
SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of weights, held-out images, image order and augmentation.", 0
)
SCALE = flags.DEFINE_enum(
    "scale",
    "paper",
    ["paper", "quarter", "smoke"],
    "paper: the values of the other flags. quarter: a quarter of their epochs, with "
    "the drops of the learning rate scaled; epochs from --epochs_of or --compute_of "
    "come from a run of this scale and are not divided. smoke: a test of minutes on a "
    "CPU with few images and epochs and, on small images, a narrow model. smoke "
    "replaces the values of a flagfile and refuses other values on the command line.",
)
TIME_BUDGET = flags.DEFINE_float(
    "time_budget_minutes",
    None,
    "Stop within this time; the same command continues. Measuring a trained model is "
    "not interrupted. Default: no limit.",
    lower_bound=0,
)
STATE_FILE = flags.DEFINE_string(
    "state_file",
    None,
    "File (.tar) with which the run continues on another machine. It is used if it is "
    "further than --run_dir, and written after every round, every 20 minutes, and when "
    "the run stops or ends.",
)
_EXPORT = flags.DEFINE_list(
    "export",
    None,
    "Formats to export the selected model to. Default: saved_model and keras; without "
    "TensorFlow only keras.",
)
STRATEGY = flags.DEFINE_enum(
    "strategy",
    "none",
    ["none", "mirrored", "multiworker"],
    "Devices to train on: one, all of this machine, or those of several workers. Each "
    "worker runs this command with its own TF_CONFIG.",
)
REPEATABLE = flags.DEFINE_bool(
    "repeatable",
    True,
    "Train bit-for-bit repeatably: TensorFlow on a CPU then runs one operation at a "
    "time.",
)
NOTE = flags.DEFINE_string("note", None, "Note to show in the report.")

# Flags that depend on the machine or the call. They are not recorded.
_PER_CALL = ("data_dir", "manual_dir", "time_budget_minutes", "state_file")


def apply_scale(defaults, smoke):
    """Sets the flags to the values of an experiment and of the scale.

    Args:
        defaults: values of flags that were not given, by name.
        smoke: values at the scale smoke, by name; they replace those of a flagfile.

    Raises:
        SystemExit: for a flag on the command line that the scale would override.
    """
    for name, value in defaults.items():
        if flags.FLAGS[name].using_default_value:
            flags.FLAGS[name].value = value
    if SCALE.value == "smoke":
        # A run without removals remains one.
        removes = flags.FLAGS["max_rounds"].value != 0
        for name, value in {**smoke, "max_rounds": 2 if removes else 0}.items():
            given = flags.FLAGS[name].value
            if name in _on_command_line() and given != value:
                sys.exit(
                    f"error: --scale=smoke sets --{name} to {value}, but --{name}="
                    f"{given} was given. Leave one of them out."
                )
            flags.FLAGS[name].value = value


def _on_command_line():
    """Names of the flags on the command line itself, not in a flagfile."""
    words = (word.lstrip("-").partition("=")[0] for word in sys.argv[1:])
    return set(words)


def formats():
    """Formats to export the selected model to."""
    if _EXPORT.value is not None:
        return _EXPORT.value
    tensorflow = importlib.util.find_spec("tensorflow") is not None
    return ["saved_model", "keras"] if tensorflow else ["keras"]


def flag_lines(module):
    """Text of flags.txt, from which `--flagfile` repeats the run."""
    lines = [
        flag.serialize()
        for flag in flags.FLAGS.get_key_flags_for_module(module)
        if flag.name not in _PER_CALL and flag.value is not None
    ]
    return "".join(f"{line}\n" for line in lines if line)
