"""The loss variants on PT at equal wall-clock: the same data and tokenizer, seeds 0 to 2.

    python benchmarks/variants.py                     an hour; the same command goes on with it
    python benchmarks/variants.py --only compass,label          these and the default

What a step of each variant costs is measured first, once, in turns and with nothing else running;
every variant then gets as many steps as fit into the time of the default's, or just as many if its
step costs within 5% of it. Costs and steps are recorded in benchmarks/variants.json: delete it to
measure on another machine. The runs go two at a time, on one thread each, so their own minutes say
nothing. Writes benchmarks/variants.md and the worked example of docs/losses.md.
"""
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from report import ROOT, interleaved, publish, stamp

from ipt_mini.config import Config, Parser, UserError, default_loss, run_main
from ipt_mini.run import get_tokenizer, new_model, write_json
from ipt_mini.tasks import pt
from train import optimizers_of, terms_of, train_step, training_set

BASE = default_loss(Config())
RECORD = ROOT / "benchmarks/variants.json"
VARIANTS = {                                   # name -> settings that differ from the default
    "": {},
    "label": dict(supervision="label"),
    "discrepancy": dict(loss=BASE + ",discrepancy=0.5"),
    "smoothed": dict(loss=BASE.replace("imagination=1", "imagination=0.5,smoothed=0.5")),
    "soft": dict(loss=BASE + ",soft_decode=1"),
    "latent": dict(loss=BASE + ",latent=0.5"),
    "dropped": dict(loss=BASE.replace("imagination=1", "imagination=1@0.7:0@0.8")),
    "corrupt": dict(corrupt=0.1),
    "own": dict(corrupt=0.2, corrupt_by="own"),
    "compass": dict(loss=BASE + ",examples/compass.py:compass=0.2"),
}


def recorded():
    """{variant: {cost of a step, default = 1; steps}}, measured if there is no record yet."""
    if RECORD.exists():
        record = json.loads(RECORD.read_text())
        if record[""]["steps"] == pt.STEPS:          # else of another default
            return record
    steps = {}
    for name, settings in VARIANTS.items():
        config = Config(n_train=1000, steps=1, **settings)
        tokenizer = get_tokenizer(config, ROOT / "runs/x").requires_grad_(False)
        examples, model, terms = training_set(config, tokenizer), new_model(config), terms_of(config)
        steps[name] = partial(train_step, model, optimizers_of(model, config), examples,
                              torch.arange(config.batch_size), terms, tokenizer, config, 0)
    seconds = interleaved(steps, rounds=80)
    costs = {name: s / seconds[""] for name, s in seconds.items()}
    record = {name: dict(cost=round(c, 3), steps=round(pt.STEPS / (c if abs(c - 1) > 0.05 else 1)))
              for name, c in costs.items()}
    write_json(RECORD, record)
    return record


def job(name, seed, steps):
    """(command of a run, its folder)."""
    settings = VARIANTS[name] | (dict(steps=steps) if steps != pt.STEPS else {})
    settings |= dict(name=name) if name else {}
    flags = [part for k, v in settings.items() for part in ("--" + k.replace("_", "-"), str(v))]
    folder = f"runs/pt-{settings.get('supervision', 'mixed')}{'-' * bool(name)}{name}-s{seed}"
    return [sys.executable, "train.py", "--task", "pt", "--seed", str(seed), *flags], folder


def compared(folders):
    """The table that `eval.py` prints of these runs, as lines."""
    told = subprocess.run([sys.executable, "eval.py", *folders], cwd=ROOT, check=True,
                          capture_output=True, text=True).stdout
    return told.split("\n\n")[0].splitlines()          # below it, each run by itself


def train_one(command):
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True,
                   env={**os.environ, "OMP_NUM_THREADS": "1"})


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="names of variants, with commas; the table "
                        "shows all whose runs are there")
    a = parser.parse_args()
    wanted = a.only.split(",") if a.only else list(VARIANTS)
    for name in wanted:
        if name not in VARIANTS:
            raise UserError(f"--only {name!r}: there is {', '.join(filter(None, VARIANTS))}")
    (ROOT / "runs").mkdir(exist_ok=True)
    record = recorded()
    jobs = {name: [job(name, seed, record[name]["steps"]) for seed in range(a.seeds)]
            for name in VARIANTS}
    todo = [command for name in dict.fromkeys(["", *wanted]) for command, _ in jobs[name]]
    train_one(todo[0])                               # it trains the tokenizer that all share
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(train_one, todo[1:]))
    folders = {name: [folder for _, folder in runs] for name, runs in jobs.items()
               if all((ROOT / folder / "metrics.json").exists() for _, folder in runs)}
    note = (f"{stamp(f'python benchmarks/variants.py --seeds {a.seeds}')} Test split; ± is the 95% "
            "t interval over seeds, in brackets the seed-paired difference to the first row.")
    costs = ", ".join(f"{name or 'default'} {r['cost']:.2f} ({r['steps']:,})"
                      for name, r in record.items() if name in folders)
    publish("variants", [note, "", *compared(sum(folders.values(), [])), "",
                         f"Cost of a step, default = 1 (and steps): {costs}."])
    if "compass" in folders:
        publish("example", [note, "", *compared(folders[""] + folders["compass"])])
        shutil.copy(ROOT / "runs/compare.png", ROOT / "docs/compare-compass.png")


if __name__ == "__main__":
    run_main(main)
