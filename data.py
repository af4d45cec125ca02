"""Make a data set of one task, say what is in it, and draw some of it.

    python data.py --task pt                      statistics and a preview picture
    python data.py --task pt --split longer       the same out of distribution
    python data.py --data DIR                     statistics of a folder of your own
    python data.py --task pt --export DIR         write a task as such a folder
"""
from ipt_mini.errors import UserError, quiet_imports, run_main  # isort: skip
if __name__ == "__main__":
    quiet_imports()                                # those below are slow
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ipt_mini import plots
from ipt_mini.config import GRIDS, PATCHES, TASK_NAMES, VIEWS, Settings, parse, setting
from ipt_mini.dataset import FIELDS, painter
from ipt_mini.own import name_of
from ipt_mini.tasks import load_task, make, splits
from ipt_mini.tasks.folder import UNKNOWN, Folder
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


def question_only(train, n_words, few=0.1):
    """Naive Bayes on the words of the query and their places, learnt from Examples: a function of
    queries (B, Q) that guesses the kinds (B,). few: what an unseen word counts."""
    places = np.arange(train.query.shape[1]) * n_words
    n_kinds = train.kind.max() + 1
    seen = np.full((n_kinds, len(places) * n_words), few)
    np.add.at(seen, (train.kind[:, None], train.query + places), 1)
    frequent = np.bincount(train.kind)[:, None]
    log_p = np.log(seen / (frequent + few * n_words))        # of a word at its place

    def guess(query):
        words = (query + places).T                           # (Q, B)
        return (np.log(frequent) + sum(log_p[:, word] for word in words)).argmax(0)
    return guess


def folder_statistics(folder, seed):
    """Lines that describe a Folder, some for each split."""
    sets = {split: make(folder, split, len(folder.lines), seed) for split in splits(folder)}
    words, train = vocabulary(folder), sets["train"]
    guess = question_only(train, len(words))
    usual = np.bincount(train.kind).argmax()
    hashes = np.array(folder.hashes)
    yield "pixels: " + ", ".join(f"{field} {h} x {w}" for field, (h, w) in folder.sides_of.items())
    yield f"words: {len(words)}, in a query at most {train.query.shape[1]}"
    for split, examples in sets.items():
        kind = examples.kind
        yield f"{split}: {len(kind)} examples; answers: " + ", ".join(
            f"{word} {percent(kind == k)}" for k, word in enumerate(folder.ANSWERS))
        yield (f"    right by the usual answer of training: {percent(kind == usual)}, by the "
               f"words of the question alone: {percent(guess(examples.query) == kind)}")
        if split != "train":
            unknown = examples.query == words.index(UNKNOWN)
            yield f"    queries with a word that training lacks: {percent(unknown.any(1))}"
            for field in FIELDS:
                here, there = (hashes[getattr(part, field)] for part in (examples, train))
                yield f"    {field} that training has, too: {percent(np.isin(here, there))}"


def export(options, task):
    """Write a task as a folder of pictures, clean drawings: as many examples of training as asked
    for, a tenth of that of each other split."""
    root = Path(options.export)
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        raise UserError(f"--export {root}: not empty")
    rows = []
    for split in splits(task):
        n = options.n if split == "train" else -(-options.n // 10)
        examples = make(task, split, n, options.seed, options.grid)
        (root / split).mkdir()
        for e in tqdm(range(n), split, disable=None):
            rows.append(row_of(options, task, split, e, examples.take(e), root))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (root / "examples.jsonl").write_text(lines)        # last: a folder without it is none
    print(f"wrote {root}: {len(rows)} examples")


def row_of(options, task, split, number, example, root):
    """The line of one example, a dict; its pictures are written."""
    words = vocabulary(task)
    names = [f"{split}/{number}-view{v}.png" for v in range(len(example.views))]
    names.append(f"{split}/{number}-imagination.png")
    pictures = [*painter(options, task, "views")(example.views),
                painter(options, task, "imagination")(example.imagination)]
    for name, pixels in zip(names, pictures):
        Image.fromarray(pixels).save(root / name)
    row = dict(split=split, views=names[:-1], query=text(example.query, words),
               imagination=names[-1], answer=words[example.answer], cot=text(example.cot, words))
    return dict(row, pose=(example.pose - 1).tolist()) if example.pose.any() else row


# ------------------------------------------------------------------------------------ the command
def preview(options, task, examples, path):
    """Question, chain of thought, views, imagination and answer, a block an example."""
    rng, words, rows = np.random.default_rng(0), vocabulary(task), []
    paint = {field: painter(options, task, field) for field in ("views", "imagination")}
    for e in range(len(examples.answer)):
        tiles = []
        for view, (heading, row, column) in zip(examples.views[e], examples.pose[e] - 1):
            known = heading >= 0
            caption = f"row {row} col {column} {COMPASS[heading]}" if known else "view"
            tiles.append((caption, paint["views"](view, rng), "black"))
        true = paint["imagination"](examples.imagination[e], rng)
        tiles.append(("to be imagined", true, "black"))
        title = f"{text(examples.query[e], words)} | {text(examples.cot[e], words)}"
        rows.append(plots.Block(title, tiles, [("answer", words[examples.answer[e]], False)]))
    plots.blocks(rows, path)


@dataclass
class Options(Settings):
    task: str = setting("pt", "whose examples", TASK_NAMES, own=True, never="data")
    split: str = setting("train", "train, val, test or out of distribution", never="export")
    n: int = setting(20000, "examples", low=1, high=10**7)
    seed: int = setting(0, "of the data")
    grid: int = setting(5, "cells a side", GRIDS, never="data")
    views: str = setting("cells", "how views are drawn; maps stay maps", VIEWS, never="data")
    data: str = setting("", "a folder of your own, instead of a task")
    size: int = setting(0, "resize its pictures to so many pixels a side; 0: not", low=4, high=128,
                        only="data")
    patch: int = setting(8, "pixels a side that become one code", PATCHES, only="data")
    export: str = setting("", "write the task as such a folder, n for training", never="data")
    out: str = setting("", "the picture, a PNG; preview-TASK.png if empty", never="export")


def main():
    options = parse(Options, __doc__)
    if options.export:
        return export(options, load_task(options.task))
    task = (Folder(options.data, options.size, options.patch) if options.data else
            load_task(options.task))
    if options.split not in splits(task):
        raise UserError(f"--split {options.split!r}: there is {', '.join(splits(task))}")
    name = Path(options.data).resolve().name if options.data else name_of(options.task)
    path = Path(options.out or f"preview-{name}.png")
    if path.is_fifo():                             # to open one waits for a reader
        raise UserError(f"--out {path}: a pipe; name a file")
    began = time.perf_counter()
    examples = make(task, options.split, options.n, options.seed, options.grid)
    speed = len(examples.answer) / (time.perf_counter() - began)
    print(f"{task.NAME}, {options.split}: {len(examples.answer)} examples, {speed:.0f} a second")
    found = folder_statistics(task, options.seed) if options.data else statistics(task, examples)
    print("\n".join(found))
    preview(options, task, examples.take(slice(6)), path)
    print(f"wrote {path}")


if __name__ == "__main__":
    run_main(main)
