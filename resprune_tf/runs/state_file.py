"""Packs everything that a run needs to continue on another machine into one file."""

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


def pack_run(run_dir: str | os.PathLike, path: str | os.PathLike) -> int:
    """Writes the records, the state and the needed models of a run into one file.

    Args:
        run_dir: path of a run directory in which no process works.
        path: path of the `.tar` file, which is replaced atomically. For the paper's
            ResNet-56 the file stays below 16 MiB.

    Returns:
        int, size of the file in bytes.

    Raises:
        RunDirectoryError: if a file of the run is damaged or a symbolic link.
        DiskFullError: if there is no space left.

    >>> rp.pack_run("runs/c10", "c10.tar")
    """
    run_dir = pathlib.Path(run_dir)
    names = [*_RECORDS, *needed_models(run_dir)]
    # The packed file is usually in another folder, which a run never cleans up.
    remove_left_behind(pathlib.Path(path).parent, pathlib.Path(path).name)
    with atomic_file(path) as temporary:
        with tarfile.open(temporary, "w") as archive:
            for name in names:
                if (run_dir / name).is_symlink():
                    raise damaged(run_dir / name, "it is a symbolic link")
                if (run_dir / name).exists():
                    with open(run_dir / name, "rb") as file:
                        archive.addfile(archive.gettarinfo(None, name, file), file)
    return pathlib.Path(path).stat().st_size


def needed_models(run_dir):
    """Names of the model files that a run needs to continue and to select a model.

    Until round 0 is finished, that is the initial model. Afterwards these are the
    models of round 0 (which may be the teacher), of the last round, and of the last
    round within the tolerance, which may be selected. A separate teacher is included.
    """
    run_dir = pathlib.Path(run_dir)
    teacher = [TEACHER] if (run_dir / TEACHER).exists() else []
    rounds = read_rounds(run_dir)
    if not rounds:
        return [INITIAL, *teacher]
    settings = read_settings(run_dir)
    try:
        monitored = settings["select_on"], settings.get("monitor", "accuracy")
        values = [record.measure(*monitored) for record in rounds]
        examples = settings.get("dataset", {}).get(monitored[0])
        tolerance = resolved(settings["tolerance"], values[0], examples)
        rule = float(tolerance), settings.get("mode")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"it does not fit rounds.jsonl ({error})"
        raise damaged(run_dir / "run.json", reason) from None
    accepted = [
        record
        for record, value in zip(rounds, values, strict=True)
        if within_tolerance(values[0], value, *rule)
    ]
    # If the value of round 0 is NaN, no round is accepted, not even round 0.
    needed = (rounds[0], *accepted[-1:], rounds[-1])
    return sorted({record.model for record in needed}) + teacher


def unpack_run(path: str | os.PathLike, run_dir: str | os.PathLike) -> bool:
    """Updates a run directory from a packed run, if that has made more progress.

    Args:
        path: path of a file that `pack_run` wrote.
        run_dir: path of a run directory. It may be new, or contain the same run.

    Returns:
        bool, whether the directory was updated.

    Raises:
        RunDirectoryError: if the file is not a packed run, is truncated, or belongs to
            another run than the directory.
        DiskFullError: if there is no space left.

    >>> rp.unpack_run("c10.tar", "runs/c10")
    """
    with RunDirectory(run_dir) as files, writing(run_dir):
        extracted = files.path / f".writing-{os.getpid()}-arrived"
        try:
            (extracted / "models").mkdir(parents=True)
            names = _extract(path, extracted)
            settings = read_settings(extracted)
            if settings is None:
                raise _not_packed(path, "it contains no run.json")
            recorded = read_settings(files.path)
            if recorded is not None and not same_settings(recorded, settings):
                raise RunDirectoryError(
                    f"'{path}' contains another run than '{run_dir}'. Choose another "
                    "run directory or another state file."
                )
            newer = _progress(extracted) > _progress(files.path)
            if newer:
                # The records count as progress and come last, so that the call can be
                # repeated if the process is killed here.
                order = [*sorted(set(names).difference(_RECORDS)), *_RECORDS]
                for name in order:
                    if name in names:
                        os.replace(extracted / name, files.path / name)
            return newer
        finally:
            shutil.rmtree(extracted, ignore_errors=True)


def _not_packed(path, reason):
    return RunDirectoryError(
        f"'{path}' is not a packed run: {reason}. Choose a file that `pack_run` wrote."
    )


def _extract(path, folder):
    """Extracts the files of a packed run into a folder and returns their names.

    Only plain files with names that `pack_run` writes are accepted, so no file is
    written elsewhere. Nothing is compressed, so no file is larger than the archive.
    """
    names = []
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = member.name
                valid = name in (*_RECORDS, INITIAL, TEACHER) or _MODEL.fullmatch(name)
                plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
                if not valid or not plain or member.issparse() or name in names:
                    raise _not_packed(path, f"'{name}' in it is not a file of a run")
                names.append(name)
                with open(folder / name, "xb") as file:
                    shutil.copyfileobj(archive.extractfile(member), file)
                    if file.tell() != member.size:
                        raise RunDirectoryError(
                            f"'{path}' is truncated: '{name}' has {file.tell():,} of "
                            f"{member.size:,} bytes. Copy the file again."
                        )
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        if isinstance(error, RunDirectoryError):
            raise
        raise _not_packed(path, error) from None
    return names


def _progress(run_dir):
    """Finished rounds, epochs of the next one, and whether the run is finished.

    The larger of two such tuples is that of the more advanced state of a run.
    """
    rounds = len(read_rounds(run_dir))
    epoch = checkpoint.epochs_done(run_dir / "state.npz", rounds)
    return rounds, epoch, (run_dir / "final.json").exists()
