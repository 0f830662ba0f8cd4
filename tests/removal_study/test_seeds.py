"""Several seeds of one run in the study of removal, on records made by hand."""

import itertools
import json

import pytest

from experiments.removal_study import page
from experiments.removal_study.__main__ import main
from experiments.removal_study.methods import (
    HARMS,
    Network,
    correlation,
    mean_rank,
    rank_correlation,
)
from experiments.removal_study.seeds import by_run, seeds_section
from tests.made.pages import cells

UNITS = 4


def made(folder, name, omega, greedy=True):
    """Writes a record in which each removed unit costs as much as its index.

    Args:
        folder: folder of the records.
        name: name of the run and seed.
        omega: |ω| of the units.
        greedy: whether the greedy search is finished.
    """
    sets = [
        units
        for count in range(3)
        for units in itertools.combinations(range(UNITS), count)
    ]
    measured = {
        "+".join(map(str, units)): {
            "plain": [0.9 - 0.01 * sum(units), 0.1 * sum(units)],
            "recalibrated": [0.95 - 0.01 * sum(units), 0.1 * sum(units)],
        }
        for units in sets
    }
    scores = {"importance": omega, "cka": [2.0, 1.0, 3.0, 4.0]}
    orders = {
        name: sorted(range(UNITS), key=values.__getitem__)
        for name, values in scores.items()
    }
    record = {
        "run": f"digits/{name}",
        "command": f"study --record=digits/{name}",
        "settings": {
            "scored_on": 8,
            "recalibrated_on": 16,
            "subset_images": 20,
            "most": 2,
            "seed": 0,
        },
        "environment": {"cpu": "a processor", "keras": "3", "backend": "tensorflow"},
        "parts": {
            part: {"seconds": 120.0, "commit": None}
            for part in ("orders", "random sets", "greedy search")[: 2 + greedy]
        },
        "network": {
            "units": [f"unit{index}" for index in range(UNITS)],
            "layers": 14,
            "macs": 1000,
            "test_images": 20,
        },
        "scores": {
            "8 images, draw 0": {
                n: {"scores": each, "processor_seconds": 1.0}
                for n, each in scores.items()
            }
        },
        "orders": orders,
        "test_images": measured,
        "subset_images": measured,
        "random": {
            str(count): [
                "+".join(map(str, units)) for units in sets if len(units) == count
            ]
            for count in (1, 2)
        },
    }
    if greedy:
        found = {"order": [0, 1], "processor_seconds": 2.0}
        record["greedy"] = {"cka": {"plain": found, "recalibrated": found}}
    path = folder / page.FOLDER / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record))
    return Network(name, record)


BEST, WORST = [0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]


def test_ranks_and_correlations_of_one_model(tmp_path):
    network = made(tmp_path, "mine-seed0", BEST)
    # The best of 4 units and of 6 pairs, each tied with itself.
    assert mean_rank(network, "importance", "plain") == pytest.approx(
        (100 * 3.5 / 4 + 100 * 5.5 / 6) / 2
    )
    for what in HARMS:
        args = "plain", what
        assert rank_correlation(network, "importance", *args) == pytest.approx(1)
        args = "recalibrated", what
        assert rank_correlation(network, "cka", *args) == pytest.approx(0.8)
    assert network.harms("plain", HARMS[0]) == pytest.approx([0, 0.01, 0.02, 0.03])
    assert network.harms("plain", HARMS[1]) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert network.run == "mine"


def test_the_seeds_of_a_run_are_together(tmp_path):
    for name in ("a-seed0", "b-seed0", "a-seed1", "a-seed10"):
        made(tmp_path, name, BEST)
    found = by_run(page.read(tmp_path))
    names = [[network.name for network in group] for group in found]
    assert names == [["a-seed0", "a-seed1", "a-seed10"], ["b-seed0"]]


def test_a_section_shows_means_with_intervals(tmp_path):
    networks = [made(tmp_path, f"mine-seed{s}", w) for s, w in enumerate((BEST, WORST))]
    text = seeds_section(networks).replace("\\|", "!")
    assert "## ResNet-14 of mine, n = 2" in text and "scikit-learn's digits" in text
    row = cells(text, "importance")
    # Of two values, the half-width is 12.706 standard errors.
    assert row[1].startswith("50 [") and row[3] == "-"
    assert row[-4:] == ["+0.00 [-12.71, +12.71]"] * 4
    assert cells(text, "greedy cka")[4:] == ["-"] * 4
    # Percentiles of `cka` are 77 of both models, those of |ω| 90 and 10.
    assert cells(text, "cka")[3].startswith("+27.1 [")
    table = text.split("standard deviation over")[1]
    row = cells(table, "importance")
    # 90 and 87 %, and 5 more; percentiles 87.5 and 12.5.
    assert row[-4:-2] == ["88.50 ± 2.12 (50)", "93.50 ± 2.12 (50)"]
    assert cells(table, "median of random sets")[1:3] == ["88.5", "93.5"]
    assert "in parentheses; 90.00 ± 0.00 with all units:" in " ".join(text.split())
    assert "`study --record=digits/mine-seed0`, 0.2 h in all" in text


def test_seeds_that_are_being_measured_are_left_out(tmp_path):
    for seed, greedy in enumerate((True, False, True)):
        made(tmp_path, f"mine-seed{seed}", BEST, greedy)
    (group,) = by_run(page.read(tmp_path))
    assert [network.name for network in group] == ["mine-seed0", "mine-seed2"]
    (group,) = by_run([made(tmp_path, f"a-seed{s}", BEST, False) for s in (0, 1)])
    assert [network.name for network in group] == ["a-seed0"]


def test_the_page_draws_single_models_only(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(page, "draw", lambda _, networks, **__: drawn.extend(networks))
    for seed in (0, 1):
        made(tmp_path, f"mine-seed{seed}", BEST)
    text = page.make(tmp_path).text
    assert not drawn and "## ResNet-14 of mine, n = 2" in text
    assert "## Summary" not in text


def test_an_interval_needs_five_units():
    assert correlation([1, 2, 3, 4], [1, 2, 4, 3]) == "+0.80"
    assert correlation(range(5), range(5)) == "+1.00 [+1.00, +1.00]"
    low = float(correlation(range(5), [0, 1, 2, 4, 3]).split("[")[1].split(",")[0])
    assert -1 <= low < 0.9


def test_the_overview_says_how_well_omega_selects(tmp_path):
    assert page.in_brief(tmp_path) == ""
    made(tmp_path, "mine-seed0", WORST)
    row = cells(page.in_brief(tmp_path), "ResNet-14 of mine, scikit-learn's digits")
    # Of all pairs of units, the median costs 3 of 0 to 5 percentage points.
    assert row[1:] == [
        *("1", "95.0", "2", "90.0", "92.0", "94.0 to 94.0"),
        "12, 8 for 1, 2 removed units",
        *["-1.00"] * 2,  # too few units for an interval
    ]
    for seed in (0, 1):
        made(tmp_path, f"mine-seed{seed}", BEST)
    row = cells(page.in_brief(tmp_path), "ResNet-14 of mine")
    assert row[1:5] == ["2", "95.0", "2", "94.0"]
    assert row[7:] == ["88, 92 for 1, 2 removed units", *["+1.00 [+1.00, +1.00]"] * 2]


def test_the_page_begins_with_what_was_found(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "draw", lambda *_, **__: "")
    made(tmp_path, "mine-seed0", BEST)
    text = page.make(tmp_path).text
    assert (
        "- |ω| reaches 90 on ResNet-14 of mine (n = 1): 88, 92 for 1, 2 removed" in text
    )
    assert "[Scoring units](../scores.md) gives advice." in text
    assert "on CIFAR-10: " not in text
    path = tmp_path / page.FOLDER / "mine-seed0.json"
    path.write_text(path.read_text().replace("digits/mine", "cifar10/mine"))
    text = page.make(tmp_path).text
    assert (
        "- `importance` chose most reliably on CIFAR-10: 90 to 90 in 1 model." in text
    )


def test_data_are_needed_except_for_the_digits(monkeypatch):
    arguments = ["removal_study", "--record=digits/a", "--record=cifar10/b"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit, match="--data_dir=DATA, .* digits/a, cifar10/b"):
        main()
