"""Train IPT on one task: stage 1 the image tokenizer, stage 2 the model, then the test.

    python train.py --task pt                     the main job: runs/pt-mixed-s0/
    python train.py --task pt --supervision label

The same command resumes a run that was stopped, and prints one that is finished.
"""
from ipt_mini.errors import UserError, blame, quiet_imports, run_main  # isort: skip
if __name__ == "__main__":
    quiet_imports()                                # those below are slow
import math
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Callable, NamedTuple

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ipt_mini.checkpoint import (folder_of, get_reader, get_tokenizer, open_folder, read_metrics,
                                 restored, save, tokenizer_maker, write_json)
from ipt_mini.config import Config, parse, setting
from ipt_mini.dataset import painter, prepare
from ipt_mini.evaluate import lines, test_run, validate
from ipt_mini.losses import LossInput, complete_loss, parse_loss
from ipt_mini.muon import Muon
from ipt_mini.own import load_own
from ipt_mini.run import answer_ids, machine, new_model, pick_device
from ipt_mini.sequence import Layout, layout, pack
from ipt_mini.side_by_side import side_by_side
from ipt_mini.tasks import load_task
from ipt_mini.tasks.camera import draw


class TrainingSet(NamedTuple):
    """The training data as the model takes them, on its device."""
    tokens: torch.Tensor       # (n, T)
    targets: torch.Tensor      # (n, L)
    pose: torch.Tensor         # (n, V, 3)
    layout: Layout
    kind: np.ndarray           # (n,) of question
    curriculum: tuple          # shares of the kinds early in training, or None


class Training(NamedTuple):
    """All that a step of stage 2 needs."""
    config: Config
    model: nn.Module
    optimizers: list
    data: TrainingSet
    terms: dict                # {name: Term}
    inputs: Callable           # changes the tokens that the model reads, or None
    tokenizer: nn.Module


def training_set(config, task, tokenizer, n_words):
    """Scenes -> pixels -> codes -> sequences, once for the whole run."""
    examples, data = prepare(config, task, "train", tokenizer, config.n_train)
    tokens, targets = pack(data, config.branches, n_words)
    where = layout(data, config.branches, config.answer_sees_views)
    return TrainingSet(tokens, targets, data.pose, where, examples.kind, task.CURRICULUM)


def get_batch(step, config, data):
    """Indices (batch_size,) of the examples of one step, by seed and step alone.
    Early on, the kinds of question may come in uneven shares, the task's CURRICULUM; afterwards
    each epoch is a new order of all examples."""
    n, size, kind = len(data.kind), config.batch_size, data.kind
    if data.curriculum and step < config.curriculum * config.steps:
        share = np.array(data.curriculum) / np.bincount(kind, minlength=len(data.curriculum))
        chance = share[kind] / share[kind].sum()
        rng = np.random.default_rng([config.seed, step, 1])
        return torch.from_numpy(rng.choice(n, size, p=chance))
    epoch, batch = divmod(step, n // size)
    order = np.random.default_rng([config.seed, epoch]).permutation(n)
    return torch.from_numpy(order[batch * size:(batch + 1) * size])


def get_lr(step, config):
    """Share of the full learning rate: a plateau, then a straight fall to 0."""
    return min(1, (config.steps - step) / max(1, config.cooldown * config.steps))


def optimizers_of(model, config):
    """Muon for the matrices of the blocks, AdamW for embeddings, norms and head."""
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    muon = Muon(matrices, lr=config.muon_lr, weight_decay=config.weight_decay)
    adam = torch.optim.AdamW(others, lr=config.adam_lr, betas=(0.9, 0.95),
                             weight_decay=config.weight_decay)
    return [muon, adam]


def losses_of(training, rows, step):
    """The loss terms of the examples `rows`, one after the other: (terms,)."""
    config, model, _, data, terms, inputs, tokenizer = training
    tokens, pose = data.tokens[rows], data.pose[rows]
    if inputs:
        rng = torch.Generator(tokens.device).manual_seed(config.seed * 2 ** 32 + step)
        with blame(f"--inputs {config.inputs}"):
            changed = inputs(model, tokens, pose, data.layout, rng)
            if not torch.is_tensor(changed) or changed.shape != tokens.shape:
                raise TypeError("it returns tokens of the same shape (B, T)")
            tokens = changed
    with torch.autocast("cuda", torch.bfloat16, enabled=rows.is_cuda):
        hidden = model.states(tokens, pose, data.layout, data.layout.loss_at)
        logits = model.head(hidden)
    batch = LossInput(logits.float(), data.targets[rows], data.layout.losses_of, model.n_words,
                      hidden.float(), model.project, tokenizer)
    return torch.stack([term(batch, name) for name, term in terms.items()])


def train_step(training, step):
    """Learn from the examples of one step; return their loss terms (terms,).
    Nothing here waits for a value of the device."""
    config, model, optimizers, data, terms, _, _ = training
    device = data.tokens.device
    for optimizer, peak in zip(optimizers, (config.muon_lr, config.adam_lr)):
        optimizer.param_groups[0]["lr"] = peak * get_lr(step, config)
    rows = get_batch(step, config, data).to(device, non_blocking=True)
    losses = losses_of(training, rows, step)
    weights = torch.tensor([term.weight(step / config.steps) for term in terms.values()])
    model.zero_grad()
    (losses * weights.to(device, non_blocking=True)).sum().backward()
    for optimizer in optimizers:
        optimizer.step()
    return losses.detach()


@contextmanager
def timed(seconds, stage):
    """Add the time spent inside to seconds[stage]."""
    began = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0) + time.perf_counter() - began


def check_finite(losses, model, end, folder):
    """Stop at a number that is none, before it is saved: the last checkpoint is good."""
    values = dict(losses, weights=sum(p.detach().sum() for p in model.parameters()).item())
    bad = ", ".join(name for name, value in values.items() if not math.isfinite(value))
    if bad:
        raise UserError(f"{bad}: no number any more before step {end}; a checkpoint in {folder} is "
                        "from before that: lower --muon-lr or the weight in --loss", 1)


def fit(training, val, answers, folder, saved, seconds, line, **kept):
    """Stage 2: train the model, from the checkpoint `saved` on; the log, a row a validation.
    line: of the terminal, for the progress bar."""
    config, model, optimizers, data, terms, _, tokenizer = training
    parts, first, log = [model, *optimizers], 0, []
    if saved:
        with blame(folder / "checkpoint.pt"):
            first, log = saved["step"], saved["log"]
            for part, state in zip(parts, saved["parts"], strict=True):
                part.load_state_dict(state)
    bar = tqdm(total=config.steps, initial=first, disable=None, desc=folder.name,
               position=line)
    while first < config.steps:
        end = min(config.steps, first - first % config.eval_every + config.eval_every)
        losses = []
        with timed(seconds, "training"):
            model.train()
            for step in range(first, end):
                losses.append(train_step(training, step))
                bar.update()
            means = dict(zip(terms, torch.stack(losses).mean(0).tolist()))
        check_finite(means, model, end, folder)
        with timed(seconds, "validation"):
            accuracy = validate(model, val, config.branches, answers)
        log.append(dict(step=end, seconds=seconds["training"], losses=means, val=accuracy))
        bar.set_postfix({**means, **accuracy})
        states = [part.state_dict() for part in parts]
        save(folder / "checkpoint.pt", config=asdict(config), step=end, log=log, seconds=seconds,
             tokenizer=tokenizer.state_dict(), parts=states if end < config.steps else states[:1],
             **kept)
        first = end
    bar.close()
    return log


def completed(config, task):
    """The Config with the loss and the number of steps that the task gives, where it has none."""
    with blame(config.task):
        steps = config.steps or task.STEPS[config.views]
    loss = complete_loss(config.loss, config.branches, task.ANSWER_WEIGHT)
    return replace(config, steps=steps, loss=loss)


def train(config, own=None, line=None):
    """Train the run that `config` describes, or resume it; return the path of its folder.
    own: {name: function} of loss terms that config.loss names, for use from a notebook.
    line: of the terminal, for the progress of a run beside others."""
    task, device = load_task(config.task), pick_device(config.device)
    make = tokenizer_maker(config)
    config = completed(config, task)
    terms = parse_loss(config.loss, config.branches, own)
    inputs = load_own(config.inputs) if config.inputs else None
    folder, identity, saved = open_folder(config, task)
    if (folder / "metrics.json").exists():
        return folder
    tqdm.write(f"{folder}: tokenizer, data, then {config.steps} steps on {device}", sys.stderr)
    seconds = saved["seconds"] if saved else {}
    with timed(seconds, "tokenizer"):              # stage 1, shared by all runs of one world
        if saved:
            tokenizer = restored(make, saved, folder / "checkpoint.pt")
        else:
            tokenizer = get_tokenizer(config, task, folder, make)
        tokenizer = tokenizer.to(device).requires_grad_(False)
    if saved and saved["step"] == config.steps:
        log = saved["log"]
    else:
        model = new_model(config, task, tokenizer).to(device)
        with timed(seconds, "data"):
            data = training_set(config, task, tokenizer, model.n_words)
            val = prepare(config, task, "val", tokenizer, config.n_val)[1]
        training = Training(config, model, optimizers_of(model, config), data, terms, inputs,
                            tokenizer)
        log = fit(training, val, answer_ids(task, device), folder, saved, seconds, line,
                  identity=identity)
    with timed(seconds, "test"):
        report = test_run(folder, log, config)
    minutes = {stage: round(s / 60, 2) for stage, s in seconds.items()}
    minutes["all"] = round(sum(seconds.values()) / 60, 2)
    write_json(folder / "metrics.json", dict(
        config=asdict(config), minutes=minutes, machine=machine(), log=log, **report))
    return folder


@dataclass
class Options(Config):
    seeds: int = setting(0, "train seeds 0 .. N-1 side by side; 0: the one of --seed")
    jobs: int = setting(0, "how many seeds at a time; 0: one a core or GPU")


def train_seeds(config, seeds, jobs):
    """Train seeds 0 .. N-1 side by side. First what they share, and whatever may be wrong."""
    if config.out or config.seed:
        raise UserError("--seeds: without --out and --seed")
    config = replace(config, device=pick_device(config.device))
    folder, task = folder_of(config), load_task(config.task)
    parse_loss(completed(config, task).loss, config.branches)
    if config.inputs:
        load_own(config.inputs)
    folder.parent.mkdir(parents=True, exist_ok=True)
    get_tokenizer(config, task, folder, tokenizer_maker(config))
    if painter(config, task, "imagination") is draw:
        get_reader(config, task, folder)
    side_by_side(train, [replace(config, seed=seed) for seed in range(seeds)], jobs)


def tell(folder):
    """Print the test figures of a finished run."""
    metrics = read_metrics(folder)
    with blame(folder / "metrics.json"):
        print("\n".join(lines({"test": metrics["test"]})))
        print(f"{folder}: {metrics['minutes']['all']} minutes in all, pictures in it")


def main():
    options = asdict(parse(Options, __doc__))
    seeds, jobs = options.pop("seeds"), options.pop("jobs")
    config = Config(**options)
    if seeds:
        train_seeds(config, seeds, jobs)
    for seed in range(seeds) if seeds else [config.seed]:
        tell(train(replace(config, seed=seed)))


if __name__ == "__main__":
    run_main(main)
