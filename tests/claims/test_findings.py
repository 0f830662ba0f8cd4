"""What the finished runs show, from made-up records."""

import pytest

from experiments.claims import estimates, findings
from experiments.paper.rows import BY_RUN
from experiments.paper.sources import Sources
from tests.made.series import chain, keep, single, unpruned
from tests.removal_study.test_seeds import BEST, made

LOSSES = (11, 11, 12, 33)  # to 32 layers, (1, 5, 4)
ACCURACIES = (0.93, 0.93, 0.93, 0.93, 0.925)


def lines(records):
    """The lines of the list."""
    found = findings.bullets(Sources(records), estimates.begun(records))
    return found.splitlines()[2:]


def test_without_records_nothing_is_said(tmp_path):
    assert findings.bullets(Sources(tmp_path), {}) == ""
    rounds = chain(losses=LOSSES, accuracies=ACCURACIES)
    keep(tmp_path, "c10-k2", 0, rounds, scale="smoke")
    keep(tmp_path, "c10-restart", 0, unpruned(*ACCURACIES), scale="smoke")
    keep(tmp_path, "c10-random", 0, rounds, scale="smoke")
    found = Sources(tmp_path), estimates.begun(tmp_path)
    assert findings.bullets(*found) == ""


def test_one_run(tmp_path):
    keep(tmp_path, "c10-k2", 0, chain(losses=LOSSES, accuracies=ACCURACIES))
    assert lines(tmp_path) == [
        "- *Accuracy.* The paper reports no loss at 32 layers (CIFAR-10: 92.88 % "
        "before).",
        "  - CIFAR-10, 32 layers, `c10-k2` (full length): test 93.00 → 92.50 %, "
        "-0.50 (n = 1); held-out images 92.00 → 91.50 %, -0.50 (n = 1).",
        "- *Units left in each stage*, CIFAR-10, 32 layers: 1/5/4 in `c10-k2`. We "
        "infer 1/5/4 (nearest; none fits) for the paper. Random removal leaves these "
        "numbers in 0.8 % of the cases.",
        # |ω| is 0.2 + 0.04 i for the 15 units i of 18 that are removable.
        "- *Importance.* After the initial training, |ω| lies between 0.24 and 0.88 in "
        "`c10-k2`. Of the 15 values, 4 lie near 0 (|ω| < 0.4) and 9 near ±0.7 (0.5 to "
        "0.9), where the paper has its two modes. The size of ω depends on the weight "
        "decay, which the paper does not state.",
    ]


def test_several_seeds_are_means(tmp_path):
    for seed, last in enumerate((0.92, 0.93, 0.94)):
        losses = LOSSES if seed else (11, 11, 22, 33)
        rounds = chain(losses=losses, accuracies=(*[0.93] * 4, last))
        keep(tmp_path, "c10-k2-quarter", seed, rounds)
    found = lines(tmp_path)
    assert "an increase there can come from the retraining alone." in found[0]
    test = "test 93.00 ± 0.00 → 93.00 ± 1.00 %, +0.00 [-2.48, +2.48] (n = 3); "
    assert f"`c10-k2-quarter` (a quarter of the epochs): {test}" in found[1]
    assert "32 layers: 1/5/4 (2), 2/4/4 (1) in `c10-k2-quarter`." in found[2]


@pytest.mark.parametrize("finished", [False, True])
def test_the_restart_control_is_compared_as_far_as_it_is(finished, tmp_path):
    keep(tmp_path, "c10-k2", 0, chain(losses=LOSSES, accuracies=ACCURACIES))
    accuracies = (0.93, 0.94, 0.941, 0.942, 0.943)
    rounds = unpruned(*(accuracies if finished else accuracies[:3]))
    folder = keep(tmp_path, "c10-restart", 0, rounds)
    # All rounds can be on record before the last file is.
    (folder / "final.json").unlink()
    text = lines(tmp_path)[-1]
    if finished:
        assert text == (
            "- *Restart control* (full length). After 4 restarts with nothing "
            "removed, the full model has 94.30 %, +1.30 (n = 1); the pruned one, with "
            "32 layers, has 92.50 %, -0.50 (n = 1). Pruned minus full: -1.80 (n = 1)."
        )
    else:
        assert text == (
            "- *Restart control* (full length). After 2 of 4 restarts with nothing "
            "removed, the full model has 94.10 %, +1.10 (n = 1); the pruned one, with "
            "44 layers, has 93.00 %, +0.00 (n = 1). Pruned minus full: -1.10 (n = 1). "
            "The control is not finished."
        )


def test_other_controls_are_compared_at_the_end(tmp_path):
    keep(tmp_path, "c10-k2-quarter", 0, chain(losses=LOSSES, accuracies=ACCURACIES))
    before = lines(tmp_path)
    random = chain(losses=(33, 33, 22, 22), accuracies=(0.93, *[0.95] * 3, 0.931))
    keep(tmp_path, "c10-random-quarter", 0, random)
    keep(tmp_path, "c10-scratch-b-quarter", 0, single(32, 0.92))
    keep(tmp_path, "c10-scratch-b-quarter", 1, single(32, 0.9))  # no pruning run yet
    *others, text = lines(tmp_path)
    assert others == before
    assert text == (
        "- *Other controls* (a quarter of the epochs), accuracy on the test set, and "
        "pruned minus control: random units removed: 93.10 %, -0.60 (n = 1); the "
        "pruned model from scratch, for as much compute: 92.00 %, +0.50 (n = 1)."
    )


def test_seeds_that_are_behind_are_left_out(tmp_path):
    for seed in BY_RUN["c10-restart"].seeds:
        keep(tmp_path, "c10-k2", seed, chain(losses=LOSSES, accuracies=ACCURACIES))
        rounds = unpruned(*[0.93] * (5 if seed else 2))
        keep(tmp_path, "c10-restart", seed, rounds)
    text = lines(tmp_path)[-1]
    assert "Pruned minus full: -0.50 [-0.50, -0.50] (n = 2)." in text
    assert "After 4 restarts" in text and "not finished" not in text


def test_how_omega_selects(tmp_path):
    for seed in (0, 1):
        made(tmp_path, f"c10-k2-seed{seed}", BEST)
    made(tmp_path, "another-seed0", BEST)
    (text,) = lines(tmp_path)
    # The best of 4 units and of 6 pairs, each tied with itself.
    assert text.endswith(
        "than chance). `c10-k2` (n = 2): 88, 92 for 1, 2 removed units."
    )
