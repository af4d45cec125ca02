"""All pictures: strips of tiles with captions, the loss curve, the token sequence."""
import math

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ipt_mini.sequence import SEGMENTS

COLOURS = {"view": "#cfe3f5", "query": "#e6e6e6", "think": "#fbe3c4", "imagine": "#d3efd3",
           "answer": "#f6cccc"}


def strips(rows, path, scale=1.35):
    """Write a PNG of rows of tiles. A tile is (caption, picture (H, W, 3) uint8) or a text."""
    columns = max(map(len, rows))
    figure = Figure((scale * columns, (scale + 0.3) * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(axes, rows):
        for axis, tile in zip(line, [*row, *[""] * (columns - len(row))]):
            axis.axis("off")
            if isinstance(tile, str):
                axis.text(0.5, 0.5, tile, ha="center", va="center", fontsize=8, wrap=True)
            else:
                axis.imshow(tile[1], interpolation="nearest")
                axis.set_title(tile[0], fontsize=7)
    figure.savefig(path)


def curves(panels, path):
    """Write a PNG of line plots; a panel is (xlabel, ylabel, top or None, {label: (x, y)})."""
    figure = Figure((3.6 * len(panels), 2.8), layout="constrained")
    for axis, (xlabel, ylabel, top, lines) in zip(figure.subplots(1, len(panels)), panels):
        for label, (x, y) in lines.items():
            axis.plot(x, y, label=label)
        axis.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, top))
        axis.legend(frameon=False, fontsize=7)
        axis.grid(alpha=0.3)
    figure.savefig(path)


def bars(groups, path):
    """Write a PNG of bars in percent: {label: {series: value, or None}}."""
    figure = Figure((7, 0.42 * len(groups) + 0.9), layout="constrained")
    axis, series = figure.subplots(), list(next(iter(groups.values())))
    for i, name in enumerate(series):
        at = [g + 0.8 * (i + 0.5) / len(series) - 0.4 for g in range(len(groups))]
        shares = [math.nan if v[name] is None else v[name] for v in groups.values()]
        axis.barh(at, shares, 0.75 / len(series), label=name)
    axis.set(xlim=(0, 100), xlabel="%", yticks=range(len(groups)), yticklabels=groups)
    axis.invert_yaxis()
    figure.legend(frameon=False, fontsize=7, loc="outside upper right", ncols=len(series))
    figure.savefig(path)


def sequence(names, segment, loss, path, columns=13):
    """One example's tokens in reading order, coloured by segment; a red frame carries a loss."""
    rows = -(-len(names) // columns)
    figure = Figure((columns * 0.82, rows * 0.5 + 0.5), layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(0, columns), ylim=(rows, -0.8))
    axis.axis("off")
    for i, (name, kind, carries) in enumerate(zip(names, segment, loss)):
        row, col = divmod(i, columns)
        axis.add_patch(Rectangle((col + 0.03, row), 0.9, 0.9, facecolor=COLOURS[SEGMENTS[kind]],
                                 edgecolor="red" if carries else "white"))
        axis.text(col + 0.48, row + 0.45, name, ha="center", va="center", fontsize=6)
    for i, name in enumerate(COLOURS):
        axis.text(i * 2 + 0.48, -0.5, name, ha="center", va="center", fontsize=7,
                  bbox=dict(facecolor=COLOURS[name], edgecolor="white"))
    axis.text(10, -0.5, "red frame: predicts a token, carries loss", va="center", fontsize=7)
    figure.savefig(path)
