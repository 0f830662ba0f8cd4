"""The style of all figures of docs/results, in one place: sizes, colours, captions.

Series have the colours of Okabe and Ito (2008), which can be distinguished with any
kind of colour vision. Every series also has its own marker, line style or hatch, and
reference lines are black where they cross bars, so that figures work in greyscale.
"""

import re

from experiments.pages import library

WIDTH = 7.2  # inches: the text width of a two-column paper
TITLE_SIZE = 10.5  # points; `library.draw` sets all other text sizes
DASHES = (0, (5, 3))
COLORS = {
    **{role: library.COLORS[role] for role in ("surface", "ink", "muted", "prior")},
    "black": "#000000",
    "blue": "#0072b2",
    "sky": "#56b4e9",
    "green": "#009e73",
    "orange": "#e69f00",
    "vermilion": "#d55e00",
    "purple": "#cc79a7",
}


def draw(paint, content, height):
    """SVG text of a figure of the common width.

    Args:
        paint: function that draws `content` on an empty figure of matplotlib.
        content: second argument of `paint`.
        height: height in inches.
    """
    return library.draw(paint, content, width=WIDTH, height=height)


def line(color, marker="", style="-", hollow=False, **more):
    """Keyword arguments of a line of matplotlib; the colour is a key of `COLORS`."""
    return {
        "color": COLORS[color],
        "marker": marker,
        "linestyle": style,
        "markerfacecolor": COLORS["surface" if hollow else color],
        **more,
    }


def title(axes, text, pad=None):
    """Sets the title of a panel."""
    axes.set_title(text, fontsize=TITLE_SIZE, pad=pad)


def legend(figure, panels, columns=3):
    """Adds one legend for all panels above the figure, without repeated labels."""
    found = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        columns = min(columns, len(found))
        figure.legend(
            found.values(),
            found,
            loc="outside upper left",
            ncols=columns,
            handlelength=3.2,  # long enough to show the line style
        )


def captioned(file, caption):
    """Markdown of a figure with its caption; the first sentence is the alt text.

    Args:
        file: name of the SVG file.
        caption: content, units, n and source, in full sentences.
    """
    caption = " ".join(caption.split())
    alt = re.sub(r"^Figure \d\. ", "", caption).split(". ")[0]
    return f"![{alt}]({file})\n\n*{caption}*\n"
