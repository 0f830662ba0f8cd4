"""The outputs on the page of the command line are those of the committed session."""

import json
import re

from experiments import cli_page


def test_the_committed_page_has_the_outputs_of_the_session():
    committed = cli_page.PAGE.read_text(encoding="utf-8")
    assert committed.count("```\n$ resprune") >= 3
    assert committed == cli_page.page(committed), "python -m experiments.cli_page"


def test_the_session_holds_every_step_and_ended_as_the_page_says():
    session = json.loads(cli_page.SESSION.read_text(encoding="utf-8"))["steps"]
    assert [step["command"] for step in session] == [*cli_page.STEPS]
    *done, refused = (step["code"] for step in session)
    assert set(done) == {0} and refused == 1
    for step in session:  # of no machine's folders, and no Python error
        assert "Traceback" not in step["output"]
        assert "cuInit" not in step["output"]  # nor notes of TensorFlow's start
        assert not re.search(r"/(home|tmp|root|work)/", step["output"])
