"""All pictures: strips of tiles with captions, curves, and compared pairs."""
import numpy as np
from matplotlib.figure import Figure


def _write(figure, path):
    try:
        figure.savefig(path, format="png")
    except OSError as error:                       # a full disk does not say of which file
        error.filename = error.filename or str(path)
        raise


def strips(rows, path, scale=1.35):
    """Write a PNG of rows of tiles. A tile is (caption, picture (H, W, 3) uint8) or a text."""
    columns = max(map(len, rows))
    figure = Figure((scale * columns, (scale + 0.3) * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for line, row in zip(axes, rows):
        for axis, tile in zip(line, row):
            if isinstance(tile, str):
                axis.text(0.5, 0.5, tile, ha="center", va="center", fontsize=8, wrap=True)
            else:
                caption, picture = tile
                axis.imshow(picture, interpolation="nearest")
                axis.set_title(caption, fontsize=7)
    _write(figure, path)


def curves(log, path):
    """Write a PNG of the training losses and the validation accuracies in a run's log."""
    figure = Figure((7.2, 2.8), layout="constrained")
    steps = [row["step"] for row in log]
    for axis, part, title in zip(figure.subplots(1, 2), ("losses", "val"),
                                 ("training loss", "validation accuracy")):
        for name in log[-1][part]:
            if not name.startswith("nats"):            # no accuracy
                axis.plot(steps, [row[part][name] for row in log], label=name)
        axis.legend(frameon=False, fontsize=7)
        axis.set(xlabel="step", ylabel=title, ylim=(0, None))
        axis.grid(alpha=0.3)
    _write(figure, path)


def by_seed(groups, chance, ylabel, path):
    """Write a PNG of {name: (steps, a row of values for each seed)}: a thin line a seed, a thick
    one for their mean, and chance."""
    figure = Figure((5, 3.2), layout="constrained")
    axis = figure.subplots()
    for number, (name, (steps, values)) in enumerate(groups.items()):
        color = f"C{number}"
        axis.plot(steps, np.transpose(values), color=color, alpha=0.35, linewidth=0.8)
        axis.plot(steps, np.mean(values, 0), color=color, linewidth=2, label=name)
    axis.axhline(chance, color="0.5", linestyle=":", label="chance")
    axis.legend(frameon=False, fontsize=8)
    axis.set(xlabel="step", ylabel=ylabel, ylim=(0, 1.02))
    axis.grid(alpha=0.3)
    _write(figure, path)


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
    _write(figure, path)
