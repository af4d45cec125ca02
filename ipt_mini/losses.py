"""Logits -> named loss terms. A term is a function of one LossInput that returns a scalar.

A term of your own needs no change here: `--loss +examples/losses.py:discrepancy=0.5` adds one to
the default. That file has five. A notebook puts a function into LOSSES.
Shape letters: B sequences, L positions that predict something, V token ids, C = n_embd.
"""
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ipt_mini.errors import UserError, blame
from ipt_mini.own import is_own, load_own
from ipt_mini.sequence import ANSWER, IMAGINE, THINK


class LossInput(NamedTuple):
    """All that a loss may look at."""
    logits: torch.Tensor       # (B, L, V)
    targets: torch.Tensor      # (B, L) token ids
    losses_of: dict            # {segment: (n,) which of the L predict a part of it}
    n_words: int               # the token id of code 0
    hidden: torch.Tensor = None        # (B, L, C) what the logits were computed from
    project: torch.nn.Module = None    # a layer C -> D, for terms on hidden states
    tokenizer: torch.nn.Module = None  # frozen; its codebook (K, D) and its pixel decoder
    cells: torch.Tensor = None         # (L, 2) row and column, from 1, of the code to predict


def cross_entropy(batch, here):
    """-log P(target), mean over the positions `here` (n,) among the L."""
    logits, targets = batch.logits[:, here].flatten(0, 1), batch.targets[:, here].flatten()
    return F.cross_entropy(logits, targets)


def answer(batch):
    """CE(answer): the paper's second term. In `mixed` the mean over both branches."""
    return cross_entropy(batch, batch.losses_of[ANSWER])


def imagination(batch):
    """CE(imagined codes): the discrete stand-in for the paper's rectified flow."""
    return cross_entropy(batch, batch.losses_of[IMAGINE])


def compass(batch):
    """CE(first imagined code), once more: in PT a compass that says which way one looks. All other
    codes depend on it, and as one of 25 it would count little."""
    return cross_entropy(batch, batch.losses_of[IMAGINE][:1])


def cot(batch):
    """CE(words of the chain of thought)."""
    return cross_entropy(batch, batch.losses_of[THINK])


LOSSES = {"answer": answer, "imagination": imagination, "compass": compass, "cot": cot}
BUILT_IN = dict(LOSSES)       # a copy, before a notebook adds to LOSSES
SEGMENT_OF = {"answer": ANSWER, "imagination": IMAGINE, "compass": IMAGINE, "cot": THINK}


# --------------------------------------------------------------------------- weights, and --loss
class Term(NamedTuple):
    """A loss term and its weight: numbers at parts (0..1) of the training, linear in between."""
    function: object
    values: list
    parts: list

    def weight(self, part):
        return float(np.interp(part, self.parts, self.values))

    def __call__(self, batch, name):
        """The term as a scalar; whatever an own one does wrong ends in one line with its name."""
        with blame(f"--loss {name}"):
            value = self.function(batch)
            if not torch.is_tensor(value) or value.shape != () or not value.requires_grad:
                raise TypeError("a term returns a scalar tensor with a gradient, such as a mean")
        return value


def carried(name, branches):
    """Has one of the branches the segment that a term is about? A term of your own may be about
    any: True."""
    return any(SEGMENT_OF.get(name, ANSWER) in branch for branch in branches)


def complete_loss(spec, branches, default):
    """The text for `parse_loss`: `spec` alone; or, if it is empty, the terms of `default` that
    these branches can carry; or, if it begins with +, both."""
    default = ",".join(item for item in default.split(",")
                       if carried(item.partition("=")[0], branches))
    if spec.startswith("+"):
        return f"{default},{spec[1:]}"
    return spec or default


def from_notebook(spec):
    """{name: function} of those terms of a loss that a notebook has put into LOSSES."""
    named = [item.rpartition("=")[0] for item in spec.removeprefix("+").split(",")]
    return {name: LOSSES[name] for name in named
            if name in LOSSES and name not in BUILT_IN}


def parse_loss(spec, branches):
    """'answer=1,imagination=1' -> {name: Term}, for sequences with these branches.

    A term is one of LOSSES, or FILE.py:FUNCTION. A weight is a number, or numbers at parts of the
    training: 'imagination=1@0.6:0@0.8' is 1 up to 60% of the steps and 0 from 80% on. UserError for
    an unknown term, a weight that is no number, or a term whose segment the branches lack: it would
    be silently zero."""
    if any(LOSSES.get(name) is not function for name, function in BUILT_IN.items()):
        raise UserError(f"LOSSES: give your term a name other than {', '.join(BUILT_IN)}")
    terms = {}
    for item in spec.split(","):
        term, _, weight = item.rpartition("=")
        name = term.rpartition(":")[2]
        if name in terms:
            raise UserError(f"--loss {item}: {name!r} is named twice")
        if not is_own(term) and term not in LOSSES:
            raise UserError(f"--loss {item}: there is {', '.join(LOSSES)}, or FILE.py:FUNCTION, "
                            "each with =WEIGHT")
        if not carried(term, branches):
            raise UserError(f"--loss {item}: no such segment is trained here, so there is nothing "
                            "to learn from")
        function = load_own(term) if is_own(term) else LOSSES[term]
        if not callable(function):
            raise UserError(f"--loss {item}: {name} is no function", code=1)
        terms[name] = Term(function, *parse_weight(item, weight))
    return terms


def parse_weight(item, text):
    """'0.2@0.5:1@0.7' -> ([0.2, 1], [0.5, 0.7]); '1' -> ([1], [0])."""
    points = [point.partition("@") for point in text.split(":")]
    try:
        values = [float(value) for value, _, _ in points]
        parts = [float(at or 0) for _, _, at in points]
    except ValueError:
        raise UserError(f"--loss {item}: write TERM=NUMBER or TERM=A@0.3:B@0.5") from None
    rising = parts == sorted(parts) and all(0 <= at <= 1 for at in parts)
    if not rising or not all(0 <= value < float("inf") for value in values):
        raise UserError(f"--loss {item}: weights must be 0 or more, at parts 0 to 1 that rise")
    return values, parts
