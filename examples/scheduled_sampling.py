"""Scheduled sampling (arXiv 1906.07651): in training the model sees mistakes of imagination.

    python train.py --task pt --inputs examples/scheduled_sampling.py:own --name own

Otherwise it goes on from the true picture in training, from its own in use: it never saw a mistake
(exposure bias). Here a share of the imagined inputs is replaced; the targets stay true.
"""
import torch

from ipt_mini.sequence import IMAGINE

SHARE = 0.3


def replaced(tokens, layout, chance, n_words, rng):
    """Tokens (B, T), some imagined ones replaced by codes drawn from chance (B, P, K)."""
    at = layout.loss_at[layout.losses_of[IMAGINE]] + 1        # (P,) a code follows its prediction
    codes = chance.flatten(0, 1).multinomial(1, generator=rng).view(chance.shape[:2])
    wrong = torch.rand(codes.shape, generator=rng, device=tokens.device) < SHARE
    tokens = tokens.clone()
    tokens[:, at] = torch.where(wrong, codes + n_words, tokens[:, at])
    return tokens


def random(model, tokens, pose, layout, rng):
    """Any code instead of the true one."""
    n_codes = len(model.token.weight) - model.n_words
    P = len(layout.losses_of[IMAGINE])
    chance = torch.ones(len(tokens), P, n_codes, device=tokens.device)
    return replaced(tokens, layout, chance, model.n_words, rng)


@torch.no_grad()
def own(model, tokens, pose, layout, rng):
    """What the model itself would draw there, in one parallel pass."""
    before = layout.loss_at[layout.losses_of[IMAGINE]]
    logits = model.head(model.states(tokens, pose, layout, before))[..., model.n_words:]
    # A diverged model has no probabilities: any code then, and the training stops by itself.
    chance = logits.float().nan_to_num(0, 0, 0).softmax(-1)
    return replaced(tokens, layout, chance, model.n_words, rng)
