"""Scores side by side: ranks, correlations and text, by hand."""

import json

import pytest

from resprune_tf.criteria.score_table import ScoreTable


def saved(parameters, macs):
    return {"parameters": parameters, "macs": macs}


TABLE = ScoreTable(
    model="net",
    images=64,
    units={"a": saved(1200, 34000), "b": saved(10, None), "c": saved(5, 7)},
    scores={
        "importance": {"a": 0.5, "b": 0.25, "c": 0.75},
        "taylor": {"a": 1.0, "b": 1.0, "c": 0.0},
        "random": {"a": 0.1, "b": 0.2, "c": 0.3},
        "flat": {"a": 2.0, "b": 2.0, "c": 2.0},
    },
    omitted={"cka": "It needs images."},
    unscored={"in": "not removable", "d": "no ω", "out": "not removable"},
    loss="mse",
)


def test_ranks_begin_with_the_smallest_and_are_shared():
    assert TABLE.ranks["importance"] == {"a": 2.0, "b": 1.0, "c": 3.0}
    assert TABLE.ranks["taylor"] == {"a": 2.5, "b": 2.5, "c": 1.0}


def test_rank_correlations_are_spearmans():
    found = TABLE.rank_correlations
    assert found["importance"]["importance"] == 1
    # 1 - 6 sum(d²) / (n (n² - 1)) with d = 1, -1, 0.
    assert found["importance"]["random"] == found["random"]["importance"] == 0.5
    assert found["importance"]["taylor"] == pytest.approx(-(3**0.5) / 2)
    assert found["flat"]["flat"] != found["flat"]["flat"]  # NaN


def test_mean_ranks_leave_out_chance():
    assert TABLE.mean_ranks(["importance", "random"]) == {"a": 1.5, "b": 1.5, "c": 3.0}
    assert TABLE.mean_ranks() == pytest.approx({"a": 13 / 6, "b": 11 / 6, "c": 2.0})
    with pytest.raises(ValueError, match="Received: size"):
        TABLE.mean_ranks(["importance", "size"])
    with pytest.raises(ValueError, match="Received: no criterion"):
        TABLE.mean_ranks([])


def test_json_holds_everything():
    read = json.loads(TABLE.to_json())
    assert read == TABLE.to_dict()
    assert read["rank_correlations"]["flat"]["random"] is None
    fields = ("model", "images", "units", "scores")
    fields += ("omitted", "unscored", "loss")
    assert ScoreTable(**{name: read[name] for name in fields}) == TABLE


def test_it_prints_as_a_table():
    lines = str(TABLE).splitlines()
    assert lines[1] == "Loss: mse."
    assert lines[2].split() == ["unit", "parameters", "MACs", *TABLE.scores]
    assert lines[3].split()[:5] == ["a", "1,200", "34,000", "2", "(0.5)"]
    assert lines[4].split()[2] == "?"
    assert lines[8].split() == ["importance", "1.00", "-0.87", "0.50", "-"]
    assert lines[-3:] == [
        "All scores of flat are equal, so it does not rank the units.",
        "cka was not computed: It needs images.",
        "Units without a score: in, out (not removable); d (no ω).",
    ]
    assert len({len(line) for line in lines[2:6]}) == 1


def test_it_says_nothing_of_what_is_not_there():
    one = ScoreTable("net", 3, {"a": saved(1, 1)}, {"random": {"a": 0.5}})
    assert str(one).splitlines()[-1].split() == ["random", "-"]
    assert "Loss" not in str(one)
