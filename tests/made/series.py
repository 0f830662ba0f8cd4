"""Made-up records of whole experiments, for the tests of tables and figures."""

from experiments.paper.rows import BY_RUN
from tests.made.runs import write_records

FULL = {"cifar10": (6, 6, 6), "cifar100": (6, 6, 6), "imagenet": (3, 4, 6, 3)}


def units_of(counts):
    """Names of units, so many in each stage."""
    return [f"stage{s}_unit{u + 1}" for s, n in enumerate(counts, 1) for u in range(n)]


def chain(data="cifar10", losses=(1, 1, 1, 1), accuracies=(0.9,) * 5, **more):
    """Rounds that lose a unit of a stage each (0 for an empty round is not known).

    Args:
        data: folder of the records; it tells the net to start from.
        losses: for each round the stages, one digit each, that lose their last unit.
        accuracies: on the test set; held-out images get a point less.
        more: further fields of every round.
    """
    left, rounds = list(FULL[data]), []
    for number, accuracy in enumerate(accuracies):
        removed = []
        if number:
            for stage in map(int, str(losses[number - 1])):
                removed.append(f"stage{stage}_unit{left[stage - 1]}")
                left[stage - 1] -= 1
        names = units_of(left)
        rounds.append(
            {
                "round": number,
                "removed": removed,
                "units": names,
                "layers": 3 * sum(left) + 2,
                "parameters": 1000 * len(names),
                "macs": 10_000 * len(names),
                "importances": {
                    name: (-1) ** index * (0.2 + 0.04 * index)
                    for index, name in enumerate(names)
                    if not name.endswith("unit1")
                },
                "scores": {},
                "epochs": 200 if number == 0 else 60,
                "validation_accuracy": accuracy - 0.01,
                "test_accuracy": accuracy,
                "seconds": 3600.0,
                **more,
            }
        )
    return rounds


def single(layers, accuracy, **more):
    """The rounds of a run that only trains a net."""
    (only,) = chain(accuracies=(accuracy,), **more)
    return [{**only, "layers": layers}]


def unpruned(*accuracies):
    """The rounds of a run that retrains a net and removes nothing."""
    first = chain(accuracies=accuracies[:1])[0]
    return [
        {
            **first,
            "round": number,
            "epochs": 60 if number else 200,
            "validation_accuracy": accuracy - 0.01,
            "test_accuracy": accuracy,
        }
        for number, accuracy in enumerate(accuracies)
    ]


def keep(records, run, seed, rounds, selected=-1, scale=None, **final):
    """Writes the record of a run of an experiment.

    Args:
        records: folder of all records.
        run: name of the row.
        rounds: as from `chain`; `selected` is an index into them.
        scale: that of the row by default.
        final: fields of final.json.
    """
    row = BY_RUN[run]
    folder = records / row.record(seed)
    split = final.get("select_on", "validation")
    outcome = {
        "selected_round": rounds[selected]["round"],
        "select_on": split,
        "tolerance": 0.0,
        "initial_accuracy": rounds[0][f"{split}_accuracy"],
        "test_examples": 10_000,
        "selection_examples": 5000,
        "total_epochs": sum(r["epochs"] for r in rounds),
        "total_seconds": sum(r["seconds"] for r in rounds),
        **final,
    }
    write_records(
        folder,
        rounds,
        outcome,
        run={
            "dataset": {
                "name": row.data,
                "train": 45_000,
                "validation": 5000,
                "test": 10_000,
            },
            "backend": "jax",
        },
        environment={"cpu": "Some CPU", "cores": 4, "devices": "1 H200"},
    )
    (folder / "flags.txt").write_text(f"--scale={scale or row.scale}\n--seed={seed}\n")
    return folder
