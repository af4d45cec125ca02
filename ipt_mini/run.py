"""A trained run, and one question at a time: load_run("runs/pt-mixed-s0").ask(example)."""
import ctypes
import io
import os
import platform
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ipt_mini import plots
from ipt_mini.checkpoint import fingerprint, get_reader, load, restored, tokenizer_maker
from ipt_mini.config import Config, config_from
from ipt_mini.dataset import painter, prepare, tasks_of, to_data
from ipt_mini.errors import UserError, blame
from ipt_mini.generate import DECODES, decode, decodes_of
from ipt_mini.model import Model
from ipt_mini.own import is_own
from ipt_mini.reader import Reader, nearest_glyph
from ipt_mini.tasks.camera import draw
from ipt_mini.tasks.folder import MOST_CODES, MOST_WORDS
from ipt_mini.tasks.words import text, vocabulary
from ipt_mini.tokenizer import Tokenizer

MANY_CODES = 100              # with fewer, as in cells, no two look alike


class Run(NamedTuple):
    """A model with its tokenizer and tasks, trained or in training. Whatever it does, it does for
    one of its tasks."""
    path: Path
    config: Config
    tasks: dict                # {name: task}
    model: Model
    tokenizer: Tokenizer
    name: str = ""             # of the task at hand; if empty, the first
    reader: Reader = None      # of pictures in first person, if a task imagines such

    @property
    def task(self):
        return self.tasks[self.name or [*self.tasks][0]]

    def for_each_task(self):
        """This Run for each of its tasks."""
        return [self._replace(name=name) for name in self.tasks]

    def titled(self, word):
        """A word for the task at hand: with the task's name if the run has several."""
        return f"{word}-{self.name}" if len(self.tasks) > 1 else word

    @property
    def answers(self):
        """Ids (A,) of the words that may answer."""
        return answer_ids(self.task, self.tokenizer.codebook.device)

    def read(self, pixels):
        """Imagined pictures (B, H, W, 3), an array -> the cells (B, N, N) that they show."""
        in_first_person = painter(self.config, self.task, "imagination") is draw
        return self.reader.read(pixels) if in_first_person else nearest_glyph(pixels)

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
        """Answer one example, Examples of one row, by one of the DECODES that were trained."""
        fitting = decodes_of(self.config.branches)
        name = name or ("imagine" if "imagine" in fitting else "".join(fitting[:1]))
        if name not in fitting:
            raise UserError(f"{self.config.supervision!r} trains to answer by: "
                            f"{', '.join(fitting) or 'none of DECODES'}, not by {name!r}")
        rng = np.random.default_rng(0)
        data = to_data(self.config, self.task, example, self.tokenizer, rng)
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
        tiles = [(f"view {v}", view, "black") for v, view in enumerate(self.views, 1)]
        if self.picture is not None:
            tiles.append(("imagined", self.picture, "black"))
        best = sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:4]
        answers = [(f"{100 * p:.0f}%", word, False) for word, p in best]
        plots.blocks([plots.Block(self.question, tiles, answers)], file)
        return file.getvalue()


def answer_ids(task, device=None):
    """Ids (A,) of the words that may answer a task."""
    words = vocabulary(task)
    return torch.tensor([words.index(word) for word in task.ANSWERS], device=device)


def new_model(config, tasks, tokenizer):
    """A Model whose first weights depend on config.seed alone; the caller's generator stays."""
    K, D = tokenizer.codebook.shape
    room = dict(max_order=MOST_WORDS, max_side=MOST_CODES) if config.data else {}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        model = Model(config, len(vocabulary(*tasks)), K, D, **room)
        codebook = tokenizer.codebook.cpu()
        distinct = len(codebook.unique(dim=0))         # codes without a use all are one vector
        for field, weight in ("views", model.token.weight), ("imagination", model.head.weight):
            if distinct >= MANY_CODES and any(field not in task.MAPS for task in tasks):
                model.start_alike(weight, codebook)
    return model


def load_run(path, device="cpu", task="", tokenizer="", data=""):
    """The finished run in folder `path`, ready to answer its first task: Run. UserError if there is
    none.
    task, tokenizer: files of the user's own that it was trained with, which are executed.
    data: its folder of pictures, if that is elsewhere now."""
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
    if data and not config.data:
        raise UserError(f"--data {data}: {path} was trained with {config.task}")
    task = named_again(path, "task", config.task, task)
    tokenizer = named_again(path, "tokenizer", config.tokenizer, tokenizer)
    config = replace(config, task=task, tokenizer=tokenizer, data=data or config.data)
    tasks = tasks_of(config)
    here = fingerprint(config, tasks.values())
    if there != here:
        raise UserError(f"{path}: trained by code with other tasks, words, pictures or own files; "
                        "rerun its train.py command under another --name", 1)
    tokenizer = restored(tokenizer_maker(config), saved, file)
    model = restored(lambda: new_model(config, tasks.values(), tokenizer), saved["parts"], file, 0)
    reader = get_reader(config, tasks.values(), path)
    return Run(path, config, tasks, model.to(device), tokenizer.to(device), reader=reader)


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


def keep_freed_memory():
    """Let glibc (Linux) keep what is freed. Else it gives large blocks back to the system, and a
    step of training asks for them anew: 5 to 14% of its time on a CPU."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        libc.mallopt(-3, 2 ** 25)                  # M_MMAP_THRESHOLD, the most that it takes
        libc.mallopt(-1, 2 ** 31 - 1)              # M_TRIM_THRESHOLD


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
