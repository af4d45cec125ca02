"""How fast data are made: examples a second of every task on one core, and where the time goes.

    python benchmarks/data.py        about three minutes

Making: scenes and questions, balanced. Rendering: their cells as pixels. Encoding: pixels ->
codes, by the tokenizer. Packing: codes and words -> sequences. All four are what a training waits
for before its first step.
"""
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from report import any_tokenizer, interleaved, markdown, options, publish, stamp

import numpy as np
import torch

from ipt_mini.config import Config, run_main
from ipt_mini.run import prepare
from ipt_mini.sequence import SUPERVISION, pack
from ipt_mini.tasks import TASKS, make
from ipt_mini.tasks.grid import render

PART = 1000                   # pictures drawn and encoded at a time, as in `prepare`


def stages_of(task, n, tokenizer):
    """{stage: function} of n examples; "all" does what a training does."""
    config, rng = Config(task=task), np.random.default_rng(0)
    examples, data = prepare(config, "train", tokenizer, n)
    pictures = np.concatenate([examples.views.reshape(-1, *examples.scene.shape[1:]),
                               examples.imagination])
    parts = np.array_split(pictures, -(-len(pictures) // PART))
    drawn = [torch.from_numpy(render(parts[0], rng))] * len(parts)       # all are of one size
    branches = SUPERVISION[config.supervision]
    return len(pictures) / n, {
        "making": lambda: make(task, "train", n),
        "rendering": lambda: [render(part, rng) for part in parts],
        "encoding": lambda: [tokenizer.encode(pixels) for pixels in drawn],
        "packing": lambda: pack(data, branches),
        "all": lambda: pack(prepare(config, "train", tokenizer, n)[1], branches),
    }


def main():
    quick = options(__doc__).parse_args().quick
    torch.set_num_threads(1)
    n, tokenizer, results = 50 if quick else 20000, any_tokenizer(), {}
    rows = []
    for task in TASKS:
        pictures, functions = stages_of(task, n, tokenizer)
        seconds = interleaved(functions, 1 if quick else 3)
        whole = seconds.pop("all")
        share = {stage: s / sum(seconds.values()) for stage, s in seconds.items()}
        results[task] = dict(pictures=pictures, examples_per_second=round(n / whole),
                             made_per_second=round(n / seconds["making"]),
                             percent={stage: round(100 * s, 1) for stage, s in share.items()})
        rows.append([task, f"{pictures:.0f}", f"{n / seconds['making']:,.0f}", f"{n / whole:,.0f}",
                     *(f"{100 * s:.0f}%" for s in share.values())])
    head = ["task", "pictures an example", "examples/s, made only", "examples/s, all", *share]
    publish("data", [
        stamp("python benchmarks/data.py", numpy=np.__version__) + f" {n:,} examples, one core.",
        "", *markdown(head, rows), "",
        "Shares are of the sum of the four, each timed alone; \"all\" is one call of the whole."],
        results, quick)


if __name__ == "__main__":
    run_main(main)
