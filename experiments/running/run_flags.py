"""Flags of a run as a whole: its folder, seed, scale, machine and pieces."""

import importlib.util
import sys

from absl import flags

RUN_DIR = flags.DEFINE_string(
    "run_dir",
    None,
    "Folder of this run's records; a run there is continued.",
)
SEED = flags.DEFINE_integer(
    "seed", 0, "Of weights, held-out images, image order and augmentation.", 0
)
_DATA_SEED = flags.DEFINE_integer(
    "data_seed", None, "Of the held-out images. Default: --seed.", 0
)
SCALE = flags.DEFINE_enum(
    "scale",
    "paper",
    ["paper", "quarter", "smoke"],
    "paper: as the other flags say. quarter: a quarter of their epochs, with the "
    "schedule compressed in proportion; epochs from --epochs_of or --compute_of are "
    "those of a run of this scale and are not divided. smoke: minutes on a CPU, to see "
    "that it runs; few images and epochs, on small images a narrow net, whatever a "
    "flagfile says on these. Flags on the command line that say otherwise are refused.",
)
TIME_BUDGET = flags.DEFINE_float(
    "time_budget_minutes",
    None,
    "Stop before so many minutes, resumably; measuring a trained net is not cut short. "
    "Default: none.",
    lower_bound=0,
)
STATE_FILE = flags.DEFINE_string(
    "state_file",
    None,
    "File (.tar) in which the run travels: continued from if it is further than "
    "--run_dir, and written whenever a round ends, every 20 minutes, and when the run "
    "stops or ends.",
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
NOTE = flags.DEFINE_string("note", None, "A remark to show in the report.")

# Of a machine or a call, not of the run: not recorded.
_PER_CALL = ("data_dir", "manual_dir", "time_budget_minutes", "state_file")


def apply_scale(defaults, smoke):
    """Gives flags the values of an experiment and of the scale.

    Args:
        defaults: values by name, of flags that were not given.
        smoke: values by name at the scale smoke, whatever a flagfile says.

    Raises:
        SystemExit: for a flag on the command line that the scale would override.
    """
    for name, value in defaults.items():
        if flags.FLAGS[name].using_default_value:
            flags.FLAGS[name].value = value
    if SCALE.value == "smoke":
        # A run without removals stays one.
        removes = flags.FLAGS["max_rounds"].value != 0
        for name, value in {**smoke, "max_rounds": 2 if removes else 0}.items():
            given = flags.FLAGS[name].value
            if name in _typed() and given != value:
                sys.exit(
                    f"error: --scale=smoke sets --{name} to {value}, and --{name}="
                    f"{given} was given. Leave one of them out."
                )
            flags.FLAGS[name].value = value


def _typed():
    """Names of the flags on the command line itself, not in a flagfile."""
    words = (word.lstrip("-").partition("=")[0] for word in sys.argv[1:])
    return set(words)


def data_seed():
    """Seed of the held-out images."""
    return SEED.value if _DATA_SEED.value is None else _DATA_SEED.value


def formats():
    """What to export the chosen net to."""
    if _EXPORT.value is not None:
        return _EXPORT.value
    tensorflow = importlib.util.find_spec("tensorflow") is not None
    return ["saved_model", "keras"] if tensorflow else ["keras"]


def flag_lines(module):
    """Text of flags.txt, of which `--flagfile` makes the same run again."""
    lines = [
        flag.serialize()
        for flag in flags.FLAGS.get_key_flags_for_module(module)
        if flag.name not in _PER_CALL and flag.value is not None
    ]
    return "".join(f"{line}\n" for line in lines if line)
