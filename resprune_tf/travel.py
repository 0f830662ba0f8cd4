"""What a run needs to go on elsewhere, in one file."""

import os
import pathlib
import tarfile
import tempfile

from resprune_tf import checkpoint
from resprune_tf.disk import writing
from resprune_tf.guard import held
from resprune_tf.records import (
    TEACHER,
    RunDirectory,
    RunDirectoryError,
    atomic_file,
    read_json,
    read_lines,
)

_RECORDS = (
    "run.json",
    "flags.txt",
    "environment.json",
    "sessions.jsonl",
    "history.jsonl",
    "state.npz",
    "diverged.json",
    "rounds.jsonl",
    "final.json",
)


def pack(run_dir, path):
    """Writes a run's records, its state and its `needed_models` into one file.

    Args:
        run_dir: a run directory that no process works in.
        path: of the `.tar` file, replaced as a whole. For the paper's ResNet-56 it
            stays below 16 MiB.

    Returns:
        Size of the file in bytes.
    """
    run_dir = pathlib.Path(run_dir)
    names = [*_RECORDS, *needed_models(run_dir)]
    with atomic_file(path) as temporary:
        with tarfile.open(temporary, "w") as archive:
            for name in names:
                if (run_dir / name).exists():
                    archive.add(run_dir / name, arcname=name)
    return pathlib.Path(path).stat().st_size


def needed_models(run_dir):
    """Names of the models without which a run cannot go on or be concluded.

    The net as it was given until its first training is done; then the first round's
    (a teacher, perhaps), the last round's, and every one that may turn out to be the
    smallest that held what the first measured: the last such one. And the teacher from
    elsewhere, if there is one.
    """
    run_dir = pathlib.Path(run_dir)
    teacher = [TEACHER] if (run_dir / TEACHER).exists() else []
    rounds = read_lines(run_dir / "rounds.jsonl")
    if not rounds:
        return ["models/initial.keras", *teacher]
    settings = read_json(run_dir / "run.json")
    watched = f"{settings['select_on']}_{settings.get('monitor', 'accuracy')}"
    first, rule = rounds[0][watched], (settings["tolerance"], settings.get("mode"))
    smallest = [line for line in rounds if held(first, line[watched], *rule)][-1]
    kept = (rounds[0], smallest, rounds[-1])
    return sorted({line["model"] for line in kept}) + teacher


def unpack(path, run_dir):
    """Brings a run directory to where a packed run stands, if that is further.

    Args:
        path: of a file that `pack` made.
        run_dir: folder of the run; it may be new, or hold the same run.

    Returns:
        Whether the file was further.

    Raises:
        RunDirectoryError: if the file is no packed run, or of another run.
    """
    with RunDirectory(run_dir) as files, writing(run_dir):
        with tempfile.TemporaryDirectory(dir=files.path, prefix=".arrived-") as arrived:
            arrived = pathlib.Path(arrived)
            try:
                with tarfile.open(path) as archive:
                    archive.extractall(arrived, filter="data")
            except tarfile.TarError as error:
                raise RunDirectoryError(
                    f"'{path}' is no packed run: {error}."
                ) from None
            settings = read_json(arrived / "run.json")
            if settings is None:
                raise RunDirectoryError(
                    f"'{path}' is no packed run: no run.json in it."
                )
            if read_json(files.path / "run.json") not in (None, settings):
                raise RunDirectoryError(
                    f"'{path}' holds another run than '{run_dir}'. Choose another run "
                    "directory or another state file."
                )
            further = _progress(arrived) > _progress(files.path)
            if further:
                # Last what counts as progress: if this is killed, it is done again.
                names = [
                    *sorted(arrived.glob("models/*")),
                    *map(arrived.joinpath, _RECORDS),
                ]
                for file in names:
                    if file.exists():
                        os.replace(file, files.path / file.relative_to(arrived))
            return further


def _progress(run_dir):
    rounds = len(read_lines(run_dir / "rounds.jsonl"))
    epoch = checkpoint.epochs_done(run_dir / "state.npz", rounds)
    return rounds, epoch, (run_dir / "final.json").exists()
