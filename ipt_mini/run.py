"""The run folder: checkpoints written whole or not at all, the tokenizer, and data made ready.

    runs/pt-mixed-s0/    config.json, checkpoint.pt, log.csv, metrics.json, curve.png, samples.png
    runs/tokenizer-*.pt  shared by the runs beside it that see the same world
"""
import io
import json
import os
import platform
import re
import time
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ipt_mini.config import Config, UserError, compared, config_from
from ipt_mini.model import Model, ModelConfig
from ipt_mini.sequence import N_WORDS, Data
from ipt_mini.tasks import TASKS, make, splits
from ipt_mini.tasks.grid import render
from ipt_mini.tokenizer import Tokenizer, train_tokenizer

FORMAT = 3                    # of checkpoints; a reader refuses any other


class Run(NamedTuple):
    """A trained run, rebuilt from its folder."""
    path: Path
    config: Config
    model: Model
    tokenizer: Tokenizer


def folder_of(config):
    if config.out:
        return Path(config.out)
    name = f"-{config.name}" if config.name else ""
    return Path("runs") / f"{config.task}-{config.supervision}{name}-s{config.seed}"


# --------------------------------------------------------------------------- saving, loading
def write_atomically(path, write):
    """Let `write(file)` fill a temporary file, force it to disk, and only then give it its name."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path, value):
    write_atomically(path, lambda file: file.write((json.dumps(value, indent=1) + "\n").encode()))


def write_log(path, rows):
    """log.csv, one line a validation; rewritten whole, so it has neither gaps nor doubles."""
    def write(file):
        lines = [list(rows[0])] + [list(row.values()) for row in rows]
        file.write("".join(",".join(map(str, line)) + "\n" for line in lines).encode())
    write_atomically(path, write)


def save(path, **content):
    write_atomically(path, lambda file: torch.save(dict(format=FORMAT, **content), file))


def load(path, *keys):
    """The dict of a checkpoint. Only tensors and plain values are read, nothing is executed."""
    file = io.BytesIO(path.read_bytes())          # what the disk refuses stays an OSError
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:             # torch raises RuntimeError, UnpicklingError, EOFError, KeyError
        raise UserError(f"{path}: not a checkpoint of ipt_mini, or cut short", 1) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: not a checkpoint of this version (format {FORMAT})", 1)
    if not set(keys) <= set(content):
        raise UserError(f"{path}: a checkpoint without {', '.join(set(keys) - set(content))}", 1)
    return content


def fill(module, state, file):
    """The module with weights read from a file; UserError if they are another module's."""
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError):
        raise UserError(f"{file}: its weights do not fit its settings; delete it and train again",
                        1) from None
    return module


def load_run(path, device="cpu"):
    """The finished run in folder `path`, ready to answer: Run. UserError if there is none."""
    path, file = Path(path), Path(path) / "checkpoint.pt"
    if not file.exists():
        raise UserError(f"{path}: no run folder, or nothing saved there yet (no checkpoint.pt); "
                        "train one with train.py")
    saved = load(file, "config", "step", "model", "tokenizer")
    config = config_from(saved["config"], file)
    if saved["step"] < config.steps:
        raise UserError(f"{path}: unfinished, at step {saved['step']} of {config.steps}; "
                        "the same train.py command continues it")
    model = fill(new_model(config), saved["model"], file).to(device).eval()
    return Run(path, config, model, fill(Tokenizer(), saved["tokenizer"], file).to(device).eval())


def open_folder(config, force=False):
    """Make or reopen the run folder: (path, checkpoint or None). Refuses another run's folder."""
    path = folder_of(config)
    path.mkdir(parents=True, exist_ok=True)
    if force:
        for name in ("checkpoint.pt", "config.json", "metrics.json", "log.csv"):
            (path / name).unlink(missing_ok=True)
    if (path / "checkpoint.pt").exists():
        saved = load(path / "checkpoint.pt", "config", "step", "model", "log", "sums",
                     "optimizers", "seconds")
        there = compared(config_from(saved["config"], path / "checkpoint.pt"))
        different = [f"{k} {there[k]} there, {v} here"
                     for k, v in compared(config).items() if there[k] != v]
        if different:
            raise UserError(f"{path} holds a run with other settings ({'; '.join(different)}): "
                            "give this one a --name, or replace that one with --force")
        return path, saved
    write_json(path / "config.json", asdict(config))
    return path, None


# ------------------------------------------------------------------------- model, tokenizer
def new_model(config):
    return Model(ModelConfig(vocab_size=N_WORDS + Tokenizer.n_codes, grid=config.grid,
                             n_layer=config.n_layer, n_head=config.n_head, n_embd=config.n_embd))


def tokenizer_pixels(config, split, n_images):
    """Pictures of all three tasks: (cells (3n, N, N), and twice pixels (3n, 8N, 8N, 3), each time
    with another noise)."""
    rng = np.random.default_rng([config.data_seed, zlib.crc32(split.encode())])
    cells = []
    for task in TASKS:
        examples = make(task, split, n_images, config.data_seed, config.grid)
        pictures = np.concatenate([examples.views.reshape(-1, config.grid, config.grid),
                                   examples.imagination])
        cells.append(pictures[rng.permutation(len(pictures))[:n_images]])
    cells = np.concatenate(cells)
    return cells, *(torch.from_numpy(render(cells, rng)) for _ in range(2))


def get_tokenizer(config, folder):
    """The tokenizer of this world, beside the run folder: loaded, or trained once and saved."""
    path = folder.parent / (f"tokenizer-g{config.grid}-s{config.data_seed}"
                            f"-t{config.tokenizer_steps}.pt")
    if path.exists():
        return fill(Tokenizer(), load(path, "tokenizer")["tokenizer"], path).eval()
    _, pixels, again = tokenizer_pixels(config, "train", 2000)
    tokenizer = train_tokenizer(pixels, again, seed=config.data_seed, steps=config.tokenizer_steps)
    save(path, tokenizer=tokenizer.state_dict())
    return tokenizer


def prepare(config, split, tokenizer, n_examples):
    """(Examples, Data) of one split: scenes made, drawn as pixels, and read by the tokenizer."""
    examples = make(config.task, split, n_examples, config.data_seed, config.grid)
    rng = np.random.default_rng([config.data_seed, splits(config.task).index(split), 1])
    # A thousand at a time: pixels of all examples at once would fill a small machine's memory.
    encode = lambda cells: torch.cat([
        tokenizer.encode(torch.from_numpy(render(part, rng))).cpu().flatten(-2)
        for part in np.array_split(cells, -(-len(cells) // 1000))])
    words = lambda array: torch.from_numpy(array.astype(np.int64))
    return examples, Data(encode(examples.views), words(examples.pose), words(examples.query),
                          encode(examples.imagination), words(examples.cot), words(examples.answer))


def machine():
    """What a figure was measured on, for the files that hold figures."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = (re.findall(r"model name\s*: (.*)", info) + [platform.processor()])[0]
    return dict(cpu=name, cores=os.cpu_count(), threads=torch.get_num_threads(),
                gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
                python=platform.python_version(), torch=torch.__version__, numpy=np.__version__,
                system=platform.system(), date=time.strftime("%Y-%m-%d"))
