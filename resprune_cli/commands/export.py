"""`resprune export`: writes files for deployment."""

import dataclasses
import json
import pathlib

from resprune_cli.options import data_options, result_files, usage, values
from resprune_cli.options.registries import registry
from resprune_cli.options.usage import Failed, WrongUse
from resprune_cli.start import quiet

_COMPARED = 64  # examples on which the outputs of files and model are compared
_JUDGED = 1000  # examples on which a classifier is compared with guessing
_ALIASES = ", ".join(
    f"{alias} for {name}" for alias, name in registry("deploy.registry").ALIASES.items()
)


def add_parser(commands):
    """Adds the command to the command line."""
    parser = usage.add_command(
        commands,
        "export",
        run,
        check,
        usage="MODEL --formats NAMES --out DIR [--data DATA] [--beside FILE] [options]",
        help="files for deployment: SavedModel, LiteRT, ONNX",
        description="""
            Writes a model in formats that run without this package. Each file is
            loaded in a new process that has only its runtime, and its outputs are
            compared with those of the model. If the outputs of one file differ by more
            than --tolerance, no file is written. BatchNormalization and factors ω are
            folded into the layers before them. With --beside, the unpruned model is
            also exported, to DIR/unpruned, and the sizes and latencies of both models
            are printed.
            """,
        examples=[
            (
                "for phones in float32",
                "resprune export small/pruned.keras --formats litert --out deploy",
            ),
            (
                "in 8 bits, compared with the unpruned model",
                "resprune export small/pruned.keras --formats litert_int8,onnx "
                "--data images.npz --beside model.keras --out deploy",
            ),
        ],
    )
    usage.add_model(parser)
    parser.add_argument(
        "--formats",
        metavar="NAMES",
        type=values.formats,
        required=True,
        help=f"one or more of {', '.join(usage.FORMATS)}, separated by commas. "
        f"{' and '.join(registry('deploy.registry').CALIBRATED)} needs --data to "
        f"calibrate the ranges of activations. Aliases: {_ALIASES}.",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=values.folder,
        required=True,
        help="folder for the files; it is created if missing.",
    )
    parser.add_argument(
        "--beside",
        metavar="FILE",
        type=values.model_path,
        help=f"the model before pruning: {values.MODEL_FILE}.",
    )
    parser.add_argument(
        "--tolerance",
        metavar="SHARE",
        type=values.positive,
        help="largest accepted difference of an output, relative to the largest output "
        "or to 1 (default 1e-5; 0.01 for float16, 0.2 for int8).",
    )
    parser.add_argument(
        "--threads",
        metavar="N",
        type=values.count,
        default=1,
        help="processor threads for the latencies with --beside (default 1).",
    )
    usage.add_json_option(parser)
    data_options.add_data_options(parser)
    usage.add_trust_options(parser)


def check(args):
    """Raises WrongUse for arguments that contradict each other."""
    data_options.check_data(args, labels=False)
    usage.check_names(args.formats, usage.FORMATS, "format")
    calibrated = set(registry("deploy.registry").CALIBRATED).intersection(args.formats)
    if calibrated and args.data is None:
        raise WrongUse(
            f"{sorted(calibrated)[0]} calibrates the ranges of activations on real "
            "examples. Give --data."
        )
    inputs = [path for path in (args.model, args.beside) if path is not None]
    if args.data is not None and pathlib.Path(args.data).exists():
        inputs.append(args.data)
    places = [args.out] + [args.out / "unpruned"] * (args.beside is not None)
    known = registry("deploy.registry").FORMATS
    result_files.check_inputs_kept(
        inputs,
        [place / known[each].file for place in places for each in args.formats],
    )


def run(args):
    """Exports the model and prints the files; returns the exit code."""
    import resprune_tf as rp
    from resprune_cli.work import data_source, deployed, measuring, model_file
    from resprune_tf.deploy.fresh_process import RuntimeFailed

    model = model_file.load(args.model, args)
    options = {"formats": args.formats, "tolerance": args.tolerance}
    if args.data is not None:
        data = data_source.read(args, model)
        options["calibration"] = deployed.calibration_images(data, args)
        held_out = data.splits[data.held_out]
        options["images"], _ = data_source.sample(*held_out, _COMPARED, args.seed)
        # Ranges calibrated on inputs of the wrong scale give a useless file.
        measuring.check_classifier(
            model, *data_source.sample(*held_out, _JUDGED, args.seed), args
        )
        if len(options["images"]) < 4:  # too few to compare on
            del options["images"]
    try:
        if args.beside is None:
            with quiet():
                made = rp.export(model, args.out, **options)
            result = {"files": [_file(each) for each in made]}
            text = _table(result["files"], options)
        else:
            unpruned = model_file.load(args.beside, args)
            with quiet():
                pair = rp.export_pair(
                    model, unpruned, args.out, threads=args.threads, **options
                )
            result = _pair(pair)
            files = _table(result["files"], options)
            text = f"{files}\n\nCompared with the unpruned model:\n{pair}"
    except (TypeError, ValueError, ImportError) as error:
        raise WrongUse(str(error)) from error
    except (rp.ExportError, RuntimeFailed) as error:
        raise Failed(str(error)) from error
    except rp.DiskFullError:
        raise
    except OSError as error:
        raise WrongUse(
            f"Cannot write --out '{args.out}': {error.strerror or error}."
        ) from error
    print(json.dumps(result, indent=1) if args.json else text)
    return 0


def _file(exported):
    return {**dataclasses.asdict(exported), "path": str(exported.path)}


def _pair(pair):
    """Files, sizes and latencies of both models as JSON values."""
    return {
        "files": [_file(row.model) for row in pair.formats],
        "unpruned": [_file(row.unpruned) for row in pair.formats],
        "macs_ratio": pair.macs_ratio,
        "ratios": [
            {
                "format": row.format,
                "bytes": row.bytes_ratio,
                "latency": {batch: row.latency_ratio(batch) for batch in row.latencies},
            }
            for row in pair.formats
        ],
    }


def _table(files, options):
    from resprune_tf.units.table import aligned

    same = "same class"
    if "images" in options:
        same += f" (n = {len(options['images'])})"
    agreements = [file["agreement"] for file in files]
    rows = [
        (
            file["path"],
            f"{file['bytes']:,}",
            f"{file['max_abs_difference']:.1e}",
            "-" if agreement is None else f"{agreement:.1%}",
        )
        for file, agreement in zip(files, agreements, strict=True)
    ]
    head = ("written", "bytes", "outputs differ by", same)
    return "\n".join(aligned(head, *rows))
