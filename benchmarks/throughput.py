"""Training throughput and MFU against Hugging Face GPT-2 of the same size, on the same PT sequences.

    pip install transformers && python benchmarks/throughput.py        about two minutes

MFU: floating-point operations of the matrix products of a step (6 per weight and token, and those of
attention), a second, as a share of the largest rate that a large product reached in the same rounds.
"""
from pathlib import Path

from report import interleaved, publish, stamp

import torch
import torch.nn.functional as F
import transformers

from ipt_mini.config import Config, terms_of
from ipt_mini.run import get_tokenizer, new_model
from train import losses_of, optimizers_of, training_set


def ours(config, tokenizer):
    """A training step of ours, its tokens and its floating-point operations."""
    examples = training_set(config, tokenizer, "cpu")
    model, terms = new_model(config), terms_of(config)
    optimizers, rows = optimizers_of(model, config), torch.arange(config.batch_size)

    def step():
        model.zero_grad()
        losses_of(model, examples, rows, terms, tokenizer).sum().backward()
        for optimizer in optimizers:
            optimizer.step()

    T, L = examples.tokens.shape[1], examples.targets.shape[1]
    blocks = sum(p.numel() for p in model.blocks.parameters() if p.dim() == 2)
    attention = 2 * config.n_layer * T * T * config.n_embd * 2
    flops = 3 * config.batch_size * (2 * blocks * T + attention + 2 * model.head.weight.numel() * L)
    return step, examples.tokens[rows], flops


def gpt2(config, tokens):
    """A training step of GPT-2 with the same depth, heads and width, and its operations."""
    T, vocabulary = tokens.shape[1], int(tokens.max()) + 1
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=vocabulary, n_positions=T, n_embd=config.n_embd, n_layer=config.n_layer, n_head=config.n_head,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        logits = model(tokens, use_cache=False).logits
        F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()

    blocks = sum(p.numel() for p in model.transformer.h.parameters() if p.dim() == 2)
    attention = 2 * config.n_layer * T * T * config.n_embd * 2
    return step, 3 * len(tokens) * T * (2 * blocks + attention / T + 2 * vocabulary * config.n_embd)


def main():
    folder = Path("runs/throughput")
    tokenizer = get_tokenizer(Config(), folder).requires_grad_(False)
    a = torch.randn(2048, 2048)
    functions, work = {"peak": lambda: a @ a}, {"peak": 2 * 2048 ** 3}
    for width in (64, 128, 256):
        config = Config(n_embd=width, n_train=64, steps=100)
        functions[f"ours {width}"], tokens, work[f"ours {width}"] = ours(config, tokenizer)
        functions[f"GPT-2 {width}"], work[f"GPT-2 {width}"] = gpt2(config, tokens)
    seconds = interleaved(functions)
    peak = work["peak"] / seconds["peak"]
    results = {name: dict(seconds=round(s, 4), tokens_per_second=round(tokens.numel() / s),
                          mfu=round(100 * work[name] / s / peak, 1)) for name, s in seconds.items()}
    lines = [stamp("python benchmarks/throughput.py", transformers=transformers.__version__) +
             f" Peak of a 2048 x 2048 product in the same rounds: {peak / 1e9:.0f} GFLOP/s.", "",
             "| width | ours, tokens/s | MFU | GPT-2, tokens/s | MFU | ours / GPT-2 |", "|---|---|---|---|---|---|"]
    for width in (64, 128, 256):
        o, g = results[f"ours {width}"], results[f"GPT-2 {width}"]
        lines.append(f"| {width} | {o['tokens_per_second']:,} | {o['mfu']}% | {g['tokens_per_second']:,} | {g['mfu']}% | "
                     f"{g['seconds'] / o['seconds']:.2f} |")
    publish("throughput", lines, results)


if __name__ == "__main__":
    main()
