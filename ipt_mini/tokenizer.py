"""The image tokenizer, a small VQ-VAE: a patch of 8 x 8 pixels -> one code -> 8 x 8 pixels.

VQ-VAE: van den Oord et al. 2017 (arXiv 1711.00937); the EMA codebook is its appendix A.1.
Shape letters: B images, H x W pixels, h = H / patch and w = W / patch codes, D dimensions of a
code, K codes in the codebook, M vectors to quantize.

A tokenizer of your own (`--tokenizer FILE.py:NAME`) is a module that is made from the name of the
world, see SIZES, and has n_codes (K), codebook (K, D), decoder, encode, decode and loss as they are
here; examples/fsq.py is one.
"""
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import trange

from ipt_mini.muon import Muon

PATCH = 8                     # pixels a side that one code stands for, if nothing else is said
SIZES = {  # by world: codes, width of the layers, side of the decoder's window in codes
    "cells": dict(n_codes=32, width=128, context=1),
    "first-person": dict(n_codes=512, width=192, context=3),
    "pictures": dict(n_codes=1024, width=192, context=3),      # of a folder
}
TOKENIZER_STEPS = {"cells": 400, "first-person": 1600, "pictures": 1000}


class Codebook(nn.Module):
    """K vectors of D dimensions, moved by exponential averages instead of by gradient."""

    def __init__(self, n_codes, dim, decay=0.95, distinct=0.5):
        super().__init__()
        self.decay, self.distinct = decay, distinct
        self.register_buffer("vectors", torch.zeros(n_codes, dim))         # (K, D)
        self.register_buffer("cluster_size", torch.zeros(n_codes))         # EMA of uses per batch
        self.register_buffer("cluster_sum", torch.zeros(n_codes, dim))     # EMA of assigned vectors
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))   # initialised from data?

    def nearest(self, z):
        """Index of the nearest code for each vector: (..., D) -> (...). Squared Euclidean."""
        # |z - e|^2 = |z|^2 - 2 z.e + |e|^2; the first term is the same for every code.
        distance = self.vectors.square().sum(1) - 2 * z @ self.vectors.T
        return distance.argmin(-1)

    def forward(self, z_e):
        """z_e (..., D) -> (z_q (..., D), commitment loss, a scalar).
        Before `start_from` there are no codes yet: z_e passes as it is."""
        codes = self.nearest(z_e)
        z_q = self.vectors[codes] if self.ready else z_e.detach()
        # beta * |z_e - sg(e)|^2 pulls the encoder to its code; sg: no gradient. The other term,
        # |sg(z_e) - e|^2, would move the codebook: here the EMA does that.
        commitment_loss = F.mse_loss(z_e, z_q.detach())
        if self.training and self.ready:
            self.update(z_e.detach().flatten(0, -2), codes.flatten())
        # Straight-through: the value is z_q, the gradient is that of z_e. argmin has no gradient,
        # so the decoder's wish for a different z_q is handed to the encoder as it is.
        return z_e + (z_q - z_e).detach(), commitment_loss

    @torch.no_grad()
    def update(self, z, codes):
        """Move each code to the running mean of its vectors among z (M, D); revive the dead."""
        used = F.one_hot(codes, len(self.vectors)).to(z.dtype)             # (M, K)
        self.cluster_size.lerp_(used.sum(0), 1 - self.decay)
        self.cluster_sum.lerp_(used.T @ z, 1 - self.decay)
        alive = self.cluster_size > 0.01
        self.vectors[alive] = self.cluster_sum[alive] / self.cluster_size[alive, None]
        self.revive(~alive, z)

    def revive(self, dead, z):
        """Restart the codes that are `dead` (K,) at those of z (M, D) farthest from all codes, if
        `distinct` times the spread of all (RMS) away: else many would stand for one glyph."""
        spread = torch.cat([z, self.vectors]).var(0).sum().sqrt()
        distance = torch.cdist(z, self.vectors).amin(1)                    # (M,)
        for k in dead.nonzero().flatten().tolist():
            worst = distance.argmax()
            if distance[worst] < self.distinct * spread:
                break                                      # nothing new to stand for
            self.vectors[k] = self.cluster_sum[k] = z[worst]
            self.cluster_size[k] = 1
            distance = torch.minimum(distance, (z - z[worst]).norm(dim=1))

    @torch.no_grad()
    def start_from(self, z):
        """Each code is the vector of z (M, D) farthest from those before, if far; else z[0]."""
        self.vectors[:] = self.cluster_sum[:] = z[0]
        self.cluster_size.fill_(1)
        self.revive(torch.arange(len(self.vectors), device=z.device) > 0, z)
        self.ready.fill_(True)


class Tokenizer(nn.Module):
    """Convolutional encoder -> codebook -> convolutional decoder.
    The encoder's kernels are as large as their strides, so a code depends on its own pixels alone:
    the same glyph gets the same code wherever it is. Except in cells, the decoder looks at
    the neighbours of a code too: they tell where on its pixels an object lies."""

    dim = 16
    warmup = 0.25             # first part of the training, of a plain autoencoder without codes
    beta = 0.25               # weight of the commitment loss

    def __init__(self, world="cells", n_codes=0, patch=PATCH):
        """n_codes: 0: as SIZES says; patch: pixels a side of a code."""
        super().__init__()
        size = SIZES[world]
        width, dim, context = size["width"], self.dim, size["context"]
        self.n_codes, self.patch = n_codes or size["n_codes"], patch
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, patch, patch), nn.GELU(),
            nn.Conv2d(width, width, 1), nn.GELU(),
            nn.Conv2d(width, dim, 1))
        self.quantizer = Codebook(self.n_codes, dim)
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, width, context, padding=context // 2), nn.GELU(),
            nn.Conv2d(width, width, 1), nn.GELU(),
            nn.ConvTranspose2d(width, 3, patch, patch))

    @property
    def codebook(self):
        """(K, D): the vector of each code."""
        return self.quantizer.vectors

    def embed(self, pixels):
        """pixels (B, H, W, 3) uint8 -> z_e (B, h, w, D), of length 1: no scale that can drift."""
        z = self.encoder(to_images(pixels))
        return F.normalize(z, dim=1).permute(0, 2, 3, 1)

    def loss(self, pixels, again, part):
        """Training loss, a scalar: |x' - decoder(e_k)|^2 + beta * commitment. part: of the
        training, 0..1.

        `again` holds the same pictures under another light and noise; they are what the decoder has
        to draw (Noise2Noise, arXiv 1803.04189). So a code has no use for the light, and spare codes
        do not split one glyph by its brightness into synonyms that the model could only guess."""
        z_e = self.embed(pixels)
        if part >= self.warmup and not self.quantizer.ready:
            self.quantizer.start_from(z_e.detach().flatten(0, 2))
        z_q, commitment_loss = self.quantizer(z_e)
        drawn = self.decoder(z_q.permute(0, 3, 1, 2))
        return F.mse_loss(drawn, to_images(again)) + self.beta * commitment_loss

    @torch.no_grad()
    def encode(self, pixels):
        """pixels (..., H, W, 3) uint8 on any device -> codes (..., h, w) on the tokenizer's."""
        *lead, H, W, _ = pixels.shape
        pixels = pixels.reshape(-1, H, W, 3).to(self.codebook.device)
        codes = self.quantizer.nearest(self.embed(pixels))
        return codes.view(*lead, H // self.patch, W // self.patch)

    @torch.no_grad()
    def decode(self, codes):
        """codes (..., h, w) -> pixels (..., H, W, 3) uint8 array."""
        *lead, h, w = codes.shape
        z_q = self.codebook[codes.reshape(-1, h, w)].permute(0, 3, 1, 2)   # (B, D, h, w)
        images = (self.decoder(z_q).clamp(-1, 1) + 1) * 127.5
        pixels = images.round().byte().permute(0, 2, 3, 1)
        return pixels.reshape(*lead, h * self.patch, w * self.patch, 3).cpu().numpy()


def to_images(pixels):
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float in -1..1, as the convolutions take it."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def train_tokenizer(make, pictures, seed=0, steps=400, batch=32):
    """A tokenizer, made by `make()`. pictures: a list of one or two Pictures. Every fourth batch is
    of the last: in first person those are maps, whose glyphs are few."""
    g = torch.Generator().manual_seed(seed)
    device = pictures[0].pixels.device
    with torch.random.fork_rng(devices=[]):             # the CPU's generator: weights start there
        torch.default_generator.manual_seed(seed)
        model = make().to(device)
    kernels = [p for p in model.parameters() if p.dim() > 1]
    biases = [p for p in model.parameters() if p.dim() < 2]
    optimizers = []            # a tokenizer of your own may lack kernels or biases
    if kernels:
        optimizers.append(Muon(kernels, lr=0.05))
    if biases:
        optimizers.append(torch.optim.AdamW(biases, lr=3e-3))
    falling = [torch.optim.lr_scheduler.LambdaLR(one, lambda step: min(1, 2 - 2 * step / steps))
               for one in optimizers]
    for step in trange(steps, desc="tokenizer", leave=False, disable=None):
        _, pixels, again = pictures[-1 if step % 4 == 3 else 0]
        rows = torch.randint(len(pixels), (batch,), generator=g).to(device)
        model.zero_grad()
        model.loss(pixels[rows], again[rows], step / steps).backward()
        for one in (*optimizers, *falling):
            one.step()
    return model.eval()
