"""Cards of models come from their records."""

import json

from experiments.pages import model_cards
from tests.made.model_records import write_model_record, write_rounds
from tests.made.pages import cells


def test_no_model_no_page(tmp_path):
    folder = tmp_path / "digits" / "tiny-seed0"
    write_model_record(folder)
    for path in (folder / "models").iterdir():
        path.unlink()
    assert model_cards.make(tmp_path) is None


def test_a_card(tmp_path):
    folder = tmp_path / "digits" / "tiny-seed0"
    lines = write_model_record(folder)
    write_rounds(folder, [{**line, "test_accuracy": 0.9} for line in lines])
    page = model_cards.make(tmp_path).text
    # Wilson, by hand: 324 of 360.
    common = ["90.00 % (86.47 to 92.69 %)", "360"]
    assert cells(page, "[digits/tiny-seed0]")[1:] == ["26", "640", "650", *common]
    size = f"{(folder / lines[1]['model']).stat().st_size / 1e6:.2f} MB"
    assert cells(page, "round 1 (selected)")[4:] == [*common, size]
    assert 'load_record_model("digits/tiny-seed0")' in page
    for told in (
        "Trained on digits: 1,077 training, 360 validation and 360 test images.",
        "Seed 3, backend jax, 1 H200.",
        "2 epochs, then 2 epochs per retraining; 4 in all.\n",
        "Removed by the criterion `largest` up to the selected round: stage1_unit2.\n",
        "UCI publishes it under CC BY 4.0.",
        "validation images (n = 360): 50.00 % (44.86 to 55.14 %) in round 0, ",
    ):
        assert told in page, told
    assert "latency" not in page and "test set selected" not in page


def test_the_model_of_the_last_round_is_listed_where_it_is_kept(tmp_path):
    folder = tmp_path / "digits" / "tiny-seed0"
    lines = write_model_record(folder)
    final = json.loads((folder / "final.json").read_text())
    (folder / "final.json").write_text(json.dumps({**final, "selected_round": 0}))
    page = model_cards.make(tmp_path).text
    assert cells(page, "round 0 (selected)") and cells(page, "round 1")
    removed = "up to the selected round: nothing. Removed after it, up to round 1, the"
    assert f"{removed} last: stage1_unit2.\n" in page
    (folder / lines[1]["model"]).unlink()
    assert "| round 1 " not in model_cards.make(tmp_path).text


def test_a_latency_and_a_selection_by_the_test_set_are_stated(tmp_path):
    folder = tmp_path / "digits" / "tiny-seed0"
    lines = write_model_record(folder)
    lines[1]["measured"] = {"latency_ms": 1.25}
    write_rounds(folder, lines)
    final = json.loads((folder / "final.json").read_text())
    (folder / "final.json").write_text(json.dumps({**final, "select_on": "test"}))
    page = model_cards.make(tmp_path).text
    assert cells(page, "round 1 (selected)")[-1] == "1.25 ms"
    assert cells(page, "round 0")[-1] == "-"
    assert "The test set selected the round" in page


def test_seeds_of_a_run_share_a_card(tmp_path):
    for name in ("tiny-seed0", "tiny-seed2", "other-seed1"):
        write_model_record(tmp_path / "digits" / name)
    page = model_cards.make(tmp_path).text
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings == ["## digits/other-seed1", "## digits/tiny-seed0"]
    assert "[digits/tiny-seed0](#digitstiny-seed0)" in page
    assert "[digits/tiny-seed2](../../records/digits/tiny-seed2)" in page
