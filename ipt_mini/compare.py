"""Is one setting better than another? Pairs of seeds, as few as decide it.

Both settings learn for the same time: the steps of the second are those of the first, divided by
what its step costs. They are compared by one number of the log, on validation data, until the
sequential test is clear.
"""
import json
import math
import random
import shlex
import time
import zlib
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from statistics import median

import torch

from ipt_mini.checkpoint import (ANEW, CODE, REMAKE, code_now, folder_of, identity, read_metrics,
                                 write_json)
from ipt_mini.config import Config
from ipt_mini.dataset import tasks_of
from ipt_mini.errors import UserError, blame
from ipt_mini.generate import decodes_of
from ipt_mini.losses import from_notebook
from ipt_mini.run import pick_device
from ipt_mini.sequential import FIRST, MOST, Comparison
from ipt_mini.side_by_side import side_by_side
from ipt_mini.training import (completed, learn, make_shared, named, train, train_step,
                               training_of)

# What may differ: both settings see one world, and are scored at the same parts of the training.
MAY_DIFFER = ("supervision", "n_train", "n_layer", "n_head", "n_embd", "answer_sees_views", "loss",
              "inputs", "batch_size", "muon_lr", "adam_lr", "weight_decay", "cooldown",
              "curriculum")
# A step costs the same with any of these, and with any weights of the same loss terms.
FREE = "name", "n_train", "muon_lr", "adam_lr", "weight_decay", "cooldown", "curriculum"
TRUTH = {"true": True, "false": False}
# What a run logs of its validation, and the decode that needs to be trained for it. A comparison
# goes by the first that both settings have: the share of right codes in the model's own pictures,
# or of right answers. nats: the loss of the true codes, each after the true ones before it.
SCORES = {"codes": "imagine", "direct": "direct", "think": "think",
          "nats": "imagine", "imagine": "imagine", "oracle": "oracle"}
# Short runs: where all is learnt, nothing differs.
STEPS = {"cells": 200, "first-person": 300, "pictures": 300}
VALIDATIONS = 6               # in a run; the score is the mean over the second half


# ------------------------------------------------------------------------- two settings
def short_run(config):
    """The Config as a run that is over before all is learnt."""
    steps = config.steps or STEPS[config.recipe]
    return replace(config, steps=steps, eval_every=max(1, steps // VALIDATIONS), seed=0, out="")


def settings_of(config, text):
    """(the short run, the same with changes such as "n_layer=4 loss=+FILE.py:term=1")."""
    first, changes = short_run(config), {}
    try:
        parts = shlex.split(text)
    except ValueError as error:                        # a quote without its end
        raise UserError(f"--compare {text}: {error}") from None
    for part in parts:
        name, equals, value = part.partition("=")
        if name not in MAY_DIFFER or not equals or name in changes:
            raise UserError(f"--compare {part}: write SETTING=VALUE, each SETTING once, of "
                            f"{', '.join(MAY_DIFFER)}; what both have in common is a flag")
        kind = Config.__annotations__[name]
        try:
            changes[name] = TRUTH[value.lower()] if kind is bool else kind(value)
        except (ValueError, KeyError):
            raise UserError(f"--compare {part}: a value of type {kind.__name__}") from None
    second = replace(first, **changes)
    if first == second:
        raise UserError(f"--compare {text!r}: nothing differs")
    return first, second


def interleaved(functions, rounds):
    """{name: median seconds of a call}. Every round calls each function once, in another order, so
    that all see the same noise."""
    for function in functions.values():
        function()
    times, rng = {name: [] for name in functions}, random.Random(0)
    for _ in range(rounds):
        for name in rng.sample(list(functions), len(functions)):
            began = time.perf_counter()
            functions[name]()
            times[name].append(time.perf_counter() - began)
    return {name: median(seconds) for name, seconds in times.items()}


def work_of(config):
    """Settings without what costs no time: equal if the steps of two Configs do the same work."""
    loss = completed(config, tasks_of(config)).loss
    terms = {item.rpartition("=")[0] for item in loss.split(",")}
    settings = asdict(config) | dict(loss=terms)
    return {name: value for name, value in settings.items() if name not in FREE}


def steps_of_second(pair, step_of):
    """Steps of the second setting such that both take as long. step_of(config): makes one step."""
    if work_of(pair[0]) == work_of(pair[1]):
        return pair[0].steps
    seconds = interleaved({number: step_of(one) for number, one in enumerate(pair)}, rounds=30)
    cost = seconds[1] / seconds[0]
    if abs(cost - 1) <= 0.03:                          # noise of the clock
        cost = 1
    return max(1, round(pair[0].steps / cost))


def pairs_in(minutes, minutes_a_pair):
    """How many pairs of seeds the time allows."""
    pairs = min(MOST, int(1.05 * minutes / minutes_a_pair))
    if pairs < FIRST:
        raise UserError(f"--minutes {minutes:g}: {FIRST} pairs of seeds are the least, and one "
                        f"takes {minutes_a_pair:.1f} minutes; give --minutes "
                        f"{math.ceil(FIRST * minutes_a_pair)}, the first pair is kept")
    return pairs


def planned_once(file, make):
    """A number that make() gives, kept in a file: the same command, given again, goes on with it.
    Whoever plans anew after an undecided end finds differences where there are none."""
    if not file.exists():
        write_json(file, make())
    with blame(file, remedy=ANEW + REMAKE):
        kept = json.loads(file.read_text("utf-8"))
        if type(kept) is not int or kept < 1:
            raise ValueError(kept)
    return kept


def digest_of(config):
    """Of all that makes a run what it is, but its seed: its settings, the device, the user's own
    code, and the whole package, which whoever forks it changes."""
    config = replace(config, seed=0, device=pick_device(config.device))
    facts = identity(config, tasks_of(config).values()), config.device, CODE
    return f"{zlib.crc32(repr(facts).encode()):08x}"


def with_seed(config, seed):
    """The run of one seed. Its folder tells the settings, so that comparisons share their runs."""
    folder = folder_of(replace(config, seed=seed)).name
    return replace(config, seed=seed, out=f"runs/compare/{digest_of(config)}-{folder}")


# ------------------------------------------------------------------------- the comparison
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


def step_of(config):
    """A function that learns from one batch of a new model and waits for its end, to be timed."""
    tasks = tasks_of(config)
    config = completed(replace(config, n_train=max(64, config.batch_size)), tasks)
    tokenizer = make_shared(config).to(config.device).requires_grad_(False)
    training = training_of(config, tasks, tokenizer, *named(config, tasks))
    return lambda: train_step(training, 0).tolist()


def compare_settings(config, text, minutes=10.0, score=""):
    """Is the setting better that differs from `config` by `text`? A Comparison, which a notebook
    draws. score: what to go by, one of SCORES. Both are trained in this process if one has a loss
    term of a notebook, and that one anew each time."""
    config = replace(config, device=pick_device(config.device))
    asked = settings_of(config, text)
    metric = metric_of(asked, score)
    in_notebook = [bool(from_notebook(one.loss)) for one in asked]
    anew = f"notebook-{time.time_ns()}"                # what a term looks up may have changed
    asked = [replace(one, name=anew) if own else one for one, own in zip(asked, in_notebook)]
    runs = [with_seed(one, 0) for one in asked]
    for run in runs:
        named(run, tasks_of(run))                      # a mistake shows before any training
    make_shared(runs[0])                               # both see one world
    digests, threads = [digest_of(one) for one in asked], torch.get_num_threads()
    plan = Path("runs/compare") / "-".join(digests)
    try:
        if not any(in_notebook):
            torch.set_num_threads(max(1, threads // 2))    # as each of the two runs will have
        steps = planned_once(plan.with_suffix(".steps"), lambda: steps_of_second(
            asked, lambda one: step_of(with_seed(one, 0))))
    finally:
        torch.set_num_threads(threads)
    pair = [asked[0], short_run(replace(asked[1], steps=steps))]

    @cache
    def learn_both(seed):
        runs = [with_seed(one, seed) for one in pair]
        if not any(in_notebook):
            side_by_side(learn, runs, jobs=2)
        learnt = [learn(run) for run in runs]
        if [digest_of(one) for one in asked] != digests or code_now() != CODE:
            raise UserError("code has changed meanwhile; start again, and all is trained anew")
        seconds = [run.seconds["data"] + run.seconds["training"] + run.seconds["validation"]
                   for run in learnt]                  # the tokenizer is shared by all
        return learnt, (sum if any(in_notebook) else max)(seconds) / 60
    planned = planned_once(plan.with_suffix(".pairs"),
                           lambda: pairs_in(minutes, learn_both(0)[1]))
    return compare(learn_both, metric, planned)._replace(pair=pair)


def by_tests(comparison):
    """Read the tests of all runs compared: a Comparison for each figure that both have."""
    seeds = range(len(comparison.first))
    runs = [[read_metrics(train(with_seed(one, seed))) for seed in seeds]
            for one in comparison.pair]
    for split in [name for name in runs[0][0] if name.startswith("test")]:
        for decode in [name for name in runs[0][0][split] if name in runs[1][0][split]]:
            first, second = ([run[split][decode]["accuracy"] for run in group] for group in runs)
            yield comparison._replace(metric=f"{split} {decode}, %", first=first, second=second)
