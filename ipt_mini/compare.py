"""Is one setting better than another? Pairs of seeds, as few as decide it.

Both settings learn for the same time: the steps of the second are those of the first, divided by
what its step costs. They are compared by one number of the log, on validation data. The test is
sequential, it may stop after each pair. If nothing differs, it says "better" or "worse" in 5% of
the comparisons, all looks together.
"""
import io
import json
import math
import shlex
import time
import zlib
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch

from ipt_mini import plots
from ipt_mini.checkpoint import ANEW, folder_of, identity, write_json
from ipt_mini.config import Config, compared
from ipt_mini.dataset import tasks_of
from ipt_mini.errors import UserError, blame
from ipt_mini.generate import decodes_of
from ipt_mini.own import is_own, source
from ipt_mini.run import pick_device

# What may differ: both settings see one world, and are scored at the same parts of the training.
MAY_DIFFER = ("supervision", "n_train", "n_layer", "n_head", "n_embd", "answer_sees_views", "loss",
              "inputs", "batch_size", "muon_lr", "adam_lr", "weight_decay", "cooldown",
              "curriculum")
TRUTH = {"true": True, "false": False}
PACKAGE = Path(__file__).parent
# What a run logs of its validation, and the decode that needs to be trained for it. A comparison
# goes by the first that both settings have: the share of right codes in the model's own pictures,
# or of right answers. nats: the loss of the true codes, each after the true ones before it.
SCORES = {"codes": "imagine", "direct": "direct", "think": "think",
          "nats": "imagine", "imagine": "imagine", "oracle": "oracle"}
LOWER = {"nats"}              # less is better
# Short runs: where all is learnt, nothing differs.
STEPS = {"cells": 200, "first-person": 300, "pictures": 300}
VALIDATIONS = 6               # in a run; the score is the mean over the second half
FIRST, MOST = 3, 16           # pairs before the first look, and at the last one
POWER = 0.84                  # standard errors from the boundary: a power of 0.8


# ------------------------------------------------------------------------- two settings
def short_run(config):
    """The Config as a run that is over before all is learnt."""
    steps = config.steps or STEPS[config.recipe]
    return replace(config, steps=steps, eval_every=max(1, steps // VALIDATIONS), seed=0, out="")


def settings_of(config, text):
    """(the short run, the same with changes such as "n_layer=4 loss=+FILE.py:term=1")."""
    first = short_run(config)
    types = {f.name: f.type for f in fields(Config) if f.name in MAY_DIFFER}
    changes = {}
    try:
        parts = shlex.split(text)
    except ValueError as error:                        # a quote without its end
        raise UserError(f"--compare {text}: {error}") from None
    for part in parts:
        name, equals, value = part.partition("=")
        if name not in types or not equals or name in changes:
            raise UserError(f"--compare {part}: write SETTING=VALUE, each SETTING once, of "
                            f"{', '.join(types)}; what both have in common is a flag")
        try:
            is_bool = types[name] is bool
            changes[name] = TRUTH[value.lower()] if is_bool else types[name](value)
        except (ValueError, KeyError):
            raise UserError(f"--compare {part}: a value of type {types[name].__name__}") from None
    second = replace(first, **changes)
    if compared(first) == compared(second):
        raise UserError(f"--compare {text!r}: nothing differs")
    return first, second


def same_time(pair, step_of, rounds=12):
    """The pair with steps for the second such that both take as long. step_of(config): a function
    that makes a step; both are timed turn by turn."""
    steps, times = [step_of(one) for one in pair], [[], []]
    for _ in range(rounds):
        for step, seconds in zip(steps, times):
            began = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - began)
    first, second = pair
    cost = median(times[1]) / median(times[0])
    if abs(cost - 1) > 0.03:                           # less is noise of the clock
        second = short_run(replace(second, steps=max(1, round(first.steps / cost))))
    return first, second


class Plan(NamedTuple):
    """What a comparison fixes before its first look. The same command, given again, keeps it."""
    file: Path
    pair: list                 # two Configs with steps that take the same time
    digests: list              # `digest_of` both
    planned: int = 0           # pairs of seeds; 0: not known before the first is trained

    def with_pairs(self, minutes, minutes_a_pair):
        """The Plan with as many pairs as the time allows. Once planned, the number stays: whoever
        looks on after the last look finds differences where there are none."""
        if self.planned:
            return self
        planned = min(MOST, int(1.05 * minutes / minutes_a_pair))
        if planned < FIRST:
            raise UserError(f"--minutes {minutes:g}: {FIRST} pairs of seeds are the least, and one "
                            f"takes {minutes_a_pair:.1f} minutes; give --minutes "
                            f"{math.ceil(FIRST * minutes_a_pair)}, the first pair is kept")
        plan = self._replace(planned=planned)
        plan.save()
        return plan

    def save(self):
        steps = [one.steps for one in self.pair]
        write_json(self.file, dict(steps=steps, planned=self.planned))


def plan_of(pair, step_of):
    """The Plan of two Configs: as it was kept, or with both timed."""
    digests = [digest_of(one) for one in pair]
    plan = Plan(Path(f"runs/compare/{'-'.join(digests)}.json"), pair, digests)
    if plan.file.exists():
        with blame(plan.file, remedy=f"{ANEW}delete it"):
            kept = json.loads(plan.file.read_text("utf-8"))
            pair = [short_run(replace(one, steps=int(steps)))
                    for one, steps in zip(pair, kept["steps"], strict=True)]
            return plan._replace(pair=pair, planned=int(kept["planned"]))
    plan = plan._replace(pair=same_time(pair, step_of))
    plan.file.parent.mkdir(parents=True, exist_ok=True)
    plan.save()
    return plan


def digest_of(config):
    """Of all that makes a run what it is, but its seed: its settings, the device, the user's own
    code, and the whole package, which whoever forks it changes."""
    config = replace(config, seed=0, device=pick_device(config.device))
    own_tasks = [source(spec) for spec in config.task.split(",") if is_own(spec)]
    facts = identity(config, tasks_of(config).values()), config.device, own_tasks, CODE
    return f"{zlib.crc32(repr(facts).encode()):08x}"


def code_now():
    """A number that changes with any edit of the code that a run executes."""
    files = sorted(PACKAGE.rglob("*.py")) + [PACKAGE.parent / "train.py"]
    return zlib.crc32(b"".join(path.read_bytes() for path in files))


CODE = code_now()             # of what is executed; the files may change meanwhile


def with_seed(config, seed):
    """The run of one seed. Its folder tells the settings, so that comparisons share their runs."""
    folder = folder_of(replace(config, seed=seed)).name
    return replace(config, seed=seed, out=f"runs/compare/{digest_of(config)}-{folder}")


# ------------------------------------------------------------------------- the sequential test
@lru_cache
def boundaries(planned, error=0.05, draws=100_000):
    """(planned + 1,): how many standard errors the mean of k paired differences has to be from 0 to
    stop there. O'Brien and Fleming's test (1979): hard to pass early, so that the last look loses
    little; the chance to pass any by mistake is `error`. With Student's t, by simulation, since few
    pairs are far from the normal limit."""
    rng = np.random.default_rng(0)
    total, squares, sizes, heights = np.zeros(draws), np.zeros(draws), [], []
    for k in range(1, planned + 1):
        x = rng.standard_normal(draws)
        total, squares = total + x, squares + x * x
        if k >= FIRST:
            variance = (squares - total ** 2 / k) / (k - 1)
            size = np.abs(total) / np.sqrt(k * variance)
            # The normal value of the same rank: a mean of few pairs then counts like one of many,
            # and with sqrt(k / planned) one limit serves all looks.
            share_above = 1 - (size.argsort().argsort() + 0.5) / draws
            normal = torch.special.ndtri(torch.from_numpy(1 - share_above / 2)).numpy()
            sizes.append(size)
            heights.append(normal * math.sqrt(k / planned))
    limit = np.quantile(np.max(heights, 0), 1 - error)       # of all looks of a comparison
    passed = [np.min(size[height > limit], initial=math.inf)
              for size, height in zip(sizes, heights)]
    return np.array([math.inf] * FIRST + passed)


class Comparison(NamedTuple):
    """What is known after some pairs. Differences are second minus first, one a seed."""
    metric: str
    first: list
    second: list
    steps: list
    minutes: float
    planned: int               # pairs, at most
    pair: tuple = ()           # the two Configs

    @property
    def differences(self):
        return np.subtract(self.second, self.first)

    @property
    def error(self):
        """The standard error of the mean difference."""
        n = len(self.first)
        return float(np.std(self.differences, ddof=1)) / math.sqrt(n) if n > 1 else math.inf

    @property
    def half(self):
        """Half the width of the 95% interval, which holds at whatever look one stops."""
        return float(boundaries(self.planned)[len(self.first)]) * self.error

    @property
    def verdict(self):
        mean = self.differences.mean()
        if not abs(mean) > self.half:                  # nan too: nothing is known yet
            return "undecided"
        return "better" if (mean > 0) != (self.metric in LOWER) else "worse"

    @property
    def visible(self):
        """How large a difference this many pairs show with a power of 0.8."""
        return self.half + POWER * self.error

    def __str__(self):
        n, mean = len(self.first), self.differences.mean()
        return (f"{self.verdict}: {self.metric} {mean:+.4f} +- {self.half:.4f}, {n} pairs of seeds "
                f"({self.steps[0]} and {self.steps[1]} steps), {self.minutes:.1f} minutes; visible "
                f"were differences of {self.visible:.4f}, with a power of 0.8")

    def _repr_png_(self):
        file = io.BytesIO()
        plots.pairs(self.first, self.second, self.metric, self.verdict, file)
        return file.getvalue()


def score(log, metric):
    """The mean of one number, of all tasks, over the second half of the training. A last validation
    that is no multiple of eval_every is left out: it follows close upon another, in one of the two
    settings only."""
    half = [row["val"] for row in log
            if row["step"] > log[-1]["step"] / 2 and row["step"] % log[0]["step"] == 0]
    values = [value for row in half for name, value in row.items() if name.startswith(metric)]
    return sum(values) / len(values) if values else None


def metric_of(pair, wanted=""):
    """What a comparison of two Configs goes by: `wanted`, or the first of SCORES that both log."""
    decodes = [decodes_of(config.branches) for config in pair]
    found = [name for name, decode in SCORES.items() if all(decode in one for one in decodes)]
    if not found:
        raise UserError("--compare: no way of answering is trained in both settings")
    if wanted and wanted not in found:
        raise UserError(f"--score {wanted}: choose one that both settings log: {', '.join(found)}")
    return wanted or found[0]


def compare(learn_both, metric, planned, tell=print):
    """The Comparison of two settings, after `planned` pairs of seeds or as soon as it is clear.
    learn_both(seed): what both have Learnt with this seed, and the minutes that it took, though
    they may have been trained before."""
    first, second, spent = [], [], 0
    while True:
        pair, minutes = learn_both(len(first))
        for scores, run in zip((first, second), pair):
            scores.append(score(run.log, metric))
        spent += minutes
        steps = [run.log[-1]["step"] for run in pair]
        result = Comparison(metric, first, second, steps, spent, planned)
        tell(f"{len(first)} of at most {planned} pairs: {first[-1]:.4f} and {second[-1]:.4f}, "
             f"{result.verdict} so far")
        if result.verdict != "undecided" or len(first) == planned:
            return result
