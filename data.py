"""Make a data set of one task, say what is in it, and draw some of it.

    python data.py --task pt                      statistics and a preview picture
    python data.py --task pt --split longer       the same out of distribution
"""
from ipt_mini.errors import UserError, quiet_imports, run_main  # isort: skip
if __name__ == "__main__":
    quiet_imports()                                # those below are slow
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ipt_mini import plots
from ipt_mini.config import GRIDS, TASK_NAMES, VIEWS, Settings, parse, setting
from ipt_mini.dataset import painter
from ipt_mini.own import name_of
from ipt_mini.tasks import load_task, make, splits
from ipt_mini.tasks.grid import DARK, OBJECT, WALL
from ipt_mini.tasks.words import COMPASS, text, vocabulary


def percent(condition):
    return f"{100 * condition.mean():.1f}%"


def statistics(task, examples):
    """Lines that describe the examples; every share is measured on them."""
    scene, imagination, answer = examples.scene, examples.imagination, examples.answer
    yield f"scene: {percent(scene >= OBJECT)} objects, {percent(scene == WALL)} walls"
    yield (f"imagination: {percent(imagination >= OBJECT)} objects, "
           f"{percent(imagination == DARK)} dark")
    yield "kind: " + ", ".join(
        f"{name} {percent(examples.kind == k)}" for k, name in enumerate(task.KINDS))
    words = vocabulary(task)
    yield "answer: " + ", ".join(f"{w} {percent(answer == words.index(w))}" for w in task.ANSWERS)
    read = task.rule(examples.views, examples.query, imagination)
    yield f"rule that reads the true imagination: {percent(read == answer)} right"


def preview(options, task, examples, path):
    """Question, chain of thought, views, imagination and answer, a block an example."""
    rng, words, rows = np.random.default_rng(0), vocabulary(task), []
    paint = {field: painter(options, task, field) for field in ("views", "imagination")}
    for e in range(len(examples.answer)):
        tiles = []
        for view, (heading, line, column) in zip(examples.views[e], examples.pose[e] - 1):
            known = heading >= 0
            caption = f"row {line} col {column} {COMPASS[heading]}" if known else "view"
            tiles.append((caption, paint["views"](view, rng), "black"))
        true = paint["imagination"](examples.imagination[e], rng)
        tiles.append(("to be imagined", true, "black"))
        title = f"{text(examples.query[e], words)} | {text(examples.cot[e], words)}"
        rows.append(plots.Block(title, tiles, [("answer", words[examples.answer[e]], False)]))
    plots.blocks(rows, path)


@dataclass
class Options(Settings):
    task: str = setting("pt", "whose examples", TASK_NAMES, own=True)
    split: str = setting("train", "train, val, test or one out of distribution")
    n: int = setting(20000, "examples", low=1, high=10**7)
    seed: int = setting(0, "of the data")
    grid: int = setting(5, "cells a side", GRIDS)
    views: str = setting("cells", "how views are drawn; maps stay maps", VIEWS)
    out: str = setting("", "the picture, a PNG; preview-TASK.png if empty")


def main():
    options = parse(Options, __doc__)
    task = load_task(options.task)
    if options.split not in splits(task):
        raise UserError(f"--split {options.split!r}: there is {', '.join(splits(task))}")
    path = Path(options.out or f"preview-{name_of(options.task)}.png")
    if path.is_fifo():                             # to open one waits for a reader
        raise UserError(f"--out {path}: a pipe; name a file")
    began = time.perf_counter()
    examples = make(task, options.split, options.n, options.seed, options.grid)
    speed = options.n / (time.perf_counter() - began)
    print(f"{task.NAME}, {options.split}: {options.n} examples, {speed:.0f} a second")
    print("\n".join(statistics(task, examples)))
    preview(options, task, examples.take(slice(6)), path)
    print(f"wrote {path}")


if __name__ == "__main__":
    run_main(main)
