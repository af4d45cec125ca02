"""Make a data set of one task, say what is in it, and draw some of it.

    python data.py --task pt                      statistics, shortcut scores, preview picture
    python data.py --task pt --split longer       the same out of the domain
    python data.py --task pt --show-sequence      one example's tokens, with their loss mask
"""
import time
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
import torch

from ipt_mini import plots
from ipt_mini.config import (GRIDS, SUPERVISIONS, TASK_NAMES, Settings, UserError, parse,
                             run_main, setting)
from ipt_mini.sequence import N_WORDS, SUPERVISION, Data, layout, pack
from ipt_mini.tasks import TASKS, make, shortcut_scores, splits
from ipt_mini.tasks.grid import DARK, NAMES, OBJECT, WALL, render
from ipt_mini.tasks.words import COMPASS, ID, WORDS, text


def statistics(task, split, examples, seconds):
    """Lines that describe the examples; every share is measured on them."""
    module, n = TASKS[task], len(examples.answer)
    share = lambda condition: f"{100 * condition.mean():.1f}%"
    scene, imagination, answer = examples.scene, examples.imagination, examples.answer
    yield f"{task} ({module.NAME}), {split}: {n} examples, {n / seconds:.0f} a second"
    yield (f"scene: {share(scene >= OBJECT)} objects, {share(scene == WALL)} walls; imagination: "
           f"{share(imagination == DARK)} dark, {share(imagination >= OBJECT)} objects")
    yield "kind: " + ", ".join(
        f"{name} {share(examples.kind == k)}" for k, name in enumerate(module.KINDS))
    yield "answer: " + ", ".join(f"{w} {share(answer == ID[w])}" for w in module.ANSWERS)
    right = module.rule(examples.views, examples.query, imagination) == answer
    yield f"rule that reads the true imagination: {share(right)} right"
    yield f"best lookup without it (chance {100 * module.CHANCE:.0f}%):"
    for name, score in shortcut_scores(task, examples).items():
        yield f"  {100 * score:5.1f}%  {name}"


def preview(examples, path):
    """Views | question | imagination | chain of thought | answer, one row an example."""
    rng, rows = np.random.default_rng(0), []
    for views, pose, query, imagination, answer, cot, *_ in zip(*examples):
        captions = ([f"row {row} col {col} {COMPASS[heading]}" for heading, row, col in pose - 1]
                    if pose.any() else ["view"])
        rows.append([*((caption, render(view, rng)) for caption, view in zip(captions, views)),
                     fill(text(query), 16), ("imagination", render(imagination, rng)),
                     fill(text(cot), 16), WORDS[answer]])
    plots.strips(rows, path)


def show_sequence(examples, supervision, path):
    """The token sequence of the first example. Codes are shown by the glyph they stand for."""
    fields = {f: torch.from_numpy(getattr(examples, f)[:1].astype(np.int64)) for f in Data._fields}
    fields |= {"views": fields["views"].flatten(2), "imagination": fields["imagination"].flatten(1)}
    data, branches = Data(**fields), SUPERVISION[supervision]
    where, (tokens, targets) = layout(data, branches), pack(data, branches)
    names = [WORDS[t] if t < N_WORDS else NAMES[t - N_WORDS] for t in tokens[0].tolist()]
    loss = torch.zeros(len(names), dtype=torch.bool)
    loss[where.loss_at] = targets[0] >= 0
    plots.sequence([name.replace("-", "\n") for name in names], where.segment.tolist(),
                   loss.tolist(), path)


@dataclass
class Options(Settings):
    task: str = setting("pt", "whose examples", TASK_NAMES)
    split: str = setting("train", "train, val, test or one out of the domain")
    n: int = setting(20000, "examples", low=1, high=10**7)
    seed: int = setting(0, "of the data")
    grid: int = setting(5, "cells a side", GRIDS)
    out: str = setting("", "the picture; preview-TASK.png if empty")
    show_sequence: bool = setting(False, "draw one example's tokens instead")
    supervision: str = setting("mixed", "for --show-sequence", SUPERVISIONS)


def main():
    a = parse(Options, __doc__)
    if a.split not in splits(a.task):
        raise UserError(f"--split {a.split!r}: {a.task} has {', '.join(splits(a.task))}")
    began = time.perf_counter()
    examples = make(a.task, a.split, a.n, a.seed, a.grid)
    seconds = time.perf_counter() - began
    path = Path(a.out or ("sequence" if a.show_sequence else "preview") + f"-{a.task}.png")
    if a.show_sequence:
        show_sequence(examples, a.supervision, path)
    else:
        print("\n".join(statistics(a.task, a.split, examples, seconds)))
        preview(examples.take(slice(6)), path)
    print(f"wrote {path}")


if __name__ == "__main__":
    run_main(main)
