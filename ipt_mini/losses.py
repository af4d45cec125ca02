"""Logits -> named loss terms. A term is a function of one LossInput that returns a scalar.

`--loss answer=1,imagination=1,discrepancy=0.5` adds them up with these weights; a term of your own
needs no change here: `--loss answer=1,imagination=1,my_terms.py:my_loss=0.5`.
Shape letters: B sequences, L positions that predict something, V token ids, C = n_embd,
K codes of D dimensions, M imagined cells of the batch.
"""
import runpy
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ipt_mini.sequence import ANSWER, IMAGINE, N_WORDS, THINK


class LossInput(NamedTuple):
    """All that a loss may look at."""
    logits: torch.Tensor       # (B, L, V)
    targets: torch.Tensor      # (B, L) token ids; -1: no loss here
    segment: torch.Tensor      # (L,) the segment that each position belongs to; on the CPU
    weight: torch.Tensor       # (V,) weight of each token as a target, see `rarity`
    hidden: torch.Tensor = None        # (B, L, C) what the logits were computed from
    project: torch.nn.Module = None    # a layer C -> D, for terms on hidden states
    tokenizer: torch.nn.Module = None  # frozen; its codebook (K, D) and its pixel decoder


def rarity(codes, n_codes, power):
    """(K,) weights of codes as targets: frequency in `codes` to the power of -`power`, mean 1.

    More than half of an imagined picture is floor or darkness. Objects are what it is about, and
    they are rare; so rare codes weigh more. (Foreground weighting, without being told what is one.)
    """
    share = torch.bincount(codes.flatten(), minlength=n_codes) / codes.numel()
    weight = share.clamp_min(1e-3) ** -power
    return weight / (weight * share).sum()


def positions(segments, segment, device):
    """Indices (n,) of one segment among `segments` (L,). These are on the CPU, whatever the device:
    how many there are decides about shapes, and to learn it from a GPU is to wait for it."""
    return (segments == segment).nonzero().flatten().to(device, non_blocking=True)


def cross_entropy(batch, segment, weight=None):
    """-log P(target), mean over the tokens of one segment."""
    here = positions(batch.segment, segment, batch.logits.device)
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


# ------------------------------------------------------- variants on the imagined cells, from kin
def imagined(batch):
    """(P(code) (M, K) among codes only, target codes (M,), codebook (K, D)) of imagined cells."""
    here = positions(batch.segment, IMAGINE, batch.logits.device)
    return (batch.logits[:, here, N_WORDS:].flatten(0, 1).softmax(-1),
            batch.targets[:, here].flatten() - N_WORDS, batch.tokenizer.quantizer.codebook)


def discrepancy(batch):
    """Expected squared distance to the true code, sum_k P_k |e_k - e_t|^2 (MVoT, 2501.07542)."""
    p, target, codebook = imagined(batch)
    return (torch.cdist(codebook, codebook).square()[target] * p).sum(-1).mean()


def smoothed(batch, tau=0.2):
    """CE against softmax(-|e_k - e_t|^2 / tau): label smoothing among codes that look alike."""
    p, target, codebook = imagined(batch)
    soft = (-torch.cdist(codebook, codebook).square() / tau).softmax(-1)[target]
    return -(soft * p.clamp_min(1e-9).log()).sum(-1).mean()


def soft_decode(batch):
    """Squared pixel error of the expected code, sum_k P_k e_k, decoded (Perceptio, 2603.18795)."""
    p, target, codebook = imagined(batch)
    pixels = lambda z: batch.tokenizer.decoder(z[:, :, None, None])            # (M, 3, 8, 8)
    return F.mse_loss(pixels(p @ codebook), pixels(codebook)[target])


def latent(batch):
    """1 - cosine of the projected hidden state and the true code (Mirage, 2506.17218)."""
    _, target, codebook = imagined(batch)
    here = positions(batch.segment, IMAGINE, batch.hidden.device)
    z = batch.project(batch.hidden[:, here].flatten(0, 1))                       # (M, D)
    return (1 - F.cosine_similarity(z, codebook[target])).mean()


LOSSES = {"answer": answer, "imagination": imagination, "cot": cot, "discrepancy": discrepancy,
          "smoothed": smoothed, "soft_decode": soft_decode, "latent": latent}
SEGMENT_OF = {name: IMAGINE for name in LOSSES} | {"answer": ANSWER, "cot": THINK}


# ------------------------------------------------------------------------------ --loss, read
def own_term(where):
    """The function that 'FILE.py:NAME' names: the one place where a user's file is executed."""
    path, _, name = where.rpartition(":")
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path!r}")
    try:
        term = runpy.run_path(path).get(name)
    except Exception as error:            # whatever the user's own file does wrong
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from None
    if not callable(term):
        raise ValueError(f"{path} has no function {name!r}")
    return term


def parse_loss(spec, branches, own=()):
    """'answer=1,imagination=1' -> {name: (term, weight)}, for sequences with these branches.

    A weight is a number, or numbers at parts of the training joined by straight lines:
    'imagination=1@0.6:0@0.8' is 1 up to 60% of the steps and 0 from 80% on. What is returned for
    it is a function of the part (0..1) of the training.
    `own` may hold further terms {name: function}. Raises ValueError for an unknown term, a weight
    that is no number, or a term whose segment the branches lack: it would be silently zero."""
    known, segments, terms = LOSSES | dict(own), {s for branch in branches for s in branch}, {}
    for part in spec.split(","):
        name, _, value = part.rpartition("=")
        term = own_term(name) if ".py:" in name else known.get(name)
        if term is None:
            raise ValueError(f"{name or part!r} is no loss term: there is {', '.join(known)}, "
                             "or FILE.py:FUNCTION, each with =WEIGHT")
        name = name.rpartition(":")[2]
        if term is LOSSES.get(name) and SEGMENT_OF[name] not in segments:
            raise ValueError(f"{name!r} has nothing to learn from: no such segment is trained here")
        try:
            points = [[float(x) for x in (p if "@" in p else p + "@0").split("@")]
                      for p in value.split(":")]
            weights, at = [w for w, _ in points], [at for _, at in points]
        except ValueError:
            raise ValueError(f"{part!r}: write {name}=NUMBER or {name}=A@0.3:B@0.5") from None
        rise = all(a <= b for a, b in zip([0, *at], [*at, 1]))
        if not all(0 <= w < float("inf") for w in weights) or not rise:
            raise ValueError(f"{part!r}: weights must be 0 or more, at parts 0 to 1 that rise")
        if name in terms:
            raise ValueError(f"{name!r} is named twice")
        terms[name] = term, partial(np.interp, xp=at, fp=weights)
    return terms
