"""Can `train.py --compare` be trusted, how small an effect does it see, and what has it decided?

    python benchmarks/laboratory.py --task pet --views first-person     hours; rerun to resume

- The pool: short runs of the default, --seeds of them. How far do two seeds differ, by each number
  that a comparison could go by? And how often does it find a difference between the default and
  itself? Pairs are drawn from the pool again and again.
- Planted effects: how often does it find what is there?
- Variants: one comparison each, of ten minutes, with its verdict.
"""
from report import ROOT, arguments, run_main, table, tiny, write

import math

import numpy as np
import torch.nn.functional as F

from ipt_mini.compare import (FIRST, MOST, POWER, boundaries, score, settings_of, short_run,
                              with_seed)
from ipt_mini.config import Config
from ipt_mini.errors import UserError
from ipt_mini.losses import complete_loss
from ipt_mini.sequence import IMAGINE
from ipt_mini.side_by_side import side_by_side
from ipt_mini.tasks import TASKS
from train import compare_settings, learn

DRAWS = 2000
METRICS = ("codes", "nats", "imagine", "oracle", "direct")
LOSSES = f"{ROOT}/examples/losses.py"
SAMPLING = f"{ROOT}/examples/scheduled_sampling.py"
WRONG = f"{ROOT}/benchmarks/laboratory.py:wrong_codes"
PLANTED = {  # at equal steps; {wrong}: the default loss with `wrong_codes` for `imagination`
    "a quarter of Muon's rate": "muon_lr=0.005",
    "half the width": "n_embd=64",
    "10% of the target codes wrong": "loss={wrong}",
}
VARIANTS = {
    "discrepancy 0.1": f"loss=+{LOSSES}:discrepancy=0.1",
    "discrepancy 1": f"loss=+{LOSSES}:discrepancy=1",
    "soft decode 1": f"loss=+{LOSSES}:soft_decode=1",
    "latent 0.1": f"loss=+{LOSSES}:latent=0.1",
    "rare 0.5": f"loss=+{LOSSES}:rare=0.5",
    "smoothed 0.5": f"loss=+{LOSSES}:smoothed=0.5",
    "scheduled sampling, random": f"inputs={SAMPLING}:random",
    "scheduled sampling, own": f"inputs={SAMPLING}:own",
    "answer weight 1": "loss=answer=1,imagination=1",
    "no direct branch": "supervision=ipt",
    "four blocks": "n_layer=4",
    "eight heads": "n_head=8",
    "half the batch": "batch_size=32",
    "twice Muon's rate": "muon_lr=0.04",
    "half Adam's rate": "adam_lr=0.0015",
}


def wrong_codes(batch):
    """The default's term with 10% of the targets moved to another code, by a rule of its own."""
    n_codes, here = batch.logits.shape[2] - batch.n_words, batch.losses_of[IMAGINE]
    targets = batch.targets.clone()
    codes = targets[:, here] - batch.n_words
    moved = (codes * 7919 + here * 104729 + targets.sum(1, keepdim=True)) % 10 == 0
    codes = codes.where(~moved, (codes + 1 + n_codes // 2) % n_codes)
    logits = batch.logits[:, here].flatten(0, 1)
    return F.cross_entropy(logits, (codes + batch.n_words).flatten())


def logs_of(config, seeds):
    """The logs of the short runs of a setting, trained side by side if they are not yet."""
    runs = [with_seed(config, seed) for seed in range(seeds)]
    side_by_side(learn, runs)
    return [learn(run).log for run in runs]


def verdicts(differences, planned):
    """(better, worse) of comparisons: differences (draws, pairs), the first `planned` are looked
    at one after the other."""
    ended, limits = np.zeros(len(differences)), boundaries(planned)
    for k in range(FIRST, planned + 1):
        seen = differences[:, :k]
        error = seen.std(1, ddof=1) / math.sqrt(k)
        clear = np.abs(seen.mean(1)) > limits[k] * error
        ended = np.where((ended == 0) & clear, np.sign(seen.mean(1)), ended)
    return float((ended > 0).mean()), float((ended < 0).mean())


def calibration(logs, planned, rng):
    """A row a metric: SD of the difference of two seeds, false verdicts, and the effect that
    `planned` pairs see with a power of 0.8."""
    for metric in METRICS:
        scores = np.array([score(log, metric) for log in logs])
        order = rng.random((DRAWS, len(scores))).argsort(1)[:, :2 * planned]
        pairs = scores[order].reshape(DRAWS, planned, 2)
        better, worse = verdicts(pairs[..., 1] - pairs[..., 0], planned)
        sd = scores.std(ddof=1) * math.sqrt(2)
        sees = (boundaries(planned)[planned] + POWER) * sd / math.sqrt(planned)
        yield [metric, f"{scores.mean():.4f}", f"{sd:.4f}", f"{100 * (better + worse):.1f}",
               f"{sees:.4f}", f"{100 * sees / scores.mean():.1f}"]


def planted(config, logs, planned, rng, seeds):
    """A row an effect: its size by the two measures of pictures, and how many comparisons find it
    worse or better."""
    loss = complete_loss("", config.branches, TASKS[config.task].LOSS[config.views])
    wrong = loss.replace("imagination", WRONG)
    for name, text in PLANTED.items():
        _, second = settings_of(config, text.format(wrong=wrong))
        learnt, cells = logs_of(second, seeds), [name]
        for metric, gain in (("codes", 1), ("nats", -1)):
            differences = np.array([score(changed, metric) - score(log, metric)
                                    for log, changed in zip(logs, learnt)])
            order = rng.random((DRAWS, seeds)).argsort(1)[:, :planned]
            better, worse = verdicts(gain * differences[order], planned)
            cells += [f"{differences.mean():+.4f}", f"{100 * worse:.1f}", f"{100 * better:.1f}"]
        yield cells


def compared(config, minutes, variants):
    """A row a variant: the verdict of one comparison."""
    for name, text in variants:
        result, _ = compare_settings(config, text, minutes)
        yield [name, result.verdict, f"{result.differences.mean():+.4f}", f"{result.half:.4f}",
               f"{result.visible:.4f}", len(result.first), f"{result.minutes:.1f}"]


def main():
    options = arguments(__doc__, task="pet", views="first-person", seeds=24, minutes=10.0,
                        planned=7, parts="planted,variants")
    if not FIRST <= options.planned <= min(MOST, options.seeds // 2):
        raise UserError(f"--planned: {FIRST} to {MOST}, and at most half of --seeds")
    config = Config(task=options.task, views=options.views, device="cpu")
    if options.quick:
        config, options.seeds, options.planned = tiny(config), 6, 3
    config = short_run(config)
    rng, tables, parts = np.random.default_rng(0), [], options.parts.split(",")
    logs = logs_of(config, options.seeds)
    tables.append(table(["score", "mean", "SD of differences", "false verdicts, %",
                         "sees, power 0.8", "that is, %"],
                        list(calibration(logs, options.planned, rng))))
    if "planted" in parts:
        rows = planted(config, logs, options.planned, rng, options.seeds // 2)
        tables.append(table(["planted", "codes", "found worse, %", "better, %",
                             "nats", "found worse, %", "better, %"], list(rows)))
    if "variants" in parts:
        variants = list(VARIANTS.items())[:2 if options.quick else None]
        rows = compared(config, 0.01 if options.quick else options.minutes, variants)
        tables.append(table(["variant", "verdict", METRICS[0], "+-", "sees", "pairs", "minutes"],
                            list(rows)))
    notes = [f"{options.task.upper()}, runs of {config.steps} steps, {options.seeds} seeds of the "
             f"default, comparisons of at most {options.planned} pairs, drawn {DRAWS:,} times."]
    write(f"laboratory_{options.views.replace('-', '_')}", options, tables,
          dict(logs=logs), notes)


if __name__ == "__main__":
    run_main(main)
