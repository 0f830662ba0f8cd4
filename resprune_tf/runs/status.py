"""Writes the progress of a run to a file that other processes can read."""

import contextlib
import io
import json
import os
import pathlib
import time

from resprune_tf.runs.callbacks import Progress

NAME = "status.json"
_EVERY = 10  # seconds


class Status(Progress):
    """Writes `status.json` into a run directory, at most every 10 seconds.

    It reads no metrics, because that would stall the device.

        round, rounds        number of the round, from 0, and of the last expected one
        epoch, epochs        number of the epoch, from 1, and epochs of the round
        step, steps          number of the step and steps per epoch; null if unknown
        images_per_second    mean of the epoch so far; null for data of unknown size
        seconds_left         of the whole run; null before a second step was timed

    Args:
        run_dir: path of the run directory.
    """

    line_interval = _EVERY

    def __init__(self, run_dir):
        super().__init__(io.StringIO())
        self.path = pathlib.Path(run_dir) / NAME
        self.printed = time.monotonic()

    def place(self, number, rounds, images):
        """Sets the round in training, the last expected round, and images per epoch.

        Args:
            number, rounds: ints, as `round` and `rounds` in the file.
            images: int, or None if it is unknown.
        """
        self.round, self.rounds, self.images = number, rounds, images

    def _show(self, step, last=False):
        now = time.monotonic()
        if now - self.printed < _EVERY:
            return
        self.printed = now
        steps_known = bool(self.steps)
        speed = None
        if steps_known and self.images:
            seen = self.images / self.parts * step / self.steps
            speed = round(seen / (now - self.started), 1)
        left = self.seconds_left(step, now) if steps_known else None
        status = {
            "round": self.round,
            "rounds": self.rounds,
            "epoch": self.epoch // self.parts + 1,
            "epochs": self.epochs,
            "step": step,
            "steps": self.steps,
            "images_per_second": speed,
            "seconds_left": None if left is None else round(left),
        }
        # The file is not essential. It is not synced, and a full disk does not end the
        # training.
        temporary = self.path.with_name(f".writing-{os.getpid()}-{NAME}")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(status) + "\n")
            os.rename(temporary, self.path)
