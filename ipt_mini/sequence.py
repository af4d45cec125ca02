"""Codes and words -> one sequence of tokens with segments, and what may attend to what.

    views | query | <imagine> c1 .. cP <answer>          a branch with an imagination
                  | <think> w1 .. wC <answer>            a branch with a textual chain of thought
                  | <answer>                             a branch that answers directly

The prefix (views and query) attends to itself in both directions and carries no loss. What follows
it is a branch, causal, opened by a token that selects the mode. With several branches (`mixed`)
each of them follows the same prefix and none sees another: one pass trains all modes at once.
An answer after an imagination does not see the views: it knows of them by the imagined cells.
A token predicts the next one of its segment: <imagine> predicts c1, <answer> the answer, and the
last word of a thought predicts <answer>. The answer itself is never an input.
A picture is imagined from near to far, see `imagining_order`.

Shape letters: B sequences, T tokens of a sequence, V views, P = N * N cells of a picture,
Q words of a query, C words of a chain of thought, L = positions that carry a loss.
"""
from typing import NamedTuple

import torch

from ipt_mini.tasks.words import ID, PAD, WORDS

VIEW, QUERY, THINK, IMAGINE, ANSWER = range(5)
SEGMENTS = ("view", "query", "think", "imagine", "answer")
OPENER = {segment: ID[f"<{SEGMENTS[segment]}>"] for segment in (THINK, IMAGINE, ANSWER)}

SUPERVISION = {               # the branches that are trained, each a tuple of segments
    "label": ((ANSWER,),),
    "text_cot": ((THINK, ANSWER),),
    "ipt": ((IMAGINE, ANSWER),),
    "mixed": ((IMAGINE, ANSWER), (ANSWER,)),
}
N_WORDS = len(WORDS)          # token ids: words first; code k of the tokenizer is N_WORDS + k


def imagining_order(cells):
    """Order (P,) in which the cells of a picture are imagined: the compass at the viewer's feet,
    then from the last cell to the first.

    The compass leads because where to look has to be found in views and query alone: later, it
    could be read off the true cells before it, and would be learnt that way only. Rows from near to
    far, because a wall has to be known before what it hides."""
    viewer = cells - 1 - round(cells ** 0.5) // 2
    backwards = torch.arange(cells).flip(0)
    return torch.cat([torch.tensor([viewer]), backwards[backwards != viewer]])


def near_to_far(pictures):
    """Codes (B, P) in reading order -> in the order in which they are imagined."""
    return pictures[:, imagining_order(pictures.shape[1])]


def reading_order(codes):
    """Codes (B, P) as they were imagined -> in reading order."""
    return codes[:, imagining_order(codes.shape[1]).argsort()]


class Data(NamedTuple):
    """n examples as the model sees them: codes and words, no cell ids. int64 tensors."""
    views: torch.Tensor        # (n, V, P) codes
    pose: torch.Tensor         # (n, V, 3)
    query: torch.Tensor        # (n, Q) words
    imagination: torch.Tensor  # (n, P) codes, in reading order
    cot: torch.Tensor          # (n, C) words
    answer: torch.Tensor       # (n,) word

    def take(self, rows):
        return Data(*(field[rows] for field in self))


class Layout(NamedTuple):
    """What stands where in a sequence: the same for all examples of a task. (T,) int64 tensors."""
    segment: torch.Tensor
    order: torch.Tensor        # number of the view, or of the word in its segment
    row: torch.Tensor          # of the cell that this token shows, 1 .. N; 0: it shows none
    col: torch.Tensor
    next_row: torch.Tensor     # of the cell that this token has to predict; 0: none
    next_col: torch.Tensor
    mask: torch.Tensor         # (T, T) bool: may row attend to column?
    loss_at: torch.Tensor      # (L,) positions that predict something
    loss_segment: torch.Tensor  # (L,) their segments; on the CPU, see `losses.positions`


def layout(data, branches, answer_sees_views=False):
    """The Layout of sequences made of `data` and the given branches (see SUPERVISION).
    answer_sees_views: even where an imagination stands between the views and the answer."""
    n_views, cells = data.views.shape[1:]
    n = round(cells ** 0.5)
    cell = [(1 + i // n, 1 + i % n) for i in range(cells)]
    imagined = [cell[i] for i in imagining_order(cells)]
    none = (0, 0)
    rows = []                  # (segment, order, cell shown, cell to predict, branch, has a loss)
    rows += [(VIEW, v, c, none, 0, False) for v in range(n_views) for c in cell]
    rows += [(QUERY, i, none, none, 0, False) for i in range(data.query.shape[1])]
    for b, branch in enumerate(branches, 1):
        for segment in branch:
            if segment == IMAGINE:
                rows += [(IMAGINE, 0, here, there, b, there != none)
                         for here, there in zip([none, *imagined], [*imagined, none])]
            else:
                length = data.cot.shape[1] + 1 if segment == THINK else 1
                rows += [(segment, i, none, none, b, True) for i in range(length)]
    segment, order, here, there, branch, loss = zip(*rows)
    (row, col), (next_row, next_col) = zip(*here), zip(*there)
    tensor = lambda values: torch.tensor(values, device=data.views.device)
    branch, position = tensor(branch), tensor(range(len(rows)))
    mask = (branch == 0) | ((branch[:, None] == branch) & (position[:, None] >= position))
    if not answer_sees_views:  # else it may count, say, in the views, and the picture is decoration
        kind = tensor(segment)
        imagined = torch.isin(branch, branch[kind == IMAGINE])
        mask &= ~(((kind == ANSWER) & imagined)[:, None] & (kind == VIEW))
    return Layout(*map(tensor, (segment, order, row, col, next_row, next_col)), mask,
                  tensor(loss).nonzero().flatten(),
                  torch.tensor([s for s, has_loss in zip(segment, loss) if has_loss]))


def pack(data, branches):
    """(tokens (n, T), targets (n, L)) of all examples; a target of -1 carries no loss."""
    n = len(data.answer)
    column = lambda token: torch.full((n, 1), token, device=data.query.device)
    tokens = [data.views.flatten(1) + N_WORDS, data.query]
    targets = []
    for branch in branches:
        for segment in branch:
            tokens.append(column(OPENER[segment]))
            if segment == IMAGINE:
                tokens.append(near_to_far(data.imagination) + N_WORDS)
                targets.append(tokens[-1])
            elif segment == THINK:
                tokens.append(data.cot)
                ended = torch.cat([data.cot, column(PAD)], 1)
                pads = (ended == PAD).cumsum(1)              # the first one marks the end
                targets.append(ended.masked_fill(pads == 1, OPENER[ANSWER])
                               .masked_fill(pads > 1, -1))
            else:
                targets.append(data.answer[:, None])
    return torch.cat(tokens, 1), torch.cat(targets, 1)
