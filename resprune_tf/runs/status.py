"""Where a run stands, in a file for whoever watches it from another process."""

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
    """Writes `status.json` into a run directory, every ten seconds at most.

    It reads no metrics, for which the device would have to be waited for.

        round, rounds        the round in training, from 0, and how many follow round 0
        epoch, epochs        the epoch in training, from 1, and those of the round
        step, steps          of the epoch; null until they are known
        images_per_second    of the epoch so far; null for data of unknown size
        seconds_left         of the whole run; null before a second step was timed

    Args:
        run_dir: folder of the run.
    """

    within = _EVERY

    def __init__(self, run_dir):
        super().__init__(io.StringIO())
        self.path = pathlib.Path(run_dir) / NAME
        self.printed = time.monotonic()

    def place(self, number, rounds, images):
        """Says which round of how many is trained, and the images of an epoch."""
        self.round, self.rounds, self.images = number, rounds, images

    def _show(self, step, last=False):
        now = time.monotonic()
        if now - self.printed < _EVERY:
            return
        self.printed = now
        known = bool(self.steps)
        speed = None
        if known and self.images:
            seen = self.images / self.parts * step / self.steps
            speed = round(seen / (now - self.started), 1)
        left = self.seconds_left(step, now) if known else None
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
        # Nothing is lost with it, so it is not synced as the records are, and a disk
        # that is full for a while ends no training.
        temporary = self.path.with_name(f".writing-{os.getpid()}-{NAME}")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(status) + "\n")
            os.rename(temporary, self.path)
