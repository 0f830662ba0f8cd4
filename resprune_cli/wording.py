"""What the library says to programmers, in words for the command line. Pure Python."""

import re

# Arguments that are options here.
_OPTIONS = {
    "criterion": "--criterion",
    "expand": "--expand",
    "max_rounds": "--max-rounds",
    "monitor": "--monitor",
    "protected": "--protect",
    "run_dir": "--out",
    "tolerance": "--tolerance",
    "units_per_round": "--units-per-round",
}
ANOTHER_CRITERION = " Choose another criterion, such as block_influence."
# Advice that only a programmer can follow.
_ADVICE = (
    (r" \(`drop_branches` [^)]*\)", ""),
    (r", `register_unit` [^):]*", ""),
    (
        r" Give `mode=\"max\"` or `mode=\"min\"`\.",
        " Watch another measure by --monitor, such as loss.",
    ),
    (
        r" (Give|Pass) `(FitRecipe\()?compile_fn[^`]*`(, a function [^.]*)?\.",
        " Give --optimizer and --loss.",
    ),
    (r" \|ω\| needs an ImportanceScale .*", ANOTHER_CRITERION),
    (
        r" has no ImportanceScale on its branches\. `add_importance` puts one there.*",
        " has no learned factors ω, which `resprune prune --criterion importance` "
        f"trains.{ANOTHER_CRITERION}",
    ),
    (r" A smaller one may do: `criteria\.l1_importance\(.*", ANOTHER_CRITERION),
    (r": pass (that one as `loss`|its loss, such as [^.]*)\.", ": give --loss."),
    (
        r"`with_input_shape\(model, [^`]*\)` makes a model of fixed sizes",
        "--input-shape 224,224,3 says it",
    ),
    (r" Name the `kinds` to open\.", ""),
    (r"(the run began with another model)\. Build it .*?, the run's own", r"\1"),
    (r"criterion_code: its code .*? compared", "criterion: it looks at other examples"),
)


def for_users(text):
    """A text of the library, whose advice names options instead of functions.

    >>> for_users("`units_per_round` must be from 1 to 3.")
    '--units-per-round must be from 1 to 3.'
    """
    for pattern, replacement in _ADVICE:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    return re.sub(r"`(\w+)`", lambda found: _OPTIONS.get(found[1], found[0]), text)
