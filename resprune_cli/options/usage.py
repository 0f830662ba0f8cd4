"""What the subcommands share: groups of options, their checks, ways to fail."""

import argparse
import pathlib
import re
import textwrap
import zipfile

from resprune_cli.options import values
from resprune_cli.options.registries import registry

CRITERIA = registry("criteria.registry").NAMES
LEFT_OUT = [n for n in CRITERIA if n not in registry("criteria.registry").COMPARED]

# What a source of pixels holds is 0 to 255; what models take differs.
PIXELS = ("raw", "unit", "signed")
FORMATS = tuple(registry("deploy.registry").FORMATS)
SCHEDULES = tuple(
    name for name in registry("training.schedules").SCHEDULES if name != "step"
)
RUNTIMES = tuple(registry("deploy.registry").RUNTIME_FORMATS)

_BUILT_IN = ", ".join(
    f"`{name}` ({what})" for name, what in registry("data.registry").BUILT_IN.items()
)

# What the sizes of a model's files are of, wherever they are told.
EXPORTED_BYTES = (
    "exported_..._bytes: of the file that `resprune export` writes, folded and without "
    "an optimizer; --target size=... is of that."
)
FILE_BYTES = "file_bytes: of the .keras file itself, with an optimizer if it holds one."


class WrongUse(Exception):
    """Something that was given does not fit: exit code 2."""


class Failed(Exception):
    """What was asked for cannot be had: exit code 1."""


# Arguments of the library that are options here.
_OPTIONS = {
    "criterion": "--criterion",
    "expand": "--expand",
    "max_rounds": "--max-rounds",
    "monitor": "--monitor",
    "protected": "--protect",
    "run_dir": "--out",
    "tolerance": "--tolerance",
    "units_per_round": "--units-per-round",
}


def as_options(message) -> str:
    """A message in which the library's arguments are called by their options.

    >>> as_options("`units_per_round` must be from 1 to 3.")
    '--units-per-round must be from 1 to 3.'
    """
    return re.sub(
        r"`(\w+)`", lambda found: _OPTIONS.get(found[1], found[0]), str(message)
    )


def add_command(commands, name, run, check, *, usage, help, description, examples):
    """Adds a subcommand whose help explains, and shows how it is used.

    Args:
        commands: what `add_subparsers` returned.
        name: of the subcommand.
        run: function from the arguments to an exit code; it starts with Keras loaded.
        check: function that raises WrongUse for wrong arguments, before that.
        usage: its line of usage, without `resprune`.
        help: a line for the list of subcommands.
        description: a few lines: what it does.
        examples: list of `(what it is for, command)`.

    Returns:
        The subcommand's parser.
    """
    shown = "".join(f"\n  {purpose}:\n    {command}" for purpose, command in examples)
    parser = commands.add_parser(
        name,
        usage=f"resprune {name} {usage}",
        help=help,
        description=textwrap.dedent(description).strip(),
        epilog=f"examples:{shown}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # An abbreviation could come to mean another option in a later version.
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, check=check)
    return parser


def add_trust_options(parser):
    """Options on what a model's file may bring with it."""
    group = parser.add_argument_group("models of others")
    group.add_argument(
        "--import",
        dest="imports",
        metavar="MODULE",
        action="append",
        type=values.module,
        default=[],
        help="Python module, looked for in this folder too, that defines the "
        "model's own layers. Its code runs: import what you trust. May be repeated.",
    )
    group.add_argument(
        "--allow-lambda",
        action="store_true",
        help="load models with Lambda layers. Their code is in the model's file and "
        "runs: allow it for files that you trust.",
    )
    group.add_argument(
        "--input-shape",
        metavar="SIZES",
        type=values.shape,
        help="such as 224,224,3: for a model whose input leaves sizes open, on which "
        "MACs and latencies depend. What is written has these sizes then.",
    )
    group.add_argument(
        "--debug",
        action="store_true",
        help="on an error, show the whole Python traceback.",
    )


def add_data_options(parser, required=False):
    """Options on where data come from and how they are fed."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        metavar="DATA",
        required=required,
        help="an .npz file (x and y, or images and labels; x_train and x_test; if you "
        "like, x_val and y_val), a folder with one folder of images for each class, "
        f"{_BUILT_IN}, or with --data-dir the name of a data set of "
        "tensorflow_datasets, which is not downloaded.",
    )
    group.add_argument(
        "--data-dir", metavar="DIR", help="folder of tensorflow_datasets."
    )
    group.add_argument(
        "--pixels",
        choices=PIXELS,
        default="raw",
        help="what the model takes: raw, 0 to 255, as the data hold them (default); "
        "unit, 0 to 1; signed, -1 to 1. A model trained on x / 255 needs unit.",
    )
    group.add_argument(
        "--hold-out",
        metavar="SHARE",
        type=values.share,
        default=0.1,
        help="share of the training examples held out, to choose by, where the data "
        "have no validation examples (default 0.1).",
    )
    group.add_argument(
        "--examples",
        metavar="N",
        type=values.count,
        help="use at most N examples of each split, a random choice.",
    )
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of every random choice (default 0): what is held out, and the order of "
        "examples.",
    )


def add_loss_options(parser):
    """Options on what a model is measured by."""
    group = parser.add_argument_group(
        "loss and metric",
        "By default as the model was compiled; else, where labels are classes, cross "
        "entropy and accuracy.",
    )
    group.add_argument(
        "--loss", metavar="NAME", help="of Keras, such as mean_squared_error."
    )
    group.add_argument("--metric", metavar="NAME", help="of Keras, such as accuracy.")
    group.add_argument(
        "--batch-size",
        metavar="N",
        type=values.count,
        default=32,
        help="examples a step (default 32).",
    )


def add_latency_options(parser, purpose=""):
    """Options on how a latency is measured."""
    parser.add_argument(
        "--runtime-batch",
        metavar="N",
        type=values.count,
        default=1,
        help=f"images a call{purpose} (default 1).",
    )
    parser.add_argument(
        "--threads",
        metavar="N",
        type=values.count,
        default=1,
        help=f"processor threads{purpose} (default 1).",
    )


def add_runtime_option(parser, *others, help, default=None):
    """The option that names a runtime, by its name or an alias."""
    parser.add_argument(
        "--runtime",
        type=registry("deploy.registry").known_as,
        choices=(*RUNTIMES, *others),
        default=default,
        help=help,
    )


def add_expand_option(parser):
    """The option to look into layers that hold layers."""
    parser.add_argument(
        "--expand",
        action="store_true",
        help="open blocks that are written as layers, to find the units inside.",
    )


def add_json_option(parser):
    """The option for programs that read what is printed."""
    parser.add_argument(
        "--json", action="store_true", help="print JSON instead of tables."
    )


def check_names(given, known, kind):
    """Raises WrongUse for a name that is not known, or if there is none."""
    for name in given:
        if name not in known:
            raise WrongUse(f"There is no {kind} '{name}'. Known: {', '.join(known)}.")
    if not given:
        raise WrongUse(f"No {kind} is named. Known: {', '.join(known)}.")


def check_data(args):
    """Raises WrongUse if DATA is nothing that could be read."""
    data = args.data
    if data is None:
        if args.data_dir is not None:
            raise WrongUse("--data-dir belongs to --data, which is missing.")
        return
    if args.data_dir is not None:
        if not pathlib.Path(args.data_dir).is_dir():
            raise WrongUse(f"There is no folder --data-dir '{args.data_dir}'.")
        return
    if data in registry("data.registry").BUILT_IN or pathlib.Path(data).is_dir():
        return
    if data.endswith(".npz"):
        if not pathlib.Path(data).is_file():
            raise WrongUse(f"There is no file --data '{data}'.")
        if not zipfile.is_zipfile(data):
            raise WrongUse(
                f"--data '{data}' is broken or cut off: an .npz file, which "
                "numpy.savez writes, is a zip archive."
            )
        return
    raise WrongUse(
        f"--data '{data}' is no folder and no .npz file. Data can be an .npz file, a "
        f"folder with one folder of images for each class, {_BUILT_IN}, or with "
        "--data-dir the name of a data set of tensorflow_datasets."
    )


def add_score_options(parser):
    """Options on how scores are taken."""
    parser.add_argument(
        "--score-examples",
        metavar="N",
        type=values.count,
        default=512,
        help="training examples to score on (default 512).",
    )
    parser.add_argument(
        "--l1-learning-rate",
        metavar="RATE",
        type=values.positive,
        help="of the criterion l1_importance, which trains factors (default 0.1). "
        "Lower it if they diverge.",
    )
