"""Records of made-up runs, for the tests of reports."""

import json

UNITS = [f"stage{stage}_unit{unit}" for stage in (1, 2, 3) for unit in (1, 2, 3)]
OMEGA = {u: w for u, w in zip(UNITS, (0, 0.5, -0.9) * 3, strict=True) if w}
HOSTILE = "<script>alert()</script>&\"'$x^$"


def make_rounds(*accuracies, test=0.9, gone=("stage1_unit2", "stage3_unit2")):
    """Rounds of a 29-layer net that loses 1 unit in each; made-up round numbers."""
    rounds = []
    for number, accuracy in enumerate(accuracies):
        left = [unit for unit in UNITS if unit not in gone[:number]]
        omega = {u: w for u, w in OMEGA.items() if u in left}
        rounds.append(
            {
                "round": number,
                "removed": list(gone[number - 1 : number]) if number else [],
                "units": left,
                "layers": 29 - 3 * number,
                "parameters": 300_000 - 30_000 * number,
                "macs": 40_000_000 - 8_000_000 * number,
                "importances": omega,
                "scores": {u: abs(w) for u, w in omega.items()},
                "epochs": 2,
                "validation_accuracy": accuracy,
                "test_accuracy": test - 0.01 * number,
                "seconds": 10.0 + number,
            }
        )
    return rounds


def make_final(rounds, selected, select_on="validation", **changes):
    return {
        "selected_round": selected,
        "select_on": select_on,
        "tolerance": 0.0,
        "stop_reason": "target reached: 23 layers",
        "initial_accuracy": rounds[0][f"{select_on}_accuracy"],
        "test_examples": 200,
        "selection_examples": 100 if select_on == "validation" else 200,
        **changes,
    }


def make_own_rounds(*errors):
    """Rounds of a run on a user's own terms, which watches a mean absolute error."""
    return [
        {k.replace("accuracy", "mae"): value for k, value in line.items()}
        for line in make_rounds(*errors)
    ]


def make_own_final(rounds, selected, **changes):
    return {
        "selected_round": selected,
        "select_on": "validation",
        "tolerance": 0.0,
        "monitor": "mae",
        "mode": "min",
        "stop_reason": "no removable unit is left",
        "initial_mae": rounds[0]["validation_mae"],
        "selection_examples": None,
        "test_examples": 20,
        **changes,
    }


def write_records(folder, rounds, final=None, **files):
    """Writes a run directory; `files` replaces or adds JSON files by stem."""
    folder.mkdir(parents=True, exist_ok=True)
    history = [
        {"round": r["round"], "epoch": e, "loss": 1 / e, "accuracy": 0.5 + 0.1 * e}
        for r in rounds
        for e in (1, 2)
    ]
    for name, lines in (("rounds", rounds), ("history", history)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text)
    (folder / "flags.txt").write_text("--depth=29\n--seed=7\n")
    files = {
        "run": {"dataset": {"name": "digits", "test": 200}, "recipe": {"epochs": 2}},
        "environment": {"python": "3.12", "cores": 4},
        **({"final": final} if final else {}),
        **files,
    }
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder
