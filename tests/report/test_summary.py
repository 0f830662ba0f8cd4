"""The sentence and the terminal's table on what a run came to."""

import pytest

from resprune_tf.report.summary import format_rounds
from resprune_tf.runs.records import Round, model_name
from tests.made.runs import make_final, make_own_final, make_own_rounds, make_rounds


@pytest.mark.parametrize(
    ("accuracies", "selected", "tolerance", "sentence"),
    [
        (
            (0.9, 0.88, 0.85),
            0,
            0.0,
            "Nothing could be removed without loss: the initial model of 29 layers has "
            "90.00 % validation accuracy, the best pruned one (26 layers) 88.00 %.",
        ),
        (
            (0.9, 0.88),
            0,
            0.01,
            "Nothing could be removed without a loss of more than 1 percentage point:",
        ),
        ((0.9,), 0, 0.0, "Nothing was removed: only the initial model of 29 layers"),
        ((0.9, 0.9), 0, 0.0, "The run selected the initial model of 29 layers"),
        ((0.9, 0.88), 1, 0.0, "; the initial accuracy was not maintained."),
        ((0.9, 0.88), 1, 0.02, "accuracy 88.00 % instead of 90.00 %, test"),
    ],
)
def test_sentence_is_honest(accuracies, selected, tolerance, sentence):
    rounds = make_rounds(*accuracies)
    text = format_rounds(rounds, make_final(rounds, selected, tolerance=tolerance))
    assert sentence in text
    smallest = "the smallest model whose validation accuracy is at least" in text
    none = "because no pruned model has a validation accuracy of at least" in text
    assert none == ("Nothing could be removed" in text)
    assert (smallest or none) == ("not maintained" not in text)


@pytest.mark.parametrize(
    ("selected", "tolerance", "sentence"),
    [
        (1, 0.0, "validation mae 0.4 instead of 0.5, test mae 0.89 instead of 0.9."),
        (1, 0.0, "the smallest model whose validation mae is at most the initial 0.5."),
        (2, 0.1, "mae is at most the initial 0.5 plus 0.1."),
        (2, 0.0, "the initial mae was not maintained."),
        (0, 0.0, "The run selected the initial model of 29 layers"),
    ],
)
def test_a_metric_of_ones_own(selected, tolerance, sentence):
    rounds = make_own_rounds(0.5, 0.4, 0.6)
    final = make_own_final(rounds, selected, tolerance=tolerance)
    text = format_rounds(rounds, final)
    assert sentence in text and "accurac" not in text and "images" not in text


def test_format_rounds_exactly():
    rounds = make_rounds(0.95, 0.95, 0.93)
    final = make_final(rounds, 1, note="A toy")
    expected = """\
   round  layers  parameters      %     MACs      %  validation   test  seconds  \
units removed
       0      29     300,000  100.0  40.00 M  100.0       95.00  90.00     10.0  -
*      1      26     270,000   90.0  32.00 M   80.0       95.00  89.00     11.0  \
stage1_unit2
       2      23     240,000   80.0  24.00 M   60.0       93.00  88.00     12.0  \
stage3_unit2

* selected, the smallest model whose validation accuracy is at least the initial \
95.00 %. Parameters and MACs also in % of the initial model; accuracies in %.
The model was pruned from 29 to 26 layers: 20.0 % fewer MACs, 10.0 % fewer parameters; \
validation accuracy 95.00 % instead of 95.00 %, test accuracy 89.00 % instead of \
90.00 % (200 test images: 1 image is 0.5 percentage points).
Note: A toy"""
    assert format_rounds(rounds, final) == expected
    # The library hands its own rounds over.
    records = [Round.from_line({**r, "model": model_name(r["round"])}) for r in rounds]
    assert format_rounds(records, final) == expected
