"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): momentum, made orthogonal.

As torch.optim.Muon, but for kernels, too, with weight decay 0 by default, and in the precision of
the gradient. Torch's computes in bfloat16, which CPUs without instructions for it do 80 times
slower than float32.
"""
import torch


def orthogonal(matrix, steps=5, a=3.4445, b=-4.7750, c=2.0315):
    """About the nearest matrix with orthogonal rows or columns, by Newton-Schulz iteration: the
    polynomial a x + b x^3 + c x^5 brings singular values x near 1, most of them to 0.7 to 1.2; the
    tiniest stay small."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)               # no singular value above 1
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """For matrices, and kernels as matrices (first dimension, the rest); Nesterov momentum,
    decoupled weight decay."""

    def __init__(self, params, lr, weight_decay=0.0, momentum=0.95):
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            momentum = group["momentum"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - momentum)
                ahead = p.grad.lerp(average, momentum)               # Nesterov
                update = orthogonal(ahead.flatten(1))
                # So an entry moves by about lr / sqrt(columns), whatever the shape.
                scale = max(1, update.shape[0] / update.shape[1]) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.view_as(p), alpha=-group["lr"] * scale)
