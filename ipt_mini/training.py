"""The training loop: stage 1 the image tokenizer, stage 2 the model, then the test.

    train(Config(task="pt"))     what train.py does: it writes, or resumes, a run folder

Shape letters: T tokens of a sequence, L positions that carry a loss, V views, n examples.
"""
import math
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from shutil import get_terminal_size
from typing import Callable, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from ipt_mini import plots
from ipt_mini.checkpoint import (CODE, folder_of, get_reader, get_tokenizer, open_folder, restored,
                                 save, tokenizer_maker, write_json)
from ipt_mini.config import Config
from ipt_mini.dataset import tasks_of
from ipt_mini.errors import UserError, blame
from ipt_mini.evaluate import test_run, validate
from ipt_mini.losses import LossInput, complete_loss, parse_loss
from ipt_mini.muon import Muon
from ipt_mini.own import is_own, load_own
from ipt_mini.parallel import (average_gradients, first_alone, join, mean_over_processes,
                               rank_and_size)
from ipt_mini.run import Run, keep_freed_memory, machine, new_model, pick_device
from ipt_mini.sequence import THINK, Layout, layout, pack

PROGRESS = "{desc} {percentage:.0f}%, {remaining} left{postfix} {bar}"
NOT_IN_PROGRESS = "oracle", "codes", "nats"    # left out of the bar: it has 100 columns
# Share of the learning rates, by recipe. In first person the objects are not found at full rates.
RATE = {"cells": 1, "first-person": 0.5, "pictures": 1}


class TrainingSet(NamedTuple):
    """The training data of one task as the model takes them, on its device."""
    tokens: torch.Tensor       # (n, T)
    targets: torch.Tensor      # (n, L)
    pose: torch.Tensor         # (n, V, 3)
    layout: Layout
    kind: np.ndarray           # (n,) of question
    curriculum: tuple          # shares of the kinds early in training, or None
    curriculum_steps: int      # at most
    terms: dict                # {name: Term} of the loss
    steps: int                 # of the whole training that learn from it


class Training(NamedTuple):
    """All that a step of stage 2 needs."""
    run: Run                   # its config, model and tokenizer
    optimizers: list
    sets: list                 # a TrainingSet for each task
    turns: list                # of each step, see `turns_of`
    val: dict                  # {name of a task: (Examples, Data)}, for validation
    inputs: Callable           # changes the tokens that the model reads, or None


def turns_of(shares, steps):
    """Of each step (number of the task that learns, how often it has learnt before). Each gets its
    share of the steps, evenly spread: it is the turn of the one that is most behind."""
    shares = np.divide(shares, sum(shares))
    done, turns = np.zeros(len(shares), int), []
    for step in range(1, steps + 1):
        number = int((shares * step - done).argmax())
        turns.append((number, int(done[number])))
        done[number] += 1
    return turns


def training_set(run, terms, steps):
    """Scenes -> pixels -> codes -> sequences for the Run's task, once for the whole training."""
    config = run.config
    n_read = max(1, steps) * config.batch_size
    examples, data = run.prepare("train", min(config.n_train, n_read))
    thinks = any(THINK in branch for branch in config.branches)
    most = run.model.order.num_embeddings
    if data.query.shape[1] > most or thinks and data.cot.shape[1] >= most:
        raise UserError(f"{run.name}: a query may have {most} words, a thought {most - 1}", code=1)
    tokens, targets = pack(data, config.branches, run.model.n_words)
    where = layout(data, config.branches, config.answer_sees_views)
    return TrainingSet(tokens, targets, data.pose, where, examples.kind, run.task.CURRICULUM,
                       run.task.CURRICULUM_STEPS, terms, steps)


def get_batch(turn, config, pool):
    """Indices (batch_size,) of the examples of the task's turn, by seed and turn alone.
    Early on, the kinds of question may come in uneven shares, the task's CURRICULUM; afterwards
    each epoch is a new order of all examples, less a rest that fills no batch."""
    n, size, kind = len(pool.kind), config.batch_size, pool.kind
    early = config.curriculum * pool.steps
    if pool.curriculum and turn < min(early, pool.curriculum_steps):
        share = np.array(pool.curriculum) / np.bincount(kind, minlength=len(pool.curriculum))
        chance = share[kind] / share[kind].sum()
        rng = np.random.default_rng([config.seed, turn, 1])
        return torch.from_numpy(rng.choice(n, size, p=chance))
    epoch, batch = divmod(turn, n // size)
    order = np.random.default_rng([config.seed, epoch]).permutation(n)
    return torch.from_numpy(order[batch * size:(batch + 1) * size])


def lr_share(step, config):
    """Share of the learning rates that a step takes: a plateau, then a straight fall to 0."""
    falling = (config.steps - step) / max(1, config.cooldown * config.steps)
    return RATE[config.recipe] * min(1, falling)


def optimizers_of(model, config):
    """Muon for the matrices of the blocks, AdamW for all else: embeddings, norms, gains, head."""
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    muon = Muon(matrices, lr=config.muon_lr, weight_decay=config.weight_decay)
    adam = torch.optim.AdamW(others, lr=config.adam_lr, betas=(0.9, 0.95),
                             weight_decay=config.weight_decay)
    return [muon, adam]


def loss_terms(training, pool, rows, step):
    """The loss terms of some rows of a TrainingSet, one after the other: (terms,)."""
    run, inputs = training.run, training.inputs
    config, model, where = run.config, run.model, pool.layout
    tokens, pose = pool.tokens[rows], pool.pose[rows]
    if inputs:
        rng = torch.Generator(tokens.device).manual_seed(config.seed * 2 ** 32 + step)
        with blame(f"--inputs {config.inputs}"):
            changed = inputs(model, tokens, pose, where, rng)
            if not torch.is_tensor(changed) or changed.shape != tokens.shape:
                raise TypeError("it returns tokens of the same shape (B, T)")
            tokens = changed
    with torch.autocast("cuda", torch.bfloat16, enabled=rows.is_cuda):
        hidden = model.states(tokens, pose, where, where.loss_at)
        logits = model.head(hidden)
    batch = LossInput(logits.float(), pool.targets[rows], where.losses_of, model.n_words,
                      hidden.float(), model.project, run.tokenizer, where.next_cell[where.loss_at])
    return torch.stack([term(batch, name) for name, term in pool.terms.items()])


def train_step(training, step):
    """Learn from the examples of one step; return their loss terms (terms,).
    On a GPU nothing here waits for it."""
    run, optimizers, sets = training.run, training.optimizers, training.sets
    config = run.config
    number, turn = training.turns[step]
    pool = sets[number]
    device = pool.tokens.device
    for optimizer, peak in zip(optimizers, (config.muon_lr, config.adam_lr)):
        optimizer.param_groups[0]["lr"] = peak * lr_share(step, config)
    rank, size = rank_and_size()
    rows = get_batch(turn, config, pool)[rank::size].to(device, non_blocking=True)
    losses = loss_terms(training, pool, rows, step)
    weights = torch.tensor([term.weight(step / config.steps) for term in pool.terms.values()])
    run.model.zero_grad()
    (losses * weights.to(device, non_blocking=True)).sum().backward()
    average_gradients(run.model)
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
    """Stop at NaN or infinity before it is saved: the last checkpoint is good."""
    values = dict(losses, weights=sum(p.detach().sum() for p in model.parameters()).item())
    bad = ", ".join(name for name, value in values.items() if not math.isfinite(value))
    if bad:
        raise UserError(f"{bad}: no number any more before step {end}; a checkpoint in {folder} is "
                        "from before that: lower --muon-lr or the weight in --loss", code=1)


def train_steps(training, first, end, bar):
    """Learn from the steps first .. end - 1: {name of a loss term: its mean}."""
    training.run.model.train()
    losses = []
    for step in range(first, end):
        losses.append(train_step(training, step))
        bar.update()
    means = mean_over_processes(torch.stack(losses).mean(0)).tolist()
    return dict(zip(training.sets[0].terms, means))      # all sets have the same names


def fit(training, saved, seconds, line, **kept):
    """Stage 2: train the model, from the checkpoint `saved` on; return the log, a row a validation.
    line: of the terminal, for the progress bar."""
    run = training.run
    config, model, folder = run.config, run.model, run.path
    parts, first, log = [model, *training.optimizers], 0, []
    if saved:
        with blame(folder / "checkpoint.pt"):
            first, log = saved["step"], saved["log"]
            for part, state in zip(parts, saved["parts"], strict=True):
                part.load_state_dict(state)
    bar = tqdm(total=config.steps, initial=first, disable=rank_and_size()[0] > 0 or None,
               desc=folder.name, position=line, bar_format=PROGRESS,
               ncols=min(100, get_terminal_size().columns))
    while first < config.steps:
        end = min(config.steps, (first // config.eval_every + 1) * config.eval_every)
        with timed(seconds, "training"):
            means = train_steps(training, first, end, bar)
        check_finite(means, model, end, folder)
        with timed(seconds, "validation"):
            accuracy, pictures = validate(run, training.val)
        log.append(dict(step=end, seconds=seconds["training"], losses=means, val=accuracy))
        bar.set_postfix_str(" ".join(f"{name} {x:.2g}" for name, x in (means | accuracy).items()
                                     if not name.startswith(NOT_IN_PROGRESS)))
        states = [part.state_dict() for part in parts]
        if end == config.steps:                    # nobody resumes: no optimizers
            states = states[:1]
        save(folder / "checkpoint.pt", config=asdict(config), step=end, log=log, seconds=seconds,
             tokenizer=run.tokenizer.state_dict(), parts=states, **kept)
        if rank_and_size()[0] == 0:
            with timed(seconds, "validation"):
                for name, blocks in pictures.items():
                    plots.blocks(blocks, folder / f"{name}.png")
        first = end
    bar.close()
    return log


def completed(config, tasks):
    """The Config with the loss and the number of steps that its tasks give, where it has none.
    Of several tasks each keeps a loss of its own, so the Config's text stays as it is."""
    if len(tasks) == 1:
        config = replace(config, loss=loss_of(config, *tasks.values()))
    return replace(config, steps=config.steps or sum(steps_alone(config, tasks)))


def steps_alone(config, tasks):
    """How many steps each of the tasks takes in a model of its own."""
    return [task.STEPS[config.recipe] for task in tasks.values()]


def loss_of(config, task):
    return complete_loss(config.loss, config.branches, task.LOSS[config.recipe])


def named(config, tasks):
    """({name of a task: {name: Term}}, inputs) that the settings name. UserError if wrong.
    A term that one task has is there for all, with weight 0: their losses are logged together."""
    terms = {name: parse_loss(loss_of(config, task), config.branches)
             for name, task in tasks.items()}
    all_of_them = {name: term._replace(values=[0], parts=[0])
                   for parsed in terms.values() for name, term in parsed.items()}
    terms = {name: all_of_them | parsed for name, parsed in terms.items()}
    if config.inputs and not is_own(config.inputs):
        raise UserError(f"--inputs {config.inputs}: name a function of your own, FILE.py:NAME")
    return terms, load_own(config.inputs) if config.inputs else None


def training_of(config, tasks, tokenizer, terms, inputs=None, folder=None):
    """The Training of a new model, on the tokenizer's device."""
    keep_freed_memory()
    model = new_model(config, tasks.values(), tokenizer).to(tokenizer.codebook.device)
    run = Run(folder, config, tasks, model, tokenizer)
    turns = turns_of(steps_alone(config, tasks), config.steps)
    sets, val = [], {}
    for number, one in enumerate(run.for_each_task()):
        steps = sum(whose == number for whose, _ in turns)
        sets.append(training_set(one, terms[one.name], steps))
        val[one.name] = one.prepare("val", config.n_val)
    return Training(run, optimizers_of(model, config), sets, turns, val, inputs)


class Learnt(NamedTuple):
    """A run whose training has ended, and what is known of it before any test."""
    config: Config             # complete
    folder: Path
    log: list                  # a row a validation
    seconds: dict              # by stage


def learn(config, line=None):
    """Train the run that `config` describes, or resume it, without reading the test split: Learnt.
    line: of the terminal, for the progress of a run beside others."""
    tasks, device = tasks_of(config), pick_device(config.device)
    rank, size = join(device)
    if config.batch_size % size:
        raise UserError(f"--batch-size {config.batch_size}: {size} processes cannot share it")
    make = tokenizer_maker(config)
    config = completed(config, tasks)
    terms, inputs = named(config, tasks)
    folder, identity, saved = open_folder(config, tasks.values())     # identity: settings, data
    code = saved.get("code") if saved else CODE                       # CODE: of the program itself
    if rank == 0 and code != CODE:
        tqdm.write(f"{folder}: begun by other code; give a --name to train anew", sys.stderr)
    with blame(folder / "checkpoint.pt"):
        if saved and saved["step"] == config.steps:
            return Learnt(config, folder, list(saved["log"]), dict(saved["seconds"]))
    if rank == 0:
        tqdm.write(f"{folder}: tokenizer, data, then {config.steps} steps on {device}", sys.stderr)
    seconds = saved["seconds"] if saved else {}
    with timed(seconds, "tokenizer"):              # stage 1, shared by all runs of one world
        if saved:
            tokenizer = restored(make, saved, folder / "checkpoint.pt")
        else:
            with first_alone():
                tokenizer = get_tokenizer(config, tasks.values(), folder, make)
        tokenizer = tokenizer.to(device).requires_grad_(False)
    with timed(seconds, "data"):
        training = training_of(config, tasks, tokenizer, terms, inputs, folder)
    log = fit(training, saved, seconds, line, identity=identity, code=code)
    return Learnt(config, folder, log, seconds)


def train(config, line=None):
    """`learn`, then read the test split; return the path of the run's folder."""
    config, folder, log, seconds = learn(config, line)
    if (folder / "metrics.json").exists() or rank_and_size()[0] > 0:
        return folder
    with timed(seconds, "test"):
        report = test_run(folder, log, config)
    minutes = {stage: round(s / 60, 2) for stage, s in seconds.items()}
    minutes["all"] = round(sum(seconds.values()) / 60, 2)
    write_json(folder / "metrics.json", dict(
        config=asdict(config), minutes=minutes, machine=machine(), log=log, **report))
    return folder


def make_shared(config):
    """Make what all seeds of a run share, before they train side by side; a mistake in the settings
    shows, too. Returns the tokenizer."""
    tasks, folder = tasks_of(config), folder_of(config)
    pick_device(config.device)
    named(config, tasks)
    get_reader(config, tasks.values(), folder)
    return get_tokenizer(config, tasks.values(), folder, tokenizer_maker(config))
