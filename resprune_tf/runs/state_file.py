"""What a run needs to go on elsewhere, in one file."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import tarfile

from resprune_tf.runs import checkpoint
from resprune_tf.runs.judging import resolved, within_tolerance
from resprune_tf.runs.records import (
    INITIAL,
    TEACHER,
    RunDirectory,
    read_rounds,
    read_settings,
    same_settings,
)
from resprune_tf.system.disk import writing
from resprune_tf.system.whole_files import (
    RunDirectoryError,
    atomic_file,
    damaged,
    remove_left_behind,
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
_MODEL = re.compile(r"models/round-\d{2,}\.keras")


def pack_run(run_dir, path):
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
    # The state file lies in a folder that is not the run's own.
    remove_left_behind(pathlib.Path(path).parent, pathlib.Path(path).name)
    with atomic_file(path) as temporary:
        with tarfile.open(temporary, "w") as archive:
            for name in names:
                if (run_dir / name).is_symlink():
                    raise damaged(run_dir / name, "it is a link to another file")
                if (run_dir / name).exists():
                    with open(run_dir / name, "rb") as file:
                        archive.addfile(archive.gettarinfo(None, name, file), file)
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
    rounds = read_rounds(run_dir)
    if not rounds:
        return [INITIAL, *teacher]
    settings = read_settings(run_dir)
    try:
        watched = settings["select_on"], settings.get("monitor", "accuracy")
        values = [record.measure(*watched) for record in rounds]
        examples = settings.get("dataset", {}).get(watched[0])
        tolerance = resolved(settings["tolerance"], values[0], examples)
        rule = float(tolerance), settings.get("mode")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"it does not fit rounds.jsonl ({error})"
        raise damaged(run_dir / "run.json", reason) from None
    good = [
        r
        for r, v in zip(rounds, values, strict=True)
        if within_tolerance(values[0], v, *rule)
    ]
    # No round held, not even the first, if its value is no number.
    kept = (rounds[0], *good[-1:], rounds[-1])
    return sorted({record.model for record in kept}) + teacher


def unpack_run(path, run_dir):
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
        arrived = files.path / f".writing-{os.getpid()}-arrived"
        try:
            (arrived / "models").mkdir(parents=True)
            names = _extract(path, arrived)
            settings = read_settings(arrived)
            if settings is None:
                raise RunDirectoryError(
                    f"'{path}' is no packed run: no run.json in it."
                )
            known = read_settings(files.path)
            if known is not None and not same_settings(known, settings):
                raise RunDirectoryError(
                    f"'{path}' holds another run than '{run_dir}'. Choose another run "
                    "directory or another state file."
                )
            further = _progress(arrived) > _progress(files.path)
            if further:
                # Last what counts as progress: if this is killed, it is done again.
                order = [*sorted(set(names).difference(_RECORDS)), *_RECORDS]
                for name in order:
                    if name in names:
                        os.replace(arrived / name, files.path / name)
            return further
        finally:
            shutil.rmtree(arrived, ignore_errors=True)


def _extract(path, folder):
    """Writes the members of a packed run into a folder; their names.

    Only plain files whose names `pack` writes are taken, so nothing can lie elsewhere,
    and nothing is compressed, so none is larger than the archive.
    """
    names = []
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = member.name
                known = name in (*_RECORDS, INITIAL, TEACHER) or _MODEL.fullmatch(name)
                plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
                if not known or not plain or member.issparse() or name in names:
                    raise RunDirectoryError(
                        f"'{path}' is no packed run: '{name}' in it is not one of the "
                        "files that a run is packed into."
                    )
                names.append(name)
                with open(folder / name, "xb") as file:
                    shutil.copyfileobj(archive.extractfile(member), file)
                    if file.tell() != member.size:
                        raise RunDirectoryError(
                            f"'{path}' is cut off: '{name}' has {file.tell():,} of "
                            f"{member.size:,} bytes. Copy it again."
                        )
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        if isinstance(error, RunDirectoryError):
            raise
        raise RunDirectoryError(f"'{path}' is no packed run: {error}.") from None
    return names


def _progress(run_dir):
    rounds = len(read_rounds(run_dir))
    epoch = checkpoint.epochs_done(run_dir / "state.npz", rounds)
    return rounds, epoch, (run_dir / "final.json").exists()
