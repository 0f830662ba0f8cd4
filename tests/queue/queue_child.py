"""A made-up experiment for the tests of the runner: rounds without any training.

    python -m tests.queue.queue_child experiments.cifar --run_dir=... --data_dir=...

`behaviour.json` in the folder of the data states for each run how many rounds it has,
how many seconds each takes, and whether it fails.
"""

import json
import pathlib
import signal
import sys
import tempfile
import time

from tests.made.runs import make_final, make_rounds, write_records


def main(arguments):
    given = dict(a.removeprefix("--").split("=", 1) for a in arguments if "=" in a)
    run_dir = pathlib.Path(given["run_dir"])
    behaviour = pathlib.Path(given["data_dir"]) / "behaviour.json"
    behaviour = json.loads(behaviour.read_text())
    rounds, seconds, fails = behaviour.get(run_dir.name, (1, 0.0, False))
    if fails:
        sys.exit("error: made to fail")
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    until = time.monotonic() + 60 * float(given.get("time_budget_minutes", "inf"))
    path = run_dir / "rounds.jsonl"
    done = len(path.read_text().splitlines()) if path.exists() else 0
    for number in range(done, rounds):
        started = time.monotonic()
        while time.monotonic() < started + seconds:
            if asked:
                sys.exit(143)
            if time.monotonic() > until:
                sys.exit(0)
            time.sleep(0.01)
        write(run_dir, number + 1, rounds, given)
    (run_dir / "report.html").write_text("")


def write(run_dir, count, rounds, given):
    lines = make_rounds(*[0.9] * count, gone=[f"stage1_unit{n}" for n in range(count)])
    (run_dir / "models").mkdir(parents=True, exist_ok=True)
    for line in lines:
        line["model"] = f"models/round-{line['round']:02}.keras"
        (run_dir / line["model"]).touch()
    final = make_final(lines, count - 1) if count == rounds else None
    settings = {"dataset": {"name": "digits"}, "seed": given["seed"]}
    with tempfile.TemporaryDirectory(dir=run_dir) as made:
        made = write_records(pathlib.Path(made), lines, final, run=settings)
        (made / "sessions.jsonl").write_text("{}\n")
        (made / "flags.txt").write_text(f"--scale={given.get('scale', 'paper')}\n")
        # As runs do: what says that a round is finished comes last.
        last = [made / "rounds.jsonl", *([made / "final.json"] if final else [])]
        for path in [*set(made.iterdir()).difference(last), *last]:
            path.replace(run_dir / path.name)


if __name__ == "__main__":
    main(sys.argv[2:])
