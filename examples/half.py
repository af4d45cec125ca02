r"""The paper's way to mix: half of the examples imagine before they answer, the other half answer
directly. (`mixed` trains both branches on every example, in one pass.)

    python train.py --task pt --name half \
        --loss examples/half.py:half_answer=0.3@0.15:4@0.25,examples/half.py:half_imagination=1,\
examples/half.py:half_compass=1
"""
import torch.nn.functional as F

from ipt_mini.sequence import ANSWER, IMAGINE


def token_losses(batch, segment):
    """-log P(target) of the tokens of one segment: (B, n)."""
    here = batch.losses_of[segment]
    return F.cross_entropy(batch.logits[:, here].mT, batch.targets[:, here], reduction="none")


def imagines(batch):
    """Which examples imagine (B,): always the same ones, by the sum of their true codes."""
    return batch.targets[:, batch.losses_of[IMAGINE]].sum(1) % 2 == 0


def mean_of_half(losses, batch):
    """Mean of the losses (B,) of the examples that imagine."""
    return (losses * imagines(batch)).sum() / imagines(batch).sum().clamp_min(1)


def half_answer(batch):
    imagined, direct = token_losses(batch, ANSWER).unbind(1)    # the branches of `mixed`
    return imagined.where(imagines(batch), direct).mean()


def half_imagination(batch):
    return mean_of_half(token_losses(batch, IMAGINE).mean(1), batch)


def half_compass(batch):
    """The first code alone, which PT's default counts once more."""
    return mean_of_half(token_losses(batch, IMAGINE)[:, 0], batch)
