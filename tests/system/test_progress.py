"""Reports of what is being done: silent unless asked, and no flood anywhere."""

import io
import os
import re
import subprocess
import sys

import pytest

from resprune_tf.system import progress
from resprune_tf.system.progress import (
    Count,
    Reporter,
    say,
    shown,
    tracked,
    tracked_part,
)
from resprune_tf.system.wording import counted


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves by the seconds that are added to it."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def count(stream, clock, seconds, number=4, what="Scoring by {}".format):
    with shown(Reporter(stream)):
        for item in tracked(range(number), what):
            assert item is not None
            clock[0] += seconds
    return stream.getvalue()


def test_in_python_nothing_is_shown(capsys):
    say("Loading ...")
    assert list(tracked("ab", "Counting")) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_a_count_in_place_with_the_time_left(clock):
    out = count(Terminal(), clock, 30)
    lines = out.split("\r\x1b[K")
    assert lines[1:4] == [
        "Scoring by 0 (1 of 4) ...",
        "Scoring by 1 (2 of 4) ...",  # the first may have taken long to compile
        "Scoring by 2 (3 of 4, 1:00 left) ...",
    ]
    assert "\n" not in out and lines[-1] == ""  # nothing is left of it


def test_a_log_file_gets_a_plain_line_of_a_long_count_now_and_then(clock):
    assert count(io.StringIO(), clock, 2, number=11).splitlines() == [
        "Scoring by 0 (1 of 11) ...",
        "Scoring by 3 (4 of 11, 0:16 left) ...",  # 6 s later
        "Scoring by 6 (7 of 11, 0:10 left) ...",
        "Scoring by 9 (10 of 11, 0:04 left) ...",
    ]


def test_each_of_few_items_is_announced_because_it_may_take_long(clock):
    lines = count(io.StringIO(), clock, 2).splitlines()
    assert [line.partition(" (")[0] for line in lines] == [
        f"Scoring by {number}" for number in range(4)
    ]


def test_a_count_begins_some_seconds_after_the_line_that_announces_it(clock):
    stream = io.StringIO()
    with shown(Reporter(stream)):
        say("Measuring 5,000 examples ...")
        counted_batches = Count(40)
        for batch in range(7):
            counted_batches.show(batch, "Measuring, batch")
            clock[0] += 1
        counted_batches.end()
    assert stream.getvalue().splitlines() == [
        "Measuring 5,000 examples ...",
        "Measuring, batch (6 of 40, 0:35 left) ...",
    ]


def test_the_length_of_a_count_may_be_unknown(clock):
    stream = io.StringIO()
    with shown(Reporter(stream)):
        Count(None).show(3, "Measuring, batch")
    assert stream.getvalue() == "Measuring, batch (4) ...\n"


def test_no_time_left_is_promised_if_the_items_take_different_times(clock):
    stream = io.StringIO()
    with shown(Reporter(stream)):
        for _ in tracked(range(4), "Scoring", even=False):
            clock[0] += 30
    states = [f"Scoring ({number} of 4) ..." for number in range(1, 5)]
    assert stream.getvalue().splitlines() == states


def parts(stream, clock, seconds):
    """A count of criteria, each with two units in turn, each of three batches."""
    with shown(Reporter(stream)):
        for criterion in tracked(["first", "second"], "By {}".format, even=False):
            for unit in tracked_part("ab", (criterion + ", unit {}").format):
                batches = (number for number in range(3))
                for _ in tracked_part(batches, f"{criterion} {unit}, batch", 3):
                    clock[0] += seconds
    return stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_the_parts_of_a_short_step_are_not_shown(stream, clock):
    assert "unit" not in parts(stream(), clock, 0.8)


def test_the_parts_of_a_long_step_are_shown_alternately(clock):
    assert parts(io.StringIO(), clock, 4).splitlines() == [
        "By first (1 of 2) ...",
        "first a, batch (3 of 3, 0:04 left) ...",
        "first, unit b (2 of 2) ...",
        "first b, batch (3 of 3, 0:04 left) ...",
        "By second (2 of 2) ...",
        "second a, batch (3 of 3, 0:04 left) ...",
        "second, unit b (2 of 2) ...",
        "second b, batch (3 of 3, 0:04 left) ...",
    ]


def test_a_terminal_shows_the_whole_again_after_a_part(clock):
    lines = parts(Terminal(), clock, 4).split("\r\x1b[K")
    assert lines[1:8] == [
        "By first (1 of 2) ...",
        "first a, batch (3 of 3, 0:04 left) ...",
        "By first (1 of 2) ...",
        "first, unit b (2 of 2) ...",
        "first b, batch (3 of 3, 0:04 left) ...",
        "first, unit b (2 of 2) ...",
        "By first (1 of 2) ...",
    ]
    assert lines[-1] == ""


def test_a_part_of_unknown_length_is_counted(clock):
    stream = io.StringIO()
    with shown(Reporter(stream)):
        for _ in tracked_part(iter("abc"), "Reading, batch"):
            clock[0] += 6
    assert stream.getvalue().splitlines() == [
        "Reading, batch (2) ...",
        "Reading, batch (3) ...",
    ]


@pytest.mark.parametrize("columns", ["20", "80"])
def test_a_live_line_fits_the_terminal(monkeypatch, clock, columns):
    monkeypatch.setenv("COLUMNS", columns)
    out = count(Terminal(), clock, 1, what="x" * 99)
    assert max(map(len, out.split("\r\x1b[K"))) == int(columns) - 1


def test_a_count_that_fails_is_cleared(clock):
    stream = Terminal()
    with pytest.raises(KeyError), shown(Reporter(stream)):
        for _ in tracked(range(3), "Trying"):
            raise KeyError
    assert stream.getvalue().endswith("\r\x1b[K")


def test_lines_reach_standard_error_while_it_is_redirected():
    code = (
        "from resprune_cli.start import quiet\n"
        "from resprune_tf.system.progress import Reporter\n"
        "import os, sys\n"
        "reporter = Reporter()\n"
        "with quiet():\n"
        "    os.write(2, b'noise')\n"
        "    reporter.say('Exporting ...')\n"
    )
    made = subprocess.run(
        [sys.executable, "-c", re.sub("from resprune_tf.*\n", _BY_PATH, code)],
        capture_output=True,
        text=True,
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
        check=True,
    )
    assert made.stderr == "Exporting ...\n"


_BY_PATH = (
    "from resprune_cli.options.registries import registry\n"
    "Reporter = registry('system.progress').Reporter\n"
)


@pytest.mark.parametrize(
    ("number", "text"), [(1, "1 round"), (0, "0 rounds"), (1234, "1,234 rounds")]
)
def test_counted(number, text):
    assert counted(number, "round") == text
