"""Loss terms on the imagined cells, most from other papers. Each is a function of one LossInput.

    python train.py --task pt --loss +examples/losses.py:discrepancy=0.5 --name mvot
    python train.py --task pt --loss +examples/losses.py:latent=0.1 --name mirage

Shape letters: K codes of D dimensions, M imagined cells of the batch.
"""
import torch
import torch.nn.functional as F

from ipt_mini.sequence import IMAGINE


def imagined(batch):
    """(P(code) (M, K) among codes only, target codes (M,), codebook (K, D)) of imagined cells."""
    here = batch.losses_of[IMAGINE]
    p = batch.logits[:, here, batch.n_words:].softmax(-1).flatten(0, 1)
    target = batch.targets[:, here].flatten() - batch.n_words
    return p, target, batch.tokenizer.codebook


def distances(codebook):
    """(K, K) squared distances between codes."""
    return torch.cdist(codebook, codebook).square()


def discrepancy(batch):
    """Expected squared distance to the true code, sum_k P_k |e_k - e_t|^2 (MVoT, 2501.07542)."""
    p, target, codebook = imagined(batch)
    return (distances(codebook)[target] * p).sum(-1).mean()


def smoothed(batch, tau=0.2):
    """CE against softmax(-|e_k - e_t|^2 / tau): label smoothing among codes that look alike."""
    p, target, codebook = imagined(batch)
    soft = (-distances(codebook) / tau).softmax(-1)[target]
    return -(soft * p.clamp_min(1e-9).log()).sum(-1).mean()


def soft_decode(batch):
    """Squared pixel error of the expected code, sum_k P_k e_k, decoded (Perceptio, 2603.18795)."""
    p, target, codebook = imagined(batch)
    return F.mse_loss(drawn(batch, p @ codebook), drawn(batch, codebook[target]))


def drawn(batch, vectors):
    """Vectors (M, D) of imagined cells -> pictures (B, 3, H, W), each cell at its place."""
    rows, columns = batch.cells[batch.losses_of[IMAGINE]].unbind(1)        # in order of imagining
    side = round(len(rows) ** 0.5)
    place = (rows * side + columns).argsort()
    pictures = vectors.view(len(batch.targets), side * side, -1)[:, place]
    return batch.tokenizer.decoder(pictures.mT.unflatten(2, (side, side)))


def rare(batch, power=0.5):
    """CE in which a code weighs frequency ** -power: objects are rare, floor is not."""
    here = batch.losses_of[IMAGINE]
    logits, codes = batch.logits[:, here].flatten(0, 1), batch.targets[:, here].flatten()
    share = torch.bincount(codes, minlength=logits.shape[1]) / len(codes)
    return F.cross_entropy(logits, codes, share.clamp_min(1e-3) ** -power)


def latent(batch):
    """1 - cosine of the projected hidden state and the true code (Mirage, 2506.17218)."""
    _, target, codebook = imagined(batch)
    hidden = batch.hidden[:, batch.losses_of[IMAGINE]].flatten(0, 1)           # (M, C)
    return (1 - F.cosine_similarity(batch.project(hidden), codebook[target])).mean()
