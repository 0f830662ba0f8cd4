"""Controls: how much of a result is due to pruning, and how much to long training.

Controls are compared with a pruning run at its end, at a depth that was fixed
beforehand, so held-out images select nothing here.
"""

from experiments.pages.cells import COUNTED_SEEDS, each, hours, joined, percent, points
from experiments.pages.differences import image_by_image, judged, no_drop, pair
from experiments.pages.results import RECORDS, markdown_table
from experiments.pages.scales import WORDS, suffix, words
from experiments.pages.style import captioned, draw, legend, line, title
from experiments.paper.curves import Curve, paint_curves, panel_title, seeds_of
from experiments.paper.rows import BY_RUN
from experiments.paper.sources import Sources
from experiments.paper.table1 import units_left

MAIN, RESTART = "c10-k2", "c10-restart"
# Controls that start from the initial model of `MAIN`, or train once.
CONTROLS = {
    RESTART: "the full model with the same restarts, nothing removed",
    "c10-random": "random units removed",
    "c10-scratch-b": "the pruned model from scratch, for as much compute",
    "c10-small-lr": "retrained at a small, constant learning rate (0.001)",
    "c10-largest": "units with the largest |ω| removed",
    "c10-scratch-e": "the pruned model from scratch, for as many epochs",
}
# One unit per round, and the controls beyond the paper.
SINGLE, SINGLE_RESTART = "c10-main", "c10-main-restart"
BEYOND = {
    SINGLE_RESTART: "the full model with the same restarts, nothing removed",
    "c10-guided": "cosine schedule, initial model as teacher, Taylor scores",
    "c10-cosine": "cosine schedule alone",
}
# The comparison with enough seeds to decide, and its margin, which was fixed before its
# first run.
SHORT, SHORT_MARGIN = "c10-r29", 0.003
SHORT_CONTROLS = {
    "c10-r29-restart": "the full model with the same restart, nothing removed",
    "c10-r29-random": "three random units removed at once",
    "c10-r29-scratch-b": "the pruned model from scratch, for as much compute",
}
# The runs whose smallest models are shown; the last starts from another model.
_SELECTED = (
    (MAIN, "paper"),
    (MAIN, "quarter"),
    *((run, "paper") for run in (SINGLE, *[*BEYOND][1:], "c10-basic")),
)
# Pruning runs with their controls: title, run, controls, scale, restart control.
_GROUPS = (
    *(
        (f"Controls, {WORDS[scale]}", MAIN, CONTROLS, scale, RESTART)
        for scale in ("paper", "quarter")
    ),
    ("ResNet-29, eight seeds planned", SHORT, SHORT_CONTROLS, "paper", None),
    (
        "One unit per round, and beyond the paper",
        SINGLE,
        BEYOND,
        "paper",
        SINGLE_RESTART,
    ),
)
_ABOUT = f"""How much of the result is due to pruning, and how much to long training:
the controls differ from the pruning run as their rows state. CIFAR-10; every table
compares one pruning run with its controls at one scale and seed by seed.

- The models compared are those at the end of the pruning run, whose depth was fixed
  beforehand, so no images selected them. A control that removes nothing is compared
  after the same round, and a model trained from scratch after its training.
- *Test*, *held-out*: accuracy in %, mean ± standard deviation over n seeds, on 10,000
  test and 5,000 held-out images.
- *Pruned minus control*: of the same seed, in percentage points, mean [95 % t
  interval]. *Pooled*: on test and held-out images together, which multiplies the
  standard deviation due to the number of images by 0.82.
- *Units*: left in each stage. *MACs %*, *parameters %*: of the initial model of the
  pruning run. Random units have the same MACs in every stage, but not as many
  parameters.
- *Epochs*, *hours*: per seed, from the start of the initial training. In all columns,
  {COUNTED_SEEDS}.
- A quarter of the epochs does not train a model to convergence. A pruning run is
  therefore compared with controls of equal epochs or equal compute, not only with its
  own initial model.
- *ResNet-29* is not in the paper and has its own schedule of 40 and 30 epochs; three of
  six removable units are removed at once. The margin for "no worse" is
  {100 * SHORT_MARGIN:g} percentage points, fixed before the first run."""
_CAPTION = """Test accuracy (%) against the number of layers, of pruning runs and their
controls. Points are means over n seeds, bars one standard deviation; n by curve:
{}. A control that removes nothing keeps all its layers; each of its points stands at
the number of layers that the pruning run has after as many epochs. A model that is
trained once is one point. Source: the records listed below."""
# By the end of the run's name.
_LABELS = {
    "-restart": "nothing removed, same restarts",
    "-random": "random units removed",
    "-scratch-b": "from scratch, as much compute",
    "-small-lr": "small, constant learning rate",
    "-largest": "largest |ω| removed",
    "-scratch-e": "from scratch, as many epochs",
    "-guided": "cosine, teacher, Taylor scores",
    "-cosine": "cosine schedule",
}
_STYLES = (
    line("blue", "D"),
    line("purple", "v"),
    line("black", "o", hollow=True),
    line("green", "s"),
    line("orange", "^"),
    line("sky", "P"),
    line("vermilion", "X"),
)
_NONE = """No control of {} is finished,
so the changes of accuracy there cannot be attributed to the removals.
"""
_ABOUT_SELECTED = """Selected on held-out images, except for runs with
`--select_on=test`. *Change*: from the initial model of the same seed, on the test set,
in percentage points. c10-basic starts from the common ResNet-56 of basic units.
"""
_SAME = """Units that the pruning run and the control both removed:

{}

The random order depends only on the seed and the names of the units, so it is the same
at every scale.
"""
_IMAGES = """Images that the control alone classifies wrongly or correctly, and p of
McNemar's exact test, which compares two trained models. It does not show what another
seed would give.
"""
RUNS = [
    run + suffix(scale)
    for _, main, controls, scale, _ in _GROUPS
    for run in (main, *controls)
    if run + suffix(scale) in BY_RUN
] + [run + suffix(scale) for run, scale in _SELECTED]


def make(records=RECORDS):
    """The page; None without records.

    Args:
        records: folder of all records.
    """
    sources = Sources(records)
    if not sources.on_record(RUNS):
        return None
    parts, alone, panels = [], [], {}
    for words_of, main, controls, scale, restart in _GROUPS:
        series = [sources.series(run, scale) for run in known([main, *controls], scale)]
        if any(compared(series[0], each) for each in series[1:]):
            table = _table(sources, main, controls, scale)
            parts.append(f"## {words_of}\n\n{table}")
            panels[words_of] = _curves(series)
            parts += _same_units(series)
            if images := _by_images(series):
                parts.append(f"{_IMAGES}\n{images}")
        elif series[0].runs:
            alone.append(f"`{series[0].row.run}` ({words(main, scale)})")
        if restart and (table := _restarts(sources, main, restart, scale)):
            subtitle = f"### Restarts of {main}, {WORDS[scale]}"
            parts.append(f"{subtitle}\n\n{table}")
    if alone:
        parts.insert(0, _NONE.format(joined(alone, "or")))
    if table := _selected(sources):
        subtitle = "## Smallest models that maintained accuracy"
        parts.append(f"{subtitle}\n\n{_ABOUT_SELECTED}\n{table}")
    drawings = {}
    if panels:
        seeds = "; ".join(f"{t}: {seeds_of(c)}" for t, c in panels.items())
        parts.insert(0, captioned("controls.svg", _CAPTION.format(seeds)))
        drawings["controls"] = draw(paint, panels, height=3.6 * len(panels))
    heading = "Controls, and beyond the paper"
    return sources.result(heading, "controls", _ABOUT, *parts, **drawings)


def _curves(series):
    """The `Curve`s of a pruning run and of its controls with records."""
    main, found = series[0], []
    for one, style in zip(series, _STYLES[: len(series)], strict=True):
        run = one.row.run.removesuffix(suffix(one.row.scale))
        labels = (text for end, text in _LABELS.items() if run.endswith(end))
        label = "the pruning run" if one is main else next(labels)
        keeps = run.endswith("-restart")
        found.append(Curve(label, (one,), style, main if keeps else None))
    return found


def paint(figure, panels):
    """Draws a panel for each pruning run with controls."""
    rows = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axes, (name, curves) in zip(rows, panels.items(), strict=True):
        (main,) = curves[0].series
        title(axes, panel_title(name, curves))
        initial = {main.row.scale: main.summary(main.initial())}
        paint_curves(axes, curves, main.layers, initial)
        axes.set_ylabel("test accuracy (%)")
    legend(figure, rows, columns=2)


def compared(main, series):
    """The records of a control to compare with the last round of a pruning run.

    Args:
        main: the `Series` of the pruning run.
        series: the `Series` of a control.

    Returns:
        A dict by seed: the only round, the round of the same number if the control
        removes nothing, or else the round with as many layers. Seeds without such a
        round in both are left out.
    """
    ends = main.last()
    by_layers = series.at({seed: r["layers"] for seed, r in ends.items()})
    by_number = series.rounds({seed: r["round"] for seed, r in ends.items()})
    found = {}
    for seed, run in series.runs.items():
        if seed not in ends:
            continue
        if len(run.rounds) == 1:
            found[seed] = run.rounds[0]
        else:
            same = by_layers if run.removals else by_number
            if seed in same:
                found[seed] = same[seed]
    return found


def difference(main, series, split="test"):
    """`Paired` accuracies at the end of the pruning run minus those of a control."""
    return pair(
        main.accuracies(main.last(), split),
        series.accuracies(compared(main, series), split),
    )


def known(runs, scale):
    """The runs among `runs` that are planned at a scale."""
    return [run for run in runs if run + suffix(scale) in BY_RUN]


def _table(sources, reference, controls, scale):
    """A pruning run and the controls that can be compared with it."""
    columns = (
        "experiment,what is done,layers,units,MACs %,parameters %,test,held-out,"
        "pruned minus control (test),pruned minus control (pooled),epochs,hours,"
        "processor"
    )
    what = {reference: "the pruning run itself", **controls}
    main, rows = sources.series(reference, scale), []
    for run in known(what, scale):
        series = sources.series(run, scale)
        found = compared(main, series)
        if not found:
            continue
        seconds = series.spent("seconds", found).values()
        whole = main.initial()
        rows.append(
            [
                series.row.run,
                what[run],
                each(record["layers"] for record in found.values()),
                each(units_left(record) for record in found.values()),
                *(
                    each(f"{100 * found[s][key] / whole[s][key]:.1f}" for s in found)
                    for key in ("macs", "parameters")
                ),
                *(
                    percent(series.summary(found, split))
                    for split in ("test", "validation")
                ),
                *(
                    "-" if run == reference else points(difference(main, series, split))
                    for split in ("test", "pooled")
                ),
                each(series.spent("epochs", found).values()),
                hours(sum(seconds) / len(seconds)),
                series.processors,
            ]
        )
    return markdown_table(columns.split(","), rows)


def _same_units(series):
    """How many units a pruning run and a control with other units both removed."""
    (main, *controls), found = series, []
    ends = main.last()
    for control in controls:
        for seed, record in compared(main, control).items():
            run = control.runs[seed]
            if not run.removals or len(run.rounds) == 1:
                continue
            whole = main.initial()[seed]
            both = ends[seed], record
            lost, other = ({*whole["units"]} - {*each["units"]} for each in both)
            if lost == other or len(lost) != len(other):
                continue
            chance = len(lost) ** 2 / len(whole["importances"])
            found.append(
                f"- `{control.row.run}`, seed {seed}: {len(lost & other)} of "
                f"{len(lost)} ({chance:.1f} expected by chance)"
            )
    return [_SAME.format("\n".join(found))] * bool(found)


def _by_images(series):
    """The last model of a pruning run and its controls, image by image; "" without."""
    columns = ["control", "seed", "images", "control wrong", "control right", "p"]
    (main, *controls), rows = series, []
    for control in controls:
        for seed, record in compared(main, control).items():
            found = image_by_image(main.last()[seed], record)
            rows += [[control.row.run, str(seed), *cells] for cells in found]
    return markdown_table(columns, rows) if rows else ""


def _restarts(sources, main, restart, scale):
    """A pruning run and its restart control, round by round; "" without both."""
    main, restart = sources.series(main, scale), sources.series(restart, scale)
    if not (main.runs and restart.runs):
        return ""
    columns = ["round", f"layers of {main.row.run}"]
    columns += [f"{series.row.run}, test" for series in (main, restart)]
    columns += [f"pruned minus control ({split})" for split in ("test", "pooled")]
    rows = []
    numbers = {r["round"] for run in main.runs.values() for r in run.rounds}
    for number in sorted(numbers):
        ours, theirs = main.rounds(number), restart.rounds(number)
        rows.append(
            [
                str(number),
                each(record["layers"] for record in ours.values()),
                percent(main.summary(ours)),
                percent(restart.summary(theirs)),
                *(
                    points(
                        pair(
                            main.accuracies(ours, split),
                            restart.accuracies(theirs, split),
                        )
                    )
                    for split in ("test", "pooled")
                ),
            ]
        )
    return markdown_table(columns, rows)


def _selected(sources):
    columns = (
        "experiment,scale,n,layers before,layers after,MACs %,parameters %,initial,"
        "selected,change,no loss,epochs"
    )
    rows = []
    for run, scale in _SELECTED:
        series = sources.series(run, scale)
        if not series.runs:
            continue
        start = [series.row.run, WORDS[scale], str(len(series.runs))]
        first, chosen = series.initial(), series.chosen()
        change = series.change(chosen)
        left = [
            each(f"{100 * chosen[seed][key] / first[seed][key]:.1f}" for seed in chosen)
            for key in ("macs", "parameters")
        ]
        rows.append(
            [
                *start,
                each(record["layers"] for record in first.values()),
                each(record["layers"] for record in chosen.values()),
                *left,
                percent(series.summary(first)),
                percent(series.summary(chosen)),
                points(change),
                judged(no_drop, change, series.doubt(chosen, chosen=True)).state
                if scale == "paper"
                else "-",
                each(series.spent("epochs", chosen).values()),
            ]
        )
    return markdown_table(columns.split(","), rows) if rows else ""
