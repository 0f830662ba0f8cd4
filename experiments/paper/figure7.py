"""Figure 7: times of training and testing, original and shortened nets."""

from experiments.pages.plots import COLORS, draw
from experiments.pages.results import RECORDS, NotRun, Result, head, markdown_table
from experiments.paper import published
from experiments.paper.cost_records import COMMAND, PAPER, TEST, TRAIN, read_machines

_ABOUT = """Times of the original nets and of the shortened ones, measured in turns.
Bars are medians; whiskers reach from the 10th to the 90th percentile of the calls.
*Training* is the forward and the backward pass of one compiled step, without the
optimizer; *testing* is the forward pass alone, of nets that are not folded. The text of
the paper gives no number here: only that the shortened nets need less time, in both,
on all three data sets. The line on a shortened net's bar is the original's median times
the share that the paper's Table 2 gives for the backward and the forward pass."""
_PHASES = {
    "training": ("(a) training", lambda net: TRAIN[net.dataset]),
    "testing": ("(b) testing", lambda net: TEST),
}
_SHARES = {"training": "backward", "testing": "forward"}  # in `paper.COSTS`
_BARS = {"original": COLORS["prior"], "shortened": COLORS["selection"]}


def make(records=RECORDS):
    """The page, and a drawing for each machine.

    Args:
        records: folder of all records.
    """
    machines, not_run, drawings = read_machines(records), NotRun(), {}
    parts = [head("Figure 7: times of training and testing", "figure7", _ABOUT)]
    for machine in machines:
        name = f"figure7-{machine.name}.svg"
        drawings[name] = draw(paint_times, machine, height=4.8)
        parts.append(
            f"## {machine.title}\n\n![Bars of the times in the table below]({name})\n\n"
            f"{_table(machine, not_run)}\n{machine.about}\n"
        )
    if not machines:
        parts.append(_table(None, not_run))
    return Result("figure7", "\n".join(parts) + not_run.listing(), drawings)


def paint_times(figure, machine):
    """Bars of a machine's times: a row for each phase, a column for each data set."""
    panels = figure.subplots(len(_PHASES), len(PAPER), squeeze=False)
    for row, (phase, (title, measure)) in zip(panels, _PHASES.items(), strict=True):
        for axes, net in zip(row, PAPER, strict=True):
            axes.set_title(
                f"{published.TITLES[net.dataset]}, batch {measure(net).batch_size}",
                fontsize=9.5,
            )
            axes.grid(axis="x", visible=False)
            times = machine.times(net, measure(net))
            if times:
                share = published.COSTS[net.dataset][_SHARES[phase]] / 100
                _paint_bars(axes, net, times, share)
            else:
                axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center")
        row[0].set_ylabel(f"{title}, ms a step")
    # All panels have the same bars; one that was not measured has none.
    legend = max((axes.get_legend_handles_labels()[0] for axes in panels.flat), key=len)
    figure.legend(handles=legend, loc="outside upper left", ncols=len(legend) or 1)


def _paint_bars(axes, net, times, share):
    for place, (name, color) in enumerate(_BARS.items()):
        own = times[name]
        middle = own["median_ms"]
        axes.bar(
            place,
            middle,
            0.6,
            yerr=[[middle - own["p10_ms"]], [own["p90_ms"] - middle]],
            color=color,
            ecolor=COLORS["ink"],
            capsize=3,
            label=name,
        )
    axes.hlines(
        share * times["original"]["median_ms"],
        0.6,
        1.4,
        color=COLORS["initial"],
        linestyle="--",
        label="the paper's share of the original",
    )
    layers = (_initial_layers(net), published.SMALLEST_LAYERS[net.dataset])
    axes.set_xticks(range(len(_BARS)), [f"{count} layers" for count in layers])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, len(_BARS) - 0.4)


def _initial_layers(net):
    return 3 * sum(published.INITIAL_UNITS[net.dataset]) + 2


def _table(machine, not_run):
    columns = ["phase", "data set", "batch", "net", "layers"]
    columns += ["median, ms", "p10-p90, ms", "mean, ms"]
    rows = []
    for phase, (_, measure) in _PHASES.items():
        for net in PAPER:
            layers = (_initial_layers(net), published.SMALLEST_LAYERS[net.dataset])
            times = machine and machine.times(net, measure(net))
            for name, count in zip(_BARS, layers, strict=True):
                row = [
                    phase,
                    published.TITLES[net.dataset],
                    str(measure(net).batch_size),
                ]
                row += [name, str(count)]
                if times:
                    own = times[name]
                    row += [
                        f"{own['median_ms']:.1f}",
                        f"{own['p10_ms']:.1f}-{own['p90_ms']:.1f}",
                        f"{own['mean_ms']:.1f}",
                    ]
                else:
                    row += [not_run.cell(COMMAND), "-", "-"]
                rows.append(row)
    return markdown_table(columns, rows)
