"""Entry point of `resprune COMMAND ...`: parses arguments and runs a command."""

import argparse
import difflib
import importlib
import importlib.metadata
import os
import pathlib
import re
import shlex
import sys
import textwrap
import traceback

from resprune_cli.commands import (
    benchmark,
    compare,
    export,
    inspect,
    prune,
    report,
    scores,
)
from resprune_cli.options import values
from resprune_cli.options.registries import registry
from resprune_cli.options.usage import Failed, ProgramFailed, WrongUse, as_options
from resprune_cli.start import OUT_OF_TIME, Stopped, start

# A second copy of the module, which reports before the library is imported.
PROGRESS = registry("system.progress")
COMMANDS = (
    inspect,
    scores,
    prune,
    report,
    compare,
    benchmark,
    export,
)
_PRINTERS = ("inspect", "scores", "compare", "benchmark", "report")
EXIT_CODES = {
    0: "done.",
    1: "failed: the target is unreachable, accuracy fell by more than the tolerance, "
    "the exported model does not match, or the --latency-command failed.",
    2: "wrong use: an argument, a file or the data are unsuitable.",
    OUT_OF_TIME: "stopped by --minutes; the same command continues the run.",
    "128 + N": "stopped by signal N (130: Ctrl-C); the same command continues the run.",
}


def make_parser():
    """Makes the `argparse.ArgumentParser` of all commands."""
    codes = "".join(f"\n  {code:<7}  {text}" for code, text in EXIT_CODES.items())
    parser = argparse.ArgumentParser(
        prog="resprune",
        usage="resprune COMMAND ... (resprune COMMAND --help describes a command)",
        description="Depth pruning of residual networks in Keras: removes whole "
        "residual units, retrains\nthe remaining model, and exports files for "
        "deployment. No Python code is needed.\n"
        + textwrap.fill(f"A model is {values.MODEL_FILE}.", 80),
        epilog="a first session:\n"
        "  resprune inspect model.keras\n"
        "  resprune prune model.keras --data images.npz --target macs=0.7 "
        "--tolerance 0.01 --out small\n"
        "  resprune compare model.keras small/pruned.keras --data images.npz\n"
        "  resprune export small/pruned.keras --formats litert --out deploy\n"
        f"\nexit codes:{codes}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(
        title="commands",
        metavar="COMMAND",
        dest="command",
        required=True,
        prog="resprune",
    )
    for module in COMMANDS:
        module.add_parser(commands)
    parser.add_argument(
        "--version",
        action="version",
        version=f"resprune {importlib.metadata.version('resprune_tf')}",
    )
    return parser


def main(argv=None):
    """Runs the command line.

    Args:
        argv: list of str without the name of the program; defaults to the arguments
            of the process.

    Returns:
        The exit code; see `EXIT_CODES`.

    Raises:
        SystemExit: with code 2, if argparse refuses the arguments.
    """
    argv = sys.argv[1:] if argv is None else argv
    if hasattr(sys.stdout, "reconfigure"):  # the encoding may lack ω, for example
        sys.stdout.reconfigure(errors="backslashreplace")
    if not argv:
        make_parser().print_help()
        return 0
    args, unknown = make_parser().parse_known_args(argv)
    if unknown:
        args.parser.error(_on_unknown(unknown, args.parser))
    args.command_line = shlex.join(["resprune", *argv]) + "\n"  # for the records
    try:
        args.check(args)
        reporter = PROGRESS.Reporter()
        reporter.say("Starting Keras ...")
        start()
        _check_out(args)
        _import(args.imports)
        from resprune_tf.system.advice import for_commands
        from resprune_tf.system.progress import shown

        with for_commands(), shown(reporter):
            return args.run(args) or 0
    except (WrongUse, Failed) as error:
        # A program's output may state that another disk is full, such as a phone's.
        if not isinstance(error, ProgramFailed) and (full := _full_disk(args, error)):
            return _end(args, 1, full)
        return _end(args, 1 if isinstance(error, Failed) else 2, error)
    except Stopped as stopped:
        print(f"\n{stopped} The same command continues the run.", flush=True)
        return stopped.code
    except KeyboardInterrupt:
        print("Stopped by Ctrl-C.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # such as `| head`, which reads some lines only
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - flushed when Python exits
        # Commands that only print are done; others were interrupted.
        return 0 if args.command in _PRINTERS else 128 + 13  # SIGPIPE
    except Exception as error:
        if full := _full_disk(args, error):
            return _end(args, 1, full)
        name = type(error).__name__
        hint = "" if args.debug else " --debug shows the traceback."
        return _end(args, 1, f"{name}: {error}{hint}")


def _on_unknown(arguments, parser):
    """The message on arguments that a command does not have."""
    text = f"unrecognized arguments: {' '.join(arguments)}."
    options = re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", parser.format_help())
    for argument in arguments:
        name = argument.partition("=")[0]
        if close := difflib.get_close_matches(name, options, 1):
            text += f" Did you mean {close[0]} instead of {name}?"
    return text


def _check_out(args):
    """Raises WrongUse if the output folder cannot be written, before any work."""
    from resprune_tf.system.disk import folder_problem

    if "out" in args and (problem := folder_problem(args.out)):
        raise WrongUse(
            f"Cannot write --out '{args.out}': {problem}. Choose a folder that you may "
            "write to."
        )


def _full_disk(args, error):
    """The message for an error that a full disk caused; None for any other error."""
    if "resprune_tf" not in sys.modules:  # an argument is wrong; nothing was written
        return None
    from resprune_tf.system.disk import full_disk

    return full_disk(error, getattr(args, "out", None))


def _end(args, code, error):
    if args.debug:
        traceback.print_exc()
    print(f"resprune {args.command}: error: {as_options(error)}", file=sys.stderr)
    return code


def _import(names):
    """Imports the modules of `--import`, and registers their classes with Keras."""
    folder = str(pathlib.Path.cwd())
    if names and folder not in sys.path:
        sys.path.insert(0, folder)
    for name in names:
        print(f"Importing {name}. Its code runs.", file=sys.stderr)
        try:
            module = importlib.import_module(name)
        except Exception as error:
            raise WrongUse(
                f"--import {name} failed: {type(error).__name__}: {error}"
            ) from error
        _register(module)


def _register(module):
    """Registers the classes and functions of a module with Keras, by their names.

    They then need no decorator `register_keras_serializable`.
    """
    import keras

    known = keras.saving.get_custom_objects()
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) == module.__name__ and callable(value):
            known.setdefault(name, value)
