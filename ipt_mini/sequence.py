"""Codes and words -> one sequence of tokens with segments, and what may attend to what.

    views | query | <imagine> c1 .. cP <answer>          a branch with an imagination
                  | <think> w1 .. wC <answer>            a branch with a textual chain of thought
                  | <answer>                             a branch that answers directly

The prefix carries no loss: views, which attend to each other and to the query, and the query, which
sees no views (unless --answer-sees-views). What follows it is a branch: causal, made of segments. A
token that names the segment opens it, its content follows, and each token but the last predicts the
next piece of content: <imagine> predicts c1, c1 predicts c2, <answer> the answer. The answer itself
is never an input.
With several branches (`mixed`) each of them follows the same prefix and none sees another: one pass
trains all ways of answering at once.

Token ids: words first, code k of the tokenizer is n_words + k.
Shape letters: B sequences, T tokens of a sequence, V views, P = h * w cells of a picture,
Q words of a query, C words of a chain of thought, L = positions that carry a loss.
"""
from typing import NamedTuple

import torch

from ipt_mini.errors import UserError
from ipt_mini.tasks.words import ID

SEGMENTS = ("view", "query", "think", "imagine", "answer")
VIEW, QUERY, THINK, IMAGINE, ANSWER = range(5)
OPENER = {segment: ID[f"<{SEGMENTS[segment]}>"] for segment in (THINK, IMAGINE, ANSWER)}

# What is trained: branches, separated by |, each a row of segments that ends in the answer.
SUPERVISION = {
    "label": "answer",
    "text_cot": "think answer",
    "ipt": "imagine answer",
    "mixed": "imagine answer | answer",
}


def branches_of(supervision):
    """A name in SUPERVISION, or a text such as those in it -> its branches, tuples of segments.
    UserError if it is neither."""
    branches = []
    for branch in SUPERVISION.get(supervision, supervision).split("|"):
        words = branch.split()
        *before, last = words or [""]
        if last != "answer" or set(before) - {"think", "imagine"} or len(set(words)) < len(words):
            raise UserError(f"--supervision {supervision!r}: there is {', '.join(SUPERVISION)}, or "
                            'branches of your own such as "think imagine answer | answer"')
        branches.append(tuple(SEGMENTS.index(word) for word in words))
    return tuple(branches)


def imagining_order(h, w, shuffled=False):
    """Order (P,) in which the cells of a picture are imagined: the compass at the viewer's feet,
    then from the last cell to the first. Maps and photographs, which have none, take it too.

    The compass leads: where to look has to be found in views and query alone. If it came later, the
    true cells before it would say it in training, and the model would learn that way only. Rows
    from near to far, because a wall has to be known before what it hides.
    shuffled: all but the compass in an order that is random, but always the same. Then few cells
    come right after a neighbour, from which they could be guessed: they are to be looked up."""
    viewer = (h - 1) * w + w // 2
    others = torch.arange(h * w).flip(0)
    others = others[others != viewer]
    if shuffled:
        seeded = torch.Generator().manual_seed(0)
        others = others[torch.randperm(len(others), generator=seeded)]
    return torch.cat([torch.tensor([viewer]), others])


class Data(NamedTuple):
    """n examples as the model sees them: codes and words, no cell ids. int64 tensors."""
    views: torch.Tensor        # (n, V, h, w) codes
    pose: torch.Tensor         # (n, V, 3)
    query: torch.Tensor        # (n, Q) words
    imagination: torch.Tensor  # (n, h, w) codes
    cot: torch.Tensor          # (n, C) words
    answer: torch.Tensor       # (n,) word
    order: torch.Tensor        # (P,) in which the cells of an imagination come: of all examples

    def take(self, rows):
        *fields, order = self
        return Data(*(field[rows] for field in fields), order)


def as_imagined(data):
    """The imaginations of `data` (n, h, w) as codes (n, P), in the order in which they come."""
    return data.imagination.flatten(1)[:, data.order]


def as_picture(codes, data):
    """Codes (n, P) that came as those of `data` do -> (n, h, w). The inverse of as_imagined."""
    return codes[:, data.order.argsort()].view_as(data.imagination)


class Place(NamedTuple):
    """What is known of a token before any example is looked at. Cells are (row, column), counted
    from 1; (0, 0) is none."""
    segment: int
    branch: int = 0            # 0 is the prefix
    order: int = 0             # number of the view, or of the word in its segment
    cell: tuple = (0, 0)       # that this token shows
    next_cell: tuple = (0, 0)  # that it has to predict
    predicts: bool = False     # does it carry a loss?


class Layout(NamedTuple):
    """The Places of a sequence as tensors: the same for all examples of a task."""
    segment: torch.Tensor      # (T,)
    order: torch.Tensor        # (T,)
    cell: torch.Tensor         # (T, 2)
    next_cell: torch.Tensor    # (T, 2)
    mask: torch.Tensor         # (T, T) bool: may row attend to column?
    n_view_tokens: int         # V * h * w; they come first
    loss_at: torch.Tensor      # (L,) positions that predict something
    losses_of: dict            # {segment: (n,) which of these L predict a part of it}


def cells_of(h, w):
    """(row, column) of all cells of a picture, in reading order."""
    return [(row, col) for row in range(1, h + 1) for col in range(1, w + 1)]


def places(data, branches):
    """The Place of each token of a sequence made of `data` and these branches."""
    _, n_views, h, w = data.views.shape
    result = [Place(VIEW, order=v, cell=cell) for v in range(n_views) for cell in cells_of(h, w)]
    result += [Place(QUERY, order=i) for i in range(data.query.shape[1])]
    cells = cells_of(*data.imagination.shape[1:])
    imagined = [cells[i] for i in data.order.tolist()]

    for number, branch in enumerate(branches, 1):
        for segment in branch:
            if segment == IMAGINE:
                shown, to_come = [(0, 0), *imagined], [*imagined, (0, 0)]
                result += [Place(segment, number, 0, cell, next_cell, next_cell != (0, 0))
                           for cell, next_cell in zip(shown, to_come)]
            elif segment == THINK:
                length = data.cot.shape[1]
                result += [Place(segment, number, order=i, predicts=i < length)
                           for i in range(length + 1)]
            else:
                result.append(Place(ANSWER, number, predicts=True))
    return result


def layout(data, branches, answer_sees_views=False):
    """The Layout of sequences made of `data` and these branches, on the data's device."""
    device = data.views.device
    segment, branch, order, cell, next_cell, predicts = (
        torch.tensor(column, device=device) for column in zip(*places(data, branches)))
    mask = attention_mask(segment, branch, answer_sees_views)
    loss_at = predicts.nonzero().flatten()
    losses_of = {s: (segment[loss_at] == s).nonzero().flatten() for s in OPENER}
    n_view_tokens = data.views[0].numel()
    return Layout(segment, order, cell, next_cell, mask, n_view_tokens, loss_at, losses_of)


def attention_mask(segment, branch, answer_sees_views=False):
    """(T, T) bool: may the token of a row attend to that of a column?  segment, branch: (T,).

    views and query v q, one imagined cell c, `mixed`: two branches behind one prefix. An answer
    after an imagination does not look at the views. Nor does the query, at which it looks: else
    the query could count in the views, say, and the answer would not need the picture. What the
    answer still knows of the views has come through <imagine>, the cells, and a thought in the same
    branch. With answer_sees_views both 0 are 1, as in the paper.

                            v q  i c a  a
        v view              1 1  . . .  .
        q query             0 1  . . .  .
        i <imagine>         1 1  1 . .  .
        c imagined cell     1 1  1 1 .  .
        a <answer>          0 1  1 1 1  .
        a <answer>          1 1  . . .  1
    """
    position = torch.arange(len(segment), device=segment.device)
    causal = position[:, None] >= position
    mask = (branch == 0) | ((branch[:, None] == branch) & causal)
    if not answer_sees_views:
        has_imagined = torch.isin(branch, branch[segment == IMAGINE])
        blind = (segment == QUERY) | ((segment == ANSWER) & has_imagined)
        mask &= ~(blind[:, None] & (segment == VIEW))
    return mask


def pack(data, branches, n_words):
    """(tokens (n, T), targets (n, L)) of all examples; n_words: the id of code 0."""
    content = {
        THINK: data.cot,
        IMAGINE: as_imagined(data) + n_words,
        ANSWER: data.answer[:, None],
    }
    tokens = [data.views.flatten(1) + n_words, data.query]
    targets = []
    for branch in branches:
        for segment in branch:
            tokens.append(torch.full_like(content[ANSWER], OPENER[segment]))
            targets.append(content[segment])
            if segment != ANSWER:
                tokens.append(content[segment])
    return torch.cat(tokens, 1), torch.cat(targets, 1)
