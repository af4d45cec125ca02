"""Make a data set of one task, say what is in it, and draw some of it.

    python data.py --task pt                      statistics, shortcut scores, preview picture
    python data.py --task pt --split longer       the same out of the domain
    python data.py --task pt --show-sequence      one example's tokens, with their loss mask
"""
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ipt_mini import plots
from ipt_mini.config import (GRIDS, SUPERVISIONS, TASK_NAMES, Parser, UserError, add_arguments,
                             check_fields, run_main, setting)
from ipt_mini.sequence import N_WORDS, SUPERVISION, Data, layout, pack, token_code
from ipt_mini.tasks import TASKS, make, shortcut_scores, splits
from ipt_mini.tasks.grid import DARK, NAMES, OBJECT, WALL, render
from ipt_mini.tasks.words import COMPASS, WORDS, text


@dataclass
class Options:
    task: str = setting("pt", "whose examples", TASK_NAMES)
    split: str = setting("train", "train, val, test or one out of the domain")
    n: int = setting(20000, "examples", low=1, high=10**7)
    seed: int = setting(0, "of the data")
    grid: int = setting(5, "cells a side", GRIDS)
    out: str = setting("", "the picture; preview-TASK.png if empty")
    supervision: str = setting("mixed", "for --show-sequence", SUPERVISIONS)


def statistics(task, split, examples, seconds):
    """Lines that describe the examples; every share is measured on them."""
    module, n = TASKS[task], len(examples.answer)
    share = lambda condition: f"{100 * condition.mean():.1f}%"
    right = module.rule(examples.views, examples.query, examples.imagination) == examples.answer
    yield f"{task} ({module.NAME}), {split}: {n} examples, {n / seconds:.0f} a second"
    yield (f"scene: {share(examples.scene >= OBJECT)} objects, "
           f"{share(examples.scene == WALL)} walls; imagination: "
           f"{share(examples.imagination == DARK)} dark, "
           f"{share(examples.imagination >= OBJECT)} objects")
    for name, values, labels in (("kind", examples.kind, module.KINDS),
                                 ("answer", examples.answer, WORDS)):
        found, counts = np.unique(values, return_counts=True)
        yield f"{name}: " + ", ".join(
            f"{labels[v]} {100 * c / n:.1f}%" for v, c in zip(found, counts))
    yield f"rule that reads the true imagination: {share(right)} right"
    yield f"best lookup without it (chance {100 * module.CHANCE:.0f}%):"
    for name, score in shortcut_scores(task, examples).items():
        yield f"  {100 * score:5.1f}%  {name}"


def preview(task, examples, path, count=6):
    """Views | question | imagination | answer, for the first examples."""
    rng, rows = np.random.default_rng(0), []
    for e in range(min(count, len(examples.answer))):
        views = [(camera_name(examples.pose[e, v]) or "view", render(view, rng))
                 for v, view in enumerate(examples.views[e])]
        rows.append([*views, plots.wrapped(text(examples.query[e])),
                     ("imagination", render(examples.imagination[e], rng)),
                     plots.wrapped(text(examples.cot[e])), text(examples.answer[e:e + 1])])
    plots.strips(rows, path)


def camera_name(pose):
    """'row 1 col 3 east' for a given pose (3,), '' for none."""
    heading, row, col = pose - 1
    return f"row {row} col {col} {COMPASS[heading]}" if heading >= 0 else ""


def show_sequence(task, examples, supervision, path):
    """The token sequence of the first example. Codes are shown by the glyph that they stand for."""
    one = Data(*(torch.from_numpy(np.asarray(a, np.int64)) for a in (
        examples.views.reshape(*examples.views.shape[:2], -1)[:1], examples.pose[:1],
        examples.query[:1], examples.imagination.reshape(len(examples.answer), -1)[:1],
        examples.cot[:1], examples.answer[:1])))
    branches = SUPERVISION[supervision]
    where, (tokens, targets) = layout(one, branches), pack(one, branches)
    names = [WORDS[t] if t < N_WORDS else NAMES[token_code(t)] for t in tokens[0].tolist()]
    loss = torch.zeros(len(names), dtype=torch.bool)
    loss[where.loss_at] = targets[0] >= 0
    names = [name.replace("-", "\n") for name in names]
    plots.sequence(names, where.segment.tolist(), loss.tolist(), path)


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    add_arguments(parser, Options)
    parser.add_argument("--show-sequence", action="store_true", help="draw tokens instead")
    values = vars(parser.parse_args())
    draw_tokens, a = values.pop("show_sequence"), Options(**values)
    check_fields(a)
    if a.split not in splits(a.task):
        raise UserError(f"--split {a.split!r}: {a.task} has {', '.join(splits(a.task))}")
    began = time.perf_counter()
    examples = make(a.task, a.split, a.n, a.seed, a.grid)
    path = Path(a.out or ("sequence" if draw_tokens else "preview") + f"-{a.task}.png")
    if draw_tokens:
        show_sequence(a.task, examples, a.supervision, path)
    else:
        for line in statistics(a.task, a.split, examples, time.perf_counter() - began):
            print(line)
        preview(a.task, examples, path)
    print(f"wrote {path}")


if __name__ == "__main__":
    run_main(main)
