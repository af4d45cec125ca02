"""Logits -> named loss terms. A term is a function of one LossInput that returns a scalar."""
from typing import NamedTuple

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
