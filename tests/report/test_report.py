"""The report of a run: what the page says, and what the command prints."""

import html.parser
import json
import pathlib
import re
import xml.etree.ElementTree as ElementTree

import pytest

from resprune_cli.main import main
from resprune_tf.report import drawing, writing
from resprune_tf.report.page import _duration
from resprune_tf.report.run_records import RunRecords
from resprune_tf.report.summary import format_rounds
from tests.made.runs import (
    HOSTILE,
    UNITS,
    make_final,
    make_own_final,
    make_own_rounds,
    make_rounds,
    write_records,
)

pytestmark = pytest.mark.slow


class Page(html.parser.HTMLParser):
    """The text of a page, its tags, and the attributes that could load something."""

    def __init__(self, path):
        super().__init__()
        self.closed = False
        self.tags, self.loads, self.rows, self.ids = [], [], [], []
        self.text, self.units = "", []
        self.source = pathlib.Path(path).read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.loads += [
            v for k, v in attrs.items() if k in ("src", "href", "xlink:href")
        ]
        if tag == "tr":
            self.closed = False
            self.rows.append([attrs.get("class"), ""])

    def handle_endtag(self, tag):
        self.closed |= tag == "tr"

    def handle_data(self, data):
        if self.tags[-1:] == ["th"] and self.rows[-1][0]:
            self.units.append(data)
        data = data.replace("\N{NBSP}", " ")
        if "style" not in self.tags[-1:]:
            self.text += data
        if self.rows and not self.closed:
            self.rows[-1][1] += f" {data}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder and the page of a run that selected its round 1."""
    rounds = make_rounds(0.95, 0.95, 0.93)
    folder = write_records(
        tmp_path_factory.mktemp("run"), rounds, make_final(rounds, 1)
    )
    return folder, Page(writing.write_report(folder))


def test_page_states_what_was_achieved(finished):
    folder, page = finished
    assert page.text.count("<") == 0
    for text in (
        "The model was pruned from 29 to 26 layers: 20.0 % fewer MACs, 10.0 % fewer "
        "parameters; validation accuracy 95.00 % instead of 95.00 %, test accuracy "
        "89.00 % instead of 90.00 % (200 test images: 1 image is 0.5 percentage "
        "points).",
        "Pruning report on digits",
        "The run ended: target reached: 23 layers.",
        "95 % interval: 83.91–92.62 (200 examples)",
        "--depth=29\n--seed=7",
        "--flagfile=flags.txt",
        "recipe.epochs",
        "selected: round 1",
        "In total 6 epochs, 33 s.",
    ):
        assert text in page.text
    assert "unfinished" not in page.text.lower()
    assert "optimistic" not in page.text


def test_page_marks_the_selected_round(finished):
    marked = [text for kind, text in finished[1].rows if kind == "selected"]
    assert len(marked) == 1
    assert "270,000" in marked[0] and "stage1_unit2" in marked[0]


def test_units_have_their_outcome_and_scores(finished):
    rows = {row[1].split()[0]: row for row in finished[1].rows if "unit" in str(row[0])}
    assert len(rows) == 9
    kind, text = rows["stage1_unit2"]
    assert (
        kind == "unit removed"
        and text.split()[1:] == "removed in round 1 0.500".split()
    )
    kind, text = rows["stage3_unit2"]
    assert kind == "unit kept" and "removed in round 2, which is not selected" in text
    kind, text = rows["stage2_unit1"]
    assert kind == "unit fixed" and text.split()[1:] == ["cannot", "be", "removed"]
    assert "|ω|" in finished[1].text


def test_page_loads_nothing(finished):
    _, page = finished
    assert page.loads and all(value.startswith("#") for value in page.loads)
    assert "script" not in page.tags and "link" not in page.tags
    assert "http" not in page.source.replace("http-equiv", "")
    assert "@import" not in page.source and "url(http" not in page.source
    assert len(page.ids) == len(set(page.ids))
    assert {value[1:] for value in page.loads} <= set(page.ids)


def test_plots_are_drawings_in_the_colours_of_the_page(finished):
    body = finished[1].source.partition("<body>")[2]
    drawings = re.findall("<svg.*?</svg>", body, re.DOTALL)
    assert len(drawings) == 4  # two, each for a wide and for a narrow page
    for text in drawings:
        ElementTree.fromstring(text.replace("xlink:", ""))
        assert "var(--plot-ink)" in text
    assert not any(color in body for color in drawing.COLORS.values())
    assert "MACs per example, M" in body and "latency" not in body


def test_same_records_give_the_same_bytes(finished, tmp_path):
    folder, _ = finished
    rounds = make_rounds(0.95, 0.95, 0.93)
    again = write_records(tmp_path / "other", rounds, make_final(rounds, 1))
    writing.write_report(again)
    writing.write_report(again)
    pages = [(each / "report.html").read_bytes() for each in (folder, again)]
    assert pages[0] == pages[1]
    assert not list(again.rglob(".*"))


def test_hostile_text_is_escaped(tmp_path):
    names = [f"{HOSTILE}{unit}" for unit in UNITS]
    rounds = make_rounds(0.9, 0.9)
    for r in rounds:
        r["units"] = names[: len(r["units"])]
        r["importances"] = r["scores"] = dict.fromkeys(names[1:], 0.3)
    rounds[1]["removed"] = [names[1]]
    final = make_final(rounds, 1, note=HOSTILE, stop_reason=HOSTILE)
    environment = {HOSTILE: HOSTILE, "lone": "\ud800"}
    folder = write_records(
        tmp_path,
        rounds,
        final,
        environment=environment,
        run={"dataset": {"name": HOSTILE}, "command": HOSTILE},
    )
    (folder / "flags.txt").write_text(f"--note={HOSTILE}")
    page = Page(writing.write_report(folder))
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) > 5
    assert page.units == names


@pytest.mark.usefixtures("no_plots")
def test_unfinished_run(tmp_path):
    page = Page(writing.write_report(write_records(tmp_path, make_rounds(0.9, 0.8))))
    assert "Unfinished run, no model selected yet: from 29 to 26 layers" in page.text
    assert "This run is unfinished" in page.text
    assert not any(kind == "selected" for kind, _ in page.rows)


def test_run_before_its_first_round(tmp_path):
    (tmp_path / "flags.txt").write_text("--seed=1")
    page = Page(writing.write_report(tmp_path))
    assert "no round is finished yet" in page.text and "--seed=1" in page.text
    assert format_rounds([], None).startswith("Unfinished run")


def test_selection_on_the_test_set_is_labelled(tmp_path):
    rounds = make_rounds(0.9, 0.9, test=0.8)
    rounds[1]["test_accuracy"] = 0.81
    final = make_final(rounds, 1, "test")
    page = Page(writing.write_report(write_records(tmp_path, rounds, final)))
    assert "Selected on the test set" in page.text
    assert "validation" not in page.text
    text = format_rounds(rounds, final)
    assert "test accuracy 81.00 % instead of 80.00 %" in text
    assert "selected on the test set and so optimistic" in text
    assert "validation" not in text


def test_missing_accuracy_shows_as_a_dash(tmp_path):
    rounds = make_rounds(0.9, float("nan"))
    for r in rounds:
        r["test_accuracy"] = None
    page = Page(writing.write_report(write_records(tmp_path, rounds)))
    assert "nan" not in page.text.lower().split()
    assert format_rounds(rounds, None).splitlines()[2].split()[6:9] == [
        "80.0",
        "-",
        "-",
    ]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({}, "contains no records of a run"),
        ({"rounds.jsonl": "{\n"}, "rounds.jsonl, line 1, is not JSON"),
        ({"rounds.jsonl": '{"round": 0}\n'}, "rounds.jsonl, line 1, has no 'removed'"),
        (
            {"run.json": "{}", "final.json": '{"selected_round": 3}'},
            "final.json selects round 3",
        ),
        ({"run.json": "[]"}, "run.json must be a JSON object"),
        (
            {"run.json": "{}", "history.jsonl": '{"round": "<b>", "epoch": 1}\n'},
            "history.jsonl, line 1: 'round' must be an integer. Received: '<b>'",
        ),
        *(
            (
                {"rounds.jsonl": json.dumps({**make_rounds(0.9)[0], name: value})},
                f"rounds.jsonl, line 1: '{name}' must be an integer",
            )
            for name in ("round", "layers", "parameters", "macs")
            for value in (HOSTILE, None, 1.5)
        ),
    ],
)
def test_command_line_explains_what_is_wrong(records, message, tmp_path, capsys):
    for name, text in records.items():
        (tmp_path / name).write_text(text)
    assert main(["report", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_command_line(finished, capsys):
    assert main(["report", str(finished[0])]) == 0
    out = capsys.readouterr().out
    assert "pruned from 29 to 26 layers" in out
    assert out.endswith(f"\nReport: {finished[0] / 'report.html'}\n")
    assert main(["report", str(finished[0] / "nowhere")]) == 2
    assert "There is no folder" in capsys.readouterr().err


def test_a_run_that_watches_another_metric(tmp_path):
    rounds = make_own_rounds(0.5, 0.4, 0.6)
    folder = write_records(
        tmp_path,
        rounds,
        make_own_final(rounds, 1),
        run={"dataset": {"name": "mine"}, "compiled": {"loss": "mse"}},
    )
    page = Page(writing.write_report(folder))
    for text in ("validation mae 0.4 instead of 0.5", "Validation mae", "−0.1"):
        assert text in page.text, text
    assert "Wilson" not in page.text and "cifar" not in page.text
    assert "accuracy" not in page.text and "McNemar" not in page.text
    assert "The run was started from Python." in page.text


def scored_rounds(scores=("a", "b", "c"), **first):
    """Two rounds of a model without ω, as of most runs: unit `b` is removed."""
    names = ["a", "b", "c", "d"]
    rounds = make_rounds(0.9, 0.8)
    for number, r in enumerate(rounds):
        r["units"] = [name for name in names if not number or name != "b"]
        r["importances"] = {}
        left = [name for name in scores if name in r["units"]]
        r["scores"] = {n: 0.1 * (1 + (n != "b")) for n in left}
    rounds[1]["removed"] = ["b"]
    rounds[0].update(first)
    return rounds


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("recorded", [True, False])
def test_units_scored_by_any_criterion(tmp_path, recorded):
    """With the reasons, as they are recorded now, and without, as they once were."""
    kept = {"kept": {"d": "its shortcut changes the shape"}} if recorded else {}
    rounds = scored_rounds(**kept)
    run = {"criterion": "block_influence"}
    folder = write_records(tmp_path, rounds, make_final(rounds, 1), run=run)
    page = Page(writing.write_report(folder))
    assert "ω" not in page.source
    assert "Scores by block_influence." in page.text
    rows = {row[1].split()[0]: row for row in page.rows if "unit" in str(row[0])}
    states = {name: kind for name, (kind, _) in rows.items()}
    assert states == {
        "a": "unit kept",
        "b": "unit removed",
        "c": "unit kept",
        "d": "unit fixed",
    }
    assert rows["a"][1].split()[1:] == ["kept", "(removable)", "0.200", "0.200"]
    assert rows["d"][1].strip() == "d cannot be removed"
    assert ("dcannot be removed: its shortcut changes" in page.text) == recorded
    assert page.source.count('class="score removed"') == 1


@pytest.mark.usefixtures("no_plots")
def test_no_unit_is_called_fixed_if_nothing_was_scored(tmp_path):
    rounds = scored_rounds(scores=())
    page = Page(writing.write_report(write_records(tmp_path, rounds)))
    assert "cannot be removed" not in page.text


@pytest.mark.usefixtures("no_plots")
def test_accuracies_are_compared_by_a_paired_test(tmp_path):
    """4 examples newly wrong, 0 newly right: 2 / 2**4."""
    rounds = make_rounds(0.95, 0.91)
    rounds[0]["correct"] = {"validation": "ff" * 12 + "f0", "test": "f" * 50}
    rounds[1]["correct"] = {"validation": "0f" + "ff" * 11 + "f0"}
    final = make_final(rounds, 1, tolerance=0.05)
    told = (
        "Validation: 4 examples newly wrong, 0 newly right of 100: p = 0.13 (McNemar's "
        "exact test)."
    )
    page = Page(writing.write_report(write_records(tmp_path, rounds, final)))
    assert told in page.text and page.text.count("newly") == 2
    assert "(p = 0.13)" in page.text and "A small p-value" in page.text
    text = format_rounds(rounds, final)
    assert told in text and "Test: " not in text


def test_latency_is_drawn_where_it_was_measured(tmp_path):
    rounds = make_rounds(0.9, 0.9)
    for r, ms in zip(rounds, (4.0, 3.0), strict=True):
        r["measured"] = {"latency_ms": ms, "latency_ratio": ms / 4, "machine_load": 0.0}
    folder = write_records(tmp_path / "idle", rounds, make_final(rounds, 1))
    page = Page(writing.write_report(folder))
    assert "busy" not in page.text
    assert "10.0 % fewer parameters, 25.0 % shorter latency;" in page.text
    for text in ("measured latency, ms", "Latency, ms", "75.0 % of the initial model"):
        assert text in page.text
    rounds[0]["measured"]["machine_load"] = 0.4
    folder = write_records(tmp_path / "busy", rounds, make_final(rounds, 1))
    assert "used 40% of its processor" in Page(writing.write_report(folder)).text


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"guidance": {"weight": 0.9}, "teacher": None}, "the model of round 0"),
        ({"guidance": {"weight": 0.9}, "teacher": "0badcafe"}, "0badcafe"),
        ({"guidance": None, "teacher": None}, "null"),
    ],
)
def test_the_teacher_is_named(settings, shown, tmp_path):
    rounds = make_rounds(0.9)
    folder = write_records(tmp_path, rounds, make_final(rounds, 0), run=settings)
    page = Page(writing.write_report(folder))
    assert f"teacher{shown}" in page.text


@pytest.mark.usefixtures("no_plots")
def test_files_are_listed(tmp_path):
    rounds = make_rounds(0.9, 0.9)
    rounds[1]["model"] = "models/round-01.keras"
    folder = write_records(tmp_path, rounds, make_final(rounds, 1))
    for name in ("pruned.keras", "models/round-01.keras", "export/saved/a", "other"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1234")
    page = Page(writing.write_report(folder))
    rows = [" ".join(row[1].split()) for row in page.rows]
    assert "models/round-01.keras model after round 1, selected 4" in rows
    assert "export/saved exported model 4" in rows
    assert any(row.startswith("pruned.keras pruned model") for row in rows)
    assert not any(row.startswith("other") for row in rows)


def test_a_summary_is_enough(tmp_path):
    """What `resprune prune --epochs 0` writes."""
    rounds = scored_rounds()
    for r in rounds:
        r["epochs"], r["seconds"] = 0, 0.0
    final = make_final(rounds, 1)
    summary = {"rounds": rounds, "final": final, "criterion": "cka", "command": "cmd"}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    run = RunRecords.read(tmp_path)
    assert (run.rounds, run.final, run.criterion) == (rounds, final, "cka")
    page = Page(writing.write_report(tmp_path))
    assert "the initial accuracy was not maintained" in page.text
    assert "Scores by cka." in page.text and "cmd" in page.text
    assert "Training" not in page.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(119, "119 s"), (600, "10 min"), (3599, "1 h 00 min"), (7199, "2 h 00 min")],
)
def test_durations_are_rounded_before_they_are_split(seconds, text):
    assert _duration(seconds) == text
