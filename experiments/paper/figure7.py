"""Figure 7: times of training and testing, original and pruned models."""

from experiments.pages.results import NotRun, Result, head, markdown_table
from experiments.pages.style import COLORS, captioned, draw, legend, title
from experiments.paper import published
from experiments.paper.cost_records import COMMAND, PAPER, TEST, TRAIN, read_machines

_ABOUT = """Time per step of training and per call of inference, original against pruned
models. The models have random weights and the units that we inferred for the paper's
smallest models ([Table 2](table2.md)). The two models of a pair were measured in turns.

*Training* is the forward and the backward pass in one compiled step, without the
optimizer. *Testing* is the forward pass, of models that are not folded. The text of the
paper gives no times: it states that the pruned models need less time in both, on all
three data sets."""
_CAPTION = """Figure 7. Time (ms) of original and pruned models. Bars are medians over
{runs} calls, whiskers the 10th and 90th percentiles; one pair of models each. The
dashed line is the median of the original times the share in the paper's Table 2.
Source: `records/costs/{name}.json`."""
_PHASES = {
    "training": ("(a) training", lambda model: TRAIN[model.dataset]),
    "testing": ("(b) testing", lambda model: TEST),
}
_SHARES = {"training": "backward", "testing": "forward"}  # in `published.COSTS`
# The hatch distinguishes the bars in greyscale.
_BARS = {
    "original": {"color": COLORS["prior"], "edgecolor": COLORS["muted"]},
    "pruned": {"color": COLORS["sky"], "edgecolor": COLORS["ink"], "hatch": "///"},
}
_RECORDED = {"original": "original", "pruned": "shortened"}  # in the records


def make(records):
    """The page with a drawing for each machine; None without records."""
    machines, not_run, drawings = read_machines(records), NotRun(), {}
    if not machines:
        return None
    parts = [head("Figure 7: times of training and testing", "figure7", _ABOUT)]
    for machine in machines:
        parts.append(f"## {machine.title}\n")
        if measured_models(machine):
            file = f"figure7-{machine.name}.svg"
            drawings[file] = draw(paint_times, machine, height=4.8)
            parts.append(captioned(file, _caption(machine)))
        parts.append(f"{_table(machine, not_run)}\n{machine.about}")
    return Result("figure7", "\n".join(parts) + not_run.listing(), drawings)


def measured_models(machine):
    """The models of the paper for which a machine measured a phase."""
    measures = [measure for _, measure in _PHASES.values()]
    return [n for n in PAPER if any(machine.times(n, each(n)) for each in measures)]


def _caption(machine):
    measures = [measure for _, measure in _PHASES.values()]
    found = [machine.times(model, each(model)) for model in PAPER for each in measures]
    runs = sorted({times["runs"] for times in found if times})
    return _CAPTION.format(runs=" or ".join(map(str, runs)), name=machine.name)


def paint_times(figure, machine):
    """Draws the times of a machine: a row per phase, a column per data set."""
    models = measured_models(machine)
    panels = figure.subplots(len(_PHASES), len(models), squeeze=False)
    for row, (phase, (name, measure)) in zip(panels, _PHASES.items(), strict=True):
        for axes, model in zip(row, models, strict=True):
            batch = measure(model).batch_size
            title(axes, f"{published.TITLES[model.dataset]}, batch {batch}")
            axes.grid(axis="x", visible=False)
            if times := machine.times(model, measure(model)):
                share = published.COSTS[model.dataset][_SHARES[phase]] / 100
                _paint_bars(axes, model, times, share)
        row[0].set_ylabel(
            f"{name} (ms per {'step' if phase == 'training' else 'call'})"
        )
    legend(figure, panels.flat)


def _paint_bars(axes, model, times, share):
    for place, (name, style) in enumerate(_BARS.items()):
        own = times[_RECORDED[name]]
        middle = own["median_ms"]
        axes.bar(
            place,
            middle,
            0.6,
            yerr=[[middle - own["p10_ms"]], [own["p90_ms"] - middle]],
            ecolor=COLORS["ink"],
            capsize=3,
            label=name,
            **style,
        )
    axes.hlines(
        share * times["original"]["median_ms"],
        0.6,
        1.4,
        color=COLORS["black"],
        linestyle="--",
        zorder=3,
        label="share in the paper",
    )
    layers = (_initial_layers(model), published.SMALLEST_LAYERS[model.dataset])
    axes.set_xticks(range(len(_BARS)), [f"{count} layers" for count in layers])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, len(_BARS) - 0.4)


def _initial_layers(model):
    return 3 * sum(published.INITIAL_UNITS[model.dataset]) + 2


def _table(machine, not_run):
    columns = ["phase", "data set", "batch", "model", "layers"]
    columns += ["median, ms", "p10-p90, ms", "mean, ms"]
    rows = []
    for phase, (_, measure) in _PHASES.items():
        for model in PAPER:
            layers = (_initial_layers(model), published.SMALLEST_LAYERS[model.dataset])
            times = machine.times(model, measure(model))
            for name, count in zip(_BARS, layers, strict=True):
                row = [
                    phase,
                    published.TITLES[model.dataset],
                    str(measure(model).batch_size),
                ]
                row += [name, str(count)]
                if times:
                    own = times[_RECORDED[name]]
                    row += [
                        f"{own['median_ms']:.1f}",
                        f"{own['p10_ms']:.1f}-{own['p90_ms']:.1f}",
                        f"{own['mean_ms']:.1f}",
                    ]
                else:
                    row += [not_run.cell(COMMAND), "-", "-"]
                rows.append(row)
    return markdown_table(columns, rows)
