"""The run folder: checkpoints written whole or not at all, the tokenizer, and data made ready.

    runs/pt-mixed-s0/    config.json, checkpoint.pt, log.csv, metrics.json, curve.png, samples.png
    runs/tokenizer-*.pt  shared by the runs beside it that see the same world
"""
import fcntl
import io
import json
import math
import os
import platform
import re
import signal
import time
import warnings
import zlib
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ipt_mini.config import Config, UserError, compared, config_from, reading
from ipt_mini.model import Model
from ipt_mini.sequence import N_WORDS, Data
from ipt_mini.tasks import TASKS, make, splits
from ipt_mini.tasks.grid import render
from ipt_mini.tokenizer import Tokenizer, train_tokenizer

WRITTEN = ("metrics.json", "checkpoint.pt", "log.csv", "config.json", "replace.json")
FORMAT = 5                    # of checkpoints; a reader refuses any other
CONTENT = dict(config=dict, step=int, log=list, seconds=dict, sums=torch.Tensor, model=dict,
               tokenizer=dict, optimizers=list)


class Run(NamedTuple):
    """A trained run, rebuilt from its folder."""
    path: Path
    config: Config
    model: Model
    tokenizer: Tokenizer


# --------------------------------------------------------------------------- saving, loading
def write_atomically(path, content):
    """Write bytes to a temporary file, force it to disk, and only then give it its name."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path, value):
    write_atomically(path, (json.dumps(value, indent=1) + "\n").encode())


def write_log(path, rows):
    """log.csv, one line a validation; rewritten whole, so it has neither gaps nor doubles."""
    lines = [rows[0], *(row.values() for row in rows)]
    write_atomically(path, "".join(",".join(map(str, line)) + "\n" for line in lines).encode())


def save(path, **content):
    file = io.BytesIO()
    torch.save(dict(format=FORMAT, **content), file)
    write_atomically(path, file.getbuffer())


def load(path, keys=tuple(CONTENT)):
    """The dict of a checkpoint. Only tensors and plain values are read, nothing is executed."""
    file = io.BytesIO(path.read_bytes())          # what the disk refuses stays an OSError
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")           # torch's about foreign files: one line is enough
        content = dict(torch.load(file, map_location="cpu", weights_only=True))
        if content["format"] != FORMAT:
            raise UserError(f"of format {content['format']}, and this version reads {FORMAT}; " + (
                "train again with --force" if "config" in keys else "delete it: it is made anew"))
        if not all(isinstance(content[key], CONTENT[key]) for key in keys):
            raise TypeError("an entry of another type")
        if "config" in keys:                      # of a run, not of a tokenizer
            content["config"] = config_from(content["config"])
            if not 0 < content["step"] <= content["config"].steps:
                raise ValueError(content["step"])
            math.fsum([*content["seconds"].values(),       # training goes on from these: numbers
                       *(v for row in content["log"] for v in row.values())])
    return content


def restored(make, state, path):
    """make() with weights that were read from the file `path`; UserError if they do not fit."""
    with reading(path), torch.random.fork_rng(devices=[]):     # first weights would draw numbers
        module = make()
        module.load_state_dict(state)
    return module.eval()


def load_run(path, device="cpu"):
    """The finished run in folder `path`, ready to answer: Run. UserError if there is none."""
    path, file = Path(path), Path(path) / "checkpoint.pt"
    if not file.exists():
        raise UserError(f"{path}: no run folder, or nothing saved there yet (no checkpoint.pt); "
                        "train one with train.py")
    saved = load(file)
    config = saved["config"]
    if saved["step"] < config.steps:
        raise UserError(f"{path}: unfinished, at step {saved['step']} of {config.steps}; "
                        "the same train.py command continues it")
    model = restored(lambda: new_model(config), saved["model"], file).to(device)
    return Run(path, config, model, restored(Tokenizer, saved["tokenizer"], file).to(device))


@contextmanager
def locked(path):
    """Hold a folder for this process alone; UserError if another does. Death lets go of it too."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UserError(f"{path}: another run is at work in this folder; wait for its end, or give "
                        "this one a --name", 1) from None
    try:
        yield
    finally:
        os.close(handle)


@contextmanager
def open_folder(config, force=False):
    """Make or reopen the run folder, and hold it: (path, checkpoint or None).
    UserError if something else than this very run is in it, or at work there."""
    name = f"{config.task}-{config.supervision}{'-' * bool(config.name)}{config.name}"
    path = Path(config.out or f"runs/{name}-s{config.seed}")
    path.mkdir(parents=True, exist_ok=True)
    with locked(path):
        for written in WRITTEN:
            for part in path.glob(f"{written}.*.part"):      # of a process killed while it saved
                part.unlink()
        saved = None if force else reopen(path, config)
        if not saved:                              # what lies there now tells of another training
            for file in [*map(path.joinpath, WRITTEN), *path.glob("eval*.json")]:
                file.unlink(missing_ok=True)
            write_json(path / "config.json", asdict(config))
        yield path, saved


def reopen(path, config):
    """The checkpoint of this very run in folder `path`, or None if none was saved yet."""
    file, settings = path / "checkpoint.pt", path / "config.json"
    saved = load(file) if file.exists() else None
    if saved:
        there = saved["config"]
    elif any(path.iterdir()):
        with reading(settings, "choose another folder with --out"):
            there = config_from(json.loads(settings.read_text() if settings.exists() else ""))
    else:
        return None
    there, here = compared(there), compared(config)
    different = [f"{k} {there[k]} there, {v} here" for k, v in here.items() if there[k] != v]
    if different:
        raise UserError(f"{path} holds a run with other settings ({'; '.join(different)}): "
                        "give this one a --name, or replace that one with --force")
    return saved


# ------------------------------------------------------------------------------ time, Ctrl-C
class Clock:
    """Seconds by stage, going on from those of an earlier, interrupted call."""

    def __init__(self, seconds):
        self.seconds, self.began = seconds, time.perf_counter()

    def __call__(self, stage):
        """Add the time since the last call to a stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0) + now - self.began
        self.began = now


@contextmanager
def stop_signals():
    """A list that Ctrl-C fills, so that a step is finished and saved and not cut in two."""
    stopped = []
    before = signal.signal(signal.SIGINT, lambda *_: stopped.append(True))
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


# ------------------------------------------------------------------------- model, tokenizer
def new_model(config):
    """A Model whose first weights are told by config.seed alone; the caller's generator stays."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        return Model(config, N_WORDS + Tokenizer.n_codes)


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


def get_tokenizer(config, folder, saved=None):
    """The tokenizer of this world, beside the run folder: loaded, or trained once and saved.
    A run that goes on keeps its own, from the checkpoint `saved`."""
    if saved:
        return restored(Tokenizer, saved["tokenizer"], folder / "checkpoint.pt")
    path = folder.parent / (f"tokenizer-g{config.grid}-s{config.data_seed}"
                            f"-t{config.tokenizer_steps}.pt")
    if path.exists():
        return restored(Tokenizer, load(path, ["tokenizer"])["tokenizer"], path)
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
        tokenizer.encode(torch.from_numpy(render(part, rng))).flatten(-2)
        for part in np.array_split(cells, -(-len(cells) // 1000))])
    views, imagination = encode(examples.views), encode(examples.imagination)
    words = lambda array: torch.from_numpy(array.astype(np.int64)).to(views.device)
    return examples, Data(views, words(examples.pose), words(examples.query), imagination,
                          words(examples.cot), words(examples.answer))


def machine():
    """What a figure was measured on, for the files that hold figures."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = (re.findall(r"model name\s*: (.*)", info) + [platform.processor()])[0]
    return dict(cpu=name, cores=os.cpu_count(), threads=torch.get_num_threads(),
                gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
                python=platform.python_version(), torch=torch.__version__, numpy=np.__version__,
                system=platform.system(), date=time.strftime("%Y-%m-%d"))
