"""`resprune compare`: two models side by side."""

import json

from resprune_cli.options import usage, values
from resprune_cli.options.usage import WrongUse


def add_parser(commands):
    """Adds the command to the command line."""
    parser = usage.add_command(
        commands,
        "compare",
        run,
        check,
        usage="A B [--data DATA] [--runtime NAME] [options]",
        help="two models side by side: size, cost, latency, accuracy",
        description="""
            Compares a model B, such as a pruned one, with A: bytes of the file and of
            what `resprune export` makes of it; layers, residual units, MACs and
            parameters. Both are exported for --runtime, with BatchNormalization
            folded, and timed in turns on this machine. With --data, the files that
            were timed are also run on held-out examples: their accuracy and the
            differences of their outputs are shown. With --runtime none, these are of
            the Keras models.
            """,
        examples=[
            (
                "cost and latency on LiteRT",
                "resprune compare net.keras short/pruned.keras --runtime litert",
            ),
            (
                "accuracy, too",
                "resprune compare net.keras short/pruned.keras --data images.npz",
            ),
        ],
    )
    for name in ("a", "b"):
        parser.add_argument(
            name, type=values.model_path, metavar=name.upper(), help="a .keras file."
        )
    usage.add_runtime_option(
        parser,
        "none",
        default="tensorflow",
        help="what runs the exported models, on the processor (default tensorflow); "
        "none exports and times nothing.",
    )
    usage.add_latency_options(parser)
    usage.add_expand_option(parser)
    usage.add_json_option(parser)
    usage.add_data_options(parser)
    usage.add_loss_options(parser)
    usage.add_trust_options(parser)


def check(args):
    """Raises WrongUse for arguments that do not go together."""
    usage.check_data(args)
    if args.data is None and (args.loss or args.metric):
        raise WrongUse("--loss and --metric need --data.")


def run(args):
    """Prints the table; returns the exit code."""
    from resprune_cli.work import comparing

    told = comparing.compare(args)
    print(json.dumps(told, indent=1) if args.json else comparing.table(told))
    return 0
