"""Can `train.py --compare` be trusted, how small an effect does it see, and what has it decided?

    python benchmarks/laboratory.py --task pet --views first-person     hours; rerun to resume

- The pool: short runs of the default, --seeds of them. How far do two seeds differ, by each number
  that a comparison could go by? How often does it find a difference between the default and itself,
  and how often an effect that is added? Pairs are drawn from the pool again and again.
- Planted effects: how often does it find what is there?
- Variants: one comparison each, of ten minutes, with its verdict. --variants 6: the first 6;
  --variants 6:13: those after them, in a file of their own. --score NAME: they are judged by NAME
  instead of right codes, in a file of its own.
"""
from report import ROOT, arguments, run_main, tiny, write

import math
import re

import numpy as np

from ipt_mini.compare import (SCORES, compare_settings, metric_of, score, settings_of, short_run,
                              with_seed)
from ipt_mini.config import Config
from ipt_mini.dataset import tasks_of
from ipt_mini.errors import UserError
from ipt_mini.generate import decodes_of
from ipt_mini.sequential import FIRST, LOWER, MOST, POWER, boundaries
from ipt_mini.side_by_side import side_by_side
from ipt_mini.training import completed, learn, make_shared

DRAWS = 2000
EFFECTS = 0.01, 0.02, 0.03, 0.05           # of the share of right codes
OF_PICTURES = "codes", "nats"
LOSSES = f"{ROOT}/examples/losses.py"
HALF = f"{ROOT}/examples/half.py:half_"
SAMPLING = f"{ROOT}/examples/scheduled_sampling.py"
WRONG = f"{ROOT}/benchmarks/wrong_codes.py:wrong_codes"
# The default loss, but {wrong}: other target codes; {pictures}: pictures weigh more; {half}: each
# example teaches one way of answering.
PLANTED = {  # at equal steps
    "a quarter of Muon's rate": "muon_lr=0.005",
    "half the width": "n_embd=64",
    "10% of the target codes wrong": "loss={wrong}",
}
VARIANTS = {
    "discrepancy 1": f"loss=+{LOSSES}:discrepancy=1",
    "latent 0.1": f"loss=+{LOSSES}:latent=0.1",
    "rare 0.5": f"loss=+{LOSSES}:rare=0.5",
    "smoothed 0.5": f"loss=+{LOSSES}:smoothed=0.5",
    "scheduled sampling, own": f"inputs={SAMPLING}:own",
    "pictures dropped late": "loss=answer=0.2@0.5:1@0.7,imagination=1@0.6:0@0.8",
    "discrepancy 0.1": f"loss=+{LOSSES}:discrepancy=0.1",
    "soft decode 1": f"loss=+{LOSSES}:soft_decode=1",
    "rare 1": f"loss=+{LOSSES}:rare=1",
    "scheduled sampling, random": f"inputs={SAMPLING}:random",
    "answer weight 1": "loss=answer=1,imagination=1",
    "imagination weight 1.5": "loss={pictures}",
    "halves": "loss={half}",
}


def filled(text, config):
    """The text of a setting with the losses that it names in braces."""
    loss = completed(config, tasks_of(config)).loss
    return text.format(wrong=loss.replace("imagination", WRONG),
                       pictures=loss.replace("imagination=1", "imagination=1.5"),
                       half=re.sub("(answer|imagination|compass)", HALF + r"\1", loss))


def learnt(config, seeds):
    """What the short runs of a setting have Learnt, side by side if they are not trained yet."""
    runs = [with_seed(config, seed) for seed in range(seeds)]
    make_shared(runs[0])
    side_by_side(learn, runs)
    return [learn(run) for run in runs]


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


def of_equals(scores, planned, rng):
    """Differences (DRAWS, planned) of pairs of seeds of one setting, whose runs scored so."""
    order = rng.random((DRAWS, len(scores))).argsort(1)[:, :2 * planned]
    first, second = scores[order].reshape(DRAWS, planned, 2).transpose(2, 0, 1)
    return second - first


def calibration(logs, metrics, planned, rng):
    """A row a metric: SD of the difference of two seeds, false verdicts, and the effect that
    `planned` pairs see with a power of 0.8."""
    for metric in metrics:
        scores = np.array([score(log, metric) for log in logs])
        false = sum(verdicts(of_equals(scores, planned, rng), planned))
        sd = scores.std(ddof=1) * math.sqrt(2)
        sees = (boundaries(planned)[planned] + POWER) * sd / math.sqrt(planned)
        yield [metric, f"{scores.mean():.4f}", f"{sd:.4f}", f"{100 * false:.1f}",
               f"{sees:.4f}", f"{100 * sees / scores.mean():.1f}"]


def powers(logs, metric, minutes_a_pair, rng):
    """The power curve, a row a number of pairs: how often is an effect found, if it is added to
    the second run of each pair."""
    scores = np.array([score(log, metric) for log in logs])
    for planned in range(FIRST, min(MOST, len(logs) // 2) + 1):
        differences = of_equals(scores, planned, rng)
        found = [verdicts(differences + effect, planned)[0] for effect in EFFECTS]
        yield [planned, f"{planned * minutes_a_pair:.1f}",
               f"{100 * sum(verdicts(differences, planned)):.1f}",
               *[f"{100 * share:.0f}" for share in found]]


def planted(config, logs, planned, rng):
    """A row an effect: its size by the two measures of pictures, and how many comparisons find it
    worse or better."""
    seeds = len(logs) // 2
    for name, text in PLANTED.items():
        _, second = settings_of(config, filled(text, config))
        changed, cells = [one.log for one in learnt(second, seeds)], [name]
        for metric in OF_PICTURES:
            differences = np.array([score(other, metric) - score(log, metric)
                                    for log, other in zip(logs, changed)])
            order = rng.random((DRAWS, seeds)).argsort(1)[:, :planned]
            gains = -differences if metric in LOWER else differences
            better, worse = verdicts(gains[order], planned)
            cells += [f"{differences.mean():+.4f}", f"{100 * worse:.1f}", f"{100 * better:.1f}"]
        yield cells


def row_of(variant, result):
    """The row of a variant, from its Comparison with the default."""
    return [variant, result.verdict, f"{result.differences.mean():+.4f}", f"{result.half:.4f}",
            f"{result.visible:.4f}", f"{result.steps[1]}", len(result.first),
            f"{result.minutes:.1f}"]


def minutes_of(learnt):
    """The median time that a run took."""
    return float(np.median([sum(one.seconds.values()) for one in learnt])) / 60


def trust(options, config, metrics):
    """Write what the pool says of a comparison, and what it finds of planted effects."""
    rng, pool = np.random.default_rng(0), learnt(config, options.seeds)
    logs = [one.log for one in pool]
    scores = list(calibration(logs, metrics, options.planned, rng))
    effects = list(planted(config, logs, options.planned, rng))
    curve = list(powers(logs, metrics[0], minutes_of(pool), np.random.default_rng(0)))
    found = [cell for metric in OF_PICTURES for cell in (metric, "found worse, %", "better, %")]
    added = [f"+{100 * effect:.0f} points found, %" for effect in EFFECTS]
    write(f"laboratory_{options.views.replace('-', '_')}", options, [
        (["score", "mean", "SD of differences", "false verdicts, %", "sees, power 0.8",
          "that is, %"], scores),
        (["planted", *found], effects),
        (["pairs", "minutes", "false verdicts, %", *added], curve)], dict(logs=logs), [
        f"{options.task.upper()}, runs of {config.steps} steps, {options.seeds} seeds of the "
        f"default, comparisons of at most {options.planned} pairs, drawn {DRAWS:,} times. Last, "
        f"how often a comparison by {metrics[0]} finds an effect that is added to one of two "
        "equal settings. Minutes: of two cores, a thread a run."], tasks=options.task)


def decide(options, config, metric, chosen):
    """Write the verdict on each of the variants that are chosen, a slice."""
    variants, minutes = list(VARIANTS.items())[chosen], options.minutes
    if options.quick:
        variants, minutes = variants[:2], 1.1 * FIRST * minutes_of(learnt(config, FIRST))
    rows = [row_of(variant, compare_settings(config, filled(text, config), minutes, options.score))
            for variant, text in variants]
    after = str(chosen.start or "")
    name = "_".join(filter(None, ["variants", options.views.replace("-", "_"), options.score,
                                  after]))
    head = ["variant", "verdict", metric, "+-", "sees", "steps", "pairs", "minutes"]
    write(name, options, [(head, rows)], {}, [
        f"{options.task.upper()}, runs of {config.steps} steps. Minutes: of two cores, a thread a "
        "run."], tasks=options.task)


def main():
    options = arguments(__doc__, task="pet", views="first-person", seeds=24, minutes=10.0,
                        planned=7, parts="planted,variants", variants=":", score="")
    if not FIRST <= options.planned <= min(MOST, options.seeds // 2):
        raise UserError(f"--planned: {FIRST} to {MOST}, and at most half of --seeds")
    parts = options.parts.split(",")
    if not set(parts) <= {"planted", "variants"}:
        raise UserError(f"--parts {options.parts}: there is planted, variants")
    try:
        chosen = slice(*(int(number) if number else None for number in options.variants.split(":")))
    except (TypeError, ValueError):
        raise UserError(f"--variants {options.variants}: write 6, or 6:13") from None
    texts = list(VARIANTS.values())[chosen]
    if chosen.step or not texts:
        raise UserError(f"--variants {options.variants}: a part of {len(VARIANTS)}, such as 6:13")
    config = Config(task=options.task, views=options.views, device="cpu")
    if options.quick:
        config, options.seeds, options.planned = tiny(config), 6, 3
    config = short_run(config)
    metrics = [name for name, decode in SCORES.items() if decode in decodes_of(config.branches)]
    for text in texts:                                 # a mistake shows before any training
        metric_of(settings_of(config, filled(text, config)), options.score)
    if "planted" in parts:
        trust(options, config, metrics)
    if "variants" in parts:
        decide(options, config, options.score or metrics[0], chosen)


if __name__ == "__main__":
    run_main(main)
