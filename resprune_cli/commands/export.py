"""`resprune export`: files to deploy."""

import dataclasses
import json
import pathlib

from resprune_cli.options import result_files, usage, values
from resprune_cli.options.registries import registry
from resprune_cli.options.usage import Failed, WrongUse
from resprune_cli.start import quiet

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
        help="files to deploy: SavedModel, LiteRT, ONNX",
        description="""
            Writes a model in formats that run without this package. Each file is
            loaded by a fresh process that has its runtime alone and compared with the
            model, before it is put in place; a file that computes something else is
            not written. BatchNormalization and importances are folded into the layers
            before them. With --beside, the model that it was shortened from is
            exported, too, to DIR/unpruned, and sizes and latencies of both are told.
            """,
        examples=[
            (
                "for phones, in float32",
                "resprune export short/pruned.keras --formats litert --out deploy",
            ),
            (
                "in 8 bits, beside the model it came from",
                "resprune export short/pruned.keras --formats litert_int8,onnx "
                "--data images.npz --beside net.keras --out deploy",
            ),
        ],
    )
    parser.add_argument(
        "model", type=values.model_path, metavar="MODEL", help="a .keras file."
    )
    parser.add_argument(
        "--formats",
        metavar="NAMES",
        type=values.formats,
        required=True,
        help=f"some of {', '.join(usage.FORMATS)}, with commas between them. "
        f"{' and '.join(registry('deploy.registry').CALIBRATED)} needs --data, on "
        f"which the ranges of activations are measured. Other names: {_ALIASES}.",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=values.folder,
        required=True,
        help="folder for the files; made if missing.",
    )
    parser.add_argument(
        "--beside",
        metavar="FILE",
        type=values.model_path,
        help="the .keras file of the model before pruning.",
    )
    parser.add_argument(
        "--tolerance",
        metavar="SHARE",
        type=values.positive,
        help="largest difference of an output, as a share of the largest output or of "
        "1 (default 1e-5; 0.01 for float16, 0.2 for int8).",
    )
    parser.add_argument(
        "--threads",
        metavar="N",
        type=values.count,
        default=1,
        help="processor threads of the runtimes, with --beside (default 1).",
    )
    usage.add_json_option(parser)
    usage.add_data_options(parser)
    usage.add_trust_options(parser)


def check(args):
    """Raises WrongUse for arguments that do not go together."""
    usage.check_data(args)
    usage.check_names(args.formats, usage.FORMATS, "format")
    calibrated = set(registry("deploy.registry").CALIBRATED).intersection(args.formats)
    if calibrated and args.data is None:
        raise WrongUse(
            f"{sorted(calibrated)[0]} measures the ranges of activations on real "
            "examples: give --data."
        )
    inputs = [path for path in (args.model, args.beside) if path is not None]
    if args.data is not None and pathlib.Path(args.data).exists():
        inputs.append(args.data)
    places = [args.out] + [args.out / "unpruned"] * (args.beside is not None)
    known = registry("deploy.registry").FORMATS
    result_files.check_kept(
        inputs,
        [place / known[each].file for place in places for each in args.formats],
    )


def run(args):
    """Exports and prints what was written; returns the exit code."""
    import resprune_tf as rp
    from resprune_cli.work import data_source, model_file
    from resprune_tf.deploy.fresh_process import RuntimeFailed

    model = model_file.load(args.model, args)
    options = {"formats": args.formats, "tolerance": args.tolerance}
    if args.data is not None:
        data = data_source.read(args, model)
        options["calibration"] = data.splits["train"][0][:500]
        options["images"] = data.splits[data.held_out][0][:64]
        if len(options["images"]) < 4:
            del options["images"]
    try:
        if args.beside is None:
            with quiet():
                made = rp.export(model, args.out, **options)
            told = {"files": [_file(each) for each in made]}
            text = _table(told["files"])
        else:
            unpruned = model_file.load(args.beside, args)
            with quiet():
                beside = rp.export_pair(
                    model, unpruned, args.out, threads=args.threads, **options
                )
            told = _beside(beside)
            text = f"{_table(told['files'])}\n\nBeside the unpruned model:\n{beside}"
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
    print(json.dumps(told, indent=1) if args.json else text)
    return 0


def _file(exported):
    return {**dataclasses.asdict(exported), "path": str(exported.path)}


def _beside(beside):
    """What both models come to, as JSON values."""
    return {
        "files": [_file(row.model) for row in beside.formats],
        "unpruned": [_file(row.unpruned) for row in beside.formats],
        "macs_ratio": beside.macs_ratio,
        "ratios": [
            {
                "format": row.format,
                "bytes": row.bytes_ratio,
                "latency": {batch: row.latency_ratio(batch) for batch in row.latencies},
            }
            for row in beside.formats
        ],
    }


def _table(files):
    from resprune_tf.units.table import aligned

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
    head = ("written", "bytes", "outputs differ by", "same class")
    return "\n".join(aligned(head, *rows))
