"""`resprune inspect`: what a model is made of, and how far it can be shortened."""

import dataclasses
import json

from resprune_cli.options import usage, values
from resprune_cli.options.usage import WrongUse


def add_parser(commands):
    """Adds the command to the command line."""
    parser = usage.add_command(
        commands,
        "inspect",
        run,
        check,
        usage="MODEL [--picture FILE] [--scores --data DATA] [options]",
        help="a model's residual units, and what it can be shortened to",
        description="""
            Lists the residual units of a model: where each is, what its removal would
            save, and why some must stay. Then says what the whole model costs, and
            what is left without every unit that may go: between the two lie the
            targets that `resprune prune` can meet. Nothing is written but a picture.
            """,
        examples=[
            (
                "the units, as a table and as a picture",
                "resprune inspect net.keras --picture units.svg",
            ),
            (
                "also, how much each unit matters on your images",
                "resprune inspect net.keras --scores --data images.npz",
            ),
        ],
    )
    parser.add_argument(
        "model", type=values.model_path, metavar="MODEL", help="a .keras file."
    )
    parser.add_argument(
        "--picture",
        metavar="FILE",
        help="draw the units to FILE: .svg, .png or .pdf.",
    )
    parser.add_argument(
        "--scores",
        action="store_true",
        help="score the units on --data, as `resprune scores` does.",
    )
    usage.add_expand_option(parser)
    usage.add_json_option(parser)
    usage.add_data_options(parser)
    usage.add_loss_options(parser)
    usage.add_trust_options(parser)


def check(args):
    """Raises WrongUse for arguments that do not go together."""
    if args.scores and args.data is None:
        raise WrongUse("--scores needs --data to score the units on.")
    if args.data is not None and not args.scores:
        raise WrongUse("--data belongs to --scores, which is missing.")
    if args.picture and not args.picture.endswith((".svg", ".png", ".pdf")):
        raise WrongUse(f"--picture '{args.picture}' must end in .svg, .png or .pdf.")
    usage.check_data(args)


def run(args):
    """Prints what there is to say; returns the exit code."""
    import resprune_tf as rp
    from resprune_cli.work import model_file, scoring
    from resprune_tf.system.progress import say

    model = model_file.open_layers(args, compile=args.scores)
    say("Finding residual units, and measuring the exported file ...")
    units = rp.find_units(model)
    told = {
        "file": str(args.model),
        "file_bytes": args.model.stat().st_size,
        "model": model.name,
        "exported_keras_bytes": _exported_bytes(model),
        "cost": _cost(model),
        "units": [_unit(unit) for unit in units],
        "opaque": [dataclasses.asdict(each) for each in units.opaque],
        "achievable": None,
    }
    lines = [str(units), "", _cost_told(told)]
    if any(unit.removable for unit in units):
        say("Counting what is left without the removable units ...")
        reach = _achievable(model)
        if reach is not None:
            told["achievable"] = reach.to_dict()
            lines += ["", str(reach).partition("\nUnits that cannot be removed")[0]]
    if args.scores:
        table, doubt = scoring.table(model, args)
        told["scores"] = {**table.to_dict(), "doubt": doubt}
        lines += ["", str(table), *filter(None, [doubt])]
    if args.picture:
        if not units:
            raise WrongUse(f"There is nothing to draw: {units}")
        try:
            rp.draw_units(model, path=args.picture)
        except OSError as error:
            raise WrongUse(
                f"Cannot write --picture '{args.picture}': {error.strerror}."
            ) from error
        lines += ["", f"Drawn: {args.picture}"]
    print(json.dumps(told, indent=1) if args.json else "\n".join(lines))
    return 0


def _unit(unit):
    """A unit's attributes in types that JSON has."""
    names = [f.name for f in dataclasses.fields(unit) if f.repr]
    return {
        **{name: getattr(unit, name) for name in names},
        "removable": unit.removable,
    }


def _cost(model):
    """What a model costs; None where that depends on sizes that are not known."""
    import resprune_tf as rp

    try:
        return dataclasses.asdict(rp.cost(model))
    except ValueError:
        return None


def _exported_bytes(model):
    """Bytes of the file that `resprune export` writes; None if it cannot."""
    from resprune_tf.targets.measures import file_bytes

    try:
        return file_bytes(model, "keras")
    except ValueError:  # such as of a layer that cannot be cloned
        return None


def _cost_told(told):
    if told["cost"] is None:
        return (
            "Layers and MACs depend on the size of the input, which is open here: say "
            "it by --input-shape, such as 224,224,3."
        )
    cost = told["cost"]
    text = (
        f"The whole model: {cost['layers']} layers on its longest path, "
        f"{cost['parameters']:,} parameters, {cost['macs']:,} MACs, "
        f"file_bytes {told['file_bytes']:,}"
    )
    if told["exported_keras_bytes"] is None:
        text += f".\n{usage.FILE_BYTES}"
    else:
        text += f", exported_keras_bytes {told['exported_keras_bytes']:,}."
        text += f"\n{usage.FILE_BYTES}\n{usage.EXPORTED_BYTES}"
    if cost["uncounted"]:
        text += (
            f"\nMACs leave out what cannot be counted: {', '.join(cost['uncounted'])}."
        )
    return text


def _achievable(model):
    from resprune_tf.targets.solving import achievable

    try:
        return achievable(model)
    except ValueError:  # sizes are unknown
        return None
