"""The study of the default settings, on a small net and on digits."""

import json
import types

import keras
import pytest

import resprune_tf as rp
from experiments.removal_study import defaults, defaults_page
from experiments.removal_study.public_models import build_resnet
from tests.conftest import randomise, toy_dataset

ROUND = {"round": 0, "removed": [], "layers": 44, "parameters": 9, "macs": 100}
ROUND |= {"epochs": 0, "seconds": 0.0, "validation": 0.999, "test": 0.93}


@pytest.mark.slow
def test_the_paper_s_way_spends_the_same_epochs(tmp_path, monkeypatch):
    net = build_resnet("small", 2, widths=(4,), size=8)
    randomise(net)
    dataset = toy_dataset(train=128, classes=10)
    monkeypatch.setattr(rp, "load_dataset", lambda *_, **__: dataset)
    monkeypatch.setattr(rp, "native_precision", lambda: "float32")
    monkeypatch.setattr(defaults, "EPOCHS", 4)
    arguments = types.SimpleNamespace(seed=0, runs=tmp_path, data_dir=None)
    rounds, how = defaults._as_the_paper(rp, net, arguments)
    assert sum(each["epochs"] for each in rounds) <= 4
    assert rounds[-1]["macs"] <= defaults.TARGET * rounds[0]["macs"]
    assert "k = 2" in how["how"]
    json.dumps(rounds)


@pytest.mark.slow
def test_the_defaults_are_those_of_the_command(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr("resprune_cli.main.main", lambda argv: given.append(argv) or 0)
    monkeypatch.setattr(rp.runs.records, "read_rounds", lambda folder: [])
    arguments = types.SimpleNamespace(seed=0, runs=tmp_path, data_dir="d")
    net = build_resnet("small", 1, widths=(4,), size=8)
    defaults._by_default(rp, net, arguments)
    chosen = {"--epochs", "--criterion", "--units-per-round", "--learning-rate"}
    assert not chosen.intersection(given[0])
    assert keras.saving.load_model(given[0][1]).compiled


def test_the_page(tmp_path):
    assert defaults_page.make(tmp_path) is None
    last = {**ROUND, "round": 1, "removed": ["a", "b"], "macs": 66, "epochs": 10}
    part = {"how": "resprune prune", "environment": {"cpu": "a processor"}}
    part["rounds"] = [
        ROUND,
        {**last, "validation": 0.91, "test": 0.925, "seconds": 3600.0},
    ]
    path = tmp_path / defaults.PLACE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"defaults": part, "command": "this", "seed": 0}))
    text = defaults_page.make(tmp_path).text
    assert "34.0 % of the MACs were removed; test accuracy changed by -0.50" in text
    assert "| 1 | a, b | 44 | 66.0 % | 10 | 91.00 | 92.50 |" in text
    assert text.count("Not run yet: ") == 1
    assert "## The paper's schedule cut to 2 epochs per training" in text


def test_the_overview_states_what_was_lost_before_any_removal(tmp_path):
    assert defaults_page.in_brief(tmp_path) == ""
    rounds = [
        {**ROUND, "epochs": 2, "test": 0.9, "seconds": 1800.0},
        {**ROUND, "macs": 60, "epochs": 2, "test": 0.89, "seconds": 1800.0},
    ]
    record = {"defaults": {"rounds": [ROUND]}, "paper": {"rounds": rounds}}
    path = tmp_path / defaults.PLACE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    text = defaults_page.in_brief(tmp_path)
    assert (
        "test accuracy changed by -4.00 percentage points, from 93.00 % to 89.00 % "
        "(1.0 h). Of this change, -3.00 percentage points came from the 2 epochs "
        "before the first removal, and -1.00 from the removals and their retraining."
    ) in text
