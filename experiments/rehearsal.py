"""Every command of the queue in small, to know that it runs.

    python -m experiments.rehearsal DATA_DIR

Keeps what came of it in records/queue/rehearsal.json, for queue.md. Takes CIFAR from
DATA_DIR. Exit status: the number of commands that failed.
"""

import subprocess
import sys
import tempfile
import time

from experiments.queue import REHEARSAL
from experiments.queue_rows import ROOT, ROWS, settings

# What makes a command small. Nets stay what they are, but for their width.
SMALL = (
    "--width=2 --epochs=1 --retrain_epochs=1 --batch_size=32 --train_examples=64 "
    "--validation_examples=20 --test_examples=20 --criterion_examples=32 --export="
).split()


def rehearse(data_dir, rows=ROWS):
    """Runs the command of every row for one seed, in the order of the queue.

    Returns:
        dict from a row's run to whether it ran to its end, and its seconds.
    """
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for row in rows:
            begun = time.monotonic()
            command = [a.replace("=runs/", f"={folder}/") for a in row.command(0)]
            command += [*SMALL, f"--data_dir={data_dir}"]
            if settings(row)["max_rounds"] != 0:
                command += ["--max_rounds=2", "--units_per_round=4"]
            done = subprocess.run(
                [sys.executable, "-m", "experiments.cifar", *command],
                cwd=ROOT,
                capture_output=True,
                text=True,
            )
            seconds = round(time.monotonic() - begun, 1)
            results[row.run] = {"ran": done.returncode == 0, "seconds": seconds}
            said = "ok" if done.returncode == 0 else done.stderr[-1500:] or done.stdout
            print(f"{row.letter} {row.run:16} {seconds:6.1f} s  {said}", flush=True)
    return results


def main(argv):
    if len(argv) != 1:
        sys.exit("usage: python -m experiments.rehearsal DATA_DIR")
    results = rehearse(argv[0])
    from resprune_tf.environment import environment
    from resprune_tf.records import write_json

    REHEARSAL.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        REHEARSAL, {"environment": environment(), "small": SMALL, "rows": results}
    )
    sys.exit(sum(not result["ran"] for result in results.values()))


if __name__ == "__main__":
    main(sys.argv[1:])
