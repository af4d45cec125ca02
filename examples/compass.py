"""An own loss term, see docs/losses.md: the first imagined code, the compass, counted once more."""
from torch.nn.functional import cross_entropy


def compass(batch):
    return cross_entropy(batch.logits[:, 0], batch.targets[:, 0])
