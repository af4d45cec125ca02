"""Time from an empty folder to 90% on PT: our recipe, a plain one, and GPT-2 on the same tokens.

    python benchmarks/time_to_accuracy.py        about an hour on two cores; rerun to resume

- ours: the default. `ours, X`: one setting of train.py changed.
- plain: our model with a causal prefix; AdamW for all weights, no curriculum, flat loss weights,
  and an answer that sees the views.
- GPT-2: that of transformers, of the same depth, heads and width, trained as plain; it is told
  nothing of rows, columns or segments.

Time is that of tokenizer and data, and steps times the time of a step. Steps are timed turn by turn
before any training. A training ends at the goal, or after TIMES our time. Plain and GPT-2 get the
best of RATES, by the loss after SEARCH steps, and a rise of the rate in the first 50 steps.
"""
from report import arguments, defaults, gpt2, installed, interleaved, run_main, table, tiny, write

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Callable, NamedTuple

import torch
from torch import nn

from ipt_mini.checkpoint import get_tokenizer, write_json
from ipt_mini.config import Config
from ipt_mini.losses import parse_loss
from ipt_mini.model import Model
from ipt_mini.run import Run
from ipt_mini.tasks import pt
from ipt_mini.tasks.words import WORDS
from ipt_mini.tokenizer import Tokenizer
from train import Training, loss_of, losses_of, train_step, training_of, training_set

GOAL = 90.0                   # % of 500 validation questions right after imagining
TIMES = 5.6                   # plain and GPT-2 may take this times our time
RATES = (1e-3, 3e-3, 1e-2)
SEARCH = 500                  # steps of each trial of a rate
WARMUP = 50
FLAT = dict(loss="answer=1,imagination=1")
PLAIN = dict(FLAT, curriculum=0.0, answer_sees_views=True)


class Causal(Model):
    """Our model with a prefix that does not see ahead."""

    def states(self, tokens, pose, layout, *args):
        return super().states(tokens, pose, layout._replace(mask=layout.mask.tril()), *args)


class GPT2(nn.Module):
    """GPT-2, called as Model is. It has no cache of ours: it reads all tokens again."""

    def __init__(self, config, n_words, n_codes, code_dim):
        super().__init__()
        self.config, self.n_words, self.project = config, n_words, None
        self.body = gpt2(config, n_words + n_codes, length=256)
        self.head = self.body.lm_head

    def states(self, tokens, pose, layout, at=slice(None), cache=None):
        if cache is not None:
            before = self.read if cache.length else tokens[:, :0]
            tokens = self.read = torch.cat([before, tokens], 1)
            cache.length = tokens.shape[1]
        length = tokens.shape[1]
        mask = layout.mask[:length, :length].tril()
        position = mask.sum(1) - 1                     # both branches go on where the prefix ends
        bias = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
        hidden = self.body.transformer(tokens, attention_mask=bias[None, None],
                                       position_ids=position[None], use_cache=False)
        return hidden.last_hidden_state[:, at]


class Recipe(NamedTuple):
    make: Callable             # the class of the model
    changes: dict              # settings that differ from the default
    rates: tuple = ()          # of AdamW for all weights, to be tried; else our optimizers


RECIPES = {
    "ours": Recipe(Model, {}),
    "ours, no curriculum": Recipe(Model, dict(curriculum=0.0)),
    "ours, flat weights": Recipe(Model, FLAT),
    "ours, answer sees views": Recipe(Model, dict(answer_sees_views=True)),
    "plain": Recipe(Causal, PLAIN, RATES),
    "GPT-2": Recipe(GPT2, PLAIN, RATES),
}


def recipe_training(recipe, config, tokenizer):
    """The Training of a recipe from its first weights on."""
    config = replace(config, **recipe.changes)
    torch.manual_seed(config.seed)
    model = recipe.make(config, len(WORDS), *tokenizer.codebook.shape)
    run = Run(None, config, {"pt": pt}, model, tokenizer)
    terms = parse_loss(loss_of(config, pt), config.branches)
    if not recipe.rates:
        return training_of(run, {"pt": terms})
    adam = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.0)
    val = run.prepare("val", config.n_val)[1]
    return Training(run, [adam], [training_set(run, terms)], {"pt": val}, None, losses_of)


def step_at(training, step, rate):
    """One step; the only optimizer of a plain recipe takes the rate that train.py gives to Muon."""
    if rate:
        config = replace(training.run.config, muon_lr=rate * min(1, (step + 1) / WARMUP))
        training = training._replace(run=training.run._replace(config=config))
    return train_step(training, step)


def learn(recipe, config, tokenizer, rate, until):
    """Train until the goal, or step `until` of config.steps: a row a validation."""
    training = recipe_training(recipe, config, tokenizer)
    run, val = training.run, training.val["pt"]
    curve, losses = [], []
    for step in range(until):
        run.model.train()
        losses.append(step_at(training, step, rate).sum().item())
        if (step + 1) % config.eval_every == 0 or step + 1 == until:
            out = run.decode(val, "imagine")
            right, codes = out.answer == val.answer, out.imagination == val.imagination
            recent = losses[-config.eval_every:]
            curve.append(dict(step=step + 1, loss=sum(recent) / len(recent),
                              accuracy=100 * right.float().mean().item(),
                              codes=100 * codes.float().mean().item()))
            if curve[-1]["accuracy"] >= GOAL:
                break
    return curve


def kept(folder, name, function):
    """The value of function(), from a file if it was computed before."""
    path = folder / f"{name}.json"
    if not path.exists():
        write_json(path, function())
    return json.loads(path.read_text())


def timed(config, recipes, folder, rounds):
    """Seconds of tokenizer, data, and of a step of each recipe."""
    began = time.perf_counter()
    tokenizer = get_tokenizer(config, [pt], folder / "run", Tokenizer)
    seconds = dict(tokenizer=time.perf_counter() - began)
    few, steps = replace(config, n_train=64), {}
    for name, recipe in recipes.items():
        training = recipe_training(recipe, few, tokenizer)
        rate = 1e-3 * bool(recipe.rates)
        steps[name] = lambda training=training, rate=rate: step_at(training, 0, rate)
    began = time.perf_counter()
    training_of(Run(None, config, {"pt": pt}, training.run.model, tokenizer), {"pt": {}})
    seconds["data"] = time.perf_counter() - began
    return dict(seconds, step=interleaved(steps, rounds))


def measured(name, recipe, config, tokenizer, folder, steps):
    """(learning rate, curve) of a recipe, which gets so many steps."""
    rate = 0
    if recipe.rates:
        endless, losses = replace(config, steps=10 ** 9), {}       # so the rate does not fall
        for rate in recipe.rates:
            curve = kept(folder, f"{name}-{rate}", lambda: learn(
                recipe, endless, tokenizer, rate, min(SEARCH, steps)))
            losses[rate] = curve[-1]["loss"]
        rate = min(losses, key=losses.get)
    whole = replace(config, steps=steps)
    return rate, kept(folder, name, lambda: learn(recipe, whole, tokenizer, rate, steps))


def main():
    options = arguments(__doc__, seed=0)
    config = Config(seed=options.seed, device="cpu", steps=pt.STEPS["cells"])
    config = tiny(config) if options.quick else config
    recipes = {name: recipe for name, recipe in RECIPES.items()
               if name != "GPT-2" or installed("transformers")}
    folder = Path(f"runs/time_to_accuracy-{defaults()}-s{options.seed}{'-quick' * options.quick}")
    folder.mkdir(parents=True, exist_ok=True)
    seconds = kept(folder, "seconds", lambda: timed(config, recipes, folder, 20))
    tokenizer = get_tokenizer(config, [pt], folder / "run", Tokenizer).requires_grad_(False)
    before, ours, rows, curves = seconds["tokenizer"] + seconds["data"], 0, [], {}
    for name, recipe in recipes.items():
        step, steps = seconds["step"][name], config.steps
        if recipe.rates and not options.quick:
            steps = int((TIMES * ours - before) / step)
        rate, curve = measured(name, recipe, config, tokenizer, folder, steps)
        end, curves[name] = curve[-1], curve
        total = before + end["step"] * step
        ours = ours or total
        more = "" if end["accuracy"] >= GOAL else "> "
        rows.append([name, rate or "ours", f"{1000 * step:.0f}", f"{more}{end['step']:,}",
                     f"{more}{total / 60:.1f}", f"{more}{total / ours:.2f}",
                     f"{end['accuracy']:.1f}", f"{end['codes']:.1f}"])
    head = ["PT", "learning rate", "ms a step", "steps", "minutes", "time, ours = 1",
            "right after imagining, %", "codes right, %"]
    write("time_to_accuracy", options, [table(head, rows)], dict(seconds=seconds, curves=curves),
          [f"Goal: {GOAL:.0f}% of 500 validation questions right after imagining; `> `: not "
           "reached. One seed."])


if __name__ == "__main__":
    run_main(main)
