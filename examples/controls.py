"""Does any picture do? Path tracing, but what is to be imagined is another picture.

    python train.py --task examples/controls.py:blank     as many tokens, which tell nothing
    python train.py --task examples/controls.py:copy      the observed map once more
    python train.py --task examples/controls.py:shuffled  the true view of another example
    python train.py --task examples/controls.py:first_10  the first 10 cells, then blank ones

The questions are those of `pt`. If one of these helped the answer as much as the true view does, it
would be the tokens that help, or any second thing to learn, and not the imagination.
"""
from types import SimpleNamespace

import numpy as np

from ipt_mini.sequence import imagining_order
from ipt_mini.tasks import pt
from ipt_mini.tasks.grid import DARK


def with_imagination(picture):
    """The task `pt`, with picture(examples) (B, N, N) as what is to be imagined."""
    def questions(rng, b, n, **world):
        examples = pt.questions(rng, b, n, **world)
        return examples._replace(imagination=picture(examples))

    def flip(examples):
        return examples.query, examples.imagination      # no picture tells the opposite answer
    return SimpleNamespace(**{**vars(pt), "questions": questions, "flip": flip})


blank = with_imagination(lambda examples: np.full_like(examples.imagination, DARK))
copy = with_imagination(lambda examples: examples.views[:, 0])
shuffled = with_imagination(lambda examples: np.roll(examples.imagination, 1, 0))


def first_cells(k):
    """The true view's first k cells, in the order of imagining, and DARK ones for the rest: as many
    tokens, of which only k tell anything. k = 1: the compass alone; 10: what is next to M, too,
    where no candidate is; 13: three of the five cells behind; 15: on a grid of 5 all that M sees.
    """
    def picture(examples):
        b, h, w = examples.imagination.shape
        shown = imagining_order(h, w)[:k].numpy()
        cells = np.full((b, h * w), DARK, np.uint8)
        cells[:, shown] = examples.imagination.reshape(b, h * w)[:, shown]
        return cells.reshape(b, h, w)
    return with_imagination(picture)


first_1 = first_cells(1)
first_10 = first_cells(10)
first_13 = first_cells(13)
