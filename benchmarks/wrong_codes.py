"""A fault for the laboratory to find. An edit of this file makes its runs be trained anew."""
import torch.nn.functional as F

from ipt_mini.sequence import IMAGINE


def wrong_codes(batch):
    """The default's term with 10% of the targets moved to another code, by a rule of its own."""
    n_codes, here = batch.logits.shape[2] - batch.n_words, batch.losses_of[IMAGINE]
    targets = batch.targets.clone()
    codes = targets[:, here] - batch.n_words
    moved = (codes * 7919 + here * 104729 + targets.sum(1, keepdim=True)) % 10 == 0
    codes = codes.where(~moved, (codes + 1 + n_codes // 2) % n_codes)
    logits = batch.logits[:, here].flatten(0, 1)
    return F.cross_entropy(logits, (codes + batch.n_words).flatten())
