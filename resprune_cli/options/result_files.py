"""Protects files that exist from being overwritten by the results of a command.

This module does not import the library.
"""

import contextlib
import hashlib
import io
import json
import pathlib
import shlex

from resprune_cli.options.usage import WrongUse

# Files that `prune` writes. With retraining, they are in the run directory.
PRUNED, SUMMARY, RUN = "pruned.keras", "summary.json", "run.json"
ROUNDS, REPORT, FLAGS = "rounds.jsonl", "report.html", "flags.txt"
_LONGEST = 100_000  # characters of a command line; longer ones are not compared


def check_inputs_kept(inputs, written):
    """Raises WrongUse if a command would overwrite its own input.

    Args:
        inputs: paths of existing files or folders that the command reads.
        written: paths of files and folders that it writes, which may exist.
    """
    for given in map(pathlib.Path, inputs):
        for place in map(pathlib.Path, written):
            if not place.exists():
                continue
            if given.samefile(place) or given.resolve().is_relative_to(place.resolve()):
                raise WrongUse(
                    f"'{given}' would be lost, because the result is written to "
                    f"'{place}'. Choose another --out."
                )


def check_pruned_out(args):
    """Raises WrongUse if `prune` would overwrite a file that another command wrote.

    The same command may be repeated and overwrites its result. With retraining it may
    also be repeated with another tolerance.
    """
    out, retrains = args.out, args.epochs > 0
    results = [out / PRUNED, out / SUMMARY, out / REPORT]
    written = list(results)
    if retrains:
        written += [out / "state.npz", *out.glob("models/round-*.keras")]
        written += [out / "models" / "initial.keras"]
    data = [args.data] if args.data and pathlib.Path(args.data).exists() else []
    check_inputs_kept([args.model, *data], written)
    run = (out / RUN).exists()
    if run and not retrains:
        raise WrongUse(
            f"--out '{out}' contains a run with retraining, whose result would be "
            "lost. Choose another folder."
        )
    if run:
        _check_same_options(args)
    if not any(path.exists() for path in results):
        return
    summary = _read_summary(out / SUMMARY)
    same = summary.get("command") == recorded_command(args)
    # The run directory itself refuses a run with other settings.
    ours = same or (retrains and run)
    if (out / PRUNED).exists():
        ours = ours and summary.get("sha256") == sha256(out / PRUNED)
    if not ours:
        raise WrongUse(
            f"--out '{out}' contains the result of another command. Choose another "
            "--out."
        )


# Options that are settings of a run. The run itself checks all its settings, but only
# after the model and the data have been read and the model has been measured.
_SETTINGS = (
    "epochs",
    "initial_epochs",
    "units_per_round",
    "criterion",
    "optimizer",
    "learning_rate",
    "schedule",
    "precision",
    "batch_size",
    "monitor",
    "seed",
)


def _check_same_options(args):
    """Raises WrongUse if the run in `out` was begun with another value of an option."""
    begun = _begun_with(args)
    for name in _SETTINGS:
        there, here = getattr(begun, name, None), getattr(args, name)
        # A default may depend on the model, and then equal what is given here.
        if there in (None, "auto") or here in (None, "auto") or there == here:
            continue
        option = f"--{name.replace('_', '-')}"
        raise WrongUse(
            f"--out '{args.out}' contains a run with {option} {there}. Received: "
            f"{option} {here}. Choose another --out, or repeat the options of that run "
            "to continue it."
        )


def _begun_with(args):
    """The arguments that began the run in `out`; None if they cannot be read."""
    try:
        with open(args.out / FLAGS, encoding="utf-8") as file:
            words = shlex.split(file.read(_LONGEST))
        with contextlib.redirect_stderr(io.StringIO()):
            return args.parser.parse_known_args(words[2:])[0]  # after "resprune prune"
    except (OSError, ValueError, SystemExit):
        return None


def recorded_command(args):
    """The command line without the options that only change what is printed."""
    words = shlex.split(args.command_line)
    return shlex.join(word for word in words if word not in ("--json", "--debug"))


def sha256(path):
    """The SHA-256 checksum of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_summary(path):
    """The summary of an earlier command; an empty dict if it cannot be read."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}
