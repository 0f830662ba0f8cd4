"""`resprune prune`: a shorter model that meets a target."""

from resprune_cli.options import prune_options, result_files, usage, values
from resprune_cli.options.registries import registry
from resprune_cli.options.target_spelling import limits
from resprune_cli.options.usage import WrongUse

_OF_RETRAINING = (
    "initial_epochs",
    "units_per_round",
    "optimizer",
    "learning_rate",
    "schedule",
    "max_rounds",
    "minutes",
)


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

            With retraining (--epochs, the default): MODEL is taken as it is. The units
            that the target requires are removed at once, and what is left is trained
            for --epochs. With --units-per-round 1 a single unit is removed before each
            retraining, which takes longer and may maintain more accuracy. A model that
            is not trained yet is trained first (--initial-epochs). The result is the
            smallest model whose metric on held-out examples is that of MODEL, to within
            --tolerance. DIR keeps every round: a run that was stopped, even by kill -9,
            continues when the same command is repeated.

            At once (--epochs 0): units go one by one, and what is left is scored again
            after each, until the target is met. For a size or a latency they are scored
            once, and the set that meets the target at the smallest summed score goes.
            That takes seconds and costs accuracy. --recalibrate, which needs no labels,
            wins much of it back in a model with BatchNormalization; retraining wins
            more.

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
        "model", type=values.model_path, metavar="MODEL", help="a .keras file."
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=values.folder,
        required=True,
        help="folder for the result and the records; made if missing. One that holds "
        "the result of another command is refused.",
    )
    prune_options.add_target_options(parser)
    prune_options.add_choice_options(parser)
    prune_options.add_training_options(parser)
    usage.add_json_option(parser)
    usage.add_data_options(parser)
    usage.add_loss_options(parser)
    usage.add_trust_options(parser)


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
    result_files.check_pruned_out(args)


def _check_at_once(args):
    if not args.limits:
        raise WrongUse("--epochs 0 needs a --target, such as --target macs=0.7.")
    for name in _OF_RETRAINING:
        if getattr(args, name) is not None:
            option = name.replace("_", "-")
            raise WrongUse(f"--{option} belongs to retraining, and --epochs is 0.")
    if args.stop_on_drop:
        raise WrongUse("--stop-on-drop belongs to retraining, and --epochs is 0.")
    if args.monitor is not None and args.tolerance is None:
        raise WrongUse(
            "--monitor names what --tolerance is of with --epochs 0, and that is "
            "missing."
        )
    if args.data is None and args.tolerance is not None:
        raise WrongUse("--tolerance needs --data, on which that is measured.")
    # By default that is known once the model is.
    on_examples = registry("criteria.registry").ON_EXAMPLES
    if args.data is None and (args.criterion is None or args.criterion in on_examples):
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
    from resprune_cli.work import pruning

    return pruning.run(args)
