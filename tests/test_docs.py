"""The hand-written pages: links lead somewhere, and commands are understood."""

import json
import pathlib
import re
import shlex

import pytest

from experiments.claims import overview
from experiments.pages.differences import (
    CONSISTENT,
    CONTRARY,
    HOLDS,
    IMPOSSIBLE,
    ONCE,
    OPEN,
    OPEN_ONCE,
)
from experiments.pages.results import RECORDS
from experiments.paper import cost_records, published
from experiments.paper.series import kept_units
from experiments.paper.sources import Sources
from resprune_cli.main import make_parser

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def anchors(page):
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_lists_every_page():
    text = (ROOT / "docs" / "README.md").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in text, page.name


def commands():
    """Every line of a code block that is a `resprune` command, and its page."""
    for page in PAGES:
        for block in re.findall(r"```\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            for line in re.findall(r"^(?:\$ )?resprune (.*)$", block, re.MULTILINE):
                yield page.name, line


def test_commands_are_understood(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short").mkdir()
    found = [*commands()]
    assert {page for page, _ in found} >= {"README.md", "cli.md"}
    for page, line in found:
        words = shlex.split(line)
        for word in words:
            if word.endswith(".keras"):  # an empty zip archive
                (tmp_path / word).write_bytes(b"PK\5\6" + bytes(18))
        try:
            make_parser().parse_args(words)
        except SystemExit as error:
            raise AssertionError(f"{page}: resprune {line}") from error


def test_the_numbers_in_the_readme_are_those_of_the_record():
    record = json.loads((ROOT / "records/pretrained/resnet44.json").read_text())
    first, last = record["defaults"]["rounds"]
    text = " ".join((ROOT / "README.md").read_text().split())
    for number in (
        f"lost {100 * (1 - last['macs'] / first['macs']):.0f} % of its",
        f"{100 * (first['test'] - last['test']):.2f} percentage points",
        f"({100 * first['test']:.2f} % to {100 * last['test']:.2f} %",
    ):
        assert number in text


def test_the_readme_states_which_cost_claims_hold():
    groups = overview.grouped_claims(Sources(RECORDS))
    claims = groups["times"] + groups["counts"]
    assert {claim.verdict.state for claim in groups["times"]} == {HOLDS}
    assert [claim.verdict.state for claim in claims].count(CONSISTENT) == 2
    (odd,) = (claim for claim in claims if claim.verdict.state == IMPOSSIBLE)
    text = " ".join((ROOT / "README.md").read_text().split())
    assert "Of its six claims about computational cost, three hold:" in text
    assert "Two are consistent:" in text
    most = max(
        abs(100 * times["shortened"]["mean_ms"] / times["original"]["mean_ms"] - theirs)
        for machine in cost_records.read_machines(RECORDS)
        for model in cost_records.PAPER
        for measure in cost_records.MEASURES[model.dataset]
        if (times := machine.times(model, measure))
        for theirs in [
            published.COSTS[model.dataset][
                "backward" if measure.backward else "forward"
            ]
        ]
    )
    assert f"differ from ours by up to {most:.0f} percentage points" in text
    printed = published.COSTS[odd.data]["macs"]
    assert f"the paper prints {printed:.2f} % of the MACs for 32 layers" in text
    assert f"removing eight of them leaves {odd.numbers.split(',')[0]} (" in text


def test_the_readme_states_the_run_at_the_length_of_the_paper():
    groups = overview.grouped_claims(Sources(RECORDS))
    trained = groups["trained"] + groups["quarter"]
    # "none is decided yet", "one seed"
    undecided = {OPEN, OPEN_ONCE, ONCE, CONTRARY}
    assert {claim.verdict.state for claim in trained} <= undecided
    assert len(groups["trained"]) == 20
    series = Sources(RECORDS).series("c10-k2")
    (first,), (last,) = (
        series.accuracies(found).values() for found in (series.initial(), series.at(32))
    )
    text = " ".join((ROOT / "README.md").read_text().split())
    assert "of the paper's 20 claims about trained models none is decided" in text
    (selected,) = (record["layers"] for record in series.chosen().values())
    assert f"accuracy on held-out images has {selected} layers." in text
    (end,) = series.at(32).values()
    kept = tuple(kept_units(end).values())
    assert kept == published.SMALLEST_UNITS["cifar10"]
    words = "{}, {} and {} units in its three stages.".format(*kept)
    assert f"The 32-layer model keeps {words} We infer the same units" in text
    numbers = f"was {100 * first:.2f} % before and {100 * last:.2f} % after (one seed)"
    assert numbers in text
    quarter = Sources(RECORDS).series("c10-k2", "quarter")
    (first,), (last,) = (
        quarter.accuracies(found).values()
        for found in (quarter.initial(), quarter.at(32))
    )
    numbers = f"{100 * first:.2f} % after the initial 50 epochs and {100 * last:.2f} %"
    assert f"accuracy was {numbers} at 32 layers" in text
    (end,) = quarter.at(32).values()
    assert tuple(kept_units(end).values()) == kept
