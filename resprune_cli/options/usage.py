"""Options, checks and errors that several subcommands share."""

import argparse
import re
import sys
import textwrap

from resprune_cli.options import values
from resprune_cli.options.registries import registry

CRITERIA = registry("criteria.registry").NAMES
# Criteria that `scores` computes only if they are named.
LEFT_OUT = [n for n in CRITERIA if n not in registry("criteria.registry").COMPARED]

FORMATS = tuple(registry("deploy.registry").FORMATS)
SCHEDULES = registry("training.schedules").WITHOUT_MILESTONES
RUNTIMES = tuple(registry("deploy.registry").RUNTIME_FORMATS)

# Examples per step when a pruned model is recalibrated. The statistics of smaller
# batches deviate from those of the data.
RECALIBRATION_BATCH = 256

# Explanations of file sizes, printed wherever the sizes are.
EXPORTED_BYTES = (
    "exported_..._bytes: size of the file that `resprune export` writes, folded and "
    "without an optimizer. --target size=... refers to this file."
)
FILE_BYTES = (
    "file_bytes: size of the model file itself, including the optimizer if it is saved."
)


class WrongUse(Exception):
    """An argument, a file or data are unsuitable: exit code 2."""


class Failed(Exception):
    """The request cannot be met: exit code 1."""


class ProgramFailed(Failed):
    """A program of the user failed. The message has its output: exit code 1."""


def warn(text, args):
    """Prints a warning at once, on standard error if the command prints JSON."""
    print(text, file=sys.stderr if args.json else sys.stdout, flush=True)


# Arguments of the library, and the options with the same meaning.
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
    """Replaces the library's arguments in a message by the options.

    >>> as_options("`units_per_round` must be from 1 to 3.")
    '--units-per-round must be from 1 to 3.'
    """
    return re.sub(
        r"`(\w+)`", lambda found: _OPTIONS.get(found[1], found[0]), str(message)
    )


def add_command(commands, name, run, check, *, usage, help, description, examples):
    """Adds a subcommand whose help has a description and examples.

    Args:
        commands: the object that `add_subparsers` returned.
        name: name of the subcommand.
        run: function from the arguments to an exit code, called after Keras is
            imported.
        check: function that raises WrongUse for wrong arguments, called before that.
        usage: usage line, without `resprune`.
        help: one line for the list of subcommands.
        description: a few lines on what the subcommand does.
        examples: list of `(purpose, command)`.

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
        # An abbreviation could mean another option in a later version.
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, check=check, parser=parser)
    return parser


def add_model(parser):
    """Adds the positional argument of a model file."""
    parser.add_argument(
        "model", type=values.model_path, metavar="MODEL", help=f"{values.MODEL_FILE}."
    )


def add_trust_options(parser):
    """Adds the options for code in model files, for input sizes and for debugging."""
    group = parser.add_argument_group("model files from other sources")
    group.add_argument(
        "--import",
        dest="imports",
        metavar="MODULE",
        action="append",
        type=values.module,
        default=[],
        help="Python module that defines custom layers of the model. It is also "
        "searched in the current folder. Its code runs, so import only modules that "
        "you trust. May be repeated.",
    )
    group.add_argument(
        "--allow-lambda",
        action="store_true",
        help="load models with Lambda layers. Their code is stored in the model file "
        "and runs, so allow it only for files that you trust.",
    )
    group.add_argument(
        "--input-shape",
        metavar="SIZES",
        type=values.shape,
        help="input size, such as 224,224,3, for a model whose input has open sizes. "
        "MACs and latency depend on them. The output model has this input size.",
    )
    add_debug(group)


def add_debug(parser):
    """Adds the option for debugging."""
    parser.add_argument(
        "--debug",
        action="store_true",
        help="show the Python traceback of an error.",
    )


class _BatchSize(argparse.Action):
    """Sets both batch sizes: a size that is given limits the memory of every step."""

    def __call__(self, parser, namespace, value, option=None):
        namespace.batch_size = namespace.recalibration_batch = value


def add_loss_options(parser):
    """Adds the options for loss, metric and batch size."""
    group = parser.add_argument_group(
        "loss and metric",
        "The default is what the model was compiled with, or cross entropy and "
        "accuracy if the model was not compiled and the labels are classes. --loss "
        "also replaces the metrics.",
    )
    group.add_argument(
        "--loss", metavar="NAME", help="loss of Keras, such as mean_squared_error."
    )
    group.add_argument(
        "--metric", metavar="NAME", help="metric of Keras, such as accuracy."
    )
    group.add_argument(
        "--batch-size",
        metavar="N",
        type=values.count,
        action=_BatchSize,
        default=32,
        help="examples per step (default 32).",
    )
    parser.set_defaults(recalibration_batch=RECALIBRATION_BATCH)


def add_latency_options(parser, purpose=""):
    """Adds the options for how latency is measured."""
    parser.add_argument(
        "--runtime-batch",
        metavar="N",
        type=values.count,
        default=1,
        help=f"images per call{purpose} (default 1).",
    )
    parser.add_argument(
        "--threads",
        metavar="N",
        type=values.count,
        default=1,
        help=f"processor threads{purpose} (default 1).",
    )


def add_runtime_option(parser, *others, help, default=None):
    """Adds the option `--runtime`, which accepts names and aliases."""
    parser.add_argument(
        "--runtime",
        type=registry("deploy.registry").runtime_named,
        choices=(*RUNTIMES, *others),
        default=default,
        help=help,
    )


def add_expand_option(parser):
    """Adds the option `--expand`."""
    parser.add_argument(
        "--expand",
        action="store_true",
        help="replace blocks that are custom layers by their contents, to find the "
        "residual units inside.",
    )


def add_json_option(parser):
    """Adds the option `--json`."""
    parser.add_argument(
        "--json", action="store_true", help="print JSON instead of tables."
    )


def check_names(given, known, kind):
    """Raises WrongUse if a name is unknown, or if there are no names."""
    for name in given:
        if name not in known:
            raise WrongUse(f"There is no {kind} '{name}'. Known: {', '.join(known)}.")
    if not given:
        raise WrongUse(f"No {kind} is named. Known: {', '.join(known)}.")


def check_labels(criterion, labelled, option):
    """Raises WrongUse if a criterion needs labels and the data have none."""
    if criterion in registry("criteria.registry").LABELLED and not labelled:
        raise WrongUse(f"{option} {criterion} needs labels, and the data have none.")


def add_score_options(parser):
    """Adds the options for how units are scored."""
    parser.add_argument(
        "--score-examples",
        metavar="N",
        type=values.count,
        default=512,
        help="number of training examples to score units on (default 512).",
    )
    parser.add_argument(
        "--l1-learning-rate",
        metavar="RATE",
        type=values.positive,
        help="learning rate of the criterion l1_importance, which trains the factors "
        "ω (default 0.1). Lower it if they diverge.",
    )
