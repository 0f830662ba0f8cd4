"""The course of a benchmark: start the workers, then measure in turn, round by round.

All workers stay alive, one works at a time, and a round measures every variant once.
So what disturbs the machine disturbs all of them, and the ratios of one round compare
what ran side by side.
"""

import os
import sys
import time

from experiments.bench import variants as bench_variants
from experiments.bench.pipe import NotInstalled, Worker, WorkerError

_QUIET_AND_SHARING = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Workers share an accelerator: none may take all of its memory.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


class Benchmark:
    """A benchmark in progress, and its record.

    Args:
        variants: list of `Variant`, the one to compare with first.
        settings: dict with `depth`, `width`, `image_size`, `batch_size`, `steps`.
        torch_python: path of an interpreter that has PyTorch.
        timeout: seconds after which a worker counts as hung.
        deadline: `time.monotonic()` not to work beyond.

    Attributes:
        record: JSON-able dict: for each variant its `status` (`"measured"`,
            `"failed: ..."`, ...) and what its worker tells of itself; the rounds, each
            a dict from variant and measure to what was measured.
    """

    def __init__(self, variants, settings, torch_python, timeout, deadline):
        self.variants = variants
        self.settings = settings
        self.torch_python = torch_python
        self.timeout, self.deadline = timeout, deadline
        self.record = {"settings": settings, "variants": {}, "rounds": []}
        self._workers = {}
        self._seconds = {}  # of each task when it last ran

    def close(self):
        """Ends all workers."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def start(self):
        """Starts the workers one after another; each compiles and warms up."""
        begun = time.monotonic()
        for number, variant in enumerate(self.variants, start=1):
            print(f"[{number}/{len(self.variants)}] {variant.title}: ", end="")
            sys.stdout.flush()
            if time.monotonic() > (begun + self.deadline) / 2:
                self._give_up(variant, "skipped: half of the time budget was over")
                continue
            if lack := self._lacks_memory():
                self._give_up(variant, f"skipped: {lack}")
                continue
            start = time.monotonic()
            try:
                facts = self._start(variant)
            except NotInstalled as error:
                self._give_up(variant, f"not installed: {error}; {_advice(variant)}")
            except (WorkerError, OSError) as error:
                self._give_up(variant, f"failed: {error}")
            else:
                self.record["variants"][variant.name] = {"status": "measured", **facts}
                each = facts["warm_up_seconds"] / len(variant.measures)
                for measure in variant.measures:
                    self._seconds[variant.name, measure] = each
                print(f"ready after {time.monotonic() - start:.0f} s", flush=True)

    def _start(self, variant):
        python = self.torch_python if variant.path == "torch" else sys.executable
        if not os.access(python, os.X_OK):
            raise NotInstalled("torch")
        worker = Worker(
            [python, "-m", "experiments.bench.worker"],
            {
                **self.settings,
                "path": variant.path,
                "precision": variant.precision,
                "repeatable": variant.repeatable,
                "measures": variant.measures,
            },
            {**_QUIET_AND_SHARING, "KERAS_BACKEND": variant.backend or "tensorflow"},
            variant.checkout or bench_variants.ROOT,
        )
        self._workers[variant.name] = worker
        facts = worker.ready(self.timeout)
        known = [
            v["parameters"]
            for v in self.record["variants"].values()
            if v.get("parameters")
        ]
        if known and facts["parameters"] != known[0]:
            raise WorkerError(
                f"another net: {facts['parameters']:,} parameters, not {known[0]:,}"
            )
        return facts

    def _lacks_memory(self):
        """Why one more worker would not fit, or None."""
        known = [v.get("memory_mb", 0) for v in self.record["variants"].values()]
        need, free = max(known, default=0), _free_mb()
        if free is None or free > need:
            return None
        return f"{free / 1e3:.1f} GB of memory free, a worker takes {need / 1e3:.1f}"

    def _give_up(self, variant, status):
        print(status, flush=True)
        self.record["variants"][variant.name] = {"status": status}
        if worker := self._workers.pop(variant.name, None):
            worker.close()

    def tasks(self, number):
        """What a round measures, in its order: no variant is always the first."""
        alive = [v for v in self.variants if v.name in self._workers]
        turn = number % max(1, len(alive))
        return [
            (variant, measure)
            for measure in bench_variants.MEASURES
            for variant in alive[turn:] + alive[:turn]
            if measure in variant.measures
        ]

    def rounds(self, count):
        """Measures `count` rounds; yields after each one.

        Fewer, if the next would not end in time or no worker is left.
        """
        for number in range(count):
            tasks = self.tasks(number)
            expected = self._expected(tasks)
            if not tasks or time.monotonic() + expected > self.deadline:
                return
            measured = {}
            for index, (variant, measure) in enumerate(tasks):
                if variant.name not in self._workers:  # failed in this round
                    continue
                # Before the first round, only times that include compiling are known.
                rough = "about" if number else "at most"
                later = (count - number - 1) * expected
                left = self._expected(tasks[index:]) + later
                print(
                    f"round {number + 1} of {count}, {rough} {_minutes(left)} left: "
                    f"{variant.title}, {bench_variants.MEASURES[measure]}: ",
                    end="",
                    flush=True,
                )
                start = time.monotonic()
                try:
                    result = self._workers[variant.name].measure(measure, self.timeout)
                except WorkerError as error:
                    self._give_up(variant, f"failed: {error}")
                    continue
                self._seconds[variant.name, measure] = time.monotonic() - start
                measured.setdefault(variant.name, {})[measure] = result
                speed = result["images"] / result["seconds"]
                print(f"{speed:,.1f} images/s", flush=True)
            self.record["rounds"].append(measured)
            yield

    def _expected(self, tasks):
        return sum(self._seconds[variant.name, measure] for variant, measure in tasks)


def _free_mb():
    """Memory that is available, where the system tells."""
    try:
        with open("/proc/meminfo") as lines:
            sizes = dict(line.split(":") for line in lines)
        return int(sizes["MemAvailable"].split()[0]) / 1e3
    except (OSError, KeyError):
        return None


def _advice(variant):
    if variant.path == "torch":
        return "`make bench` installs it, or pip install torch for --torch_python"
    return f"`make bench` installs it, or pip install {variant.backend}"


def _minutes(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
