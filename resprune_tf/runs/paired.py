"""The paired test of two models on the same examples.

Pure Python, because `experiments` load this file without the library.
"""


def mcnemar(newly_wrong: int, newly_right: int) -> float:
    """Returns the two-sided p-value of McNemar's exact test of two paired classifiers.

    Only examples that exactly one of the two models classifies correctly count. If both
    models are equally good, each of these examples is as likely to be newly wrong as
    newly right, so their numbers follow a binomial distribution with probability 1/2.

    Args:
        newly_wrong: examples that the first model alone classifies correctly.
        newly_right: examples that the second model alone classifies correctly.

    Returns:
        float in (0, 1]; 1 if both models are correct on the same examples.

    Reference: McNemar, Note on the sampling error of the difference between correlated
    proportions or percentages, Psychometrika 12 (1947).
    """
    count, fewer = newly_wrong + newly_right, min(newly_wrong, newly_right)
    ways = tail = 1  # the binomial coefficient "count over number", and their sum
    for number in range(1, fewer + 1):
        ways = ways * (count - number + 1) // number
        tail += ways
    return min(1.0, 2 * tail / 2**count)  # both tails contain the middle


def compare_correct(first: str, second: str) -> dict:
    """Compares two models on the examples that both have classified.

    Args:
        first, second: the examples that each model classifies correctly, encoded as in
            `Round.correct`.

    Returns:
        dict with `"newly_wrong"` and `"newly_right"`, the numbers of examples that only
        the first or only the second model classifies correctly, and `"p"`, the p-value
        of `mcnemar`.
    """
    a, b = int(first or "0", 16), int(second or "0", 16)
    wrong, right = (a & ~b).bit_count(), (b & ~a).bit_count()
    return {"newly_wrong": wrong, "newly_right": right, "p": mcnemar(wrong, right)}
