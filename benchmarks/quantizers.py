"""How good are codes of first-person pictures? Ours beside no codes, FSQ, and a library's VQ.

    python benchmarks/quantizers.py        about eight minutes on two cores

The same encoder and decoder, training pictures, optimizer and steps for all. PSNR is that of
held-out pictures, drawn in changing light, against the clean drawing.
"""
from report import ROOT, arguments, installed, run_main, write

import time
from functools import partial

import torch
import torch.nn.functional as F

from ipt_mini.config import Config
from ipt_mini.dataset import tokenizer_pictures
from ipt_mini.evaluate import decibels, usage
from ipt_mini.own import load_own
from ipt_mini.reader import nearest_glyph
from ipt_mini.tasks import TASKS
from ipt_mini.tasks.camera import draw
from ipt_mini.tasks.grid import render
from ipt_mini.tokenizer import TOKENIZER_STEPS, Tokenizer, to_images, train_tokenizer


class Autoencoder(Tokenizer):
    """No codes: what the decoder can draw at best from so many numbers."""
    warmup = 2.0

    def redraw(self, pixels):
        with torch.no_grad():
            drawn = self.decoder(self.embed(pixels).permute(0, 3, 1, 2))
        return ((drawn.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).round().byte().numpy()


class LibraryVQ(Tokenizer):
    """The quantizer of vector-quantize-pytorch, with its k-means start and its revival."""

    def __init__(self, world):
        super().__init__(world)
        from vector_quantize_pytorch import VectorQuantize
        self.quantizer = VectorQuantize(
            dim=self.dim, codebook_size=self.n_codes, decay=0.95, commitment_weight=self.beta,
            kmeans_init=True, threshold_ema_dead_code=1)

    @property
    def codebook(self):
        return self.quantizer.codebook

    def loss(self, pixels, again, part):
        z_e = self.embed(pixels)
        z_q, _, commitment_loss = self.quantizer(z_e.flatten(1, 2))
        drawn = self.decoder(z_q.view_as(z_e).permute(0, 3, 1, 2))
        return F.mse_loss(drawn, to_images(again)) + commitment_loss.sum()

    @torch.no_grad()
    def encode(self, pixels):
        z_e = self.embed(pixels)
        return self.quantizer(z_e.flatten(1, 2))[1].view(z_e.shape[:3])


def redrawn(tokenizer, pixels):
    """(pictures after encoding and decoding, codes or None)."""
    if hasattr(tokenizer, "redraw"):
        return tokenizer.redraw(pixels), None
    codes = tokenizer.encode(pixels)
    return tokenizer.decode(codes), codes


def row_of(name, make, steps, pictures, held_out):
    began = time.perf_counter()
    tokenizer = train_tokenizer(partial(make, "first-person"), list(pictures.values()), 0, steps)
    seconds = time.perf_counter() - began
    cells, pixels, _ = held_out[draw]
    drawn, codes = redrawn(tokenizer, pixels)
    maps, pixels_of_maps, _ = held_out[render]
    right = (nearest_glyph(redrawn(tokenizer, pixels_of_maps)[0]) == maps).mean()
    used, perplexity = ("-", "-") if codes is None else usage(codes, tokenizer.n_codes)
    return [name, f"{seconds:.0f}", decibels(drawn, draw(cells)), f"{100 * right:.2f}",
            used if codes is None else f"{100 * used:.0f}",
            perplexity if codes is None else f"{perplexity:.1f}"]


def main():
    options = arguments(__doc__)
    options.views = "first-person"                     # the world that the result belongs to
    steps, n = (10, 20) if options.quick else (TOKENIZER_STEPS["first-person"], 2000)
    config, tasks = Config(views="first-person"), TASKS.values()
    pictures = tokenizer_pictures(config, tasks, "train", n)
    held_out = tokenizer_pictures(config, tasks, "val", n // 2)
    makers = {"ours, 512 codes": Tokenizer, "the same without codes": Autoencoder,
              "FSQ, 8 x 8 x 8 codes": load_own(f"{ROOT}/examples/fsq.py:FSQ")}
    if installed("vector_quantize_pytorch"):
        makers["vector-quantize-pytorch, 512 codes"] = LibraryVQ
    rows = [row_of(name, make, steps, pictures, held_out) for name, make in makers.items()]
    note = f"{steps} steps, seed 0, {len(held_out[draw].cells):,} held-out pictures."
    write("quantizers", options, [(
        ["quantizer", "seconds", "PSNR of pictures, dB", "cells of maps right, %", "codes used, %",
         "perplexity"], rows)], {}, [note], of="tokenizer")


if __name__ == "__main__":
    run_main(main)
