"""Two runs side by side, from made-up records."""

import json

import pytest

from experiments import compare
from tests.made.series import chain, keep

LOSSES = (11, 11, 12, 33)


def with_images(rounds, correct):
    """The rounds, the last of which lists the images that its model gets right."""
    return [*rounds[:-1], {**rounds[-1], "correct": correct}]


@pytest.fixture
def records(tmp_path):
    for seed, (first, second) in enumerate([(0.93, 0.92), (0.93, 0.94)]):
        rounds = chain(losses=LOSSES, accuracies=(0.9, 0.9, 0.9, 0.9, first))
        keep(
            *(tmp_path, "c10-k2", seed),
            with_images(rounds, {"test": "f0", "validation": "80"}),
            selected=1,
        )
        rounds = chain(losses=LOSSES, accuracies=(0.9, 0.8, 0.8, 0.8, second))
        keep(
            *(tmp_path, "c10-random", seed),
            with_images(rounds, {"test": "3f", "validation": "80"}),
            selected=1,
        )
    return tmp_path / "cifar10"


def rows(text):
    lines = [line.strip("| ").split(" | ") for line in text.splitlines()]
    return [line for line in lines if len(line) > 1 and "---" not in line]


def test_last_models(records, capsys):
    names = [str(records / name) for name in ("c10-k2", "c10-random")]
    assert compare.main(names) == 0
    text = capsys.readouterr().out
    assert text.startswith("seed 0: 32 and 32 layers, seed 1: 32 and 32 layers\n")
    found = rows(text)
    # t of one degree of freedom: 12.706 * 0.0141 / sqrt(2) = 0.1271.
    difference = "+0.00 [-12.71, +12.71] (n = 2)"
    assert found[1:3] == [
        ["test", "93.00 ± 0.00 (n = 2)", "93.00 ± 1.41 (n = 2)", difference],
        ["held-out", "92.00 ± 0.00 (n = 2)", "92.00 ± 1.41 (n = 2)", difference],
    ]
    # 11110000 and 00111111: two wrong, four right; p = 44 / 64.
    assert found[4:] == [
        ["0", "test", "2", "4", "0.69"],
        ["0", "test and held-out", "2", "4", "0.69"],
        ["1", "test", "2", "4", "0.69"],
        ["1", "test and held-out", "2", "4", "0.69"],
    ]


def test_selected_models(records, capsys):
    names = [str(records / name) for name in ("c10-k2", "c10-random")]
    compare.main([*names, "--selected"])
    text = capsys.readouterr().out
    assert "seed 0: 50 and 50 layers" in text and "McNemar" not in text
    assert rows(text)[1][3] == "+10.00 [+10.00, +10.00] (n = 2)"
    assert len(rows(text)) == 3  # these rounds list no images


def test_splits_without_accuracies_are_left_out(records, capsys):
    def drop(name):
        for path in records.glob("*/rounds.jsonl"):
            rounds = [json.loads(line) for line in path.read_text().splitlines()]
            for record in rounds:
                del record[name]
            path.write_text("".join(json.dumps(record) + "\n" for record in rounds))

    names = [str(records / name) for name in ("c10-k2", "c10-random")]
    drop("test_accuracy")
    compare.main(names)
    assert rows(capsys.readouterr().out)[1][0] == "held-out"
    drop("validation_accuracy")
    with pytest.raises(SystemExit, match="no accuracies in common"):
        compare.main(names)


def test_what_cannot_be_compared(records):
    run = str(records / "c10-k2")
    with pytest.raises(SystemExit, match="no finished run in .*c10-main-seed0'"):
        compare.main([run, str(records / "c10-main")])
    other = records / "c10-random-seed0" / "run.json"
    settings = json.loads(other.read_text())
    settings["dataset"]["name"] = "digits"
    other.write_text(json.dumps(settings))
    with pytest.raises(SystemExit, match="runs of seed 0 have different data"):
        compare.main([run, str(records / "c10-random")])
    (records / "c10-random-seed0" / "final.json").unlink()
    (records / "c10-k2-seed1" / "final.json").unlink()
    with pytest.raises(SystemExit, match=r"no seed has both runs: \[0\] and \[1\]"):
        compare.main([run, str(records / "c10-random")])
