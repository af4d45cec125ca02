"""The tokenizer: seconds to 99.9% of held-out cells, and steps/s against vector-quantize-pytorch.

    pip install vector-quantize-pytorch && python benchmarks/tokenizer.py        about two minutes

Both train the same convolutional encoder and decoder; only the quantizer between them differs.
"""
import time

from report import interleaved, publish, stamp

import torch
import torch.nn.functional as F
import vector_quantize_pytorch
from importlib.metadata import version

from ipt_mini.config import Config
from ipt_mini.run import tokenizer_pixels
from ipt_mini.tasks.grid import nearest_glyph
from ipt_mini.tokenizer import Tokenizer, to_images, train_tokenizer


def step_of(quantize, model, pixels):
    optimizer, images = torch.optim.AdamW(model.parameters(), lr=1e-3), to_images(pixels)

    def step():
        z_q, commitment_loss = quantize(model.embed(pixels))                     # (B, h, w, D)
        optimizer.zero_grad()
        (F.mse_loss(model.decoder(z_q.permute(0, 3, 1, 2)), images) + commitment_loss).backward()
        optimizer.step()
    return step


def main():
    _, pixels, again = tokenizer_pixels(Config(), "train", 2000)
    cells, held_out, _ = tokenizer_pixels(Config(), "val", 1000)
    lines = [stamp("python benchmarks/tokenizer.py",
                   **{"vector-quantize-pytorch": version("vector-quantize-pytorch")}), "",
             "| seed | seconds to train | held-out cells right, % |", "|---|---|---|"]
    results = {"seeds": []}
    for seed in range(3):
        began = time.perf_counter()
        tokenizer = train_tokenizer(pixels, again, seed=seed)
        seconds = time.perf_counter() - began
        right = (nearest_glyph(tokenizer.decode(tokenizer.encode(held_out))) == cells).mean()
        results["seeds"].append(dict(seed=seed, seconds=round(seconds, 1), cells_right=round(100 * float(right), 3)))
        lines.append(f"| {seed} | {seconds:.1f} | {100 * right:.3f} |")
    ours, theirs = Tokenizer(), Tokenizer()
    with torch.no_grad():
        ours.quantizer.start_from(ours.embed(pixels[:32]).flatten(0, 2))
    library = vector_quantize_pytorch.VectorQuantize(
        dim=16, codebook_size=32, decay=0.95, commitment_weight=0.25, threshold_ema_dead_code=1,
        kmeans_init=True)

    def own(z):
        z_q, commitment_loss = ours.quantizer(z)
        return z_q, 0.25 * commitment_loss

    def other(z):
        z_q, _, loss = library(z.flatten(1, 2))
        return z_q.view(z.shape), loss.sum()

    seconds = interleaved({"ours": step_of(own, ours, pixels[:32]),
                           "library": step_of(other, theirs, pixels[:32])}, 60)
    results["steps_per_second"] = {name: round(1 / s, 1) for name, s in seconds.items()}
    lines += ["", f"Steps a second: ours {1 / seconds['ours']:.1f}, with the library's quantizer "
              f"{1 / seconds['library']:.1f} (ratio {seconds['library'] / seconds['ours']:.2f})."]
    publish("tokenizer", lines, results)


if __name__ == "__main__":
    main()
