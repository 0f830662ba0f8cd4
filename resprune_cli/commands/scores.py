"""`resprune scores`: scores of the removable units by several criteria."""

import json

from resprune_cli.options import data_options, usage, values
from resprune_cli.options.registries import registry

_LABELLED = registry("criteria.registry").LABELLED


def add_parser(commands):
    """Adds the command to the command line."""
    parser = usage.add_command(
        commands,
        "scores",
        run,
        check,
        usage="MODEL --data DATA [options]",
        help="scores of the removable units by several criteria",
        description="""
            Scores the removable units by every criterion that can be computed for the
            model and the data, and prints the rank correlations of the criteria. The
            unit with the smallest score is removed first. Scores are computed on
            training examples, because held-out examples must not decide what is
            removed.
            """,
        examples=[
            (
                "all criteria on images by class",
                "resprune scores model.keras --data photos",
            ),
            (
                "two criteria on 200 images",
                "resprune scores model.keras --data images.npz "
                "--criteria block_influence,taylor --score-examples 200",
            ),
        ],
    )
    usage.add_model(parser)
    parser.add_argument(
        "--criteria",
        metavar="NAMES",
        type=values.names,
        help=f"one or more of {', '.join(usage.CRITERIA)}, separated by commas. "
        "importance is the absolute value of the trained factor ω, if the model has "
        f"one; random is a control. {', '.join(_LABELLED)} need labels. Default: all "
        f"except {' and '.join(usage.LEFT_OUT)}.",
    )
    usage.add_expand_option(parser)
    usage.add_score_options(parser)
    parser.add_argument(
        "--recalibrate",
        action="store_true",
        help="first re-estimate BatchNormalization statistics from these examples.",
    )
    usage.add_json_option(parser)
    data_options.add_data_options(parser, required=True)
    usage.add_loss_options(parser)
    usage.add_trust_options(parser)


def check(args):
    """Raises WrongUse for arguments that contradict each other."""
    labelled = data_options.check_data(args)
    if args.criteria is not None:
        usage.check_names(args.criteria, usage.CRITERIA, "criterion")
        for name in args.criteria:
            usage.check_labels(name, labelled, "--criteria")


def run(args):
    """Prints the table; returns the exit code."""
    from resprune_cli.work import model_file, scoring

    model = model_file.load_expanded(args, compile=True)
    table, doubt = scoring.table(model, args, names=args.criteria)
    if args.json:
        print(json.dumps({**table.to_dict(), "doubt": doubt}, indent=1))
    else:
        print(table)
    return 0
