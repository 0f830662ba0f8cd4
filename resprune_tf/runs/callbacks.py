"""Callbacks of a run: they save its state, stop it and show its progress.

If a recipe divides its epochs into parts, Keras counts each part as an epoch, and the
numbers of epochs here are fractions.
"""

import math
import sys
import time

import keras
import numpy as np

from resprune_tf.runs.checkpoint import save_state
from resprune_tf.runs.judging import format_value
from resprune_tf.system.progress import Count, Reporter, clock, columns


class RunInterrupted(Exception):
    """The run was stopped between two steps. The same call continues it."""


class TrainingDiverged(RuntimeError):
    """The training loss or a weight became NaN or infinite."""


class DivergenceCheck(keras.callbacks.Callback):
    """Ends a training with TrainingDiverged if its loss becomes NaN or infinite.

    Args:
        number: number of the round.
        parts: parts of an epoch, each of which Keras counts as an epoch.
    """

    def __init__(self, number, parts=1):
        super().__init__()
        self.number, self.parts = number, parts

    def on_epoch_end(self, epoch, logs=None):
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        rate = logs.get("learning_rate")
        if rate is None:  # MultiOptimizer has no single one
            rate = getattr(self.model.optimizer, "learning_rate", math.nan)
        raise TrainingDiverged(
            f"The training loss became {float(loss)} in epoch "
            f"{epoch // self.parts + 1} of round {self.number} at learning rate "
            f"{float(rate):g}."
        )


class StopCheck:
    """Decides when to stop a run: on request, or when its time is used up.

    Args:
        should_stop: function that returns a reason to stop at once, or None.
        deadline: `time.monotonic()` value, in seconds, before which to stop.
        agree: for several workers, which must stop at the same place: function from
            the reason of this worker, or None, to a reason that all workers share
            (`Strategy.agree`). The training then stops only after whole epochs.
    """

    def __init__(self, should_stop=None, deadline=math.inf, agree=None):
        self.should_stop = should_stop or (lambda: None)
        self.deadline = deadline
        self.agree = agree

    def reason(self, ahead=0.0):
        """The reason to stop before another `ahead` seconds of work, or None."""
        reason = self.should_stop()
        if not reason and time.monotonic() + ahead > self.deadline:
            reason = "the time budget is used up"
        return self.agree(reason) if self.agree else reason

    def check(self):
        """Raises RunInterrupted if it is time to stop."""
        if reason := self.reason():
            raise RunInterrupted(reason)


def scalars(logs):
    """The scalars among the logged values, as floats."""
    return {name: float(value) for name, value in logs.items() if np.ndim(value) == 0}


# Largest share of the wall time for saving the state. If epochs are short, the state is
# not saved after each of them. A killed process loses the work of at most one epoch and
# 1 / SAVING_SHARE times the duration of a save.
SAVING_SHARE = 0.02


class Checkpoint(keras.callbacks.Callback):
    """Saves the state of a training after epochs, and stops it on request.

    Args:
        path: path of the state file.
        meta: dict of JSON values to save with the state, such as the round.
        history: list of dicts, one per finished epoch; each epoch appends one.
        stop: a `StopCheck`, which is checked before every execution of steps and after
            every epoch. The last whole epoch is saved before the deadline.
        parts: number of parts of an epoch, each of which Keras counts as an epoch.

    Raises (out of `fit`):
        RunInterrupted: when the training is stopped.
    """

    def __init__(self, path, meta, history, stop=None, parts=1):
        super().__init__()
        self.path, self.meta, self.history = path, meta, history
        self.parts = parts
        self.stop = stop or StopCheck()
        self.next_saving = -math.inf

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()

    # With a callback at the end of a batch, Keras would fetch all metrics each time.
    def on_train_batch_begin(self, batch, logs=None):
        if self.stop.agree is None:
            self.stop.check()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.monotonic() - self.started
        logs = scalars(logs)
        done = (epoch + 1) / self.parts if self.parts > 1 else epoch + 1
        self.history.append({"epoch": done, **logs, "seconds": round(seconds, 3)})
        if self.model.stop_training:
            return  # another callback ends the training and may change the weights yet
        reason = self.stop.reason(ahead=1.5 * seconds)
        # The last epoch is saved too, because the evaluation after it may take long.
        last = epoch + 1 == self.params["epochs"]
        if reason or last or time.monotonic() >= self.next_saving:
            self._save(epoch + 1)
        if reason:
            raise RunInterrupted(reason)

    def on_train_end(self, logs=None):
        # The last of all callbacks.
        if self.model.stop_training:
            self._save(len(self.history), ended=True)

    def _save(self, epoch, ended=False):
        begun = time.monotonic()
        progress = {"epoch": epoch, "ended": ended, "history": self.history}
        save_state(self.path, self.model, **self.meta, **progress)
        ended = time.monotonic()
        self.next_saving = ended + (ended - begun) / SAVING_SHARE


class EvaluationProgress(keras.callbacks.Callback):
    """Reports the batches of a long `evaluate` and the time left, if that is shown.

    Args:
        text: what is evaluated, such as `"Measuring the given model, batch"`.
    """

    def __init__(self, text):
        super().__init__()
        self.text = text

    def on_test_begin(self, logs=None):
        self.count = Count(self.params["steps"])

    def on_test_batch_begin(self, batch, logs=None):
        self.count.show(batch, self.text)

    def on_test_end(self, logs=None):
        self.count.end()


class Progress(keras.callbacks.Callback):
    """Shows the progress of a run of several rounds in one line, with the time left.

    On a terminal the line is rewritten in place. Elsewhere a line is printed at the end
    of epochs, at most every 5 seconds, and every 30 seconds within long epochs.
    `start_round` must be called before each `fit`.

    Args:
        stream: stream to write to. Defaults to standard output.
        monitor: name of the logged value to show next to the loss.
    """

    line_interval = 30  # seconds between the lines within an epoch

    def __init__(self, stream=None, monitor="accuracy"):
        super().__init__()
        self.stream = stream or sys.stdout
        self.reporter = Reporter(self.stream)
        self.say = self.reporter.say
        self.live = self.reporter.live
        self.monitor = monitor
        self.begun = None
        self.epochs_done = 0
        self.printed = -math.inf
        self.last = None
        # The first step of each round, which is mostly compilation, is not part of
        # estimates.
        self.first_seconds = self.first_epochs = 0.0

    def start_round(self, label, epochs, later_epochs, parts=1):
        """Prepares the display of a round.

        Args:
            label: name of the round.
            epochs: number of epochs of the round.
            later_epochs: number of epochs of all rounds after it.
            parts: number of parts of an epoch, each of which Keras counts as an epoch.
        """
        self.label, self.epochs, self.parts = label, epochs, parts
        self.later = later_epochs * parts
        self.last = self.steps = None
        self.first_step = True

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.started = epoch, time.monotonic()
        # The clock starts here and not earlier: the time to build the model would
        # distort the estimate from the first few epochs.
        if self.begun is None:
            self.begun = self.started
        # The length of some pipelines is unknown until their first pass is complete.
        self.steps = self.params["steps"] or self.steps
        self.batch = self.skipped = 0
        self.compiling = 0.0

    def on_train_batch_begin(self, batch, logs=None):
        self.batch = batch
        if not batch:
            return
        self._leave_out_first(batch)
        if self.live:
            if self.steps:
                self._show(batch)
        elif time.monotonic() - max(self.printed, self.started) >= self.line_interval:
            self._show(batch)

    def on_epoch_end(self, epoch, logs=None):
        self.last = logs
        self.steps = self.steps or self.batch + 1
        self._leave_out_first(self.steps)
        self._show(self.steps, last=epoch + 1 == self.epochs * self.parts)
        self.epochs_done += 1

    def _leave_out_first(self, step):
        """Excludes the steps before `step` from estimates if none was timed yet."""
        if self.first_step:
            self.first_step, self.skipped = False, step
            self.compiling = time.monotonic() - self.started
            self.first_seconds += self.compiling
            self.first_epochs += step / self.steps if self.steps else 0.0

    def _show(self, step, last=False):
        now = time.monotonic()
        if now - self.printed < (0.2 if self.live else 5) and not last:
            return
        self.printed = now
        timed = step - self.skipped
        epoch = None  # seconds per epoch, known once a second step was timed
        if timed and self.steps:
            epoch = (now - self.started - self.compiling) / timed * self.steps
        left = self.seconds_left(step, now) if self.steps else None
        # At the end of the last epoch, measuring and writing are still to come.
        run = [f"run {clock(left)} left"] if left else []
        number = f"{self.epoch + 1}"
        if self.parts > 1:
            number = f"{(self.epoch + 1) / self.parts:.2f}"
        width = len(str(self.epochs)) + len(number) - len(number.split(".")[0])
        parts = [f"{self.label}  epoch {number:>{width}}/{self.epochs}"]
        if self.last:  # values of the last whole epoch
            parts.append(f"loss {float(self.last['loss']):.4f}")
            if self.monitor in self.last and self.monitor != "loss":
                value = format_value(self.monitor, float(self.last[self.monitor]))
                parts.append(f"{self.monitor} {value:>6}")
        if not self.steps:  # then the time left is unknown
            parts.append(f"step {step}")
            self._print(parts)
            return
        if self.live:
            of_epoch = self.epoch % self.parts + step / self.steps
            if epoch is not None:
                parts.append(f"epoch {clock(epoch * (self.parts - of_epoch))} left")
            self._print(self._fit_line(parts + run, of_epoch / self.parts))
            return
        if step < self.steps:
            parts.append(f"step {step}/{self.steps}")
        if epoch is not None:
            parts.append(f"{clock(epoch * self.parts)} per epoch")
        self._print(parts + run)

    def _fit_line(self, parts, done):
        """The parts that fit into a terminal line, with a bar if there is room."""
        room = columns(self.stream) - 1
        parts = list(parts)
        while len("  ".join(parts)) > room and len(parts) > 2:
            del parts[-2]  # the first and the last are the most important
        room -= len("  ".join([*parts, "[]"]))
        if (length := min(20, room)) >= 5:
            filled = round(length * done)
            parts.insert(1, f"[{'=' * filled}{' ' * (length - filled)}]")
        return parts

    def seconds_left(self, step, now):
        """Estimated seconds to the end of the run; None before a second step."""
        # The mean over this process includes the time to build and evaluate models, but
        # not the first steps, whose compilation would distort estimates of short runs.
        done = self.epochs_done + step / self.steps
        left = self.epochs * self.parts - self.epoch - step / self.steps + self.later
        if left <= 0:
            return 0.0
        if done <= self.first_epochs:
            return None
        seconds = now - self.begun - self.first_seconds
        return seconds / (done - self.first_epochs) * left

    def _print(self, parts):
        self.reporter.count("  ".join(parts), due=True)
