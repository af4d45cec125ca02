"""What costs grow with: a training step, an answer and the data, against one size at a time.

    python benchmarks/scaling.py        about four minutes

Everything else is the default of PT: grid 5, `mixed`, 2 blocks of width 128, batch 64. Sequences
grow by grid and task; on larger grids more cells are imagined, one pass each. The power p says that
the cost grew as size ** p from the row before (1: linear; 0: not at all).
"""
import math

from report import any_tokenizer, interleaved, markdown, options, publish, stamp, training_step

from ipt_mini.config import Config, run_main
from ipt_mini.generate import decode
from ipt_mini.run import new_model, prepare
from ipt_mini.sequence import SUPERVISION, pack
from train import training_set

SIZES = {                     # what grows -> settings; the size of each is read off by SIZE_OF
    "grid, cells a side": [dict(grid=5), dict(grid=7), dict(grid=9)],
    "tokens a sequence": [dict(), dict(task="mvc"), dict(grid=9), dict(task="mvc", grid=9)],
    "width": [dict(n_embd=64), dict(n_embd=128), dict(n_embd=256)],
    "layers": [dict(n_layer=1), dict(n_layer=2), dict(n_layer=4), dict(n_layer=8)],
    "batch": [dict(batch_size=16), dict(batch_size=64), dict(batch_size=256)],
}
SIZE_OF = {"grid, cells a side": lambda c, T: c.grid, "tokens a sequence": lambda c, T: T,
           "width": lambda c, T: c.n_embd, "layers": lambda c, T: c.n_layer,
           "batch": lambda c, T: c.batch_size}
EXAMPLES = (1000, 5000, 20000, 80000)
COSTS = ("a training step", "imagining and answering a batch", "making data")


def prepared(config, tokenizer):
    """(tokens a sequence, a training step, an answering of one batch after imagining)."""
    examples = training_set(config, tokenizer)
    data = prepare(config, "val", tokenizer, config.batch_size)[1]
    model = new_model(config).eval()
    return (examples.tokens.shape[1], training_step(config, examples, tokenizer)[1],
            lambda: decode(model, data, config.task, "imagine"))


def power(rows, i, what):
    """The power with which the cost `what` grew from the row before; None for the first."""
    before, here = rows[i - 1], rows[i]
    if i == 0 or before["size"] == here["size"]:
        return None
    return math.log(here[what] / before[what]) / math.log(here["size"] / before["size"])


def table(results):
    """Markdown: a row for every size of what grows."""
    rows = []
    for name, sizes in results.items():
        for i, row in enumerate(sizes):
            cells = []
            for cost in COSTS:
                p = power(sizes, i, cost) if cost in row else None
                cells += [f"{row[cost]:,.0f}" if cost in row else "", "" if p is None else f"{p:.1f}"]
            size = f"{row['size']:,}" + (
                f" ({row['settings']})" if "tokens" in name and row["settings"] else "")
            rows.append([name, size, *cells])
    return markdown(["what grows", "size", *(h for c in COSTS for h in (f"{c}, ms", "p"))], rows)


def main():
    quick = options(__doc__).parse_args().quick
    tokenizer, small = any_tokenizer(), dict(n_layer=1, n_embd=16) if quick else {}
    sizes = {"width": [dict(n_embd=16), dict(n_embd=32)]} if quick else SIZES
    settings = {str(more): more for rows in sizes.values() for more in rows}   # each timed once
    configs = {key: Config(**{"n_train": 256, **small, **more}) for key, more in settings.items()}
    ready = {key: prepared(config, tokenizer) for key, config in configs.items()}
    seconds = interleaved({(key, cost): f for key, (_, *both) in ready.items()
                           for cost, f in zip(("step", "answer"), both)}, 1 if quick else 7)
    results = {}
    for name, rows in sizes.items():
        found = []
        for key in map(str, rows):
            found.append({"size": SIZE_OF[name](configs[key], ready[key][0]),
                          "settings": ", ".join(f"{k} {v}" for k, v in settings[key].items()),
                          COSTS[0]: 1e3 * seconds[key, "step"],
                          COSTS[1]: 1e3 * seconds[key, "answer"]})
        results[name] = sorted(found, key=lambda row: row["size"])
    ns, config = (50, 100) if quick else EXAMPLES, Config()
    branches = SUPERVISION[config.supervision]
    seconds = interleaved({n: lambda n=n: pack(prepare(config, "train", tokenizer, n)[1], branches)
                           for n in ns}, 1 if quick else 3)
    results["examples"] = [{"size": n, "settings": "", COSTS[2]: 1e3 * s}
                           for n, s in seconds.items()]
    note = stamp("python benchmarks/scaling.py") + (
        " Cost grew as size ** p from the row before (1: linearly).")
    publish("scaling", [note, "", *table(results)], results, quick)


if __name__ == "__main__":
    run_main(main)
