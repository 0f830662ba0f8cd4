"""`resprune scores`: how much each unit matters, by several measures."""

import json

from resprune_cli.options import usage, values
from resprune_cli.options.registries import registry


def add_parser(commands):
    """Adds the command to the command line."""
    parser = usage.add_command(
        commands,
        "scores",
        run,
        check,
        usage="MODEL --data DATA [options]",
        help="how much each unit matters, by several criteria side by side",
        description="""
            Scores the units that may go, by every criterion that can be computed for
            the model and the data, and says how far the criteria agree. The unit of
            the smallest score is removed first. Scores are taken on training examples:
            what is held out must not choose what is removed.
            """,
        examples=[
            (
                "all criteria on images by class",
                "resprune scores net.keras --data photos",
            ),
            (
                "two of them, on 200 images",
                "resprune scores net.keras --data images.npz "
                "--criteria block_influence,taylor --score-examples 200",
            ),
        ],
    )
    parser.add_argument(
        "model", type=values.model_path, metavar="MODEL", help="a .keras file."
    )
    parser.add_argument(
        "--criteria",
        metavar="NAMES",
        type=values.names,
        help=f"some of {', '.join(usage.CRITERIA)}, with commas between them. "
        "importance is the learned factor |ω|, where the model has it; random a "
        f"control. {', '.join(registry('criteria.registry').LABELLED)} need labels. "
        "Default: all but "
        f"{' and '.join(usage.LEFT_OUT)}.",
    )
    usage.add_expand_option(parser)
    usage.add_score_options(parser)
    parser.add_argument(
        "--recalibrate",
        action="store_true",
        help="estimate BatchNormalization statistics anew from these examples first.",
    )
    usage.add_json_option(parser)
    usage.add_data_options(parser, required=True)
    usage.add_loss_options(parser)
    usage.add_trust_options(parser)


def check(args):
    """Raises WrongUse for arguments that do not go together."""
    usage.check_data(args)
    if args.criteria is not None:
        usage.check_names(args.criteria, usage.CRITERIA, "criterion")


def run(args):
    """Prints the table; returns the exit code."""
    from resprune_cli.work import model_file, scoring

    model = model_file.open_layers(args, compile=True)
    table, doubt = scoring.table(model, args, names=args.criteria)
    if args.json:
        print(json.dumps({**table.to_dict(), "doubt": doubt}, indent=1))
    else:
        print("\n".join([str(table), *filter(None, [doubt])]))
    return 0
