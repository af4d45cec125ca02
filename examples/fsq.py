"""A tokenizer of your own: finite scalar quantization (FSQ, arXiv 2309.15505).

    python train.py --task pt --tokenizer examples/fsq.py:FSQ --name fsq
    python eval.py runs/pt-mixed-fsq-s0 --tokenizer examples/fsq.py:FSQ

No codebook is learnt: each of a few dimensions is rounded to a few levels, and a code is the number
that these levels spell. So no code can die, and there is no commitment loss.
"""
import torch
import torch.nn.functional as F
from torch import nn

from ipt_mini.tokenizer import Tokenizer, to_images

LEVELS = {"cells": (4, 4, 4), "first-person": (8, 8, 8), "pictures": (8, 8, 8)}    # 64 or 512 codes


class Rounding(nn.Module):
    """Rounds each dimension to one of its levels between -1 and 1."""

    def __init__(self, levels):
        super().__init__()
        self.levels = levels
        grid = torch.cartesian_prod(*(torch.linspace(-1, 1, n) for n in levels))
        self.register_buffer("vectors", grid)          # (K, D): all combinations, in order

    def nearest(self, z):
        """(..., D) in -1..1 -> the code of the nearest combination (...)."""
        code = torch.zeros(z.shape[:-1], dtype=torch.long, device=z.device)
        for d, n in enumerate(self.levels):
            level = ((z[..., d] + 1) / 2 * (n - 1)).round().long()
            code = code * n + level
        return code

    def forward(self, z_e):
        """z_e (..., D) -> z_q (..., D), with the gradient of z_e (straight-through)."""
        z_q = self.vectors[self.nearest(z_e)]
        return z_e + (z_q - z_e).detach()


class FSQ(Tokenizer):
    dim = 3

    def __init__(self, world="cells"):
        super().__init__(world)
        self.quantizer = Rounding(LEVELS[world])
        self.n_codes = len(self.codebook)

    def embed(self, pixels):
        """pixels (B, H, W, 3) uint8 -> z_e (B, h, w, D) in -1..1."""
        # The length is fixed before tanh: free to grow, it would press all into the corners.
        z = 2 * F.normalize(self.encoder(to_images(pixels)), dim=1)
        return z.tanh().permute(0, 2, 3, 1)

    def loss(self, pixels, again, part):
        z_q = self.quantizer(self.embed(pixels))
        return F.mse_loss(self.decoder(z_q.permute(0, 3, 1, 2)), to_images(again))
