"""A loss term of your own: the first imagined code, the compass, counts once more.

    python train.py --task pt --loss +examples/compass.py:compass=0.5 --name compass
"""
from torch.nn.functional import cross_entropy

from ipt_mini.sequence import IMAGINE


def compass(batch):
    first = batch.losses_of[IMAGINE][0]
    return cross_entropy(batch.logits[:, first], batch.targets[:, first])
