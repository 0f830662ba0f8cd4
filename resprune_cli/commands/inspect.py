"""`resprune inspect`: the residual units of a model, and how far it can be pruned."""

import contextlib
import dataclasses
import json

from resprune_cli.options import data_options, usage
from resprune_cli.options.usage import WrongUse


def add_parser(commands):
    """Adds the command to the command line."""
    parser = usage.add_command(
        commands,
        "inspect",
        run,
        check,
        usage="MODEL [--picture FILE] [--scores --data DATA] [options]",
        help="residual units of a model, and how far it can be pruned",
        description="""
            Lists the residual units of a model, the cost that the removal of each unit
            saves, and the reasons why units cannot be removed. Then prints the cost of
            the whole model and the cost without all removable units. `resprune prune`
            can meet targets between the two. Only --picture writes a file.
            """,
        examples=[
            (
                "the units as a table and as a picture",
                "resprune inspect model.keras --picture units.svg",
            ),
            (
                "the units and their scores on your images",
                "resprune inspect model.keras --scores --data images.npz",
            ),
        ],
    )
    usage.add_model(parser)
    parser.add_argument(
        "--picture",
        metavar="FILE",
        help="draw the units to FILE, an .svg, .png or .pdf file.",
    )
    parser.add_argument(
        "--scores",
        action="store_true",
        help="score the units on --data, as `resprune scores` does.",
    )
    usage.add_expand_option(parser)
    usage.add_json_option(parser)
    data_options.add_data_options(parser)
    usage.add_loss_options(parser)
    usage.add_trust_options(parser)


def check(args):
    """Raises WrongUse for arguments that contradict each other."""
    if args.scores and args.data is None:
        raise WrongUse("--scores needs --data: units are scored on examples.")
    if args.data is not None and not args.scores:
        raise WrongUse("--data needs --scores, which is missing.")
    if args.picture and not args.picture.endswith((".svg", ".png", ".pdf")):
        raise WrongUse(f"--picture '{args.picture}' must end in .svg, .png or .pdf.")
    data_options.check_data(args)


def run(args):
    """Prints units, cost and scores; returns the exit code."""
    import resprune_tf as rp
    from resprune_cli.work import model_file, scoring
    from resprune_tf.system.progress import say
    from resprune_tf.targets.measures import file_bytes
    from resprune_tf.targets.solving import achievable

    model = model_file.load_expanded(args, compile=args.scores)
    say("Finding residual units and measuring the exported file ...")
    units = rp.find_units(model)
    cost = _if_known(rp.cost, model)
    result = {
        "file": str(args.model),
        "file_bytes": args.model.stat().st_size,
        "model": model.name,
        "exported_keras_bytes": _if_known(file_bytes, model, "keras"),
        "cost": None if cost is None else dataclasses.asdict(cost),
        "units": [_unit(unit) for unit in units],
        "opaque": [dataclasses.asdict(each) for each in units.opaque],
        "possible_merges": [dataclasses.asdict(e) for e in units.possible_merges],
        "achievable": None,
    }
    lines = [str(units), "", _cost_text(result)]
    if any(unit.removable for unit in units):
        say("Measuring the model without the removable units ...")
        reach = _if_known(achievable, model)
        if reach is not None:
            result["achievable"] = reach.to_dict()
            lines += ["", str(reach).partition("\nUnits that cannot be removed")[0]]
    if args.scores:
        table, doubt = scoring.table(model, args)
        result["scores"] = {**table.to_dict(), "doubt": doubt}
        lines += ["", str(table)]
    if args.picture:
        if not units:
            raise WrongUse(f"There is nothing to draw: {units}")
        say("Drawing the units ...")
        try:
            rp.draw_units(model, path=args.picture)
        except OSError as error:
            raise WrongUse(
                f"Cannot write --picture '{args.picture}': {error.strerror}."
            ) from error
        lines += ["", f"Drawn: {args.picture}"]
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines))
    return 0


def _unit(unit):
    """The attributes of a unit as JSON values."""
    names = [f.name for f in dataclasses.fields(unit) if f.repr]
    return {
        **{name: getattr(unit, name) for name in names},
        "removable": unit.removable,
    }


def _if_known(measure, *args):
    """What `measure` returns; None if open input sizes or a layer prevent it."""
    with contextlib.suppress(ValueError):
        return measure(*args)


def _cost_text(result):
    if result["cost"] is None:
        return (
            "Layers and MACs depend on the size of the input, which is open in this "
            "model. Give it by --input-shape, such as 224,224,3."
        )
    cost = result["cost"]
    text = (
        f"The whole model: {cost['layers']} layers on the longest path, "
        f"{cost['parameters']:,} parameters, {cost['macs']:,} MACs, "
        f"file_bytes {result['file_bytes']:,}"
    )
    if result["exported_keras_bytes"] is None:
        text += f".\n{usage.FILE_BYTES}"
    else:
        text += f", exported_keras_bytes {result['exported_keras_bytes']:,}."
        text += f"\n{usage.FILE_BYTES}\n{usage.EXPORTED_BYTES}"
    if cost["uncounted"]:
        text += (
            "\nThe MACs of these layers are unknown and not included: "
            f"{', '.join(cost['uncounted'])}."
        )
    return text
