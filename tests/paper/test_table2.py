"""Tables 2 and 3 from records alone: their rows, and what was not run."""

import pytest

from experiments.paper import published, table2, table3
from experiments.paper.cost_records import PAPER, PrunedModel, own_models
from tests.made.costs import made_pair, write_machine
from tests.made.runs import make_final, make_rounds, write_records

RUN = "cifar10/c10-main-seed0"
OWN = PrunedModel("cifar10", (2, 3, 2))


def row(page, *beginning):
    """The cells after the only row that begins with these."""
    start = f"| {' | '.join(beginning)} |"
    (line,) = (line for line in page.text.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line[len(start) :].strip("|").split("|")]


def own_run(records):
    rounds = make_rounds(0.9, 0.91, 0.92)
    rounds[0] |= {"layers": 56, "parameters": 590_426}
    sizes = {"name": "cifar10", "train": 45_000, "test": 200}
    write_records(records / RUN, rounds, make_final(rounds, 2), run={"dataset": sizes})


def test_counts_beside_the_paper(tmp_path):
    write_machine(tmp_path)
    page = table2.make(tmp_path)
    assert row(page, "CIFAR-10", "56 → 32", "1/5/4") == [
        "60.93, not reproducible",
        "62.50",
        "+1.57",
        "69.82, not reproducible",
        "80.00",
        "+10.18",
    ]
    assert row(page, "CIFAR-100", "56 → 32", "1/4/6") == [
        *("62.89", "62.50", "-0.39", "90.50", "80.00", "-10.50")
    ]
    assert (
        f"Not reproducible (CIFAR-10): {published.NOT_REPRODUCIBLE_BECAUSE}."
        in page.text
    )
    assert "not run" not in page.text


def test_times_beside_the_paper(tmp_path):
    pair = made_pair(PAPER[0])
    pair["times"]["forward, batch 1"]["shortened"]["mean_ms"] = 7.7
    pair["times"]["forward, batch 1"]["elsewhere"] = 0.3
    write_machine(tmp_path, pair)
    page = table2.make(tmp_path)
    assert "## Times: Some CPU, 4 cores, tensorflow\n" in page.text
    assert (
        "python 3.12.1, keras 3.12.0, tensorflow 2.20.0, Linux; measured " in page.text
    )
    assert "2026-01-02 at commit 0123456789ab with changes by `python" in page.text
    load = "Background load: other processes used 25 (25-30) % of the processors"
    assert load in page.text
    cells = row(page, "CIFAR-10 1/5/4", "forward, batch 1")
    assert cells == ["60.23", "70.00", "+9.77", "60.00 (55.00-65.00)"]
    cells = row(page, "CIFAR-10 1/5/4", "forward + backward, batch 32")
    assert cells == ["59.71", "60.00", "+0.29", "60.00 (55.00-65.00)"]
    # Of the other pairs there is no record yet.
    times = page.text[page.text.index("## Times") :]
    assert "ImageNet" not in times
    assert page.text.endswith("1. `python -m experiments.costs`\n")


def test_nets_of_our_own_runs(tmp_path):
    own_run(tmp_path)
    page = table2.make(tmp_path)
    *cells, kept, change = row(page, f"[{RUN}](../../records/{RUN})")
    assert (kept, change) == ("yes, on the held-out images", "-2.00")
    assert cells == [
        *("full length", "45,000", "CIFAR-10 2/3/2", "56 → 23", "60.00", "40.65")
    ]
    assert "## Times" not in page.text
    write_machine(tmp_path)
    page = table2.make(tmp_path)
    assert f"| {OWN.title} | forward" not in page.text
    write_machine(tmp_path, made_pair(OWN))
    page = table2.make(tmp_path)
    assert row(page, OWN.title, "forward, batch 1") == [
        *("-", "60.00", "-", "60.00 (55.00-65.00)")
    ]


def test_a_system_may_not_tell_of_other_programs(tmp_path):
    pair = made_pair(PAPER[0])
    for times in pair["times"].values():
        times["elsewhere"] = None
    write_machine(tmp_path, pair)
    assert "processors" not in table2.make(tmp_path).text


def test_smoke_tests_and_demonstrations_are_not_in_the_tables(tmp_path):
    """Rows are of runs that reproduce Table 1, whatever else starts from its models."""
    own_run(tmp_path)
    for name in ("proof-seed0", "c10-random-seed0"):
        (tmp_path / "cifar10" / name).mkdir()
        for path in (tmp_path / RUN).iterdir():
            (tmp_path / "cifar10" / name / path.name).write_bytes(path.read_bytes())
    write_machine(tmp_path)
    assert list(own_models(tmp_path)) == [RUN]
    assert "proof" not in table2.make(tmp_path).text
    (tmp_path / RUN / "flags.txt").write_text("--scale=smoke\n")
    assert not own_models(tmp_path)
    assert "## Models of our own runs" not in table2.make(tmp_path).text


@pytest.mark.parametrize("maker", [table2, table3], ids=["table2", "table3"])
def test_no_record_no_page(maker, tmp_path):
    assert maker.make(tmp_path) is None
    own_run(tmp_path)
    write_machine(tmp_path, made_pair(PAPER[0]))
    page = maker.make(tmp_path)
    assert list(page.files) == [f"{page.name}.md"]
    if maker is table2:  # the counts of the paper's other models are not measured
        assert "not run: command 1" in page.text
        assert page.text.endswith(
            "Commands for what was not run:\n\n1. `python -m experiments.costs`\n"
        )


def test_an_original_net_has_one_row(tmp_path):
    own_run(tmp_path)
    write_machine(tmp_path, made_pair(PAPER[0]), made_pair(OWN))
    page = table3.make(tmp_path)
    assert page.text.count("| CIFAR-10 | 6/6/6 |") == 1
    assert row(page, "CIFAR-10", "2/3/2")[:2] == ["32", "400,000"]


def test_sizes(tmp_path):
    own_run(tmp_path)
    write_machine(tmp_path, made_pair(PAPER[0]))
    page = table3.make(tmp_path)
    assert row(page, "CIFAR-10", "6/6/6") == [
        *("56", "500,000", "100.00", "80.00 M", "100.00", "3.00 MB", "1.00 MB")
    ]
    assert row(page, "CIFAR-10", "1/5/4") == [
        *("32", "400,000", "80.00", "50.00 M", "62.50", "3.00 MB", "1.00 MB")
    ]
    # The sizes of the files of our own run are not measured yet.
    assert "2/3/2" not in page.text and "not run" not in page.text
