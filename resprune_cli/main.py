"""`resprune COMMAND ...`: reads arguments, runs a command, ends with an exit code."""

import argparse
import importlib
import importlib.metadata
import os
import pathlib
import shlex
import sys
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
from resprune_cli.options.registries import registry
from resprune_cli.options.usage import Failed, WrongUse, as_options
from resprune_cli.start import OUT_OF_TIME, Stopped, start

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
    "or the exported model does not match.",
    2: "wrong use: an argument, a file or data that do not fit.",
    OUT_OF_TIME: "stopped by --minutes; the same command continues.",
    "128 + N": "stopped by signal N (130: Ctrl-C); the same command continues.",
}


def make_parser():
    """The parser of the whole command line, an `argparse.ArgumentParser`."""
    codes = "".join(f"\n  {code:<7}  {text}" for code, text in EXIT_CODES.items())
    parser = argparse.ArgumentParser(
        prog="resprune",
        usage="resprune COMMAND ... (resprune COMMAND --help explains a command)",
        description="Prunes the depth of residual networks in Keras: removes whole "
        "residual units,\nretrains what is left, and exports files to deploy. For a "
        "model saved as .keras\nor .h5; no Python needed.",
        epilog="a first session:\n"
        "  resprune inspect net.keras\n"
        "  resprune prune net.keras --data images.npz --target macs=0.7 "
        "--tolerance 0.01 --out short\n"
        "  resprune compare net.keras short/pruned.keras --data images.npz\n"
        "  resprune export short/pruned.keras --formats litert --out deploy\n"
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
        argv: list of str, without the program's name; by default the process's.

    Returns:
        The exit code; see `EXIT_CODES`. Arguments that argparse refuses raise its
        SystemExit, of code 2.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        make_parser().print_help()
        return 0
    args = make_parser().parse_args(argv)
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
        if full := _full_disk(args, error):
            return _end(args, 1, full)
        return _end(args, 1 if isinstance(error, Failed) else 2, error)
    except Stopped as stopped:
        print(f"\n{stopped} The same command continues.", flush=True)
        return stopped.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has read enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for Python's last flush
        # Some commands have nothing more to do than to print; others were cut short.
        return 0 if args.command in _PRINTERS else 128 + 13
    except Exception as error:
        if full := _full_disk(args, error):
            return _end(args, 1, full)
        name = type(error).__name__
        hint = "" if args.debug else " --debug shows where."
        return _end(args, 1, f"{name}: {error}{hint}")


def _check_out(args):
    """Raises WrongUse if what is asked for could not be written, before any work."""
    from resprune_tf.system.disk import folder_problem

    if "out" in args and (problem := folder_problem(args.out)):
        raise WrongUse(
            f"Cannot write --out '{args.out}': {problem}. Choose a folder that you may "
            "write to."
        )


def _full_disk(args, error):
    """What to say of an error that a full disk caused; None for any other."""
    if (
        "resprune_tf" not in sys.modules
    ):  # an argument is wrong, and nothing was written
        return None
    from resprune_tf.system.disk import full_disk

    return full_disk(error, getattr(args, "out", None))


def _end(args, code, error):
    if args.debug:
        traceback.print_exc()
    print(f"resprune {args.command}: error: {as_options(error)}", file=sys.stderr)
    return code


def _import(names):
    """Imports the modules that the user named, and makes their classes known."""
    folder = str(pathlib.Path.cwd())
    if names and folder not in sys.path:
        sys.path.insert(0, folder)
    for name in names:
        print(f"Importing {name}, whose code runs.", file=sys.stderr)
        try:
            module = importlib.import_module(name)
        except Exception as error:
            raise WrongUse(
                f"--import {name} failed: {type(error).__name__}: {error}"
            ) from error
        _register(module)


def _register(module):
    """Has Keras find the classes and functions of a module by their names.

    As `register_keras_serializable` would do: Keras imports no module by itself.
    """
    import keras

    known = keras.saving.get_custom_objects()
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) == module.__name__ and callable(value):
            known.setdefault(name, value)
