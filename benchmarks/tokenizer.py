"""The tokenizer: seconds to 99.9% of held-out cells, and steps/s against vector-quantize-pytorch.

    pip install vector-quantize-pytorch && python benchmarks/tokenizer.py        about four minutes

Its learning rate falls to 0 over a number of steps that is fixed at the start: so the time to
99.9% is that of the shortest such training, of those tried, in which every seed gets there. For
steps/s both train the same convolutional encoder and decoder with the same optimizer; only the
quantizer between differs.
"""
import time
from importlib.metadata import version

from report import interleaved, markdown, needs, options, publish, stamp

import torch
import torch.nn.functional as F

from ipt_mini.config import Config, run_main
from ipt_mini.run import tokenizer_pixels
from ipt_mini.tasks.grid import nearest_glyph
from ipt_mini.tokenizer import Tokenizer, to_images, train_tokenizer

TARGET = 99.9                 # % of held-out cells that decode to the right glyph


def trained(pixels, again, held_out, cells, seed, steps):
    """One training: dict of seconds and held-out cells right in %."""
    began = time.perf_counter()
    tokenizer = train_tokenizer(pixels, again, seed=seed, steps=steps)
    seconds = time.perf_counter() - began
    right = (nearest_glyph(tokenizer.decode(tokenizer.encode(held_out))) == cells).mean()
    return dict(seed=seed, steps=steps, seconds=round(seconds, 2),
                cells_right=round(100 * float(right), 3))


def training_steps(pixels):
    """{name: one training step} of the same autoencoder with either quantizer."""
    import vector_quantize_pytorch
    library = vector_quantize_pytorch.VectorQuantize(
        dim=16, codebook_size=Tokenizer.n_codes, decay=0.95, commitment_weight=0.25,
        threshold_ema_dead_code=1, kmeans_init=True)
    ours, theirs, images = Tokenizer(), Tokenizer(), to_images(pixels)
    with torch.no_grad():
        ours.quantizer.start_from(ours.embed(pixels).flatten(0, 2))

    def own(z):
        z_q, commitment_loss = ours.quantizer(z)
        return z_q, 0.25 * commitment_loss

    def other(z):
        z_q, _, loss = library(z.flatten(1, 2))             # the loss is weighted already
        return z_q.view_as(z), loss.sum()

    def step_of(model, quantize):
        layers = [*model.encoder.parameters(), *model.decoder.parameters()]
        optimizer = torch.optim.AdamW(layers, lr=1e-3)

        def step():
            z_q, commitment_loss = quantize(model.embed(pixels))                 # (B, h, w, D)
            optimizer.zero_grad()
            (F.mse_loss(model.decoder(z_q.permute(0, 3, 1, 2)), images) + commitment_loss).backward()
            optimizer.step()
        return step
    return {"ours": step_of(ours, own), "library": step_of(theirs, other)}


def main():
    quick = options(__doc__).parse_args().quick
    needs("vector_quantize_pytorch")
    seeds, lengths, n = (1, (320,), 50) if quick else (3, (400, 600, 800), 2000)
    began = time.perf_counter()
    _, pixels, again = tokenizer_pixels(Config(), "train", n)
    drawing = time.perf_counter() - began
    cells, held_out, _ = tokenizer_pixels(Config(), "val", n // 2)
    runs = [trained(pixels, again, held_out, cells, seed, steps)
            for steps in lengths for seed in range(seeds)]
    by_length = {steps: [r for r in runs if r["steps"] == steps] for steps in lengths}
    enough = [steps for steps, rs in by_length.items()
              if all(r["cells_right"] >= TARGET for r in rs)]
    mean = lambda steps: sum(r["seconds"] for r in by_length[steps]) / seeds
    per_step = interleaved(training_steps(pixels[:32]), 3 if quick else 200)
    found = f"{mean(enough[0]):.1f} s, {enough[0]} steps" if enough else "not reached"
    library = "vector-quantize-pytorch"
    lines = [stamp("python benchmarks/tokenizer.py", **{library: version(library)}) +
             f" Its {len(pixels):,} pictures were made in {drawing:.1f} s.", "",
             *markdown(["steps", "seconds, mean", "held-out cells right, %, by seed"],
                       [[steps, f"{mean(steps):.1f}", ", ".join(str(r["cells_right"]) for r in rs)]
                        for steps, rs in by_length.items()]), "",
             f"Every seed at {TARGET}% of the cells: {found}.", "",
             *markdown(["quantizer", "steps/s", "ratio"],
                       [[name, f"{1 / s:.1f}", f"{per_step['library'] / s:.2f}"]
                        for name, s in per_step.items()])]
    publish("tokenizer", lines, dict(
        pictures_seconds=round(drawing, 2), runs=runs, enough_steps=enough[0] if enough else None,
        steps_per_second={name: round(1 / s, 1) for name, s in per_step.items()}), quick)


if __name__ == "__main__":
    run_main(main)
