"""Logits -> named loss terms. A term is a function of one LossInput that returns a scalar."""
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ipt_mini.sequence import ANSWER, IMAGINE, THINK


class LossInput(NamedTuple):
    """All a loss may look at. B sequences, L positions that predict something, V token ids."""
    logits: torch.Tensor       # (B, L, V)
    targets: torch.Tensor      # (B, L) token ids; -1: no loss here
    segment: torch.Tensor      # (L,) the segment that each position belongs to
    weight: torch.Tensor       # (V,) weight of each token as a target, see `rarity`


def rarity(codes, n_codes, power):
    """(K,) weights of codes as targets: frequency in `codes` to the power of -`power`, mean 1.

    More than half of an imagined picture is floor or darkness. Objects are what it is about, and
    they are rare; so rare codes weigh more. (Foreground weighting, without being told what is one.)
    """
    share = torch.bincount(codes.flatten(), minlength=n_codes) / codes.numel()
    weight = share.clamp_min(1e-3) ** -power
    return weight / (weight * share).sum()


def cross_entropy(batch, segment, weight=None):
    """-log P(target), mean over the tokens of one segment."""
    here = batch.segment == segment
    return F.cross_entropy(batch.logits[:, here].flatten(0, 1), batch.targets[:, here].flatten(),
                           weight, ignore_index=-1)


def answer(batch):
    """CE(answer): the paper's second term."""
    return cross_entropy(batch, ANSWER)


def imagination(batch):
    """CE(imagined codes): the discrete stand-in for the paper's rectified flow."""
    return cross_entropy(batch, IMAGINE, batch.weight)


def cot(batch):
    """CE(words of the chain of thought, and of its end)."""
    return cross_entropy(batch, THINK)


LOSSES = {"answer": answer, "imagination": imagination, "cot": cot}
SEGMENT_OF = {"answer": ANSWER, "imagination": IMAGINE, "cot": THINK}    # where a term has targets


def loss_weights(spec, branches):
    """'answer=4,imagination=1' -> {term: schedule}, for sequences with these branches.

    A weight is a number, or numbers at parts of the training joined by straight lines:
    'answer=0.2@0.3:4@0.5' is 0.2 up to 30% of the steps and 4 from 50% on. `weight_at` reads it.
    Raises ValueError for an unknown term, a weight that is no number, or a term whose segment the
    branches lack: a loss on nothing would be silently zero.
    """
    segments, weights = {s for branch in branches for s in branch}, {}
    for part in spec.split(","):
        term, _, value = part.partition("=")
        if term not in LOSSES:
            raise ValueError(f"{term!r} is no loss term: there is {', '.join(LOSSES)}")
        if SEGMENT_OF[term] not in segments:
            raise ValueError(f"{term!r} has nothing to learn from: no such segment is trained here")
        try:
            points = [[float(x) for x in (p if "@" in p else p + "@0").split("@")]
                      for p in value.split(":")]
            weights[term] = [w for w, _ in points], [at for _, at in points]
        except ValueError:
            raise ValueError(f"{part!r}: write {term}=NUMBER or {term}=A@0.3:B@0.5") from None
        if not all(0 <= x < float("inf") for values in weights[term] for x in values):
            raise ValueError(f"{part!r}: weights must be 0 or more")
    return weights


def weight_at(schedule, progress):
    """The weight at a part (0..1) of the training."""
    weights, at = schedule
    return float(np.interp(progress, at, weights))
