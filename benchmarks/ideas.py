"""What each setting of the default is worth on PT: training time until 90% are right, one by one.

    python benchmarks/ideas.py                            an hour; called again, it goes on
    python benchmarks/ideas.py --only "batch 32,8 heads"  these and the default

Seconds a step are measured first, alone and in turns (the mean of a run's first and last step, for
a batch may grow). Every idea then gets as many steps as fit into the time of the default's, and
stops at the first validation (every 50 steps, 500 questions) that reaches 90%. Seeds 0 and 1; the
default also with seeds 2 and 3: what differs there is noise. Trainings go two at a time, on one
thread each. Writes benchmarks/ideas.json, from which it also goes on (not if it is of another
default; delete it to start afresh), and the table of docs/speed.md.
"""
import json
import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from report import ROOT, interleaved, markdown, options, publish, stamp

import train
from ipt_mini.config import Config, UserError, run_main, terms_of
from ipt_mini.model import Model
from ipt_mini.run import FORMAT, get_tokenizer, new_model, prepare, write_json
from ipt_mini.tasks import pt

GOAL, SEEDS = 0.9, (0, 1)               # share of 500 validation questions
plain_rate, plain_rows, plain_set = train.rate, train.rows_of, train.training_set
plain_embed = Model.embed


def rising(step, config):
    return plain_rate(step, config) * min(1, (step + 1) / 50)


def growing(step, config, kind):
    rows = plain_rows(step, config, kind)
    return rows[::2] if step < config.steps / 2 else rows


def two_worlds(config, tokenizer):
    """The examples, and behind them as many of sparse scenes."""
    with mock.patch.dict(pt.WORLD, train=pt.WORLD["train"] | dict(walls=(0, 1), objects=4)):
        sparse = plain_set(config, tokenizer)
    full = plain_set(config, tokenizer)
    both = {name: torch.cat([getattr(full, name), getattr(sparse, name)])
            for name in ("tokens", "targets", "pose")}
    return full._replace(**both, kind=np.concatenate([full.kind, sparse.kind]))


def sparse_first(step, config, kind):
    early = step < 0.3 * config.steps
    half = kind[config.n_train:] if early else kind[:config.n_train]
    return plain_rows(step, config, half) + config.n_train * early


def squared(self, x, mask, cache=None, at=slice(None)):
    """Block.forward with another activation."""
    x = x[:, at] + self.attention(self.norm1(x), mask, cache, at)
    return x + self.down(F.relu(self.up(self.norm2(x))).square())


def next_untold(self, tokens, pose, layout, start=0):
    nowhere = torch.zeros_like(layout.next_row)
    layout = layout._replace(next_row=nowhere, next_col=nowhere)
    return plain_embed(self, tokens, pose, layout, start)


IDEAS = {      # name -> (what was predicted, settings that differ, functions replaced)
    "default": ("", {}, {}),
    "default (seeds 2 and 3)": ("noise", {}, {}),
    "4 blocks of width 64": ("1.5", dict(n_layer=4, n_embd=64), {}),
    "3 blocks of width 96": ("1.2", dict(n_layer=3, n_embd=96), {}),
    "2 blocks of width 96": ("1.1", dict(n_embd=96), {}),
    "2 blocks of width 192": ("1.2", dict(n_embd=192), {}),
    "8 heads": ("1", dict(n_head=8), {}),
    "rate rises for 50 steps": ("1", {}, {"train.rate": rising}),
    "ReLU squared": ("1.2", {}, {"ipt_mini.model.Block.forward": squared}),
    "batch 32": ("1", dict(batch_size=32), {}),
    "batch 32 then 64": ("0.9", {}, {"train.rows_of": growing}),
    "batch 128": ("1.5", dict(batch_size=128), {}),
    "Muon's rate 0.03": ("1", dict(muon_lr=0.03), {}),
    "fresh scenes (64 thousand)": ("1", dict(n_train=64000), {}),
    "sparse scenes first": ("0.9", {}, {"train.training_set": two_worlds,
                                        "train.rows_of": sparse_first}),
    "next cell not told": ("not reached", {}, {"ipt_mini.model.Model.embed": next_untold}),
    "rare codes weigh no more": ("1.3", dict(rarity=0.0), {}),
    "answer's weight 1 throughout": ("1.3", dict(loss="answer=1,imagination=1"), {}),
    "no curriculum of kinds": ("not reached", dict(curriculum=0.0), {}),
    "answer sees the views": ("1", dict(answer_sees_views=True), {}),
    "random codes among the inputs": ("1.2", dict(corrupt=0.1), {}),
}


def config_of(name, seed, steps, quick):
    tiny = dict(n_train=256, n_val=16, tokenizer_steps=200, eval_every=2) if quick else {}
    return Config(seed=seed, steps=steps, **dict(eval_every=50) | IDEAS[name][1] | tiny)


@contextmanager
def replaced(name):
    """While an idea's functions stand in for those of the default."""
    with ExitStack() as stack:
        for where, function in IDEAS[name][2].items():
            stack.enter_context(mock.patch(where, function))
        yield


def runs_folder(quick):
    """Where the tokenizer lies that all share."""
    folder = Path("runs/quick") if quick else ROOT / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def one_step(name, model, optimizers, examples, terms, tokenizer, config, step):
    with replaced(name):
        rows = train.rows_of(step, config, examples.kind)
        train.train_step(model, optimizers, examples, rows, terms, tokenizer, config, step)


def seconds_a_step(names, quick):
    """{idea: seconds}, the mean of its first and last step."""
    steps = {}
    for name in names:
        few = replace(config_of(name, 0, pt.STEPS, quick), n_train=256)
        tokenizer = get_tokenizer(few, runs_folder(quick) / "x").requires_grad_(False)
        with replaced(name):
            examples, model = train.training_set(few, tokenizer), new_model(few)
        for step in (0, few.steps - 1):
            steps[name, step] = partial(one_step, name, model, train.optimizers_of(model, few),
                                        examples, terms_of(few), tokenizer, few, step)
    seconds = interleaved(steps, rounds=1 if quick else 20)
    return {name: sum(s for (of, _), s in seconds.items() if of == name) / 2 for name in names}


def trained(name, seed, steps, quick):
    """One training: {steps at which 90% were reached, or None; the curve}."""
    config, curve = config_of(name, seed, steps, quick), []
    tokenizer = get_tokenizer(config, runs_folder(quick) / "x").requires_grad_(False)
    with replaced(name):
        examples = train.training_set(config, tokenizer)
        val = prepare(config, "val", tokenizer, config.n_val)[1].take(slice(500))
        model, terms = new_model(config), terms_of(config)
        optimizers = train.optimizers_of(model, config)
        for step in range(steps):
            one_step(name, model, optimizers, examples, terms, tokenizer, config, step)
            if (step + 1) % config.eval_every == 0 or step + 1 == steps:
                curve.append(dict(step=step + 1, **train.validate(model, val, config)))
                if curve[-1]["val_imagine"] >= GOAL:
                    return dict(reached=step + 1, curve=curve)
    return dict(reached=None, curve=curve)


def table(record):
    """Lines: an idea's time until the goal, all seeds together, as a share of the default's."""
    cost, runs, rows = record["ms"], record["runs"], []
    time = lambda name: cost[name] * sum(run["curve"][-1]["step"] for run in runs[name].values())
    for name, (predicted, *_) in IDEAS.items():
        if len(runs.get(name, {})) == len(SEEDS):
            missed = any(run["reached"] is None for run in runs[name].values())
            ends = [f"{'' if run['reached'] else '> '}{run['curve'][-1]['step']:,} "
                    f"({100 * run['curve'][-1]['val_codes']:.0f})"
                    for _, run in sorted(runs[name].items())]
            ratio = f"{'> ' * missed}{time(name) / time('default'):.2f}"
            rows.append([name, f"{cost[name]:.1f}", ", ".join(ends), ratio, predicted])
    head = ["idea", "ms a step", "steps to 90%, by seed (codes right, %)", "time, default = 1",
            "predicted"]
    return [record["machine"] + " PT, seeds 0 and 1 but where others are named; \"> \": "
            "not reached in the time of the default's 1,000 steps. Training alone.",
            "", *markdown(head, rows)]


def one_thread():
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main():
    parser = options(__doc__)
    parser.add_argument("--only", default="", help="names of ideas, with commas; default with them")
    a = parser.parse_args()
    wanted = list(filter(None, a.only.split(","))) or list(IDEAS)
    for name in wanted:
        if name not in IDEAS:
            raise UserError(f"--only {name!r}: there is {'; '.join(IDEAS)}")
    path = (runs_folder(True) if a.quick else ROOT / "benchmarks") / "ideas.json"
    of = dict(format=FORMAT, **asdict(config_of("default", 0, pt.STEPS, a.quick)))
    record = json.loads(path.read_text()) if path.exists() else {}
    if record.get("of") != of:                       # none yet, or of another default
        record = dict(machine=stamp("python benchmarks/ideas.py"), of=of, ms={}, runs={})
    new = [name for name in IDEAS if name not in record["ms"]]
    if new:                                          # beside the default, by whose time all count
        seconds = seconds_a_step(list(dict.fromkeys(["default", *new])), a.quick)
        ms = record["ms"].get("default", 1e3 * seconds["default"])
        record["ms"] |= {name: ms * seconds[name] / seconds["default"] for name in new}
        write_json(path, record)
    todo = [(name, seed) for name in dict.fromkeys(["default", *wanted])
            for seed in ((2, 3) if "seeds 2" in name else SEEDS)
            if str(seed) not in record["runs"].get(name, {})]
    pool = ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), one_thread)
    try:
        futures = {}
        for name, seed in todo:
            fit = round(pt.STEPS * record["ms"]["default"] / record["ms"][name])
            steps = 4 if a.quick else fit
            futures[pool.submit(trained, name, seed, steps, a.quick)] = name, str(seed)
        for future in as_completed(futures):
            name, seed = futures[future]
            record["runs"].setdefault(name, {})[seed] = future.result()
            write_json(path, record)
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    publish("ideas", table(record), record, a.quick)


if __name__ == "__main__":
    run_main(main)
