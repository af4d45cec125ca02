"""Train IPT on one task: stage 1 the image tokenizer, stage 2 the model, then the test.

    python train.py --task pt                     the main job: runs/pt-mixed-s0/
    python train.py --task pt --supervision label

The same command continues a run that was stopped, and prints one that is finished.
"""
import json
import signal
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, replace

import numpy as np
import torch
from tqdm import tqdm

from eval import evaluate, lines, samples, tokenizer_report
from ipt_mini import plots
from ipt_mini.config import (Config, Parser, UserError, add_arguments, check, check_named,
                             pick_device, run_main, weights_of)
from ipt_mini.generate import answer_words, decode
from ipt_mini.losses import LOSSES, LossInput, rarity, weight_at
from ipt_mini.run import (get_tokenizer, load_run, machine, new_model, open_folder, prepare, save,
                          write_json, write_log)
from ipt_mini.sequence import N_WORDS, SUPERVISION, layout, pack
from ipt_mini.tasks import TASKS
from ipt_mini.tasks.words import PAD

SAVE_EVERY = 30               # seconds between checkpoints


def optimizers_of(model, config):
    """Muon for the matrices of the blocks, AdamW for embeddings, norms and head."""
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [torch.optim.Muon(matrices, lr=config.muon_lr, weight_decay=config.weight_decay),
            torch.optim.AdamW(others, lr=config.adam_lr, betas=(0.9, 0.95),
                              weight_decay=config.weight_decay)]


def rate(step, config, warmup=50):
    """Share of the full learning rate: a short rise, a plateau, a straight fall to 0."""
    left = (config.steps - step) / max(1, config.cooldown * config.steps)
    return min(1, (step + 1) / warmup, left)


def rows_of(step, config):
    """Indices of the examples of one step: a new order every epoch, told by seed and step alone."""
    per_epoch = config.n_train // config.batch_size
    epoch, batch = divmod(step, per_epoch)
    order = np.random.default_rng([config.seed, epoch]).permutation(config.n_train)
    return torch.from_numpy(order[batch * config.batch_size:(batch + 1) * config.batch_size])


@contextmanager
def stop_signals():
    """A list that Ctrl-C fills, so that a step is finished and saved and not cut in two."""
    stopped = []
    before = signal.signal(signal.SIGINT, lambda *_: stopped.append(True))
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


@torch.no_grad()
def validate(model, data, config):
    """Accuracy on validation data for what this supervision trains: name -> share."""
    answers = answer_words(config.task, data.answer.device)
    result = {}
    for name in {"label": ["direct"], "text_cot": ["think"]}.get(config.supervision, ["imagine"]):
        out = decode(model, data, answers, name)
        result[f"val_{name}"] = (out.answer == data.answer).float().mean().item()
        if out.imagination is not None:
            result["val_codes"] = (out.imagination == data.imagination).float().mean().item()
    return result


def train(config, force=False):
    """Train the run that `config` describes, or go on with it; return the path of its folder."""
    check_named(check(config))
    config = replace(config, steps=config.steps or TASKS[config.task].STEPS)
    device = pick_device(config.device)
    folder, saved = open_folder(config, force)
    if saved and saved["step"] == config.steps and (folder / "metrics.json").exists():
        return folder
    began = time.perf_counter()
    seconds = saved["seconds"] if saved else {}

    def clock(stage):
        """Add the time since the last call to a stage."""
        nonlocal began
        now = time.perf_counter()
        seconds[stage] = seconds.get(stage, 0) + now - began
        began = now

    print(f"{folder}: tokenizer, data, then {config.steps} steps on {device}", file=sys.stderr)

    # ---- stage 1: the tokenizer, shared by all runs of one world
    tokenizer = get_tokenizer(config, folder).to(device)
    clock("tokenizer")

    # ---- data: scenes -> pixels -> codes, once
    _, data = prepare(config, "train", tokenizer, config.n_train)
    _, val = prepare(config, "val", tokenizer, config.n_val)
    branches = SUPERVISION[config.supervision]
    where = layout(data, branches).to(device)
    tokens, targets = (t.to(device) for t in pack(data, branches))
    pose, val = data.pose.to(device), val.take(slice(500)).to(device)
    padded = bool((tokens == PAD).any())
    segment = where.segment[where.loss_at]
    weight = torch.cat([torch.ones(N_WORDS), rarity(
        data.imagination, tokenizer.n_codes, config.rarity)]).to(device)
    terms = weights_of(config)                                # {name of a loss: its weights}
    clock("data")

    # ---- stage 2: the model
    torch.manual_seed(config.seed)
    model = new_model(config).to(device)
    optimizers = optimizers_of(model, config)
    first, log = 0, []
    if saved:
        first, log = saved["step"], saved["log"]
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"]):
            optimizer.load_state_dict(state)

    def checkpoint(step):
        save(folder / "checkpoint.pt", config=asdict(config), step=step, seconds=seconds, log=log,
             model=model.state_dict(), tokenizer=tokenizer.state_dict(), sums=sums,
             optimizers=[o.state_dict() for o in optimizers] if step < config.steps else [])
        if log:
            write_log(folder / "log.csv", log)

    sums = saved["sums"].to(device) if saved else torch.zeros(len(terms), device=device)
    bar = tqdm(range(first, config.steps), initial=first, total=config.steps, disable=None,
               desc=folder.name, dynamic_ncols=True)
    last_save = time.perf_counter()
    with stop_signals() as stopped:
        for step in bar:
            for optimizer, peak in zip(optimizers, (config.muon_lr, config.adam_lr)):
                optimizer.param_groups[0]["lr"] = peak * rate(step, config)
            rows = rows_of(step, config).to(device)
            model.train()
            with torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda"):
                logits = model(tokens[rows], pose[rows], where, padded, where.loss_at)
            batch = LossInput(logits.float(), targets[rows], segment, weight)
            losses = [LOSSES[term](batch) for term in terms]
            model.zero_grad()
            sum(weight_at(schedule, step / config.steps) * loss
                for schedule, loss in zip(terms.values(), losses)).backward()
            for optimizer in optimizers:
                optimizer.step()
            sums += torch.stack(losses).detach()             # since the last validation
            if (step + 1) % config.eval_every == 0 or step + 1 == config.steps:
                clock("training")
                since = step % config.eval_every + 1
                row = dict(step=step + 1, seconds=round(seconds["training"], 1),
                           **{t: round(v / since, 4) for t, v in zip(terms, sums.tolist())},
                           **{k: round(v, 4) for k, v in validate(model, val, config).items()})
                clock("validation")
                sums.zero_()
                log.append(row)
                bar.set_postfix({k: v for k, v in row.items() if k not in ("step", "seconds")})
            if stopped or time.perf_counter() - last_save > SAVE_EVERY:
                clock("training")
                checkpoint(step + 1)
                last_save = time.perf_counter()
            if stopped:
                raise UserError(f"stopped and saved after step {step + 1} of {config.steps}; the "
                                "same command goes on from there", 130)
    clock("training")
    checkpoint(config.steps)

    # ---- the test, read once
    plots.curve(log, terms, folder / "curve.png")
    run = load_run(folder, device)
    report = evaluate(run, ["test"])
    samples(run, folder / "samples.png")
    report["tokenizer"] = tokenizer_report(run, folder / "tokenizer.png")
    clock("test")
    write_json(folder / "metrics.json", dict(
        config=asdict(config), parameters=sum(p.numel() for p in model.parameters()),
        minutes={k: round(v / 60, 2) for k, v in seconds.items()} | {
            "all": round(sum(seconds.values()) / 60, 2)}, machine=machine(), **report))
    return folder


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--force", action="store_true", help="replace the run that is there")
    values = vars(parser.parse_args())
    force = values.pop("force")
    folder = train(Config(**values), force)
    figures = json.loads((folder / "metrics.json").read_text())
    print("\n".join(lines({"test": figures["test"]})))
    print(f"{folder}: {figures['minutes']['all']} minutes in all, pictures beside the figures")


if __name__ == "__main__":
    run_main(main)
