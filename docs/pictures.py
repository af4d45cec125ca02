"""Draw the pictures of the pages anew, from trained runs and published results.

    python docs/pictures.py                  all of them; runs that are missing are trained
    python docs/pictures.py mask.png         some of them
    python docs/pictures.py --check          exit code 1 if one does not show the present code

Beside the pictures lies pictures.json: a digest of what each one shows, and of its file. What a
picture shows is decided by settings, tasks, data and masks, or by a result; how it is drawn is not
part of it. All are 400 pixels wide, like a phone.
"""
import hashlib
import json
import shutil
import sys
from functools import partial
from pathlib import Path
from statistics import mean
from textwrap import fill
from typing import Callable, NamedTuple

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

import numpy as np  # noqa: E402: after the path above
from matplotlib.animation import PillowWriter  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from benchmarks import report  # noqa: E402
from ipt_mini.checkpoint import read_metrics, write_json  # noqa: E402
from ipt_mini.config import VIEWS, Config, Parser  # noqa: E402
from ipt_mini.dataset import to_data  # noqa: E402
from ipt_mini.errors import UserError, run_main  # noqa: E402
from ipt_mini.evaluate import test_run  # noqa: E402
from ipt_mini.plots import WIDTH, write  # noqa: E402
from ipt_mini.run import load_run  # noqa: E402
from ipt_mini.sequence import ANSWER, IMAGINE, QUERY, VIEW, layout  # noqa: E402
from ipt_mini.tasks import TASKS, make  # noqa: E402
from ipt_mini.tasks.words import text  # noqa: E402
from ipt_mini.tokenizer import PATCH, SIZES, Tokenizer  # noqa: E402
from ipt_mini.training import train  # noqa: E402

RECORD = "pictures.json"
NO_LOSS, TARGET, NETWORK = "#e8e8e8", "#bfe3c0", "#cfe2f3"
RIGHT, FOLLOWS = "#4078c0", "#f0a030"
EXAMPLE = 2                   # the test question that most pictures show
CLAIMS = {"in cells": "claims_pt", "in first person": "claims_pt_first_person"}   # of PT


# -------------------------------------------------------------------------- what a picture shows
def digest(*facts):
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:8]


def world(views="cells"):
    """A digest of all that code decides about runs in one of the two worlds."""
    masks = []
    for name, task in TASKS.items():
        config = Config(task=name, views=views)
        data = to_data(config, task, make(task, "train", 1), Tokenizer(views),
                       np.random.default_rng(0))
        masks.append([part.tolist() for part in layout(data, config.branches)[:5]])
    return digest(report.defaults(views), masks)


def results(*names):
    """A digest of published results, of those that there are."""
    found = [report.read(name) for name in names]
    return digest(*((there["tables"], there["fingerprint"]) for there in found if there))


# ---------------------------------------------------------------------------- pictures of a run
def trained(task, views="cells"):
    """The folder of a run of the default settings, which is trained if it is not there."""
    return train(Config(task=task, views=views, name=views.replace("-", "_") * (views != "cells")))


def from_run(picture, task, views, path):
    """One of the pictures that every run has in its folder, drawn anew there."""
    folder = trained(task, views)
    if folder not in REDRAWN:
        metrics = read_metrics(folder)
        test_run(folder, metrics["log"], Config(**metrics["config"]))
        REDRAWN.add(folder)
    shutil.copyfile(folder / picture, path)


REDRAWN = set()


class Question(NamedTuple):
    """A question of the test split of a run, as it was asked and answered."""
    run: object
    data: object               # Data of one row
    view: np.ndarray           # pixels, as all pictures here
    words: list                # of the query
    true: np.ndarray
    codes: np.ndarray          # (h, w) imagined
    imagined: np.ndarray
    answer: str                # after the imagination
    direct: str                # without one
    right: str


def asked(views="cells", e=EXAMPLE):
    """A PT Question."""
    run = load_run(trained("pt", views))
    examples, data = run.prepare("test", e + 1)
    example, data = examples.take([e]), data.take([e])
    answer, direct = run.ask(example), run.ask(example, "direct")
    codes = run.decode(data, "imagine").imagination[0]
    true = run.paint("imagination", example.imagination[0])
    return Question(run, data, run.paint("views", example.views[0, 0]),
                    text(example.query[0]).split(), true, codes.numpy(),
                    run.tokenizer.decode(codes), answer.answer, direct.answer, text(example.answer))


# ----------------------------------------------------------------------------- parts of drawings
def page(height):
    """(figure, axis): an empty page, measured in pixels from its top left corner."""
    figure = Figure((WIDTH / 100, height / 100), dpi=200)
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0), autoscale_on=False)
    axis.axis("off")
    return figure, axis


def image(axis, picture, x, y, side):
    axis.imshow(picture, extent=(x, x + side, y + side, y), interpolation="nearest", aspect="auto")


def grid_of(axis, numbers, x, y, side, colour):
    """Numbers (h, w) as a grid of cells."""
    h, w = numbers.shape
    for (row, col), number in np.ndenumerate(numbers):
        box(axis, x + col * side / w, y + row * side / h, side / w, side / h, str(number), colour,
            size=6.5)


def box(axis, x, y, width, height, words, colour, size=8, weight="normal"):
    """A box with words in it."""
    axis.fill([x, x + width, x + width, x], [y, y, y + height, y + height], facecolor=colour,
              edgecolor="0.3", linewidth=0.7)
    axis.text(x + width / 2, y + height / 2, words, ha="center", va="center", fontsize=size,
              weight=weight)


def arrow(axis, start, end, colour="0.2", bend=0):
    style = dict(arrowstyle="-|>", color=colour, linewidth=1.2, shrinkA=0, shrinkB=0,
                 connectionstyle=f"arc3,rad={bend}")
    axis.annotate("", end, start, arrowprops=style)


def note(axis, x, y, words, size=7.5, **more):
    axis.text(x, y, words, fontsize=size, va="top", **{"color": "0.3", **more})


def chips(axis, words, x, y, right, colour):
    """Words, each in a box of its own, in lines that end before `right`."""
    left = x
    for word in words:
        width = 6.2 * len(word) + 9
        if left + width > right:
            left, y = x, y + 21
        box(axis, left, y, width, 17, word, colour, 7.5)
        left += width + 4
    return left, y


# ---------------------------------------------------------------------------------- the drawings
def architecture(path):
    """Views -> codes -> transformer -> imagined codes -> picture, and the answer."""
    q = asked()
    config, model = q.run.config, q.run.model
    parameters = sum(p.numel() for p in model.parameters())
    figure, axis = page(500)
    note(axis, 8, 4, "view", color="black")
    image(axis, q.view, 8, 20, 100)
    arrow(axis, (110, 70), (138, 70))
    box(axis, 140, 35, 112, 70, f"tokenizer\n{PATCH} x {PATCH} pixels are\n1 of "
        f"{SIZES['cells']['n_codes']} codes", NETWORK)
    arrow(axis, (254, 70), (282, 70))
    note(axis, 284, 4, "its codes", color="black")
    grid_of(axis, q.data.views[0, 0].numpy(), 284, 20, 100, NO_LOSS)
    note(axis, 8, 132, "question", color="black")
    chips(axis, q.words, 8, 148, 270, NO_LOSS)
    arrow(axis, (334, 122), (334, 218))
    arrow(axis, (140, 192), (140, 218))
    box(axis, 8, 220, 376, 50, f"transformer: {config.n_layer} blocks of width {config.n_embd}, "
        f"{parameters / 1e6:.1f} M parameters", NETWORK, 9)
    arrow(axis, (40, 270), (40, 338))
    arrow(axis, (74, 338), (74, 270), "0.5")
    note(axis, 84, 278, f"<imagine>: {q.codes.size} codes,\none by one; each is\nread before the "
         "next")
    grid_of(axis, q.codes, 8, 340, 100, TARGET)
    note(axis, 8, 442, "imagined codes", color="black")
    arrow(axis, (110, 390), (138, 390))
    box(axis, 140, 355, 112, 70, "tokenizer's\ndecoder", NETWORK)
    arrow(axis, (254, 390), (282, 390))
    image(axis, q.imagined, 284, 340, 100)
    note(axis, 284, 442, "imagined view", color="black")
    for left, when, answer in (206, "after codes", q.answer), (300, "direct", q.direct):
        note(axis, left, 278, f"<answer>\n{when}")
        arrow(axis, (left + 78, 270), (left + 78, 304))
        box(axis, left, 306, 84, 24, answer, TARGET, weight="bold")
    note(axis, 8, 464, "Two branches. After an imagination the answer looks at codes and\n"
         "question, not at views. A direct answer looks at views and question.")
    write(figure, path)


def blocks_of(where):
    """[(name, first, end)]: runs of tokens of one kind in a Layout."""
    segment, cell = where.segment.tolist(), where.cell.sum(1).tolist()
    kinds = [(kind, kind != IMAGINE or bool(shown)) for kind, shown in zip(segment, cell)]
    names = {(VIEW, True): "views", (QUERY, True): "query", (IMAGINE, False): "<imagine>",
             (IMAGINE, True): "imagined", (ANSWER, True): "<answer>"}
    starts = [i for i in range(len(kinds))
              if i == 0 or kinds[i] != kinds[i - 1] or kinds[i][0] == ANSWER]
    ends = [*starts[1:], len(kinds)]
    return [(names[kinds[first]], first, end) for first, end in zip(starts, ends)]


def mask(path):
    """The attention mask of one example. Blocks of one token are drawn thicker."""
    q = asked()
    where = layout(q.data, q.run.config.branches)
    parts = blocks_of(where)
    thick = np.concatenate([np.full(end - first, 1 if end - first > 1 else 4)
                            for _, first, end in parts])
    picture = where.mask.numpy().repeat(thick, 0).repeat(thick, 1)
    edges = np.concatenate([[0], thick.cumsum()])
    figure, axis = page(440)
    left, top, side = 92, 92, 300
    colours = np.array([[245, 245, 245], [64, 120, 192]], np.uint8)
    image(axis, colours[picture.astype(int)], left, top, side)
    for number, (name, first, end) in enumerate(parts):
        low, high = side * edges[[first, end]] / edges[-1]
        count = f" ({end - first})" if end - first > 1 else ""
        axis.text(left - 4, top + (low + high) / 2, name + count, ha="right", va="center",
                  fontsize=8)
        axis.text(left + (low + high) / 2, top - 4, name + count, ha="center", va="bottom",
                  fontsize=8, rotation=90)
        for line in ([left, left + side], [top + high] * 2), ([left + high] * 2, [top, top + side]):
            axis.plot(*line, color="black", linewidth=0.6)
    note(axis, 4, 4, "A row may attend to\nthe blue columns.")
    note(axis, 8, top + side + 8, "The first <answer> comes after the imagination, the last one is "
         "direct:\ntwo branches, and neither sees the other. <imagine> and <answer>\n"
         "are one token each, drawn four times too wide.")
    write(figure, path)


def sequence(path):
    """The tokens of one example: views in their shape, query, and the targets of both branches."""
    q = asked()
    h, w = q.data.imagination.shape[1:]
    order = q.data.order.argsort().view(h, w).numpy() + 1
    figure, axis = page(462)
    note(axis, 8, 6, "Prefix: views and query. The query sees no views. No loss.", 8, color="black",
         weight="bold")
    image(axis, q.view, 8, 30, 110)
    note(axis, 8, 142, f"{q.data.views[0].numel()} codes of the view")
    chips(axis, q.words, 132, 30, 392, NO_LOSS)
    note(axis, 132, 142, f"{len(q.words)} words of the query")
    note(axis, 8, 172, "Branch 1: imagine, then answer. Causal.", 8, color="black", weight="bold")
    box(axis, 8, 242, 66, 20, "<imagine>", NO_LOSS)
    arrow(axis, (76, 252), (92, 252))
    image(axis, q.true, 94, 196, 110)
    grid_lines(axis, order, 94, 196, 110)
    note(axis, 94, 308, f"{h * w} targets: the codes of the\ntrue view, in this order")
    arrow(axis, (206, 252), (222, 252))
    box(axis, 224, 242, 60, 20, "<answer>", NO_LOSS)
    arrow(axis, (286, 252), (302, 252))
    box(axis, 304, 242, 84, 20, q.right, TARGET, weight="bold")
    note(axis, 304, 266, "target")
    note(axis, 224, 196, "<answer> sees the query,\n<imagine> and the codes,\nbut no views.")
    note(axis, 8, 350, "Branch 2: answer directly. It does not see branch 1.", 8, color="black",
         weight="bold")
    box(axis, 8, 374, 60, 20, "<answer>", NO_LOSS)
    arrow(axis, (70, 384), (86, 384))
    box(axis, 88, 374, 84, 20, q.right, TARGET, weight="bold")
    note(axis, 180, 378, "target")
    note(axis, 8, 410, "Green: what carries loss. Each token predicts the next one: <imagine>\n"
         "predicts cell 1, cell 1 predicts cell 2, <answer> predicts the word.\n"
         "The answer itself is never an input.")
    write(figure, path)


def grid_lines(axis, numbers, x, y, side):
    """Numbers in green corners of the cells of a picture."""
    h, w = numbers.shape
    for (row, col), number in np.ndenumerate(numbers):
        axis.text(x + (col + 0.5) * side / w, y + (row + 0.5) * side / h, str(number), ha="center",
                  va="center", fontsize=6.5, bbox=dict(facecolor=TARGET, edgecolor="none", pad=1))


def imagining(path):
    """An animation: code after code in both worlds, beside the true view."""
    questions = [asked(views) for views in VIEWS]
    titles = ["in cells", "in first person"]
    longest = max(q.codes.size for q in questions)
    figure, axis = page(366)
    writer = PillowWriter(fps=5)
    with writer.saving(figure, path, dpi=150):
        for step in [*range(longest + 1), *[longest] * 12]:
            axis.clear()
            axis.axis("off")
            axis.set(xlim=(0, WIDTH), ylim=(366, 0), autoscale_on=False)
            note(axis, 8, 6, " ".join(questions[0].words), color="black", weight="bold")
            for q, title, y in zip(questions, titles, (20, 192)):
                frame(axis, q, title, y, step)
            writer.grab_frame()


def frame(axis, q, title, y, step):
    """The first codes of an imagination; what is still to come is grey. The decoder of first-person
    pictures also looks at the neighbours of a code, of which later ones are shown already."""
    h, w = q.codes.shape
    there = (q.data.order.argsort() < step).view(h, w).numpy()
    pixels = there.repeat(PATCH, 0).repeat(PATCH, 1)[:, :, None]
    count = f"{min(step, h * w)} of {h * w} codes"
    answer = q.answer if step >= h * w else "..."
    wrong = step >= h * w and q.answer != q.right
    note(axis, 8, y + 6, f"PT {title}: {count}, answer: {answer}", 8.5,
         color="red" if wrong else "black")
    columns = (("view", q.view), ("imagined", np.where(pixels, q.imagined, 170)),
               ("true view", q.true))
    for column, (caption, picture) in enumerate(columns):
        note(axis, 8 + 131 * column, y + 24, caption, color="black")
        image(axis, picture, 8 + 131 * column, y + 38, 122)


def replacement(path):
    """Bars of the replacement test, with chance."""
    table = next(part for part in report.read("main_job_details")["tables"]
                 if "follows it, by seed" in part["head"])
    figure = Figure((WIDTH / 100, 8.6), layout="constrained", dpi=150)
    axes = figure.subplots(len(TASKS))
    for axis, (name, task) in zip(axes, TASKS.items()):
        rows = [row for row in table["rows"] if row[0] == name.upper()]
        for i, (_, picture, right, follows) in enumerate(rows):
            bar(axis, i - 0.2, right, RIGHT)
            bar(axis, i + 0.2, follows, FOLLOWS)
        axis.axvline(100 * task.CHANCE, color="0.3", linestyle="--", linewidth=1)
        axis.set(xlim=(0, 115), ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)))
        axis.set_title(f"{name.upper()}, %; dashed: chance, {100 * task.CHANCE:.0f}", fontsize=9)
        axis.set_yticklabels([fill(row[1], 14) for row in rows], fontsize=8)
    keys = [axes[0].barh(0, 0, color=colour) for colour in (RIGHT, FOLLOWS)]
    figure.legend(keys, ["answer right", "answer follows the picture"], frameon=False, fontsize=8,
                  loc="outside upper center", ncols=2)
    write(figure, path)


def bar(axis, y, by_seed, colour):
    """The mean over the seeds as a bar with its number, which shows a zero too. No bar where no
    picture implies an answer."""
    values = [float(value) for value in by_seed.split(", ") if value != "-"]
    if values:
        axis.barh(y, mean(values), 0.38, color=colour)
        axis.text(mean(values) + 1, y, f"{mean(values):.1f}", va="center", fontsize=7.5,
                  color=colour, weight="bold")


def claims(path):
    """Answers of PT over its training, without a picture or after words, by what is taught: a thin
    line a seed, a thick one for their mean, and chance."""
    worlds = {title: report.read(name) for title, name in CLAIMS.items()}
    panels = {title: curves_of(found) for title, found in worlds.items() if found}
    height = 0.6 + 2.1 * len(panels)
    figure = Figure((WIDTH / 100, height), layout="constrained", dpi=150)
    axes = figure.subplots(len(panels), squeeze=False)[:, 0]
    for axis, (title, curves) in zip(axes, panels.items()):
        for number, (name, (steps, values)) in enumerate(curves.items()):
            color = f"C{number}"
            axis.plot(steps, np.transpose(values), color=color, alpha=0.35, linewidth=0.8)
            axis.plot(steps, np.mean(values, 0), color=color, linewidth=2, label=name)
        axis.axhline(TASKS["pt"].CHANCE, color="0.5", linestyle=":", label="chance")
        axis.set(ylabel="validation accuracy", ylim=(0, 1.02))
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("step")
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=7, ncols=2,
                  loc="outside upper center")
    write(figure, path)


def curves_of(claims):
    """{name: (steps, accuracies of each seed)} of a result of results.py."""
    curves = {}
    for arm, runs in claims["figures"].items():
        logs = [[row["val"] for row in run["log"]] for run in runs]
        steps = [row["step"] for row in runs[0]["log"]]
        for way, words in ("direct", "answers at once"), ("think", "answers after words"):
            if way in logs[0][0]:
                curves[f"{arm}, {words}"] = steps, [[row[way] for row in log] for log in logs]
    return curves


class Picture(NamedTuple):
    draw: Callable             # (path)
    shows: str                 # what decides it, one of SHOWS


SHOWS = {
    "cells": world,
    "first person": partial(world, "first-person"),
    "both worlds": lambda: digest(world(), world("first-person")),
    "replacement test": partial(results, "main_job_details"),
    "claims": partial(results, *CLAIMS.values()),
}
PICTURES = {
    "architecture.png": Picture(architecture, "cells"),
    "mask.png": Picture(mask, "cells"),
    "sequence.png": Picture(sequence, "cells"),
    "imagining.gif": Picture(imagining, "both worlds"),
    "replacement.png": Picture(replacement, "replacement test"),
    "claims-pt.png": Picture(claims, "claims"),
    "samples-pt.png": Picture(partial(from_run, "samples.png", "pt", "cells"), "cells"),
    "samples-pet.png": Picture(partial(from_run, "samples.png", "pet", "cells"), "cells"),
    "samples-mvc.png": Picture(partial(from_run, "samples.png", "mvc", "cells"), "cells"),
    "first-person.png": Picture(partial(from_run, "samples.png", "pt", "first-person"),
                                "first person"),
    "curve-pt.png": Picture(partial(from_run, "curve.png", "pt", "cells"), "cells"),
    "tokenizer.png": Picture(partial(from_run, "tokenizer.png", "pt", "cells"), "cells"),
}


# ------------------------------------------------------------------------------------- the record
def facts(names):
    """{name: what pictures.json has to say of a picture}."""
    digests = {shows: SHOWS[shows]() for shows in {PICTURES[name].shows for name in names}}
    return {name: dict(shows=digests[PICTURES[name].shows], file=file_digest(DOCS / name))
            for name in names}


def file_digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8] if path.exists() else None


def record():
    """{name: facts} of the pictures as they were drawn."""
    path = DOCS / RECORD
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def stale():
    """Names of the pictures that do not show the present code and results, or are not the files
    that were drawn."""
    there = record()
    return [name for name, here in facts(PICTURES).items() if there.get(name) != here]


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=", ".join(PICTURES))
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args()
    for name in options.names:
        if name not in PICTURES:
            raise UserError(f"{name}: there is {', '.join(PICTURES)}")
    if options.check:
        if names := stale():
            raise UserError(f"stale: {', '.join(names)}; run python docs/pictures.py", 1)
        print("all pictures show the present code and results")
        return
    for name in options.names or PICTURES:
        PICTURES[name].draw(DOCS / name)
        print(f"wrote docs/{name}")
    there = record() | facts(options.names or PICTURES)
    write_json(DOCS / RECORD, {name: there[name] for name in sorted(there)})


if __name__ == "__main__":
    run_main(main)
