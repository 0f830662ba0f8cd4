"""`resprune benchmark`: latency of one model, and accuracy of its exported file."""

import json

from resprune_cli.options import data_options, usage, values
from resprune_cli.options.registries import registry
from resprune_cli.options.usage import WrongUse


def add_parser(commands):
    """Adds the command to the command line."""
    parser = usage.add_command(
        commands,
        "benchmark",
        run,
        check,
        usage="MODEL [--runtime NAME] [--data DATA] [options]",
        help="latency of one model on a runtime, and accuracy of its exported file",
        description="""
            Times a model on this machine's processor, and prints the spread of the
            times and how busy the machine was. A Keras model is first exported for the
            runtime, with BatchNormalization folded. A file that `resprune export` wrote
            is timed directly. With --data, the accuracy of the exported file, not of
            the Keras model, is measured on held-out examples.
            """,
        examples=[
            (
                "latency in 8 bits, and accuracy of the 8-bit file",
                "resprune benchmark model.keras --runtime litert_int8 "
                "--data images.npz",
            ),
            (
                "an exported file",
                "resprune benchmark deploy/model.tflite --data images.npz",
            ),
        ],
    )
    parser.add_argument(
        "model",
        type=values.model_or_export,
        metavar="MODEL",
        help=f"{values.MODEL_FILE}; or an output of `resprune export`: a .tflite or "
        ".onnx file, or the folder of a SavedModel.",
    )
    usage.add_runtime_option(
        parser,
        help="runtime (default: tensorflow for a Keras model, otherwise the runtime "
        "of the file).",
    )
    usage.add_latency_options(parser)
    parser.add_argument(
        "--runs",
        metavar="N",
        type=values.count,
        default=50,
        help="timed calls per repeat (default 50).",
    )
    parser.add_argument(
        "--repeats",
        metavar="N",
        type=values.count,
        default=3,
        help="repeats, each in a new process (default 3).",
    )
    usage.add_json_option(parser)
    data_options.add_data_options(parser)
    usage.add_loss_options(parser)
    usage.add_trust_options(parser)


def check(args):
    """Raises WrongUse for arguments that contradict each other."""
    data_options.check_data(args)
    known = registry("deploy.registry")
    own = known.runtime_of(args.model)
    args.runtime = args.runtime or own or "tensorflow"
    if own and _program(args.runtime) != _program(own):
        raise WrongUse(
            f"--runtime {args.runtime} cannot run '{args.model}'. Leave --runtime "
            f"out: the runtime of this file is {own}."
        )
    if own and args.input_shape:
        raise WrongUse(
            f"--input-shape is for Keras models. The input sizes of '{args.model}' are "
            "fixed. Leave --input-shape out."
        )


def _program(runtime):
    """The program behind a runtime; the runtimes of LiteRT share one."""
    known = registry("deploy.registry")
    return known.FORMATS[known.RUNTIME_FORMATS[runtime]].runtime


def run(args):
    """Prints the measurements; returns the exit code."""
    from resprune_cli.work import benchmarking

    result = benchmarking.benchmark(args)
    print(json.dumps(result, indent=1) if args.json else benchmarking.table(result))
    return 0
