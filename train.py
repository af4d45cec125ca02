"""Train IPT on one task: stage 1 the image tokenizer, stage 2 the model, then the test.

    python train.py --task pt                     the main job: runs/pt-mixed-s0/
    python train.py --task pt --supervision label

The same command continues a run that was stopped, and prints one that is finished.
"""
import json
import math
import re
import shutil
import sys
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from eval import evaluate, lines, samples, tokenizer_report
from ipt_mini import plots
from ipt_mini.config import (Config, UserError, check_named, default_loss, parse,
                             pick_device, reading, run_main, setting, terms_of)
from ipt_mini.generate import decode
from ipt_mini.losses import LossInput, positions, rarity
from ipt_mini.run import (Clock, get_tokenizer, load_run, machine, new_model, open_folder, prepare,
                          save, stop_signals, write_json, write_log)
from ipt_mini.sequence import IMAGINE, N_WORDS, SUPERVISION, Layout, layout, pack
from ipt_mini.tasks import TASKS
from ipt_mini.tasks.words import PAD
from ipt_mini.tokenizer import Tokenizer

SAVE_EVERY = 30               # seconds between checkpoints


def optimizers_of(model, config):
    """Muon for the matrices of the blocks, AdamW for embeddings, norms and head."""
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [torch.optim.Muon(matrices, lr=config.muon_lr, weight_decay=config.weight_decay),
            torch.optim.AdamW(others, lr=config.adam_lr, betas=(0.9, 0.95),
                              weight_decay=config.weight_decay)]


def rate(step, config):
    """Share of the full learning rate: a plateau, then a straight fall to 0."""
    return min(1, (config.steps - step) / max(1, config.cooldown * config.steps))


def rows_of(step, config, kind):
    """Indices of the examples of one step, told by seed and step alone: a new order every epoch.
    Early on, the kinds of question may come in uneven shares, task.FIRST. PT's side is a parity of
    three things (where 1 lies, the way walked, left or right): evenly drawn, no one or two of
    them tell anything of it, and gradient descent finds nothing to begin with."""
    first = TASKS[config.task].FIRST
    if first and step < config.curriculum * config.steps:
        chance = np.array(first)[kind] / np.bincount(kind, minlength=len(first))[kind]
        rng = np.random.default_rng([config.seed, step, 1])
        return torch.from_numpy(rng.choice(len(kind), config.batch_size, p=chance / chance.sum()))
    per_epoch = config.n_train // config.batch_size
    epoch, batch = divmod(step, per_epoch)
    order = np.random.default_rng([config.seed, epoch]).permutation(config.n_train)
    return torch.from_numpy(order[batch * config.batch_size:(batch + 1) * config.batch_size])


class TrainingSet(NamedTuple):
    """The training data as the model takes them, on its device."""
    tokens: torch.Tensor       # (n, T)
    targets: torch.Tensor      # (n, L)
    pose: torch.Tensor         # (n, V, 3)
    layout: Layout
    padded: bool               # does any sequence hold <pad>?
    weight: torch.Tensor       # of each token as a target
    kind: np.ndarray           # (n,) of question


def training_set(config, tokenizer):
    """Scenes -> pixels -> codes -> sequences, once for the whole run."""
    examples, data = prepare(config, "train", tokenizer, config.n_train)
    branches = SUPERVISION[config.supervision]
    tokens, targets = pack(data, branches)
    words = torch.ones(N_WORDS, device=tokens.device)
    weight = torch.cat([words, rarity(data.imagination, tokenizer.n_codes, config.rarity)])
    return TrainingSet(tokens, targets, data.pose,
                       layout(data, branches, config.answer_sees_views),
                       bool((tokens == PAD).any()), weight, examples.kind)


@torch.no_grad()
def corrupted(model, examples, rows, config, step):
    """Tokens (B, T) of the examples `rows`, a share of the imagined inputs replaced.
    In training the model goes on from the true picture, in use from its own: it never saw a mistake
    (exposure bias). Here it sees some, random codes or what it would have drawn itself in one
    parallel pass (scheduled sampling, arXiv 1906.07651). The targets stay true."""
    tokens, where = examples.tokens[rows], examples.layout
    before = where.loss_at[positions(where.loss_segment, IMAGINE, tokens.device)]         # (P,)
    seed = np.random.SeedSequence([config.seed, step, 2]).generate_state(1)[0]
    rng = torch.Generator(tokens.device).manual_seed(int(seed))
    wrong = torch.rand(len(rows), len(before), generator=rng, device=tokens.device) < config.corrupt
    chance = torch.ones(wrong.numel(), Tokenizer.n_codes, device=tokens.device)
    if config.corrupt_by == "own":                # a token is predicted at the position before it
        h = model.states(tokens, examples.pose[rows], where, examples.padded, before)
        chance = model.head(h)[..., N_WORDS:].softmax(-1).flatten(0, 1)
    drawn = chance.multinomial(1, generator=rng).view(wrong.shape) + N_WORDS
    tokens[:, before + 1] = torch.where(wrong, drawn, tokens[:, before + 1])
    return tokens


def losses_of(model, examples, rows, terms, tokenizer, tokens=None):
    """The loss terms of the examples `rows`, one after the other: (terms,).
    tokens: (B, T) to be read instead of those of the examples."""
    _, targets, pose, where, padded, weight, _ = examples
    tokens = examples.tokens[rows] if tokens is None else tokens
    with torch.autocast("cuda", torch.bfloat16, enabled=rows.is_cuda):
        hidden = model.states(tokens, pose[rows], where, padded, where.loss_at)
        logits = model.head(hidden)
    batch = LossInput(logits.float(), targets[rows], where.loss_segment, weight, hidden.float(),
                      model.project, tokenizer)
    values = {name: term(batch) for name, (term, _) in terms.items()}
    for name, value in values.items():
        if not torch.is_tensor(value) or value.shape != ():
            raise UserError(f"--loss: {name} returned {getattr(value, 'shape', value)}; a term "
                            "returns a scalar tensor, such as a mean", 1)
    return torch.stack(list(values.values()))


def train_step(model, optimizers, examples, rows, terms, tokenizer, config, step):
    """Learn from the examples `rows`; return their loss terms (terms,)."""
    for optimizer, peak in zip(optimizers, (config.muon_lr, config.adam_lr)):
        optimizer.param_groups[0]["lr"] = peak * rate(step, config)
    tokens = corrupted(model, examples, rows, config, step) if config.corrupt else None
    losses = losses_of(model.train(), examples, rows, terms, tokenizer, tokens)
    weights = [weight(step / config.steps) for _, weight in terms.values()]
    model.zero_grad()
    weights = torch.tensor(weights, dtype=losses.dtype).to(losses.device, non_blocking=True)
    (losses @ weights).backward()
    for optimizer in optimizers:
        optimizer.step()
    return losses.detach()


def validate(model, data, config):
    """Accuracy on validation data for what this supervision trains: name -> share."""
    name = {"label": "direct", "text_cot": "think"}.get(config.supervision, "imagine")
    out = decode(model, data, config.task, name)
    right = {f"val_{name}": out.answer == data.answer}
    if out.imagination is not None:
        right["val_codes"] = out.imagination == data.imagination
    return {key: round(values.float().mean().item(), 4) for key, values in right.items()}


def check_finite(values, step, folder):
    """Stop at {name: value} that is no number, before it is saved: the last checkpoint is good."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise UserError(f"{bad[0]} is no number at step {step + 1}; the last good checkpoint stays "
                        f"in {folder}: lower --muon-lr or the weight in --loss", 1)


def fit(config, folder, saved, tokenizer, terms, device, clock):
    """Stage 2: train the model, from `saved` on if there is something; the log's rows."""
    examples = training_set(config, tokenizer)
    val = prepare(config, "val", tokenizer, config.n_val)[1].take(slice(500))
    clock("data")
    model = new_model(config).to(device)
    optimizers = optimizers_of(model, config)
    first, log, sums = 0, [], torch.zeros(len(terms), device=device)
    if saved:
        first, log = saved["step"], saved["log"]
        with reading(folder / "checkpoint.pt"):
            sums.copy_(saved["sums"])                        # of losses since the last validation
            for part, state in zip([model, *optimizers], [saved["model"], *saved["optimizers"]],
                                   strict=True):
                part.load_state_dict(state)
    bar = tqdm(range(first, config.steps), initial=first, total=config.steps, disable=None,
               desc=folder.name, dynamic_ncols=True)
    last_save = time.perf_counter()
    with stop_signals() as stopped:
        for step in bar:
            rows = rows_of(step, config, examples.kind).to(device, non_blocking=True)
            sums += train_step(model, optimizers, examples, rows, terms, tokenizer, config, step)
            last, since = step + 1 == config.steps, step % config.eval_every + 1
            due, late = since == config.eval_every, time.perf_counter() - last_save > SAVE_EVERY
            if device == "cpu" or due or last or late:       # elsewhere it would wait for the GPU
                means = {name: x / since for name, x in zip(terms, sums.tolist())}
                check_finite(means, step, folder)
            if due or last:
                clock("training")
                log.append(dict(step=step + 1, seconds=round(clock.seconds["training"], 1),
                                **{name: round(x, 4) for name, x in means.items()},
                                **validate(model, val, config)))
                sums.zero_()
                clock("validation")
                bar.set_postfix({k: v for k, v in log[-1].items() if k not in ("step", "seconds")})
            if stopped or late or last:
                total = sum(p.detach().sum() for p in model.parameters()).item()
                check_finite({"a weight, by a gradient of the loss,": total}, step, folder)
                clock("training")
                last_save = time.perf_counter()
                if log:                                      # first, so that it is never behind
                    write_log(folder / "log.csv", log)
                save(folder / "checkpoint.pt", config=asdict(config), step=step + 1, log=log,
                     seconds=clock.seconds, sums=sums, model=model.state_dict(),
                     tokenizer=tokenizer.state_dict(),
                     optimizers=[] if last else [o.state_dict() for o in optimizers])
            if stopped and not last:
                raise UserError(f"stopped and saved after step {step + 1} of {config.steps}; the "
                                "same command goes on from there", 130)
    return log


def test(folder, log, terms, device, clock):
    """Read the test split, once, and write figures and pictures."""
    of = lambda keys: {k.removeprefix("val_"): ([row["step"] for row in log],
                                                [row[k] for row in log]) for k in keys}
    validated = [k for k in log[-1] if k.startswith("val_")]
    plots.curves([("step", "training loss", None, of(terms)),
                  ("step", "validation accuracy", 1.02, of(validated))], folder / "curve.png")
    run = load_run(folder, device)
    report = evaluate(run, ["test"])
    samples(run, folder / "samples.png")
    report["tokenizer"] = tokenizer_report(run, folder / "tokenizer.png")
    clock("test")
    minutes = {stage: round(seconds / 60, 2) for stage, seconds in clock.seconds.items()}
    write_json(folder / "metrics.json", dict(
        config=asdict(run.config), parameters=sum(p.numel() for p in run.model.parameters()),
        minutes=minutes | {"all": round(sum(clock.seconds.values()) / 60, 2)},
        machine=machine(), log=log, **report))


def train(config, force=False, own=None):
    """Train the run that `config` describes, or go on with it; return the path of its folder.
    own: {name: function} of loss terms that config.loss names, for use from a notebook."""
    check_named(config)
    config = replace(config, steps=config.steps or TASKS[config.task].STEPS,
                     loss=config.loss or default_loss(config))
    device, terms = pick_device(config.device), terms_of(config, own)
    with open_folder(config, force) as (folder, saved):
        trained = saved and saved["step"] == config.steps
        if trained and (folder / "metrics.json").exists():
            return folder
        print(f"{folder}: tokenizer, data, then {config.steps} steps on {device}", file=sys.stderr)
        for source in re.findall(r"([^,]+\.py):", config.loss):
            if Path(source).resolve().parent != folder.resolve():
                shutil.copy(source, folder)         # the run keeps what made it
        clock = Clock(saved["seconds"] if saved else {})
        tokenizer = get_tokenizer(config, folder, saved).to(device).requires_grad_(False)
        clock("tokenizer")                          # stage 1, shared by all runs of one world
        log = saved["log"] if trained else fit(
            config, folder, saved, tokenizer, terms, device, clock)
        test(folder, log, terms, device, clock)
    return folder


@dataclass
class Options(Config):
    seeds: int = setting(0, "train seeds 0 .. N-1, one after the other; 0: the one of --seed")
    force: bool = setting(False, "replace the run that is there")


def main():
    a = parse(Options, __doc__)
    if a.seeds and (a.out or a.seed):
        raise UserError("--seeds: without --out and --seed")
    config = Config(**{f.name: getattr(a, f.name) for f in fields(Config)})
    for seed in range(a.seeds) if a.seeds else [a.seed]:
        folder = train(replace(config, seed=seed), a.force)
        with reading(folder / "metrics.json"):
            metrics = json.loads((folder / "metrics.json").read_text())
            print("\n".join(lines({"test": metrics["test"]})), f"{folder}: "
                  f"{metrics['minutes']['all']} minutes in all, pictures in it", sep="\n")


if __name__ == "__main__":
    run_main(main)
