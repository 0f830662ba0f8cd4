"""Tables come from records alone, and the committed ones are up to date."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from experiments import record
from experiments.pages import manifest, records_page
from tests.made.pages import cells
from tests.made.runs import make_final, make_rounds, write_records


def made_record(folder, *later, **final):
    rounds = make_rounds(0.9, 0.92, 0.95, *later)
    final = make_final(rounds, 2, total_epochs=6, total_seconds=90.0, **final)
    sizes = {"name": "digits", "train": 1000, "validation": 100, "test": 200}
    write_records(
        folder,
        rounds,
        final,
        run={"dataset": sizes, "backend": "tensorflow"},
        environment={"cpu": "Some CPU", "cores": 4},
    )
    (folder / "sessions.jsonl").write_text("{}\n{}\n")
    (folder / "report.html").write_text("<html>")
    return folder


def test_every_record_is_whole_and_of_the_project_alone():
    for path in records_page.RECORDS.glob("*/*/rounds.jsonl"):
        folder = path.parent
        names = {path.name for path in folder.iterdir()}
        needed = record._KEPT if record.progress(folder)[1] else record._TEXT
        assert names - {record._MEASURED, "models"} == {*needed}, folder
        text = (folder / "flags.txt").read_text()
        assert "--data_dir" not in text
        assert not re.search("=/", text), folder


def test_page_of_one_record(tmp_path):
    made_record(tmp_path / "digits" / "demo-seed0", note="A toy.")
    page = records_page.records_page(tmp_path)
    row = next(line for line in page.splitlines() if "demo-seed0](" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "[digits/demo-seed0](../../records/digits/demo-seed0)",
        "own schedule",
        "digits (1,000 / 100 / 200)",
        "29 → 23",
        "40.00 M → 60.0 %",
        "300.00 k → 80.0 %",
        "held-out images",
        "90.00 ± 5.96 → 95.00 ± 4.51",
        "90.00 ± 4.19 → 88.00 ± 4.52",
        "6",
        "1.5",
        "Some CPU, 4 cores, tensorflow",
    ]
    assert page.endswith("Notes in the records:\n\n- digits/demo-seed0: A toy.\n")
    made_record(tmp_path / "digits" / "proof-seed0", note="Proof of function on toys.")
    page = records_page.records_page(tmp_path)
    assert page.endswith("- digits/proof-seed0: Smoke test on toys.\n")


def test_smoke_tests_are_labelled_and_not_averaged(tmp_path):
    for seed in (0, 1):
        made_record(tmp_path / "digits" / f"proof-seed{seed}")
    page = records_page.records_page(tmp_path)
    assert cells(page, "[digits/proof-seed1]")[1] == "smoke test"
    assert "## Several seeds" not in page and not records_page.over_seeds(tmp_path)
    names = ["digits/proof-seed0", "digits/proof-seed1"]
    assert records_page.smoke_tests(tmp_path) == names
    flags = tmp_path / "digits" / "demo-seed0" / "flags.txt"
    made_record(flags.parent)
    assert records_page.smoke_tests(tmp_path) == names
    flags.write_text("--scale=smoke\n")
    assert len(records_page.smoke_tests(tmp_path)) == 3


def test_selection_on_the_test_set_is_labelled(tmp_path):
    made_record(tmp_path / "digits" / "a", select_on="test")
    assert "| test set |" in records_page.records_page(tmp_path)


def test_no_record_no_page(tmp_path):
    assert records_page.records_page(tmp_path) is None


def test_keeping_a_run(tmp_path):
    run = made_record(tmp_path / "run")
    (run / "models").mkdir()
    record.keep(run, tmp_path / "kept")
    assert {p.name for p in (tmp_path / "kept").iterdir()} == set(record._KEPT)
    (run / "unit_norms.json").write_text("{}")
    record.keep(run, tmp_path / "measured")
    more = {p.name for p in (tmp_path / "measured").iterdir()}
    assert more == {*record._KEPT, "unit_norms.json"}
    final = json.loads((tmp_path / "kept/final.json").read_text())
    assert final["selected_round"] == 2
    with pytest.raises(ValueError, match="exists and has at least as many rounds"):
        record.keep(run, tmp_path / "kept")


def test_a_record_grows_with_its_run(tmp_path):
    """Replaced as a whole by the same run once that is further, models included."""
    run, kept = made_record(tmp_path / "run"), tmp_path / "digits" / "demo-seed0"
    (run / "models").mkdir()
    text = (run / "rounds.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        line["model"] = f"models/round-{line['round']:02}.keras"
        (run / line["model"]).touch()
    final = (run / "final.json").read_text()
    flags = "--run_dir=/here/runs/demo-seed0\n--start_from=/here/runs/other\n"
    (run / "flags.txt").write_text(f"{flags}--seed=7\n")
    (run / "final.json").unlink()
    for count in (1, 2, 3):
        text = "".join(json.dumps(line) + "\n" for line in lines[:count])
        (run / "rounds.jsonl").write_text(text)
        record.keep(run, kept, models=True)
        (kept / "unit_norms.json").write_text("{}")  # measured in the record
        assert record.progress(kept) == (count, False)
        assert len(list((kept / "models").iterdir())) == count
        page = records_page.records_page(tmp_path)
        assert cells(page, "[digits/demo-seed0]", "own schedule", str(count - 1))
        assert "## Single runs" not in page
    with pytest.raises(ValueError, match="has at least as many rounds as"):
        record.keep(run, kept)
    (run / "final.json").write_text(final)
    record.keep(run, kept, models=True)
    assert record.progress(kept) == (3, True)
    assert (kept / "unit_norms.json").is_file()
    flags = "--run_dir=runs/demo-seed0\n--start_from=runs/other\n"
    assert (kept / "flags.txt").read_text() == f"{flags}--seed=7\n"
    assert not (kept / "report.html").exists()
    assert "In progress" not in records_page.records_page(tmp_path)
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
    (run / "run.json").write_text('{"seed": 1}')
    with pytest.raises(ValueError, match="belongs to another run"):
        record.keep(run, kept)
    (run / "rounds.jsonl").unlink()
    with pytest.raises(ValueError, match="it has no rounds.jsonl. Continue the run"):
        record.keep(run, kept)


@pytest.mark.parametrize("size, kept", [(200_000, (0, 1, 2, 3)), (400_000, (0, 2, 3))])
def test_a_finished_record_holds_its_models(tmp_path, size, kept):
    """Of round 0, the selected and the last one; of all where they are small."""
    run = made_record(tmp_path / "run", 0.8)
    text = (run / "rounds.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    (run / "models").mkdir()
    for line in lines:
        line["model"] = f"models/round-{line['round']:02}.keras"
        (run / line["model"]).write_bytes(bytes(size))
    (run / "models/initial.keras").touch()
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (run / "rounds.jsonl").write_text(text)
    records = tmp_path / "records"
    records.mkdir()
    manifest.renew(records)
    record.keep(run, records / "digits" / "demo-seed0")
    names = {path.name for path in (records / "digits/demo-seed0/models").iterdir()}
    assert names == {f"round-0{number}.keras" for number in kept}
    record.keep(run, records / "digits" / "whole-seed0", models=True)
    whole = (records / "digits/whole-seed0/models").iterdir()
    assert len({path.name for path in whole}) == len(lines)
    shutil.rmtree(records / "digits/whole-seed0")
    manifest.renew(records)
    assert manifest.problems(records) == []
    assert len((records / manifest.NAME).read_text().splitlines()) == 7 + len(kept)


def test_command_line(tmp_path):
    command = [sys.executable, "-m", "experiments.record"]
    for arguments, code, message in (
        ([], 2, "usage:"),
        (["a", "b"], 1, "error: 'a' has no"),
    ):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True)
        assert done.returncode == code and done.stderr.startswith(message)


def test_runs_of_several_seeds_are_summed_up(tmp_path):
    """Test accuracies of the initial nets: 90 %; of the chosen ones: 88 and 89 %."""
    for seed, selected in ((0, 2), (1, 1)):
        folder = made_record(tmp_path / "cifar10" / f"demo-seed{seed}")
        final = json.loads((folder / "final.json").read_text())
        (folder / "final.json").write_text(
            json.dumps({**final, "selected_round": selected})
        )
    made_record(tmp_path / "cifar10" / "once-seed0")
    row = records_page.over_seeds(tmp_path, least=2).splitlines()[2]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "cifar10/demo",
        "own schedule",
        "digits (1,000 / 100 / 200)",
        "held-out images",
        "[0](../../records/cifar10/demo-seed0), [1](../../records/cifar10/demo-seed1)",
        "29 → 23 (1), 26 (1) → 23",
        "60.0 (1), 80.0 (1)",
        "90.00 ± 0.00 (n = 2)",
        "88.50 ± 0.71 (n = 2)",
        "88.00 ± 0.00 (n = 2)",
        "-1.50 [-7.85, +4.85] (n = 2)",
        "-2.00, -1.00",
        "-2.00 [-2.00, -2.00] (n = 2)",
        "6",
        "1.5",
        "Some CPU, 4 cores, tensorflow",
    ]
    page = records_page.records_page(tmp_path)
    assert cells(page, "cifar10/demo", "own schedule")
    assert cells(page, "[cifar10/once-seed0]") and "| [cifar10/demo" not in page
    for seed in range(3):
        rounds = make_rounds(0.9, 0.92, test=0.9 - 0.01 * seed)
        rounds[1]["test_accuracy"] = rounds[0]["test_accuracy"] + 0.02
        folder = made_record(tmp_path / "cifar10" / f"fine-seed{seed}")
        final = make_final(rounds, 1, "validation", total_epochs=6, total_seconds=90.0)
        (folder / "final.json").write_text(json.dumps(final))
        text = "".join(json.dumps(line) + "\n" for line in rounds)
        (folder / "rounds.jsonl").write_text(text)
    table = records_page.over_seeds(tmp_path, least=2)
    assert cells(table, "cifar10/fine")[10] == "+2.00 [+2.00, +2.00] (n = 3)"
    assert "once" not in records_page.over_seeds(tmp_path, least=2)
    others = records_page.over_seeds(tmp_path, least=2, without=["demo"])
    assert "cifar10/fine" in others and "cifar10/demo" not in others
    only = records_page.over_seeds(tmp_path, only=["once"], brief=True)
    assert cells(only, "cifar10/once")[1:4] == [
        "own schedule",
        "29 → 23 → 23",
        "90.00 (n = 1)",
    ]
    assert cells(only, "cifar10/once")[6:] == [
        "-2.00 (n = 1)",
        "Some CPU, 4 cores, tensorflow",
    ]
    assert "cifar10/demo" not in only and "minutes" not in only


def test_models_that_the_paper_lacks_have_their_own_schedule(tmp_path):
    for run in ("digits/demo", "cifar10/c10-r29", "cifar10/c10-k2"):
        made_record(tmp_path / f"{run}-seed0")
    table = records_page.over_seeds(tmp_path)
    for run in ("digits/demo", "cifar10/c10-r29"):
        assert cells(table, run)[1] == "own schedule"
    assert cells(table, "cifar10/c10-k2")[1] == "full length"
