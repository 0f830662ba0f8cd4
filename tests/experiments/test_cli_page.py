"""The page on the command line is what its help and the committed session give."""

import json
import re

from experiments import cli_page


def test_the_committed_page_is_made_from_help_and_session():
    committed = cli_page.PAGE.read_text(encoding="utf-8")
    assert committed == cli_page.page(), "python -m experiments.cli_page"


def test_the_session_holds_every_step_and_ended_as_the_page_says():
    session = json.loads(cli_page.SESSION.read_text(encoding="utf-8"))["steps"]
    assert [step["command"] for step in session] == [
        command for _, command in cli_page.STEPS
    ]
    *done, refused = (step["code"] for step in session)
    assert set(done) == {0} and refused == 1
    for step in session:  # of no machine's folders, and no Python error
        assert "Traceback" not in step["output"]
        assert "cuInit" not in step["output"]  # nor notes of TensorFlow's start
        assert not re.search(r"/(home|tmp|root|work)/", step["output"])
