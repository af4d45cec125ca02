"""The loss variants on PT: default size, the same data and tokenizer, seeds 0 to 2.

    python benchmarks/variants.py [--seeds 3] [--only compass,label]    resumable: finished runs are kept, an unfinished
                                                  one goes on where it was; two runs side by side, one thread each

Writes benchmarks/variants.md and the worked example of docs/losses.md. The minutes of these runs are not to be
quoted: they shared the machine. What a step of each costs is measured apart, interleaved, when all have ended.
"""
import argparse
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from report import ROOT, interleaved, publish, stamp

from ipt_mini.config import Config
from ipt_mini.run import get_tokenizer, new_model
from ipt_mini.tasks import pt
from train import optimizers_of, terms_of, train_step, training_set

BASE = f"answer={pt.ANSWER_WEIGHT},imagination=1"
OWN = "examples/compass.py:compass"
VARIANTS = {                                   # name -> settings that differ from the default
    "": {},
    "label": dict(supervision="label"),
    "discrepancy": dict(loss=BASE + ",discrepancy=0.5"),
    "smoothed": dict(loss=BASE.replace("imagination=1", "imagination=0.5,smoothed=0.5")),
    "soft": dict(loss=BASE + ",soft_decode=1"),
    "latent": dict(loss=BASE + ",latent=0.5"),
    "corrupt": dict(corrupt=0.1),
    "compass": dict(loss=BASE + f",{OWN}=0.2"),
    "own": dict(corrupt=0.2, corrupt_by="own"),
}


def command(name, settings, seed):
    flags = [part for k, v in settings.items() for part in ("--" + k.replace("_", "-"), str(v))]
    flags += ["--name", name] if name and set(settings) != {"supervision"} else []
    return [sys.executable, "train.py", "--task", "pt", "--seed", str(seed), *flags]


def folders(name, seeds):
    settings = VARIANTS[name]
    middle = "label" if "supervision" in settings else "mixed" + "-" * bool(name) + name
    return [f"runs/pt-{middle}-s{seed}" for seed in range(seeds)]


def compared(names, seeds):
    """What `eval.py` prints of the runs of these variants, as lines."""
    paths = [path for name in names for path in folders(name, seeds)]
    shown = subprocess.run([sys.executable, "eval.py", *paths], cwd=ROOT, check=True, capture_output=True, text=True)
    return shown.stdout.splitlines()


def step_times():
    """{variant: seconds of a step, relative to the default's}, interleaved in one process."""
    steps = {}
    for name, settings in VARIANTS.items():
        config = Config(task="pt", n_train=1000, steps=1, **settings)
        config.loss = config.loss or (BASE if config.supervision == "mixed" else "answer=1")
        tokenizer = get_tokenizer(config, ROOT / "runs/x").requires_grad_(False)
        examples, model, terms = training_set(config, tokenizer), new_model(config), terms_of(config)

        steps[name] = partial(train_step, model, optimizers_of(model, config), examples,
                              torch.arange(config.batch_size), terms, tokenizer, config, 0)
    seconds = interleaved(steps, rounds=30)
    return {name: seconds[name] / seconds[""] for name in steps}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="names of variants, with commas; the table shows all that are there")
    a = parser.parse_args()
    seeds, wanted = a.seeds, a.only.split(",") if a.only else list(VARIANTS)
    jobs = [command(name, VARIANTS[name], seed) for seed in range(seeds) for name in dict.fromkeys(["", *wanted])]
    run = lambda job: subprocess.run(job, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                     env={**os.environ, "OMP_NUM_THREADS": "1"})
    run(jobs[0])                                     # alone: it trains the tokenizer that the others share
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, jobs[1:]))
    cost = step_times()
    note = stamp(f"python benchmarks/variants.py --seeds {seeds}") + (
        " Test split; ± is the 95% t interval over seeds, in brackets the seed-paired difference to the first row.")
    costs = "Cost of a step, interleaved, relative to the default: " + ", ".join(
        f"{name or 'default'} {ratio:.2f}" for name, ratio in cost.items()) + "."
    finished = [name for name in VARIANTS
                if all((ROOT / folder / "metrics.json").exists() for folder in folders(name, seeds))]
    publish("variants", [note, "", *compared(finished, seeds), "", costs], dict(step_cost=cost))
    publish("example", [note, "", *compared(["", "compass"], seeds)])
    shutil.copy(ROOT / "runs/compare.png", ROOT / "docs/compare-compass.png")


if __name__ == "__main__":
    main()
