"""Figures: a proportion with its interval, quality of imagined pictures, the replacement test.

Shape letters: B examples, N cells a side, P = N * N cells of the imagination.
"""
import math

import numpy as np
import torch

from ipt_mini.generate import decode
from ipt_mini.tasks import TASKS
from ipt_mini.tasks.grid import OBJECT, nearest_glyph
from ipt_mini.tasks.words import ID, PAD


def proportion(right):
    """Accuracy in percent with its 95% Wilson interval, from a bool array (n,); None if empty."""
    n, z = len(right), 1.96
    if n == 0:
        return dict(accuracy=None, low=None, high=None, n=0)
    p = float(np.mean(right))
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + s * half) / (1 + z * z / n) for s in (-1, 1))
    return dict(accuracy=round(100 * p, 1), low=round(100 * low, 1), high=round(100 * high, 1), n=n)


def picture_cells(tokenizer, codes, grid):
    """Codes (B, P) -> cells (B, N, N): decoded to pixels, each cell read as its nearest glyph."""
    return nearest_glyph(tokenizer.decode(codes.view(-1, grid, grid)))


def imagination_quality(task, examples, cells, answer):
    """How good imagined pictures (B, N, N) of cells are, and whether the answer follows them."""
    right = cells == examples.imagination
    foreground = (cells >= OBJECT) | (examples.imagination >= OBJECT)
    read = TASKS[task].rule(examples.views, examples.query, cells)
    percent = lambda share: round(100 * float(share.mean()), 1)
    return dict(cells=percent(right), foreground_cells=percent(right[foreground]),
                exact_images=percent(right.all((1, 2))),
                rule_reads_right=percent(read == examples.answer),
                answer_agrees_with_picture=percent(read == answer))


# ------------------------------------------------------------ the replacement test (2605.21642)
def other_answers(task, examples, rng, tries=100):
    """(donor (B,) index, found (B,) bool): a picture on which the rule reads a different answer."""
    donor = np.arange(len(examples.answer))
    found, words = donor < 0, [ID[word] for word in TASKS[task].ANSWERS]
    for _ in range(tries):
        other = rng.permutation(len(donor))
        read = TASKS[task].rule(examples.views, examples.query, examples.imagination[other])
        fits = np.isin(read, words) & (read != examples.answer) & ~found
        donor[fits], found = other[fits], found | fits
    return donor, found


def replacement_test(run, data, examples):
    """Is the imagination used? It is replaced before the answer is given; if that does not care,
    the imagination is decoration. What decides is the last row: another example's true picture, on
    which the rule reads a *different* valid answer. Does the answer follow the picture?

    Rows dict(picture, n, accuracy, low, high, follows, n_readable), in percent. accuracy: the
    answer is the true one; follows: it is what the rule reads off the picture given."""
    task, true, rng, rows = run.config.task, data.imagination, np.random.default_rng(0), []
    donor, found = other_answers(task, examples, rng)
    index = lambda array: torch.from_numpy(array).to(true.device)
    pictures = {
        "own": decode(run.model, data, task, "imagine").imagination, "true": true,
        "one code repeated": true.flatten().mode().values.expand_as(true),
        "random codes": index(rng.integers(0, run.tokenizer.n_codes, true.shape)),
        "codes of the data, scattered": true.flatten()[
            index(rng.integers(0, true.numel(), true.shape))],
        "another example's picture": true[index(rng.permutation(len(true)))],
        "picture with another answer": true[index(donor)],
    }
    for name, codes in pictures.items():
        counts = found | (name != "picture with another answer")
        given = decode(run.model, data._replace(imagination=codes), task, "oracle").answer
        given = given.cpu().numpy()
        read = TASKS[task].rule(examples.views, examples.query,
                                picture_cells(run.tokenizer, codes, run.config.grid))
        readable = counts & (read != PAD)
        rows.append(dict(picture=name, **proportion((given == examples.answer)[counts]),
                         follows=proportion((given == read)[readable])["accuracy"],
                         n_readable=int(readable.sum())))
    return rows
