"""`resprune prune`: prunes a model until it meets a target."""

from resprune_cli.options import (
    data_options,
    prune_options,
    result_files,
    usage,
    values,
)
from resprune_cli.options.registries import registry
from resprune_cli.options.target_spelling import limits
from resprune_cli.options.tolerances import check_tolerance
from resprune_cli.options.usage import WrongUse

_OF_RETRAINING = (
    "initial_epochs",
    "units_per_round",
    "optimizer",
    "learning_rate",
    "schedule",
    "max_rounds",
    "minutes",
    "no_teacher",
    "precision",
    "stop_on_drop",
)


def add_parser(commands):
    """Adds the command to the command line."""
    parser = usage.add_command(
        commands,
        "prune",
        run,
        check,
        usage="MODEL --target NAME=VALUE --out DIR [--data DATA] [options]",
        help="prune a model until it meets a target",
        description="""
            Removes the residual units with the smallest scores until a target is met.

            With retraining (--epochs, the default): the command uses a trained MODEL
            without training it first. It removes all units that the target requires,
            and trains the remaining model for --epochs. With --units-per-round 1 it
            removes one unit before each retraining, which takes longer and may maintain
            more accuracy. An untrained model needs --allow-guessing and is trained
            first (--initial-epochs). The result is the smallest model whose metric on
            held-out examples is within --tolerance of that of MODEL. DIR contains every
            round: a run that was stopped, even by kill -9, continues when the same
            command is repeated.

            Without retraining (--epochs 0): the command removes one unit at a time and
            scores the others again, until the target is met. For a size or latency
            target it scores the units once and removes the set with the smallest sum of
            scores that meets the target. This costs accuracy. It takes seconds for a
            small model, and minutes for a large model or a latency target.
            --recalibrate needs no labels and restores a large part of the accuracy of a
            model with BatchNormalization; retraining restores more.

            The command writes DIR/pruned.keras, which has only layers of Keras,
            DIR/summary.json and DIR/report.html.
            """,
        examples=[
            (
                "to 70% of the MACs, with retraining on a folder of images",
                "resprune prune model.keras --data photos --target macs=0.7 "
                "--tolerance 0.01 --out small",
            ),
            (
                "to 70% of the latency on LiteRT, without retraining or labels",
                "resprune prune model.keras --data images.npz --epochs 0 --recalibrate "
                "--target latency=0.7 --runtime litert --out small",
            ),
            (
                "until the accuracy decreases by more than half a percentage point",
                "resprune prune model.keras --data photos --stop-on-drop "
                "--tolerance 0.005 --out small",
            ),
        ],
    )
    usage.add_model(parser)
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=values.folder,
        required=True,
        help="folder for the result and the records; it is created if missing. A "
        "folder that contains the result of another command is refused.",
    )
    prune_options.add_target_options(parser)
    prune_options.add_choice_options(parser)
    prune_options.add_training_options(parser)
    usage.add_json_option(parser)
    data_options.add_data_options(parser)
    usage.add_loss_options(parser)
    usage.add_trust_options(parser)


def check(args):
    """Raises WrongUse for arguments that contradict each other."""
    labelled = data_options.check_data(args)
    args.limits = limits(args.target)
    measured = {name.partition("_")[0] for name in args.limits}
    if "latency" in measured and args.runtime is None:
        raise WrongUse(
            "--target latency=... needs the runtime that the model will run on: "
            f"--runtime {'|'.join(usage.RUNTIMES)}."
        )
    if args.runtime and "latency" not in measured:
        raise WrongUse("--runtime needs --target latency=..., which is missing.")
    if args.latency_command:
        _check_latency_command(args, measured)
    if args.file_format and "file" not in measured:
        raise WrongUse("--file-format needs --target size=..., which is missing.")
    if "file" in measured and args.file_format is None:
        args.file_format = "keras"
    if args.epochs == 0:
        _check_without_retraining(args)
    else:
        _check_retraining(args)
    _check_judging(args, labelled)
    result_files.check_pruned_out(args)


def _check_latency_command(args, measured):
    if "latency" not in measured:
        raise WrongUse(
            "--latency-command needs --target latency=..., which is missing."
        )
    if (args.runtime_batch, args.threads) != (1, 1):
        raise WrongUse(
            "--runtime-batch and --threads apply to this processor, but "
            "--latency-command measures the latency. Set them in that program."
        )


def _check_without_retraining(args):
    if not args.limits:
        raise WrongUse("--epochs 0 needs a --target, such as --target macs=0.7.")
    for name in _OF_RETRAINING:
        value = getattr(args, name)
        if value is not None and value is not False and value != "auto":
            option = name.replace("_", "-")
            raise WrongUse(f"--{option} applies to retraining, but --epochs is 0.")
    if args.monitor is not None and args.tolerance is None:
        raise WrongUse(
            "With --epochs 0, --monitor names the metric of --tolerance, which is "
            "missing."
        )
    if args.data is None and args.tolerance is not None:
        raise WrongUse("--tolerance needs --data, on which the metric is measured.")
    # The default criterion depends on the model. It is known after loading.
    on_examples = registry("criteria.registry").ON_EXAMPLES
    if args.data is None and (args.criterion is None or args.criterion in on_examples):
        raise WrongUse(
            "--data is missing: units are scored on examples. (--criterion importance "
            "needs no data if the model has trained factors ω.)"
        )


def _check_retraining(args):
    if args.data is None:
        raise WrongUse(
            "--data is missing: retraining needs it. (--epochs 0 prunes without "
            "retraining.)"
        )
    if not args.limits and not args.stop_on_drop and args.max_rounds is None:
        raise WrongUse(
            "The extent of pruning is missing. Give a --target, such as --target "
            "macs=0.7, or --stop-on-drop to prune until the metric is worse by more "
            "than the tolerance."
        )


def _check_judging(args, labelled):
    """Checks the metric and the tolerance as far as they are known without a model."""
    if args.data is not None:
        if args.epochs and not labelled:
            raise WrongUse(
                "Retraining needs labels, and the data have none. Name them y or "
                "labels in the .npz file, or prune without retraining by --epochs 0."
            )
        if args.tolerance is not None and not labelled:
            raise WrongUse("--tolerance needs labels, and the data have none.")
        usage.check_labels(args.criterion, labelled, "--criterion")
    monitor = args.monitor or args.metric  # --metric replaces the model's metrics
    if monitor is not None:
        check_tolerance(monitor, args.tolerance)


def run(args):
    """Prunes; returns the exit code."""
    from resprune_cli.work import pruning

    return pruning.run(args)
