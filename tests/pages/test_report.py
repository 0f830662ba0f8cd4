"""The report of a run: what the page says, and what the command prints."""

import html.parser
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from experiments import report
from experiments.pages import plots
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
        self.tags, self.loads, self.rows, self.ids = [], [], [], []
        self.text, self.titles = "", []
        self.source = pathlib.Path(path).read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.loads += [
            v for k, v in attrs.items() if k in ("src", "href", "xlink:href")
        ]
        self.titles += [attrs["title"]] if "title" in attrs else []
        if tag == "tr":
            self.rows.append([attrs.get("class"), ""])

    def handle_data(self, data):
        data = data.replace("\N{NBSP}", " ")
        if "style" not in self.tags[-1:]:
            self.text += data
        if self.rows:
            self.rows[-1][1] += f" {data}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder and the page of a run that selected its round 1."""
    rounds = make_rounds(0.95, 0.95, 0.93)
    folder = write_records(
        tmp_path_factory.mktemp("run"), rounds, make_final(rounds, 1)
    )
    return folder, Page(report.write_report(folder))


def test_page_states_what_was_achieved(finished):
    folder, page = finished
    assert page.text.count("<") == 0
    for text in (
        "29 → 26 layers: 20.0 % fewer MACs, 10.0 % fewer parameters; validation "
        "accuracy 95.00 % → 95.00 %, test 90.00 % → 89.00 % "
        "(200 test images: 1 image is 0.5 points).",
        "Residual network of 29 layers on digits",
        "The run ended: target reached: 23 layers.",
        "95 %: 83.91–92.62 (200 images)",
        "--depth=29\n--seed=7",
        "--flagfile=flags.txt",
        "recipe.epochs",
        "selected: 26 layers",
        "6 epochs, 33 s in all.",
    ):
        assert text in page.text
    assert "unfinished" not in page.text.lower()
    assert "optimistic" not in page.text


def test_page_marks_the_selected_round(finished):
    marked = [text for kind, text in finished[1].rows if kind == "selected"]
    assert len(marked) == 1
    assert "270,000" in marked[0] and "stage1_unit2" in marked[0]


def test_net_strip_shows_the_fate_of_each_unit(finished):
    source = finished[1].source
    assert source.count('class="unit fixed"') == 3
    assert source.count('class="unit removed"') == 1
    assert source.count('class="unit kept"') == 5
    assert 'title="stage1_unit2"' in source and ">round 1<" in source
    # Removed in round 2, which was not selected.
    assert ">kept (2)<" in source


def test_page_loads_nothing(finished):
    _, page = finished
    assert page.loads and all(value.startswith("#") for value in page.loads)
    assert "script" not in page.tags and "link" not in page.tags
    assert "http" not in page.source.replace("http-equiv", "")
    assert "@import" not in page.source and "url(http" not in page.source
    assert len(page.ids) == len(set(page.ids))
    assert {value[1:] for value in page.loads} <= set(page.ids)


def test_plots_are_drawings_of_their_own(finished):
    folder, page = finished
    files = sorted((folder / "plots").iterdir())
    assert [file.name for file in files] == [
        "accuracy_against_layers.svg",
        "importance_histogram.svg",
        "training.svg",
    ]
    for file in files:
        assert ElementTree.parse(file).getroot().tag.endswith("svg")
        assert "var(--" not in file.read_text()
    body = page.source.split("</style>")[1]
    assert not any(color in body for color in plots.COLORS.values())


def test_same_records_give_the_same_bytes(finished, tmp_path):
    folder, _ = finished
    rounds = make_rounds(0.95, 0.95, 0.93)
    again = write_records(tmp_path / "other", rounds, make_final(rounds, 1))
    report.write_report(again)
    report.write_report(again)
    written = [
        "report.html",
        *(f"plots/{p.name}" for p in (folder / "plots").iterdir()),
    ]
    for name in written:
        assert (folder / name).read_bytes() == (again / name).read_bytes()
    assert not list(again.rglob(".*"))


def test_hostile_text_is_escaped(tmp_path):
    names = [f"{HOSTILE}{unit}" for unit in UNITS]
    rounds = make_rounds(0.9, 0.9)
    for r in rounds:
        r["units"] = names[: len(r["units"])]
        r["importances"] = dict.fromkeys(names[1:], 0.3)
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
    page = Page(report.write_report(folder))
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) > 5
    assert page.titles == [*names]
    for file in (folder / "plots").iterdir():
        text = "".join(ElementTree.parse(file).getroot().itertext())
        assert (f"{HOSTILE}stage1" in text) == (file.stem == "importance_histogram")


def test_unfinished_run(tmp_path):
    page = Page(report.write_report(write_records(tmp_path, make_rounds(0.9, 0.8))))
    assert "Unfinished run, no net selected yet: 29 → 26 layers" in page.text
    assert "This run is unfinished" in page.text
    assert not any(kind == "selected" for kind, _ in page.rows)


def test_run_before_its_first_round(tmp_path):
    (tmp_path / "flags.txt").write_text("--seed=1")
    page = Page(report.write_report(tmp_path))
    assert "no round is finished yet" in page.text and "--seed=1" in page.text
    assert report.format_rounds([], None).startswith("Unfinished run")


def test_selection_on_the_test_set_is_labelled(tmp_path):
    rounds = make_rounds(0.9, 0.9, test=0.8)
    rounds[1]["test_accuracy"] = 0.81
    final = make_final(rounds, 1, "test")
    page = Page(report.write_report(write_records(tmp_path, rounds, final)))
    assert "Selected on the test set" in page.text
    assert "validation" not in page.text
    text = report.format_rounds(rounds, final)
    assert "test accuracy 80.00 % -> 81.00 %" in text
    assert "selected on the test set and so optimistic" in text
    assert "validation" not in text


def test_missing_accuracy_shows_as_a_dash(tmp_path):
    rounds = make_rounds(0.9, float("nan"))
    for r in rounds:
        r["test_accuracy"] = None
    page = Page(report.write_report(write_records(tmp_path, rounds)))
    assert "nan" not in page.text.lower().split()
    assert report.format_rounds(rounds, None).splitlines()[2].split()[6:9] == [
        "80.0",
        "-",
        "-",
    ]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({}, "holds no records of a run"),
        ({"rounds.jsonl": "{\n"}, "rounds.jsonl, line 1, is not JSON"),
        ({"rounds.jsonl": '{"round": 0}\n'}, "rounds.jsonl, line 1, has no 'removed'"),
        ({"final.json": '{"selected_round": 3}'}, "final.json selects round 3"),
        ({"run.json": "[]"}, "run.json must hold a JSON object"),
    ],
)
def test_command_line_explains_what_is_wrong(records, message, tmp_path, capsys):
    for name, text in records.items():
        (tmp_path / name).write_text(text)
    assert report.main([str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


def test_command_line(finished):
    root = pathlib.Path(__file__).parents[2]
    code = (
        "import sys; from experiments.report import main; status = main(sys.argv[1:]);"
        "bad = {'tensorflow', 'keras', 'jax', 'resprune_tf', 'matplotlib.pyplot'};"
        "sys.exit(status or str(bad & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, finished[0]],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.stderr == "set()\n"
    assert "29 -> 26 layers" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "experiments.report", finished[0] / "nowhere"],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "nowhere' holds no records" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_that_watches_another_metric(tmp_path):
    rounds = make_own_rounds(0.5, 0.4, 0.6)
    folder = write_records(
        tmp_path,
        rounds,
        make_own_final(rounds, 1),
        run={"dataset": {"name": "mine"}, "compiled": {"loss": "mse"}},
    )
    page = Page(report.write_report(folder))
    for text in ("validation mae 0.5 → 0.4", "Validation mae", "-0.1", "prune_and_ret"):
        assert text.replace("-", "\N{MINUS SIGN}") in page.text.replace("-", "−"), text
    assert "Wilson 95" not in page.text and "cifar" not in page.text
    for name in ("accuracy_against_layers", "training"):
        drawn = (folder / f"plots/{name}.svg").read_text()
        assert ">mae<" in drawn and "accuracy" not in drawn.replace(name, "")
