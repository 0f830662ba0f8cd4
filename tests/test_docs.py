"""The hand-written pages: links lead somewhere, commands and calls are understood."""

import ast
import inspect
import json
import pathlib
import re
import shlex

import pytest

import resprune_tf
from experiments.claims import controls, overview
from experiments.pages.cells import points
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


def blocks(page, language=""):
    """The code blocks of a page in a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def calls():
    """Every call of a function of the package in the Python blocks, and its page."""
    for page in PAGES:
        for block in blocks(page, "python"):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.Call):
                    name = ast.unparse(node.func)
                    if re.fullmatch(r"rp(\.\w+)+", name):
                        yield page.name, name.removeprefix("rp."), node


def test_documented_calls_have_the_arguments_of_the_functions():
    found = [*calls()]
    assert {page for page, *_ in found} >= {"README.md", "own_models.md", "scores.md"}
    for page, name, call in found:
        function = resprune_tf
        for part in name.split("."):
            function = getattr(function, part)
        if any(ast.unparse(given) == "..." for given in call.args):
            continue  # an excerpt
        keywords = {given.arg: None for given in call.keywords if given.arg}
        complete = len(keywords) == len(call.keywords)  # no **
        signature = inspect.signature(function)
        bind = signature.bind if complete else signature.bind_partial
        try:
            bind(*call.args, **keywords)
        except TypeError as error:
            raise AssertionError(f"{page}: {ast.unparse(call)}: {error}") from error


def commands():
    """Every line of a code block that is a `resprune` command, and its page."""
    for page in PAGES:
        for block in blocks(page):
            for line in re.findall(r"^(?:\$ )?resprune (.*)$", block, re.MULTILINE):
                yield page.name, line


def test_commands_are_understood(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    found = [*commands()]
    assert {page for page, _ in found} >= {"README.md", "cli.md"}
    for page, line in found:
        words = shlex.split(line, comments=True)
        for word in words:
            if word.endswith(".keras"):  # an empty zip archive
                (tmp_path / word).write_bytes(b"PK\5\6" + bytes(18))
        try:
            make_parser().parse_args(words)
        except SystemExit as error:
            raise AssertionError(f"{page}: resprune {line}") from error


README = " ".join((ROOT / "README.md").read_text("utf-8").split())


def test_the_readme_has_the_numbers_of_the_pruned_public_model():
    record = json.loads((ROOT / "records/pretrained/resnet44.json").read_text())
    first, last = record["defaults"]["rounds"]
    removed = f"{100 * (1 - last['macs'] / first['macs']):.0f} % of the multiply-acc"
    change = f"{100 * first['test']:.2f} % → {100 * last['test']:.2f} % after"
    assert f"public ResNet-44, CIFAR-10 | {removed}" in README
    hours = sum(each["seconds"] for each in record["defaults"]["rounds"]) / 3600
    assert f"accuracy {change} {last['epochs']} epochs, {hours:.1f} hours" in README


def test_the_readme_has_a_measured_latency():
    path = "records/zoo/latency-amd-epyc-2-cores-tensorflow.json"
    found = json.loads((ROOT / path).read_text())["nets"]["ResNet50, litert"]
    third = found["third"]
    removed, faster = 1 - third["macs_ratio"], 1 - third["ratio"]["median"]
    assert (
        f"ResNet50, 224x224 pixels | {100 * removed:.0f} % of the MACs | LiteRT "
        f"latency -{100 * faster:.0f} % on one thread (median of {found['runs']} "
        "paired calls"
    ) in README


def test_the_readme_has_the_run_at_the_length_of_the_paper():
    series = Sources(RECORDS).series("c10-k2")
    accuracies = [
        100 * value
        for found in (series.initial(), series.chosen(), series.last())
        for value in series.accuracies(found).values()
    ]
    (first,), (chosen,), (last,) = (
        found.values() for found in (series.initial(), series.chosen(), series.last())
    )
    removed = [100 * (1 - each["macs"] / first["macs"]) for each in (chosen, last)]
    assert (
        f"{first['epochs']} epochs, then {last['epochs']} per round | {removed[0]:.0f} "
        f"% of the MACs (56 → {chosen['layers']} layers, the selected model), "
        f"{removed[1]:.0f} % ({last['layers']} layers, the last) | test accuracy "
        "{:.2f} % → {:.2f} %, {:.2f} % (10,000 images, n = 1)".format(*accuracies)
    ) in README


def test_the_readme_has_the_numbers_of_seeds_of_its_figure():
    long, short, control = (
        len(Sources(RECORDS).series(*run).runs)
        for run in (("c10-k2",), ("c10-k2", "quarter"), ("c10-restart", "quarter"))
    )
    assert f"(full length n = {long}, a quarter n = {short})" in README
    assert f"nothing removed (n = {control})" in README


def test_the_readme_compares_the_pruned_model_with_the_controls():
    runs = ("c10-restart", "c10-scratch-b", "c10-random", "c10-small-lr")
    pruned, *others = (
        Sources(RECORDS).series(run, "quarter") for run in ("c10-k2", *runs)
    )
    found = [controls.difference(pruned, other) for other in others]
    assert [each.mean < 0 for each in found] == [True, True, True, False]
    assert (
        "- {} for the full model after the same restarts, with nothing removed; "
        "- {} for the pruned architecture, trained from scratch for as much compute; "
        "- {} for random units removed; "
        "- {} for retraining at a small, constant learning rate.".format(
            *map(points, found)
        )
    ) in README


def test_the_readme_states_which_claims_are_decided():
    groups = overview.grouped_claims(Sources(RECORDS))
    undecided = {OPEN, OPEN_ONCE, ONCE, CONTRARY}
    assert {claim.verdict.state for claim in groups["trained"]} <= undecided
    assert len(groups["trained"]) == 20
    assert "of the paper's 20 claims about trained models none is decided" in README
    states = [claim.verdict.state for claim in groups["times"] + groups["counts"]]
    assert sorted(states) == sorted([HOLDS] * 3 + [CONSISTENT] * 2 + [IMPOSSIBLE])
    assert (
        "six claims about computational cost, three hold (times of models with random "
        "weights on one machine), two are consistent with our counts, which were "
        "inferred from them, and one cannot be reproduced."
    ) in README
