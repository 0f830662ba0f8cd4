"""`resprune compare`: size, cost, latency and accuracy of two models."""

import json

from resprune_cli.options import data_options, usage, values


def add_parser(commands):
    """Adds the command to the command line."""
    parser = usage.add_command(
        commands,
        "compare",
        run,
        check,
        usage="A B [--data DATA] [--runtime NAME] [options]",
        help="size, cost, latency and accuracy of two models",
        description="""
            Compares a model B, such as a pruned one, with a model A: size of the file
            and of the file that `resprune export` writes, layers, residual units, MACs
            and parameters. Both models are exported for --runtime, with
            BatchNormalization folded, and timed on this machine by alternating calls.
            With --data, the exported files also run on held-out examples: the command
            prints their accuracy and how much their outputs differ. With --runtime
            none, the Keras models are measured instead, and nothing is timed.
            """,
        examples=[
            (
                "cost and latency on LiteRT",
                "resprune compare model.keras small/pruned.keras --runtime litert",
            ),
            (
                "accuracy as well",
                "resprune compare model.keras small/pruned.keras --data images.npz",
            ),
        ],
    )
    for name in ("a", "b"):
        parser.add_argument(
            name,
            type=values.model_path,
            metavar=name.upper(),
            help=f"{values.MODEL_FILE}.",
        )
    usage.add_runtime_option(
        parser,
        "none",
        default="tensorflow",
        help="runtime for the exported models, on the processor (default tensorflow); "
        "none exports and times nothing.",
    )
    usage.add_latency_options(parser)
    usage.add_expand_option(parser)
    usage.add_json_option(parser)
    data_options.add_data_options(parser)
    usage.add_loss_options(parser)
    usage.add_trust_options(parser)


def check(args):
    """Raises WrongUse for arguments that contradict each other."""
    data_options.check_data(args)


def run(args):
    """Prints the table; returns the exit code."""
    from resprune_cli.work import comparing

    result = comparing.compare(args)
    print(json.dumps(result, indent=1) if args.json else comparing.table(result))
    return 0
