"""Models of records are loaded by name, and errors list what there is."""

import json

import numpy as np
import pytest

import resprune_tf as rp
from tests.made.model_records import dense_net, write_model_record, write_rounds

NAME = "digits/tiny-seed0"


@pytest.fixture
def records(tmp_path):
    write_model_record(tmp_path / "records" / NAME)
    return tmp_path / "records"


def test_the_selected_model_or_that_of_a_round(records, monkeypatch):
    images = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 1)).astype("float32")
    loaded = rp.load_record_model(NAME, records=records)
    same = dense_net().predict_on_batch(images)
    assert np.array_equal(loaded.predict_on_batch(images), same)
    first = rp.load_record_model(NAME, round=0, records=records)
    assert first.count_params() == dense_net(4).count_params()
    monkeypatch.chdir(records.parent)
    assert rp.load_record_model(NAME).count_params() == loaded.count_params()
    for folder in (f"records/{NAME}", (records / NAME).absolute()):  # as that of a run
        assert rp.load_record_model(folder).count_params() == loaded.count_params()


def test_errors_list_what_exists(records, tmp_path):
    with pytest.raises(ValueError, match="no folder records='.*nowhere' in .*checkout"):
        rp.load_record_model(NAME, records=tmp_path / "nowhere")
    with pytest.raises(ValueError, match=f"'digits/no' .* with models: {NAME}"):
        rp.load_record_model("digits/no", records=records)
    with pytest.raises(ValueError, match=r"no model of round 7\. .* models of: 0, 1\."):
        rp.load_record_model(NAME, 7, records=records)
    for path in (records / NAME / "models").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="of: no round. Records with models: none."):
        rp.load_record_model(NAME, records=records)


def test_unfinished_and_damaged_records(records):
    folder = records / NAME
    (folder / "final.json").write_text("{}")
    with pytest.raises(rp.RunDirectoryError, match="does not contain `selected_round`"):
        rp.load_record_model(NAME, records=records)
    (folder / "final.json").unlink()
    with pytest.raises(ValueError, match="not finished, so no round is selected"):
        rp.load_record_model(NAME, records=records)
    assert rp.load_record_model(NAME, 1, records=records)
    # Another round's model, and a path that leads elsewhere.
    (folder / "models/round-01.keras").write_bytes(
        (folder / "models/round-00.keras").read_bytes()
    )
    with pytest.raises(
        rp.RunDirectoryError, match="parameters, but the model of round 1"
    ):
        rp.load_record_model(NAME, 1, records=records)
    line = json.loads((folder / "rounds.jsonl").read_text().splitlines()[0])
    write_rounds(folder, [{**line, "model": "../../../elsewhere.keras"}])
    with pytest.raises(rp.RunDirectoryError, match="must be 'models/round-00.keras'"):
        rp.load_record_model(NAME, 0, records=records)
