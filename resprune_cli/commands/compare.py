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
            Shows what B, such as a shortened model, has left of A: bytes, of the file
            and of what `resprune export` makes of it; layers, units, MACs and
            parameters; its latency, both timed in turns on this machine and both
            folded, so that folding is not credited to pruning; with --data, what both
            measure on held-out examples, and how far their outputs differ.
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
    parser.add_argument(
        "--runtime",
        choices=(*usage.RUNTIMES, "none"),
        default="tensorflow",
        help="what latencies are measured on, on the processor (default tensorflow); "
        "none times nothing.",
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
