"""The files that commands write, and whose they are already. Pure Python."""

import hashlib
import json
import pathlib
import shlex

from resprune_cli.options.usage import WrongUse

# Of `prune`; with retraining, beside the files of a run directory.
PRUNED, SUMMARY, RUN = "pruned.keras", "summary.json", "run.json"
REPORT = "report.html"


def check_kept(inputs, written):
    """Raises WrongUse if what a command reads would be lost by what it writes.

    Args:
        inputs: paths of files or folders that exist.
        written: paths of files and folders that it replaces, those there or not.
    """
    for given in map(pathlib.Path, inputs):
        for place in map(pathlib.Path, written):
            if not place.exists():
                continue
            if given.samefile(place) or given.resolve().is_relative_to(place.resolve()):
                raise WrongUse(
                    f"'{given}' would be lost: the result is written to '{place}'. "
                    "Choose another --out."
                )


def check_pruned_out(args):
    """Raises WrongUse if `prune` would take away a file that it did not write.

    A command may be repeated, and one with retraining be given another tolerance;
    what another one wrote stays, lest it be lost or be taken for the result.
    """
    out, retrains = args.out, args.epochs > 0
    results = [out / PRUNED, out / SUMMARY, out / REPORT]
    written = list(results)
    if retrains:
        written += [out / "state.npz", *out.glob("models/round-*.keras")]
        written += [out / "models" / "initial.keras"]
    data = [args.data] if args.data and pathlib.Path(args.data).exists() else []
    check_kept([args.model, *data], written)
    run = (out / RUN).exists()
    if run and not retrains:
        raise WrongUse(
            f"--out '{out}' holds a run with retraining, whose result would be lost. "
            "Choose another folder."
        )
    if not any(path.exists() for path in results):
        return
    told = _summary(out / SUMMARY)
    # Whether a run's settings are these is for the run directory to say.
    same = told.get("command") == told_command(args)
    ours = same or (retrains and run)
    if (out / PRUNED).exists():
        ours = ours and told.get("sha256") == sha256(out / PRUNED)
    if not ours:
        raise WrongUse(
            f"--out '{out}' holds the result of another command. Choose another --out."
        )


def told_command(args):
    """The command line, without what changes only what is printed."""
    words = shlex.split(args.command_line)
    return shlex.join(word for word in words if word not in ("--json", "--debug"))


def sha256(path):
    """Checksum of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _summary(path):
    """What an earlier command told; an empty dict if it is none."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
