"""Training throughput and MFU against Hugging Face GPT-2 of the same size on the same sequences.

    pip install transformers && python benchmarks/throughput.py        about two minutes

MFU: the floating-point operations of forward and backward pass a second, as a share of the rate of
a large matrix product in the same rounds (its median, as for the steps). The operations are those
of matrix products and attention that are really made, as torch counts them; what an optimizer
multiplies counts as time only. Ours computes logits only where there is a loss, GPT-2 everywhere.
"""
from importlib.metadata import version

from report import (any_tokenizer, gpt2, interleaved, markdown, needs, options, publish, stamp,
                    training_step)

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ipt_mini.config import Config, run_main
from train import training_set


def gpt2_step(config, tokens):
    """(gradients, step) of GPT-2 with AdamW: a loss on every token."""
    model = gpt2(config, tokens.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def gradients():
        model.zero_grad()
        logits = model(tokens, use_cache=False).logits
        F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()

    def step():
        gradients()
        optimizer.step()
    return gradients, step


def operations(function):
    """Floating-point operations of a call. Plain attention: the fused one counts work twice."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def main():
    quick = options(__doc__).parse_args().quick
    needs("transformers")
    widths, side = ((16,), 256) if quick else ((64, 128, 256), 2048)
    tokenizer, a = any_tokenizer(), torch.randn(side, side)
    steps, work = {"peak": lambda: a @ a}, {"peak": 2 * side ** 3}
    for width in widths:
        config = Config(n_embd=width, n_train=64)
        examples = training_set(config, tokenizer)
        for name, (gradients, step) in {
                f"ours {width}": training_step(config, examples, tokenizer),
                f"GPT-2 {width}": gpt2_step(config, examples.tokens)}.items():
            steps[name], work[name] = step, operations(gradients)
    seconds = interleaved(steps, 1 if quick else 20)
    peak = work["peak"] / seconds.pop("peak")
    tokens = examples.tokens.numel()
    results = {name: dict(seconds=round(s, 5), tokens_per_second=round(tokens / s),
                          gflop=round(work[name] / 1e9, 3),
                          mfu=round(100 * work[name] / s / peak, 1)) for name, s in seconds.items()}
    lines = [stamp("python benchmarks/throughput.py", transformers=version("transformers")) +
             f" PT, {config.n_layer} blocks, batch {config.batch_size}, "
             f"{examples.tokens.shape[1]} tokens a sequence, float32. Peak, the rate of a {side} x {side} product in the same rounds: "
             f"{peak / 1e9:.0f} GFLOP/s.", ""]
    rows = []
    for width in widths:
        o, g = results[f"ours {width}"], results[f"GPT-2 {width}"]
        rows.append([width, *(cell for r in (o, g) for cell in (
            f"{r['tokens_per_second']:,}", f"{r['gflop']:.1f}", f"{r['mfu']}%")),
            f"{g['seconds'] / o['seconds']:.2f}"])
    lines += markdown(["width", "ours, tokens/s", "GFLOP a step", "MFU", "GPT-2, tokens/s",
                       "GFLOP a step", "MFU", "tokens/s, ours / GPT-2"], rows)
    publish("throughput", lines, dict(peak_gflops=round(peak / 1e9, 1), **results), quick)


if __name__ == "__main__":
    run_main(main)
