"""The study of retraining, on a small net and made-up images."""

import dataclasses
import json
import pathlib

import pytest

import resprune_tf as rp
from experiments.removal_study import public_models, retraining, retraining_page
from experiments.removal_study.public_models import build_resnet
from tests.conftest import randomise, toy_dataset

pytestmark = pytest.mark.slow
# What both pages read of a run.
RUN = {
    "removed": ["a", "b"],
    "macs_ratio": 0.657,
    "given": 0.9263,
    "removed_only": 0.2945,
    "recalibrated": 0.72,
    "environment": {"cpu": "a processor", "commit": "abc"},
}


def test_a_way_is_a_run_of_the_trained_network(tmp_path, monkeypatch):
    monkeypatch.setattr(retraining, "UNITS", 1)
    net = build_resnet("small", 2, widths=(4,), size=8)
    randomise(net)
    way = retraining.Way("adam", 5e-4, epochs=1, teacher=True)
    dataset = dataclasses.replace(
        toy_dataset(train=256), class_names=tuple("0123456789")
    )
    choice = retraining.CHOICES[0]
    folder = tmp_path / way.name
    found = retraining._run(rp, net, dataset, way, choice, 0, folder)
    assert way.name == "adam-0.0005-warmup_linear-1-teacher"
    assert len(found["removed"]) == 1 and 0 < found["macs_ratio"] < 1
    assert all(0 <= found[k] <= 1 for k in ("given", "removed_only", "retrained"))
    settings = json.loads((tmp_path / way.name / "run.json").read_text())
    assert settings["guidance"]["weight"] == 0.7
    assert settings["recipe"]["epochs"] == 0
    json.dumps(found)


def test_options_of_the_ways_do_not_fit_the_criteria(monkeypatch, capsys):
    folders = ["--pretrained=weights", "--data_dir=data", "--compare=criteria"]
    for option in ("--seed=1", "--ways=2"):
        monkeypatch.setattr("sys.argv", ["retraining", *folders, option])
        with pytest.raises(SystemExit):
            retraining.main()
        assert "are compared for seeds 0 to 4" in capsys.readouterr().err


def test_the_command_compares_criteria(tmp_path, monkeypatch, capsys):
    def read_model(name, folder):
        assert (name, folder) == ("resnet32", "weights")
        net = build_resnet("small", 2, widths=(4,), size=8)
        randomise(net)
        return net

    monkeypatch.setattr(public_models, "read_model", read_model)
    monkeypatch.setattr(
        rp,
        "load_dataset",
        lambda *_, seed: dataclasses.replace(
            toy_dataset(train=256, seed=seed), class_names=tuple("0123456789")
        ),
    )
    monkeypatch.setattr(retraining, "RECORDS", tmp_path)
    monkeypatch.setattr(retraining, "UNITS", 1)
    monkeypatch.setattr(retraining, "SEEDS", range(2))
    monkeypatch.setattr(retraining, "CHOICES", retraining.CHOICES[:3])
    way = dataclasses.replace(retraining.CHOSEN_WAY, epochs=1)
    monkeypatch.setattr(retraining, "CHOSEN_WAY", way)
    folders = ["--pretrained=weights", "--data_dir=data", f"--runs={tmp_path / 'runs'}"]
    monkeypatch.setattr("sys.argv", ["retraining", "--compare=criteria", *folders])
    retraining.main()
    record = json.loads((tmp_path / retraining.PLACES["criteria"]).read_text())
    names = ("block_influence", "random", "leave_one_out-recalibrated")
    assert list(record["criteria"]) == [f"{n}-seed{s}" for s in (0, 1) for n in names]
    assert record["command"].endswith(
        "retraining --compare=criteria --pretrained=DIR --data_dir=DATA"
    )
    page = retraining_page.make(tmp_path).text
    assert "leave_one_out-recalibrated | 2 |" in page and "Not run yet" in page
    assert f"finished: {tmp_path}" in capsys.readouterr().out
    retraining.main()  # nothing is left to do
    assert "..." not in capsys.readouterr().out.replace("Starting Keras ...", "")


def test_the_page(tmp_path):
    assert retraining_page.make(tmp_path) is None
    row = {
        **dataclasses.asdict(retraining.Way("sgd", 0.02)),
        **RUN,
        "retrained": 0.9123,
        "train": 0.97,
        "seconds": 400.0,
        "seed": 0,
    }
    path = tmp_path / retraining.PLACES["ways"]
    path.parent.mkdir(parents=True)
    taught = {**row, "teacher": True, "retrained": 0.9186}
    record = {"command": "this", "ways": {"one": row, "two": taught}}
    path.write_text(json.dumps(record))
    text = retraining_page.make(tmp_path).text
    assert pathlib.Path(tmp_path).name not in text
    lines = [line for line in text.splitlines() if line.startswith("| sgd")]
    assert [line.split("|")[6].strip() for line in lines] == ["91.86", "91.23"]
    assert "29.45 %" in text and "72.00 %" in text
    assert "ordered by\n  test accuracy" in text and "Criteria" not in text


def test_the_page_compares_criteria_over_seeds(tmp_path):
    accuracies = {
        ("block_influence", 0): 0.92,
        ("block_influence", 1): 0.91,
        ("random", 0): 0.90,
        ("random", 1): 0.91,
        ("taylor", 0): 0.89,
    }
    runs = {
        f"{name}-seed{seed}": {
            **RUN,
            "criterion": name,
            "seed": seed,
            "retrained": accuracy,
        }
        for (name, seed), accuracy in accuracies.items()
    }
    runs["block_influence-seed1"]["removed"] = ["b", "c"]
    path = tmp_path / retraining.PLACES["criteria"]
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"command": "this", "criteria": runs}))
    text = retraining_page.make(tmp_path).text
    rows = {
        cells[1]: cells[2:-1]
        for line in text.splitlines()
        if (cells := [cell.strip() for cell in line.split("|")])[0] == "" and cells[1:]
    }
    assert rows["block_influence"] == [
        "2",
        "29.45 ± 0.00",
        "72.00 ± 0.00",
        "91.50 ± 0.71",
        "+1.00 [-11.71, +13.71] (n = 2)",
        "b (2), a (1), c (1)",
    ]
    assert rows["random"][4] == "-" and rows["taylor"][4] == "-1.00 (n = 1)"
    assert "leave_one_out-recalibrated" not in rows
    assert "Not run yet" in text and "taylor-seed1" in text
    assert "seeds 0 and 1; on a processor" in text
