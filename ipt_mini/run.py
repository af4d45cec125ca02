"""A trained run, and one question at a time: load_run("runs/pt-mixed-s0").ask(example)."""
import io
import os
import platform
import re
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Callable, NamedTuple

import numpy as np
import torch

from ipt_mini import plots
from ipt_mini.checkpoint import get_reader, load, restored, tokenizer_maker
from ipt_mini.config import Config, config_from
from ipt_mini.dataset import fingerprint, painter, prepare, to_data
from ipt_mini.errors import UserError, blame
from ipt_mini.generate import DECODES, decode, decodes_of
from ipt_mini.model import Model
from ipt_mini.own import is_own
from ipt_mini.tasks import load_task
from ipt_mini.tasks.grid import nearest_glyph, render
from ipt_mini.tasks.words import text, vocabulary
from ipt_mini.tokenizer import Tokenizer


class Run(NamedTuple):
    """A trained run, rebuilt from its folder."""
    path: Path
    config: Config
    task: ModuleType
    model: Model
    tokenizer: Tokenizer
    read: Callable = nearest_glyph     # imagined pictures (B, H, W, 3) -> cells (B, N, N)

    @property
    def answers(self):
        """Ids (A,) of the words that may answer."""
        return answer_ids(self.task, self.tokenizer.codebook.device)

    def decode(self, data, name):
        """Decoded of `data`, by one of DECODES."""
        return decode(self.model, data, self.answers, DECODES[name].function)

    def prepare(self, split="test", n_examples=0):
        """(Examples, Data) of a split, n_examples of them or as many as a test has."""
        return prepare(self.config, self.task, split, self.tokenizer,
                       n_examples or self.config.n_test)

    def paint(self, field, cells, rng=None):
        """Cells of a field of Examples as this run's world draws them."""
        return painter(self.config, self.task, field)(cells, rng)

    def ask(self, example, name=""):
        """Answer one example, Examples of one row, by one of DECODES: Answer."""
        fitting = decodes_of(self.config.branches)
        name = name or ("imagine" if "imagine" in fitting else fitting[0])
        data = to_data(self.config, self.task, example, self.tokenizer,
                       np.random.default_rng(0))
        out = self.decode(data, name)
        words = vocabulary(self.task)
        probabilities = dict(zip(self.task.ANSWERS, out.probabilities[0].tolist()))
        picture = None if out.imagination is None else self.tokenizer.decode(out.imagination[0])
        return Answer(text(example.query[0], words), words[out.answer[0]], probabilities, picture,
                      self.tokenizer.decode(data.views[0]))


class Answer(NamedTuple):
    """What a run answers; a notebook draws it."""
    question: str
    answer: str
    probabilities: dict        # answer -> probability
    picture: np.ndarray        # (H, W, 3) uint8, the imagination; None if there is none
    views: np.ndarray          # (V, H, W, 3) uint8, as the tokenizer saw them

    def _repr_png_(self):
        file = io.BytesIO()
        row = [(f"view {v + 1}", view) for v, view in enumerate(self.views)]
        row.append(self.question)
        if self.picture is not None:
            row.append(("imagined", self.picture))
        best = sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:4]
        row.append("\n".join(f"{word} {100 * p:.0f}%" for word, p in best))
        plots.strips([row], file)
        return file.getvalue()


def answer_ids(task, device=None):
    """Ids (A,) of the words that may answer a task."""
    words = vocabulary(task)
    return torch.tensor([words.index(word) for word in task.ANSWERS], device=device)


def new_model(config, task, tokenizer):
    """A Model whose first weights depend on config.seed alone; the caller's generator stays."""
    K, D = tokenizer.codebook.shape
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        return Model(config, len(vocabulary(task)), K, D)


def load_run(path, device="cpu", task="", tokenizer=""):
    """The finished run in folder `path`, ready to answer: Run. UserError if there is none.
    task, tokenizer: files of the user's own that it was trained with, which are executed."""
    path = Path(path)
    file = path / "checkpoint.pt"
    if not file.exists():
        raise UserError(f"{path}: no run folder, or nothing saved there yet (no checkpoint.pt); "
                        "train one with train.py")
    saved = load(file, "rerun its train.py command under another --name")
    with blame(file):
        config, step = config_from(saved["config"]), int(saved["step"])
        there = saved["identity"]["fingerprint"]
    if step < config.steps:
        raise UserError(f"{path}: unfinished, at step {step} of {config.steps}; rerun its train.py "
                        "command to resume")
    task_module = load_task(named_again(path, "task", config.task, task))
    tokenizer = named_again(path, "tokenizer", config.tokenizer, tokenizer)
    config = replace(config, tokenizer=tokenizer)
    here = fingerprint(config, task_module)
    if there != here:
        raise UserError(f"{path}: trained by code with other tasks, words, pictures or own files; "
                        "rerun its train.py command under another --name", 1)
    tokenizer = restored(tokenizer_maker(config), saved, file)
    with blame(file):
        model = new_model(config, task_module, tokenizer).eval()
        model.load_state_dict(saved["parts"][0])
    maps = painter(config, task_module, "imagination") is render
    read = nearest_glyph if maps else get_reader(config, task_module, path).read
    return Run(path, config, task_module, model.to(device), tokenizer.to(device), read)


def named_again(path, name, there, here):
    """The file or name of a setting: one of the user's own is not executed unless named again."""
    if is_own(there) and not is_own(here):
        raise UserError(f"{path}: trained with a file of your own, which is not executed unless "
                        f"you name it: --{name} {there}")
    if here and not is_own(there) and here != there:
        raise UserError(f"--{name} {here}: {path} was trained with {there}")
    return here or there


def pick_device(name):
    """`auto` takes CUDA if there is one, else the CPU."""
    found = {"cpu": True, "cuda": torch.cuda.is_available(),
             "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return "cuda" if found["cuda"] else "cpu"
    if not found[name]:
        raise UserError(f"--device {name}: torch finds none here; leave the flag out")
    return name


def machine():
    """What a figure was measured on, for the files that hold figures."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else []
    return dict(
        cpu=(names + [platform.processor()])[0],
        cores=os.cpu_count(), threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        python=platform.python_version(), torch=torch.__version__, numpy=np.__version__,
        system=platform.system(), date=time.strftime("%Y-%m-%d"))
