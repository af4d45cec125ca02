"""Figures: a proportion with its interval, and how good imagined pictures are."""
import math

import numpy as np

from ipt_mini.tasks import TASKS
from ipt_mini.tasks.grid import OBJECT, nearest_glyph


def proportion(right):
    """Accuracy in percent with its 95% Wilson interval, from a bool array (n,); None if empty."""
    n, z = len(right), 1.96
    if n == 0:
        return dict(accuracy=None, low=None, high=None, n=0)
    p = float(np.mean(right))
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + s * half) / (1 + z * z / n) for s in (-1, 1))
    return dict(accuracy=round(100 * p, 1), low=round(100 * low, 1), high=round(100 * high, 1), n=n)


def imagination_quality(task, examples, cells, answer):
    """How good imagined pictures (B, N, N) of cells are, and whether the answer follows them."""
    true = examples.imagination
    foreground = (cells >= OBJECT) | (true >= OBJECT)
    read = TASKS[task].rule(examples.views, examples.query, cells)
    percent = lambda share: round(100 * float(share.mean()), 1)
    return dict(cells=percent(cells == true), foreground_cells=percent((cells == true)[foreground]),
                exact_images=percent((cells == true).all((1, 2))),
                rule_reads_right=percent(read == examples.answer),
                answer_agrees_with_picture=percent(read == answer))


def picture_cells(tokenizer, codes, grid):
    """Codes (B, P) -> cells (B, N, N): decoded to pixels, each cell read as its nearest glyph."""
    return nearest_glyph(tokenizer.decode(codes.view(-1, grid, grid)))
