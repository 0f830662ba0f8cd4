"""One run directory: what a run did, in files that survive any crash.

Pure Python. Every write goes to a temporary file that is synced and renamed, so a
reader finds the old content or the new, never a half of either.

    run.json          settings; a run directory continues only under the same ones
    sessions.jsonl    one line for every process that worked on the run
    rounds.jsonl      one line a finished round (`Round`)
    history.jsonl     one line a trained epoch of the finished rounds
    final.json        the outcome, once there is one
    models/           initial.keras, round-00.keras, ...: the model after each round;
                      teacher.keras, if another net teaches in all of them
    state.npz         the round in training, after its last whole epoch
    diverged.json     the round whose training diverged, which ended the run, and why
    status.json       where the training stands, for other processes to read
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import time

import filelock

from resprune_tf.disk import DiskFullError, folder_problem, writing

TEACHER = "models/teacher.keras"
# Settings that choose among rounds and change none: they may differ each time.
JUDGING = ("tolerance",)
SPLITS = ("train", "validation", "test")


class RunDirectoryError(ValueError):
    """The run directory cannot be used as asked."""


@dataclasses.dataclass(frozen=True)
class Round:
    """What one round of training (the first is round 0) came to.

    `macs` are of one image, `importances` are ω after training, `scores` the
    criterion's values for the next removal. `train`, `validation` and `test` are
    measures by name: `"loss"` and `"accuracy"` (a fraction), or what a model was
    compiled with; those of `train` are means over the last epoch. `test` is empty where
    there are no such data. `measured` holds the size of a file and a latency, where the
    target limits them.
    """

    round: int
    removed: tuple[str, ...]
    units: tuple[str, ...]
    layers: int
    parameters: int
    macs: int
    importances: dict[str, float]
    scores: dict[str, float]
    epochs: int
    train: dict[str, float]
    validation: dict[str, float]
    test: dict[str, float]
    seconds: float
    model: str
    measured: dict[str, float] = dataclasses.field(default_factory=dict)

    def measure(self, split: str, name: str) -> float:
        """A measure on `"train"`, `"validation"` or `"test"`."""
        return getattr(self, split)[name]

    def line(self) -> dict:
        """The JSON object of rounds.jsonl: measures are `test_accuracy` and so on."""
        line = {}
        for name, value in dataclasses.asdict(self).items():
            if name in SPLITS:
                line.update({f"{name}_{measure}": v for measure, v in value.items()})
            elif name != "measured" or value:
                line[name] = value
        return line

    @classmethod
    def from_line(cls, line: dict) -> Round:
        """The round that a JSON object of rounds.jsonl tells of."""
        fields, measures = {}, {split: {} for split in SPLITS}
        for name, value in line.items():
            split, _, measure = name.partition("_")
            if split in SPLITS:
                measures[split][measure] = value
            else:
                fields[name] = value
        for name in ("removed", "units"):
            fields[name] = tuple(fields[name])
        return cls(**fields, **measures)


class RunDirectory:
    """A run's files. A context manager that holds the directory for one process.

    Args:
        path: the directory; made on entry.

    Raises (on entry):
        RunDirectoryError: if the directory cannot be written, or another process
            holds it.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._lock = filelock.FileLock(self.path / "lock")

    def __enter__(self):
        try:
            with writing(self.path):
                (self.path / "models").mkdir(parents=True, exist_ok=True)
                # The system drops the lock when the process dies, kill -9 included.
                self._lock.acquire(blocking=False)
        except filelock.Timeout:
            raise RunDirectoryError(
                f"Another process is working in '{self.path}'. Wait for it, stop it, "
                "or choose another run directory."
            ) from None
        except DiskFullError:
            raise
        except OSError as error:
            raise RunDirectoryError(
                f"Cannot write the run directory '{self.path}': {error.strerror}. "
                "Choose one in a folder that you may write to."
            ) from None
        for left in self.path.rglob(".writing-*"):  # a killed process's last file
            left.unlink()
        return self

    def __exit__(self, *exception):
        self._lock.release()

    def claim(self, settings: dict) -> None:
        """Writes the settings of a new run; checks those of one that continues.

        Those that only judge rounds (`JUDGING`) are replaced, which takes away an
        outcome that other ones led to.

        Raises:
            RunDirectoryError: if the directory holds a run with other settings, or
                files that are no run of ours.
        """
        settings = json.loads(json.dumps(settings))
        known = read_json(self.path / "run.json")
        if known is None:
            if (self.path / "rounds.jsonl").exists():
                raise RunDirectoryError(
                    f"'{self.path}' has rounds but no run.json, so it cannot be "
                    "continued. Choose another run directory."
                )
            write_json(self.path / "run.json", settings)
            return
        judged = {name: settings[name] for name in JUDGING if name in settings}
        now = {**known, **judged}
        changes = _changes(now, settings)
        if changes:
            raise RunDirectoryError(
                f"'{self.path}' holds a run with other settings ({changes}). Choose "
                "another run directory, or repeat that run's settings to continue it."
            )
        if now != known:
            (self.path / "final.json").unlink(missing_ok=True)
            write_json(self.path / "run.json", now)

    @property
    def rounds(self) -> list[Round]:
        """The finished rounds."""
        return [
            Round.from_line(line) for line in read_lines(self.path / "rounds.jsonl")
        ]

    def add_round(self, record: Round, history: list[dict]) -> None:
        """Appends a finished round. Its line in rounds.jsonl is what commits it."""
        kept = [
            line
            for line in read_lines(self.path / "history.jsonl")
            if line["round"] < record.round
        ]
        lines = [{"round": record.round, **epoch} for epoch in history]
        write_lines(self.path / "history.jsonl", kept + lines)
        write_lines(
            self.path / "rounds.jsonl",
            [*read_lines(self.path / "rounds.jsonl"), record.line()],
        )

    @property
    def diverged(self) -> dict | None:
        """What is known of the next round, if its training diverged."""
        found = read_json(self.path / "diverged.json")
        return found if found and found["round"] == len(self.rounds) else None

    def add_session(self, **facts) -> None:
        """Notes that a process begins to work here, and in which environment."""
        line = {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **facts}
        path = self.path / "sessions.jsonl"
        write_lines(path, [*read_lines(path), line])


def check_run_dir(path) -> None:
    """Raises a RunDirectoryError for a path that no run directory can have."""
    if problem := folder_problem(path):
        raise RunDirectoryError(
            f"Cannot write the run directory '{path}': {problem}. Choose one in a "
            "folder that you may write to."
        )


def check_same_start(path, settings: dict) -> None:
    """Raises a RunDirectoryError unless a run begins as `settings` do.

    It must have finished its initial training, with the data, net, recipe, seed,
    teacher and backend of `settings`.
    """
    path = pathlib.Path(path)
    known = read_json(path / "run.json")
    if known is None or not read_lines(path / "rounds.jsonl"):
        raise RunDirectoryError(
            f"'{path}' holds no run that has finished its initial training."
        )
    settings = json.loads(json.dumps(settings))
    keys = ["dataset", "initial", "recipe", "compiled", "seed", "backend", "teacher"]
    if known.get("teacher") and settings.get("teacher"):
        keys.append("guidance")  # of the initial training, too
    changes = _changes(
        *({key: one.get(key) for key in keys} for one in (known, settings))
    )
    if changes:
        raise RunDirectoryError(
            f"The run in '{path}' begins in another way ({changes}), so its initial "
            "training cannot be taken over."
        )


def _changes(old, new):
    """What differs between two settings, in words; empty if nothing does."""
    old, new = _flatten(old), _flatten(new)
    return "; ".join(
        f"{key}: {old.get(key)!r} there, {new.get(key)!r} now"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    )


@contextlib.contextmanager
def atomic_file(path):
    """Yields a temporary path beside `path` that replaces it when all went well.

    Raises:
        DiskFullError: if there is no space left, whatever writes to it says of that.
    """
    path = pathlib.Path(path)
    # The suffix stays: Keras chooses its file format by it.
    temporary = path.with_name(f".writing-{os.getpid()}-{path.name}")
    try:
        with writing(path):
            yield temporary
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path, text: str) -> None:
    """Replaces a text file as a whole."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, value) -> None:
    """Replaces a JSON file as a whole."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path):
    """The value in a JSON file, or None if there is no such file."""
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def write_lines(path, values) -> None:
    """Replaces a file of one JSON value a line."""
    write_text(path, "".join(json.dumps(value) + "\n" for value in values))


def read_lines(path) -> list[dict]:
    """The values of a file of one JSON value a line; none if there is no such file."""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines()]


def _flatten(value, prefix=""):
    if not isinstance(value, dict):
        return {prefix: value}
    flat = {}
    for key, inner in value.items():
        flat.update(_flatten(inner, f"{prefix}.{key}" if prefix else key))
    return flat
