"""Draws plots as SVG and embeds them in an HTML page.

A plot is drawn with fixed light colours. `inline` replaces them with CSS variables of
the page, so that one drawing serves light and dark mode. The result does not depend on
the clock or on the user's matplotlib settings: the same records give the same bytes.

The module imports nothing but matplotlib, because `experiments` load this file without
the library.
"""

import html
import io
import re

# One colour per role. The page defines `--plot-<role>` for light and dark mode.
COLORS = {
    "surface": "#ffffff",
    "ink": "#24272c",
    "muted": "#6c7078",
    "grid": "#e6e4de",
    "band": "#f4f2ed",
    "prior": "#d9d6cd",
    "selection": "#2456a6",
    "test": "#b3610b",
    "initial": "#c22f2f",
}
WIDTHS = {"wide": 7.6, "narrow": 4.0}  # inches, for wide screens and for phones
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLORS["muted"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": COLORS["ink"],
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": COLORS["surface"],
    "font.size": 9.5,
    "grid.color": COLORS["grid"],
    "grid.linewidth": 0.8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.borderpad": 0.2,
    "legend.borderaxespad": 0.2,
    "lines.linewidth": 1.6,
    "path.simplify_threshold": 0.3,  # a third of the file size for thousands of epochs
    "svg.fonttype": "none",
    "svg.hashsalt": "resprune",  # makes the ids of clip paths reproducible
    "text.color": COLORS["ink"],
    "text.parse_math": False,  # names of units may contain a dollar sign
    "xtick.color": COLORS["muted"],
    "xtick.labelcolor": COLORS["ink"],
    "ytick.color": COLORS["muted"],
    "ytick.labelcolor": COLORS["ink"],
}


def draw(paint, content, width, height):
    """Calls `paint(figure, content)` on a new figure and returns it as SVG text.

    Args:
        paint: function that draws.
        content: second argument of `paint`.
        width, height: size of the figure in inches.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure, content)
        text = io.StringIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=no_metadata)
    return text.getvalue()


def inline(svg, prefix, label):
    """Converts SVG text for an HTML page: unique ids, the page's colours, any width.

    Args:
        svg: result of `draw`.
        prefix: prefix of all ids, different for each drawing of the page.
        label: description for screen readers.
    """
    view_box = re.search(r'viewBox="[^"]*"', svg)[0]
    svg = svg[svg.index(">", svg.index("<svg")) + 1 :]
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    for role, color in COLORS.items():
        svg = svg.replace(color, f"var(--plot-{role})")
    return f'<svg role="img" aria-label="{html.escape(label)}" {view_box}>{svg}'
