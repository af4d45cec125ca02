"""Time from an empty folder to a right answer: the default recipe, a plain one, and GPT-2.

    pip install transformers && python benchmarks/time_to_accuracy.py --task pt      50 minutes
    python benchmarks/time_to_accuracy.py --task pet --seed 1 --only ours,plain      a part of it

The same command goes on where it was stopped (with as many steps for a training as it was begun
with, if those were more); delete runs/time_to_accuracy/ to start afresh.
Writes benchmarks/time_to_accuracy.json and .md, to which every call adds its own task and seed.

Time = tokenizer + data + steps x seconds a step; validation is not counted. All seconds are
measured before any training, with nothing else running and all threads: the steps of all recipes
turn by turn in one process, so that noise hits all alike. The trainings only tell how many steps
are needed. They run two at a time, on one thread each; all but ours, which runs to its end, stop at
the first validation (every 100 steps, 500 questions) that reaches the task's accuracy, or when
their steps would have taken TIMES the time of the default (plain+X, all, all-X: TIMES_REMOVED).

- ours: train.py as it is.
- plain: AdamW for all weights, learned absolute positions, plain causal attention, loss on the
  next token everywhere: the mean over the answers, plus that over the imagined codes, plus that
  over all else. Blocks, norms, first weights and size are ours.
- plain+X: plain with one handicap removed, see REMOVED; plain+X+Y with two, and so on.
- all: plain with all of ALL removed, our recipe in other code; all-X: with all but X removed.
- gpt2: Hugging Face GPT-2 of the same depth, heads and width, trained as plain.

All draw 64 a step from the same examples, in the same order but for the curriculum. Ours packs
both ways of answering behind one prefix; the others get two sequences of every example, one that
imagines and one that answers directly; where poses of cameras are given (MVC), plain and gpt2
read them as words before the question.
Learning rates of plain and gpt2: all of RATES are trained for SEARCH steps; the one with the lowest
validation loss (answer and imagined codes) goes on, and plain+X takes plain's. The rate stays and
falls as in train.py, over all the steps that a recipe is given (weights and curriculum are
stretched over these, too), and rises in the first 50 (ours does without).
"""
import functools
import json
import multiprocessing
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from report import (ROOT, gpt2, interleaved, markdown, needs, options, publish, stamp,
                    training_step)

import torch
import torch.nn.functional as F
from torch import nn

from ipt_mini.config import Config, UserError, run_main, terms_of
from ipt_mini.generate import answer_words
from ipt_mini.losses import rarity
from ipt_mini.model import Model
from ipt_mini.run import get_tokenizer, new_model, prepare, save, write_json
from ipt_mini.sequence import ANSWER, IMAGINE, N_WORDS, VIEW, Layout, layout, pack
from ipt_mini.tasks import TASKS
from ipt_mini.tasks.words import NORTH, PAD, ZERO
from ipt_mini.tokenizer import Tokenizer
from train import optimizers_of, rate, rows_of, train, training_set

TARGET = {"pet": 0.95, "pt": 0.90, "mvc": 0.90}      # validation accuracy after imagining
RATES = (1e-3, 3e-3, 1e-2, 3e-2)     # learning rates tried
SEARCH = 500                  # steps of each of these trials
TIMES = 5.6                   # plain and gpt2 may take this times our time
TIMES_REMOVED = 2             # plain+X, all-X
REMOVED = {
    "muon": "Muon for the matrices of the blocks, with our rates",
    "places": "our embeddings of segment, order, row, column, next cell and pose",
    "after": "loss on what follows the prefix only",
    "prefix": "the same, and a prefix that sees itself in both directions (so it has no next token "
              "left to predict)",
    "blind": "an answer that, after an imagination, does not see the views",
    "weights": "our weights: the answer's rises, rare codes weigh more",
    "curriculum": "our curriculum",
    "imagine": "no sequences that answer directly",
}
ALL = ("muon", "places", "prefix", "blind", "weights", "curriculum")    # what ours removes of them
FOREVER = 10 ** 9             # steps of a training that is not to end: its rate stays
GROUPS = (VIEW, IMAGINE, ANSWER)                     # of positions: the first stands for all else


# ------------------------------------------------------------------------------------------ models
class Plain(Model):
    """Ours with learned absolute positions instead of all that it knows of places; poses are words
    of the sequence."""

    def __init__(self, config, length):
        super().__init__(config, N_WORDS + Tokenizer.n_codes)
        self.position = nn.Embedding(length, config.n_embd)
        nn.init.normal_(self.position.weight, std=0.3)

    def embed(self, tokens, pose, layout, start=0):
        return self.token(tokens) + self.position.weight[:tokens.shape[1]]


class GPT2(nn.Module):
    """Hugging Face GPT-2, called as Model is."""

    def __init__(self, config, length):
        super().__init__()
        self.body = gpt2(config, length)
        self.head = self.body.lm_head

    def states(self, tokens, pose, where, padded, at=slice(None)):
        h = self.body.transformer(tokens, use_cache=False).last_hidden_state
        return h[:, at]


# --------------------------------------------------------------------------- sequences and losses
class Part(NamedTuple):
    """All examples as sequences of one branch, for one recipe."""
    tokens: torch.Tensor       # (n, T)
    pose: torch.Tensor         # (n, V, 3)
    where: Layout
    padded: bool
    at: torch.Tensor           # (L,) positions with a loss
    targets: torch.Tensor      # (n, L) the token that follows each; -1: none
    share: torch.Tensor        # (3, L) what each position adds to the mean over its group


def traits(name):
    """'plain+muon+places' -> {'muon', 'places'}; 'all-muon' -> ALL but 'muon'."""
    return set(ALL) - set(name.split("-")[1:]) if name.startswith("all") else set(
        name.split("+")[1:])


def spoken(data):
    """Poses as words before the query, heading, row and column of each camera: for models that
    have no embedding of them and could not answer MVC without."""
    if not data.pose.any():
        return data
    words = data.pose + torch.tensor([NORTH - 1, ZERO, ZERO])                    # (n, V, 3)
    return data._replace(query=torch.cat([words.flatten(1), data.query], 1))


def parts_of(data, name, after=False):
    """[Part] of a recipe: one that imagines and, but with +imagine, one that answers directly.

    after: losses after the prefix only, whatever the recipe says (for validation).
    """
    parts, removed = [], traits(name)
    after = after or bool({"after", "prefix"} & removed)
    data = data if "places" in removed else spoken(data)
    for branch in ((IMAGINE, ANSWER), (ANSWER,))[:1 if "imagine" in removed else 2]:
        tokens, targets = pack(data, (branch,))
        where = layout(data, (branch,), answer_sees_views="blind" not in removed)
        if "prefix" not in removed:
            where = where._replace(mask=where.mask.tril())
        every = torch.cat([tokens[:, 1:], targets[:, -1:]], 1)        # (n, T), each the next token
        assert torch.equal(every[:, where.loss_at], targets)
        at = where.loss_at if after else torch.arange(tokens.shape[1])
        group = torch.where(torch.isin(at, where.loss_at), where.segment[at], VIEW)
        parts.append(Part(tokens, data.pose, where, bool((tokens == PAD).any()), at,
                          every[:, at].masked_fill(every[:, at] == PAD, -1),
                          torch.stack([group == g for g in GROUPS]).float()))
    count = sum(part.share.sum(1, keepdim=True) for part in parts).clamp_min(1)
    return [part._replace(share=part.share / count) for part in parts]


def loss_of(model, parts, rows, weights, of_token=None):
    """Weighted sum of the mean cross-entropies of the three GROUPS: scalar."""
    total = 0
    for tokens, pose, where, padded, at, targets, share in parts:
        some = slice(None) if len(at) == tokens.shape[1] else at
        logits = model.head(model.states(tokens[rows], pose[rows], where, padded, some))
        loss = F.cross_entropy(logits.flatten(0, 1), targets[rows].flatten(), of_token,
                               ignore_index=-1, reduction="none").view(len(rows), -1)      # (B, L)
        total = total + torch.tensor(weights, dtype=loss.dtype) @ share @ loss.mean(0)
    return total


@torch.no_grad()
def imagine(model, part, answers):
    """Imagine code by code, then answer, by full passes: words (B,), and which codes (B, P) are
    right."""
    tokens = part.tokens.clone()
    *cells, last = part.where.loss_at
    tokens[:, [p + 1 for p in cells]] = N_WORDS
    for p in (*cells, last):
        h = model.states(tokens, part.pose, part.where, part.padded, p[None])
        logits = model.head(h)[:, 0]                                         # (B, V)
        if p != last:
            tokens[:, p + 1] = N_WORDS + logits[:, N_WORDS:].argmax(1)
    written = [p + 1 for p in cells]
    return answers[logits[:, answers].argmax(1)], tokens[:, written] == part.tokens[:, written]


def validated(model, data, name, task, target, last):
    """Accuracy, share of right codes, and loss on validation data."""
    model.eval()
    part, right, codes = parts_of(data, name, after=True)[0], [], []
    for i in range(0, len(data.answer), 100):
        rows = slice(i, i + 100)
        batch = part._replace(tokens=part.tokens[rows], pose=part.pose[rows])
        answer, same = imagine(model, batch, answer_words(task))
        right.append((answer == data.answer[rows]).float())
        codes.append(same.float())
        if right[0].mean() < target - 0.1 and not last:
            break             # far from it: the first 100 questions are enough to tell
    with torch.no_grad():
        loss = loss_of(model, [part], torch.arange(len(data.answer)), (0.0, 1.0, 1.0))
    return dict(accuracy=round(torch.cat(right).mean().item(), 4), n=sum(map(len, right)),
                codes=round(torch.cat(codes).mean().item(), 4), loss=round(loss.item(), 4))


# ---------------------------------------------------------------------------------------- training
def config_of(task, seed, quick):
    """The default recipe; `quick` is a tiny one."""
    config = Config(task=task, seed=seed, device="cpu", steps=TASKS[task].STEPS)
    return config if not quick else replace(
        config, n_train=64, n_val=16, n_test=16, steps=8, eval_every=4, batch_size=16, n_layer=2,
        n_embd=16, n_head=2, tokenizer_steps=310)


def folder_of(task, seed, quick):
    return Path("runs/quick" if quick else "runs") / f"time_to_accuracy/{task}-s{seed}"


@functools.lru_cache
def examples_of(task, seed, quick):
    """(kinds, training Data, validation Data), with the tokenizer of the folder."""
    config = config_of(task, seed, quick)
    tokenizer = get_tokenizer(config, folder_of(task, seed, quick) / "ours")
    examples, data = prepare(config, "train", tokenizer, config.n_train)
    val = prepare(config, "val", tokenizer, config.n_val)[1].take(slice(500))
    return examples.kind, data, val


class Recipe:
    """A model with its optimizers and sequences; `step` trains it once."""

    def __init__(self, name, lr, config, kind, data):
        self.name, self.config, self.kind = name, config, kind
        self.parts, removed = parts_of(data, name), traits(name)
        torch.manual_seed(config.seed)
        length = self.parts[0].tokens.shape[1]
        self.model = (new_model(config) if "places" in removed
                      else GPT2(config, length) if name == "gpt2" else Plain(config, length))
        self.optimizers = optimizers_of(self.model, config) if "muon" in removed else [
            torch.optim.AdamW(self.model.parameters(), lr=lr, betas=(0.9, 0.95))]
        self.peaks = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]
        self.ours = terms_of(config) if "weights" in removed else None
        self.of_token = torch.cat([torch.ones(N_WORDS), rarity(
            data.imagination, Tokenizer.n_codes, config.rarity)]) if self.ours else None

    def step(self, step, total):
        """Step number `step` of a training of `total`."""
        config = replace(self.config, steps=total)
        if "curriculum" not in traits(self.name):
            config = replace(config, curriculum=0.0)
        weights = (1.0, 1.0, 1.0)
        if self.ours:
            weights = (1.0, *(self.ours[term][1](step / total)
                              for term in ("imagination", "answer")))
        for optimizer, peak in zip(self.optimizers, self.peaks):
            optimizer.param_groups[0]["lr"] = peak * rate(step, config) * min(1, (step + 1) / 50)
        self.model.train()
        self.model.zero_grad()
        rows = rows_of(step, config, self.kind)
        loss_of(self.model, self.parts, rows, weights, self.of_token).backward()
        for optimizer in self.optimizers:
            optimizer.step()


def train_ours(task, seed, quick):
    """The default run, all of it: its curve."""
    config = config_of(task, seed, quick)
    train(replace(config, out=str(folder_of(task, seed, quick) / "ours")))
    lines = (folder_of(task, seed, quick) / "ours/log.csv").read_text().split()
    rows = [dict(zip(lines[0].split(","), map(float, line.split(",")))) for line in lines[1:]]
    return [dict(step=int(r["step"]), accuracy=r["val_imagine"], codes=r["val_codes"],
                 n=min(500, config.n_val)) for r in rows]


def train_on(task, seed, quick, name, lr, until, total):
    """Train a recipe up to step `until` of `total`, from where it was left; its validations."""
    if name == "ours":
        return train_ours(task, seed, quick)
    path = folder_of(task, seed, quick) / f"{name}-{lr:g}.pt"
    saved = torch.load(path, weights_only=True) if path.exists() else None
    if saved and FOREVER not in (total, saved["total"]):
        if total > saved["total"]:
            saved = None                             # the rate would have taken another course
        else:
            total = until = saved["total"]           # begun with more steps, it gets them
    curve = saved["curve"] if saved else []
    if reached(curve, task) or curve_end(curve) >= until:
        return curve
    config, (kind, data, val) = config_of(task, seed, quick), examples_of(task, seed, quick)
    recipe = Recipe(name, lr, config, kind, data)
    if saved:
        recipe.model.load_state_dict(saved["model"])
        for optimizer, state in zip(recipe.optimizers, saved["optimizers"]):
            optimizer.load_state_dict(state)
    for step in range(curve_end(curve), until):
        recipe.step(step, total)
        if (step + 1) % config.eval_every == 0 or step + 1 == until:
            curve.append(dict(step=step + 1, **validated(
                recipe.model, val, name, task, TARGET[task], last=step + 1 == until)))
            save(path, curve=curve, total=total, model=recipe.model.state_dict(),
                 optimizers=[o.state_dict() for o in recipe.optimizers])
            print(f"{task} s{seed} {name} {lr:g}: {curve[-1]}", file=sys.stderr, flush=True)
            if reached(curve, task):
                break
    return curve


def curve_end(curve):
    return curve[-1]["step"] if curve else 0


def reached(curve, task):
    """The first step at which a curve is at the task's accuracy, or None."""
    return next((row["step"] for row in curve if row["accuracy"] >= TARGET[task]), None)


# ------------------------------------------------------------------------------------------- times
def times_of(task, seed, quick, names):
    """Seconds of tokenizer, of data, and of a step of every recipe: measured once, and kept."""
    folder = folder_of(task, seed, quick)
    path, config = folder / "times.json", config_of(task, seed, quick)
    if path.exists():
        times = json.loads(path.read_text())
        if set(names) <= set(times["step"]):
            return times
        missing = ", ".join(set(names) - set(times["step"]))
        raise UserError(f"{path} lacks {missing}: delete this file, so that all recipes are timed "
                        "together again; trainings are kept", 1)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("tokenizer-*.pt"):
        old.unlink()
    began = time.perf_counter()
    tokenizer = get_tokenizer(config, folder / "ours").requires_grad_(False)
    trained = time.perf_counter()
    examples = training_set(config, tokenizer)
    seconds = dict(tokenizer=trained - began, data=time.perf_counter() - trained)
    few = replace(config, n_train=64)         # of which a batch can be drawn
    drawn, data = prepare(few, "train", tokenizer, few.n_train)
    steps = {"ours": training_step(config, examples, tokenizer)[1]}
    for name in names:
        if name != "ours":
            recipe = Recipe(name, RATES[0], few, drawn.kind, data)
            steps[name] = functools.partial(recipe.step, 0, config.steps)
    times = dict(machine=stamp(f"python benchmarks/time_to_accuracy.py --task {task} --seed {seed}",
                               transformers=version("transformers")),
                 **seconds, step=interleaved(steps, 1 if quick else 20))
    write_json(path, times)
    return times


def steps_within(seconds, times, name, every):
    """Steps of a recipe that fit into `seconds` after tokenizer and data, in whole validations."""
    steps = (seconds - times["tokenizer"] - times["data"]) / times["step"][name]
    return max(2 * every, int(steps / every) * every)


def run_jobs(jobs, done, pool):
    """Train {key: arguments of train_on}; put their curves into `done` as they come."""
    futures = {pool.submit(train_on, *arguments): key for key, arguments in jobs.items()}
    for future in as_completed(futures):
        done[futures[future]] = future.result()


def measure(task, seed, quick, names, cap, pool):
    """All of one task and seed: dict of times, and of what every recipe needed."""
    config = config_of(task, seed, quick)
    every, search = config.eval_every, config.eval_every if quick else SEARCH
    tuned = [name for name in ("plain", "gpt2")
             if name in names or name == "plain" and any(map(traits, names))]
    times = times_of(task, seed, quick, list(dict.fromkeys(default_names(task) + names)))
    here, done = (task, seed, quick), {}
    trials = {(name, lr): (*here, name, lr, search, FOREVER) for lr in RATES for name in tuned}
    run_jobs({("ours", 0): (*here, "ours", 0, 0, 0)} | trials, done, pool)
    at_search = {key: next(row for row in done[key]
                           if row["step"] >= search or row is done[key][-1]) for key in trials}
    best = {name: min(RATES, key=lambda lr: at_search[name, lr]["loss"]) for name in tuned}
    needed = reached(done["ours", 0], task) or curve_end(done["ours", 0])
    our_time = times["tokenizer"] + times["data"] + needed * times["step"]["ours"]
    rates, jobs = {"ours": 0}, {}
    for name in names:
        if name != "ours":
            rates[name] = 0 if "muon" in traits(name) else best[name if name in tuned else "plain"]
            limit = max(search, cap or steps_within(
                our_time * (TIMES if name in tuned else TIMES_REMOVED), times, name, every))
            jobs[name, rates[name]] = (*here, name, rates[name], limit, limit)
    longest = sum(limit * times["step"][name] for (name, _), (*_, limit) in jobs.items()) / 60
    print(f"{task} s{seed}: ours took {needed} steps; the others are given {longest:.0f} minutes "
          "at most, validations apart", file=sys.stderr, flush=True)
    run_jobs(jobs, done, pool)
    recipes = {}
    for name in ["ours", *(n for n in names if n != "ours")]:
        curve = done[name, rates[name]]
        steps = reached(curve, task)
        a_step, trained = times["step"][name], curve_end(curve)
        seconds = times["tokenizer"] + times["data"] + (steps or trained) * a_step
        recipes[name] = dict(reached=steps, steps=trained, seconds=round(seconds, 1),
                             ratio=round(seconds / our_time, 2), step_ms=round(1e3 * a_step, 1),
                             last=curve[-1], curve=curve)
        if rates[name]:
            recipes[name]["lr"] = rates[name]
    return dict(machine=times["machine"], target=TARGET[task],
                tokenizer_seconds=round(times["tokenizer"], 1),
                data_seconds=round(times["data"], 1), recipes=recipes,
                search=[dict(recipe=name, lr=lr, **row) for (name, lr), row in at_search.items()])


def lines_of(results):
    """The table of every task and seed measured so far."""
    head = ["learning rate", "ms a step", "steps", "minutes", "time, ours = 1",
            "accuracy at the end, %", "codes right, %"]
    for key, r in results.items():
        yield (f"{r['machine']} Target: {100 * r['target']:.0f}% of the validation questions right "
               f"after imagining. All times include {r['tokenizer_seconds']} s for the tokenizer "
               f"and {r['data_seconds']} s for the data.")
        ours, rows = r["recipes"]["ours"]["reached"], []
        for name, f in r["recipes"].items():
            more = "" if f["reached"] else "> "
            end = next((row for row in f["curve"] if row["step"] == f["reached"]), f["last"])
            ratio = f"{more}{f['ratio']:.2f}" if ours else "-"
            rows.append([name, f.get("lr", "as ours"), f["step_ms"], f"{more}{end['step']:,}",
                         f"{more}{f['seconds'] / 60:.1f}", ratio,
                         f"{100 * end['accuracy']:.1f}", f"{100 * end['codes']:.1f}"])
        yield from ("", *markdown([key, *head], rows), "")
        yield "\"> \": not reached by then." + (
            "" if ours else " Ours did not reach it either: there are no ratios.")
        tried = [f"{s['recipe']} {s['lr']:g}: {s['loss']:.2f}" for s in r["search"]]
        if tried:
            yield (f"Learning rates, validation loss after {r['search'][0]['step']:,} steps: "
                   f"{', '.join(tried)}.")
        yield ""
    yield from ("What plain+X removes of plain's handicaps (all: muon, places, prefix, blind, "
                "weights and curriculum together; all-X: these but X):", "",
                *(f"- {name}: {what}" for name, what in REMOVED.items()))


def default_names(task):
    return ["ours", "plain", "gpt2"] + (
        [f"plain+{x}" for x in REMOVED] + ["all", *(f"all-{x}" for x in ALL)]
        if task == "pt" else [])


def one_thread():
    """A worker: one thread, and Ctrl-C is for the process that started it."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main():
    parser = options(__doc__)
    parser.add_argument("--task", default="pt", help=", ".join(TARGET))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", metavar="RECIPES",
                        help="with commas, of ours, plain, gpt2, plain+X, plain+X+Y ..., all, "
                        f"all-X; X and Y of {', '.join(REMOVED)} (default: ours,plain,gpt2; on pt "
                        "every plain+X and all-X too)")
    parser.add_argument("--cap", type=int, default=0, metavar="STEPS",
                        help=f"steps of every recipe but ours (default: {TIMES} times our time, "
                        f"plain+X {TIMES_REMOVED} times)")
    a = parser.parse_args()
    if a.task not in TARGET:
        raise UserError(f"--task {a.task!r}: there is {', '.join(TARGET)}")
    a.cap = a.cap or 8 * a.quick
    names = a.only.split(",") if a.only else default_names(a.task)
    for name in names:
        if name not in default_names("pt") and not (
                name.startswith("plain+") and traits(name) <= set(REMOVED)):
            raise UserError(f"--only {name!r}: there is {', '.join(default_names('pt'))}, and "
                            "plain+X+Y with X and Y of these")
    needs("transformers")
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1 if a.quick else 2, spawn, one_thread)
    try:
        found = measure(a.task, a.seed, a.quick, names, a.cap, pool)
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()                       # it had saved at its last validation
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()
    path = (Path("runs/quick") if a.quick else ROOT / "benchmarks") / "time_to_accuracy.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    results[f"{a.task}, seed {a.seed}"] = found
    publish("time_to_accuracy", list(lines_of(results)), results, a.quick)


if __name__ == "__main__":
    run_main(main)
