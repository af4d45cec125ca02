"""All pictures, as wide as a phone: blocks of tiles, curves, and compared pairs."""
from functools import partial
from textwrap import fill
from typing import NamedTuple

from matplotlib.figure import Figure

WIDTH, GAP, LINE = 400, 8, 14      # of a page, between tiles, of text; in pixels of 1/100 inch


class Block(NamedTuple):
    """A part of a page: tiles below a title, and answers in a last column."""
    title: str
    tiles: list                # (caption, picture (H, W, 3) uint8, colour of the caption)
    answers: list = ()         # (label, word, is it wrong?)
    columns: int = 3           # of tiles

    def draw(self, axis, y):
        """Draw it from y on; return where it ends."""
        title = fill(self.title, 60, break_on_hyphens=False)
        plain = partial(axis.text, parse_math=False)   # a $ is a $
        plain(GAP, y + GAP, title, va="top", fontsize=8)
        step = (WIDTH - GAP) // max(4, self.columns)
        side = step - GAP
        y += LINE * (title.count("\n") + 2) + GAP
        for i, (caption, picture, colour) in enumerate(self.tiles):
            row, column = divmod(i, self.columns)
            x, top = GAP + step * column, y + (step + GAP) * row
            plain(x, top - 2, caption, fontsize=7 if step > 90 else 6, color=colour)
            axis.imshow(picture, extent=(x, x + side, top + side, top), interpolation="nearest")
        x = 2 * GAP + step * self.columns
        for i, (label, word, wrong) in enumerate(self.answers):
            plain(x, top + 24 * i, label, va="top", fontsize=7, color="0.4")
            plain(x, top + 24 * i + 9, word + " ✗" * wrong, va="top", fontsize=8, weight="bold",
                  color="red" if wrong else "black")
        return top + max(step, 24 * len(self.answers))


def write(figure, path):
    try:
        figure.savefig(path, format="png")
    except OSError as error:                       # a full disk does not say of which file
        error.filename = error.filename or str(path)
        raise


def blocks(rows, path):
    """Write a PNG of Blocks, one below the other."""
    figure = Figure(dpi=150)
    axis = figure.add_axes((0, 0, 1, 1), autoscale_on=False)
    y = 0
    for block in rows:
        y = block.draw(axis, y)
    figure.set_size_inches(WIDTH / 100, y / 100)
    axis.set(xlim=(0, WIDTH), ylim=(y, 0), aspect="auto")
    axis.axis("off")
    write(figure, path)


def curves(log, chance, path):
    """Write a PNG of a run's log: training losses, and validation accuracy after an imagination or
    a thought apart from that of direct answers. chance: {name: share}, drawn as well."""
    names = [name for name in log[-1]["val"] if not name.startswith("nats")]      # no accuracy
    direct = [name for name in names if name.startswith("direct")]
    panels = [("losses", log[-1]["losses"]), ("val", direct),
              ("val", [name for name in names if name not in direct])]
    panels = [panel for panel in panels if panel[1]]
    figure = Figure((WIDTH / 100, 1.7 * len(panels)), layout="constrained", dpi=150)
    axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axis, (part, names) in zip(axes, panels):
        for name in names:
            axis.plot([row["step"] for row in log], [row[part][name] for row in log], label=name)
        for name, share in chance.items() if part == "val" else ():
            axis.axhline(share, color="0.4", linestyle="--", label=name)
        top, label = (1.05, "validation accuracy") if part == "val" else (None, "training loss")
        axis.set(ylim=(0, top), ylabel=label)
        axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        axis.grid(alpha=0.3)
    axis.set_xlabel("step")
    write(figure, path)


def pairs(first, second, xlabel, title, path):
    """Write a PNG of two numbers a seed, joined by a line."""
    figure = Figure((4.5, 2.2), layout="constrained")
    axis = figure.subplots()
    for seed, pair in enumerate(zip(first, second)):
        axis.plot(pair, (seed, seed), color="0.7", zorder=0)
    axis.scatter(first, range(len(first)), label="first")
    axis.scatter(second, range(len(second)), label="second")
    axis.set(xlabel=xlabel, ylabel="seed", title=title)
    axis.legend(frameon=False, fontsize=7)
    write(figure, path)
