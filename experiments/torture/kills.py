"""Kills commands with SIGKILL and repeats them; nothing may be lost."""

import shutil

from experiments.torture import process
from experiments.torture.case import Case, same
from experiments.torture.subject import difference

# Kills of each command.
_KILLS = {"training": 22, "prune": 12, "start from": 10, "state file": 10, "export": 12}
_IN_A_ROW = 6  # kills of one run before it is left to finish


def cases(subject, rng, folder):
    """Kills every kind of command many times.

    Yields:
        `Case`.
    """
    commands = subject.commands | {
        "start from": (subject.start_from, subject.started_from),
        "state file": (_from_state_file(subject), subject.trained),
    }
    for name, count in _KILLS.items():
        command, expected = commands[name]
        killed = run = 0
        while killed < count:
            run += 1
            place, seconds = folder / f"{name}-{run}", subject.seconds[expected]
            found = _killed_run(name, command, expected, rng, place, seconds)
            killed += found.kills
            yield found
            if not found.right:
                break


def _killed_run(name, command, expected, rng, folder, seconds):
    """One run that is killed repeatedly, within `seconds`, and then finished."""
    kills = 0
    for _ in range(_IN_A_ROW):
        if rng.random() < 0.5:
            moment = rng.choice(("during", "after"))
            ended = process.run(command(folder, f"{rng.randint(1, 9)}:{moment}"))
        else:
            ended = process.run(
                command(folder), kill_after=rng.uniform(0.3, 1) * seconds
            )
        if ended.code == 0:
            break
        if ended.code != -9:
            return Case(name, f"after a kill: {ended.error}", False, kills)
        kills += 1
        if wrong := _incomplete(folder, expected):
            return Case(name, f"after a kill: {wrong}", False, kills)
    ended = process.run(command(folder))
    if ended.code:
        return Case(name, f"last attempt: {ended.error}", False, kills)
    may_lack = _not_packed(expected) if name == "state file" else ()
    wrong = difference(folder, expected, may_lack)
    if left := [path.name for path in folder.parent.glob(f".*{folder.name}*")]:
        wrong = wrong or f"{left[0]} is left over"  # of the state file
    found = same(name, wrong, kills)
    if found.right:
        shutil.rmtree(folder)
    return found


def _incomplete(folder, expected):
    """An incomplete file under its final name; None if there is none."""
    for path in folder.glob("*"):
        twin = expected / path.name
        if path.suffix in (".tflite", ".onnx") and twin.exists():
            if path.read_bytes() != twin.read_bytes():
                return f"{path.name} is incomplete"
    return None


def _not_packed(run_dir):
    """Names of the models that a state file leaves out."""
    from resprune_tf.runs.state_file import needed_models

    every = (str(path.relative_to(run_dir)) for path in run_dir.glob("models/*"))
    return {*every}.difference(needed_models(run_dir))


def _from_state_file(subject):
    """Every other process works in an empty folder with the state file alone."""
    turns = 0

    def command(run_dir, death="never"):
        nonlocal turns
        turns += 1
        if turns % 2:
            shutil.rmtree(run_dir, ignore_errors=True)
        return subject.train(run_dir, death, state_file=f"{run_dir}.tar")

    return command
