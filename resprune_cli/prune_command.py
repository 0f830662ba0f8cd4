"""`resprune prune`: a shorter model that meets a target."""

import argparse
import pathlib

from resprune_cli import scores_command, usage
from resprune_cli.target_spelling import limits
from resprune_cli.usage import WrongUse


def add_parser(commands):
    """Adds the command to the command line."""
    parser = usage.add_command(
        commands,
        "prune",
        run,
        check,
        usage="MODEL --target NAME=VALUE --out DIR [--data DATA] [options]",
        help="a shorter model that meets a target",
        description="""
            Takes out the residual units that matter least, until a target is met.

            With retraining (--epochs, the default): the model trains --epochs. Then
            the unit of the smallest score goes, what is left trains --retrain-epochs
            and is scored anew, and so on to the target. The result is the smallest
            model that held its metric on held-out examples, to within --tolerance. DIR
            keeps every round: a run that was stopped, even by kill -9, goes on when
            the same command is repeated.

            At once (--epochs 0): the units are scored once, and the set that meets the
            target at the smallest summed score is taken out. That takes seconds and
            costs accuracy. --recalibrate, which needs no labels, wins some of it back
            in a model with BatchNormalization; retraining wins more.

            Written: DIR/pruned.keras, of Keras's own layers, and DIR/summary.json.
            """,
        examples=[
            (
                "to 70% of the MACs, retraining on images by class",
                "resprune prune net.keras --data photos --target macs=0.7 "
                "--tolerance 0.01 --out short",
            ),
            (
                "to 0.7 of the time on LiteRT, at once, without labels",
                "resprune prune net.keras --data images.npz --epochs 0 --recalibrate "
                "--target latency=0.7 --runtime litert --out short",
            ),
            (
                "as far as accuracy holds, to within half a point",
                "resprune prune net.keras --data photos --stop-on-drop "
                "--tolerance 0.005 --out short",
            ),
        ],
    )
    parser.add_argument(
        "model", type=usage.model_path, metavar="MODEL", help="a .keras file."
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=pathlib.Path,
        required=True,
        help="folder for the result and the records; made if missing.",
    )
    _add_target_options(parser)
    _add_choice_options(parser)
    _add_training_options(parser)
    usage.add_json_option(parser)
    usage.add_data_options(parser)
    usage.add_loss_options(parser)
    usage.add_trust_options(parser)


def _add_target_options(parser):
    group = parser.add_argument_group("target")
    group.add_argument(
        "--target",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="layers=32 or units=10 (so many left), macs=0.6 (a share of the model's; "
        "or 60%%, or 50M), parameters=0.6, size=0.6 (of the file that `resprune "
        "export` writes; or 2MB), latency=0.7 (or 5ms). May be repeated: all must "
        "hold.",
    )
    group.add_argument(
        "--file-format",
        choices=usage.FORMATS,
        help="of the file that a size is of (default keras).",
    )
    group.add_argument(
        "--runtime",
        choices=usage.RUNTIMES,
        help="what a latency is measured on, here, on the processor.",
    )
    group.add_argument(
        "--runtime-batch",
        metavar="N",
        type=usage.count,
        default=1,
        help="images a call for a latency (default 1).",
    )
    group.add_argument(
        "--threads",
        metavar="N",
        type=usage.count,
        default=1,
        help="processor threads for a latency (default 1).",
    )


def _add_choice_options(parser):
    group = parser.add_argument_group("which units go")
    group.add_argument(
        "--criterion",
        choices=scores_command.CRITERIA,
        help="what units are scored by; see `resprune scores --help`. Default: "
        "block_influence, how far a unit turns its input, or importance, if the model "
        "has learned factors ω. With retraining, --criterion importance gives each "
        "residual branch such a factor: train long, for all of them begin at 1.",
    )
    group.add_argument(
        "--protect",
        metavar="UNIT",
        action="append",
        default=[],
        help="name of a unit that must stay, as `resprune inspect` lists it. May be "
        "repeated.",
    )
    group.add_argument(
        "--expand",
        action="store_true",
        help="open blocks that are written as layers, to find the units inside.",
    )
    scores_command.add_score_options(group)
    group.add_argument(
        "--recalibrate",
        action="store_true",
        help="estimate BatchNormalization statistics anew from training examples: "
        "before units are scored, and with --epochs 0 of the shorter model.",
    )


def _add_training_options(parser):
    group = parser.add_argument_group("retraining")
    group.add_argument(
        "--epochs",
        metavar="N",
        type=_epochs,
        default=10,
        help="of the training before the first removal (default 10); 0 retrains "
        "nothing.",
    )
    group.add_argument(
        "--retrain-epochs",
        metavar="N",
        type=usage.count,
        help="of each retraining (default: as --epochs).",
    )
    group.add_argument(
        "--units-per-round",
        metavar="N",
        type=usage.count,
        default=1,
        help="units to take out before each retraining (default 1).",
    )
    group.add_argument(
        "--optimizer",
        metavar="NAME",
        help="of Keras, such as sgd (default: as the model was compiled, else adam).",
    )
    group.add_argument(
        "--learning-rate",
        metavar="RATE",
        type=usage.positive,
        help="at the beginning of every training.",
    )
    group.add_argument(
        "--schedule",
        choices=("constant", "cosine"),
        default="constant",
        help="of the learning rate within a training: constant (default), or cosine, "
        "down to 0.",
    )
    group.add_argument(
        "--monitor",
        metavar="NAME",
        help="the metric, or loss, that must hold (default accuracy, if it is "
        "measured).",
    )
    group.add_argument(
        "--tolerance",
        metavar="AMOUNT",
        type=_tolerance,
        help="how much worse it may be and still holds: 0.005 is half a point of "
        "accuracy (default 0).",
    )
    group.add_argument(
        "--stop-on-drop",
        action="store_true",
        help="end at the first round that does not hold it.",
    )
    group.add_argument(
        "--max-rounds", metavar="N", type=usage.count, help="end after N removals."
    )
    group.add_argument(
        "--minutes",
        metavar="N",
        type=usage.positive,
        help="stop after N minutes; the same command continues.",
    )


def _epochs(text):
    return 0 if text == "0" else usage.count(text)


def _tolerance(text):
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 0 up.")
    return value


def check(args):
    """Raises WrongUse for arguments that do not go together."""
    usage.check_data(args)
    args.limits = limits(args.target)
    measured = {name.partition("_")[0] for name in args.limits}
    if "latency" in measured and args.runtime is None:
        raise WrongUse(
            f"A latency depends on what runs the model: --runtime "
            f"{'|'.join(usage.RUNTIMES)}."
        )
    if args.runtime and "latency" not in measured:
        raise WrongUse("--runtime belongs to --target latency=..., which is missing.")
    if args.file_format and "file" not in measured:
        raise WrongUse("--file-format belongs to --target size=..., which is missing.")
    if "file" in measured and args.file_format is None:
        args.file_format = "keras"
    if args.epochs == 0:
        _check_at_once(args)
    else:
        _check_retraining(args)


def _check_at_once(args):
    if not args.limits:
        raise WrongUse("--epochs 0 needs a --target, such as --target macs=0.7.")
    for name in ("retrain_epochs", "max_rounds", "minutes"):
        if getattr(args, name) is not None:
            option = name.replace("_", "-")
            raise WrongUse(f"--{option} belongs to retraining, and --epochs is 0.")
    if args.stop_on_drop:
        raise WrongUse("--stop-on-drop belongs to retraining, and --epochs is 0.")
    if args.data is None and args.criterion not in ("random", "importance"):
        raise WrongUse(
            "--data is missing: units are scored on examples. (--criterion importance "
            "needs none, if the model has trained importances.)"
        )


def _check_retraining(args):
    if args.data is None:
        raise WrongUse(
            "--data is missing: retraining needs it. (--epochs 0 retrains nothing.)"
        )
    if not args.limits and not args.stop_on_drop and args.max_rounds is None:
        raise WrongUse(
            "How far? Give a --target, such as --target macs=0.7, or --stop-on-drop to "
            "go as far as the metric holds."
        )


def run(args):
    """Prunes; returns the exit code."""
    from resprune_cli import pruning

    return pruning.run(args)
