"""All settings of a run in one dataclass, from which the command line is made and checked."""
import argparse
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields

import torch

from ipt_mini.losses import SEGMENT_OF, parse_loss
from ipt_mini.sequence import IMAGINE, SUPERVISION
from ipt_mini.tasks import TASKS


class UserError(Exception):
    """A mistake that its maker can mend: told in one line. Exit code 2: something named on the
    command line is wrong; 1: its content or the environment fails."""

    def __init__(self, message, code=2):
        super().__init__(message)
        self.code = code


@contextmanager
def reading(path, remedy="delete it, and the same train.py command makes it anew"):
    """Whatever fails inside is the fault of the file at `path`, and is told in one line."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except UserError as error:
        raise UserError(f"{path}: {error}", 1) from None
    except Exception:                 # bytes that we did not write can make torch raise anything
        raise UserError(f"{path}: cut short, or not what this version writes; {remedy}",
                        1) from None


def setting(default, help, choices=None, low=0, high=10**9):
    """A field of a dataclass of settings, with what its value may be; low and high of a number."""
    return field(default=default, metadata=dict(help=help, choices=choices, low=low, high=high))


# What may be chosen, and how it is told: {value: words}.
TASK_NAMES = {name: f"{name} ({task.NAME})" for name, task in TASKS.items()}
SUPERVISIONS = {"label": "label (answers only)", "text_cot": "text_cot (words, then answer)",
                "ipt": "ipt (imagination, then answer)", "mixed": "mixed (ipt and label)"}
CORRUPTIONS = {"random": "random (any code)", "own": "own (what the model draws there)"}
DEVICES = {"auto": "auto (cuda if there is one)", "cpu": "cpu", "cuda": "cuda", "mps": "mps"}
GRIDS = {5: "5", 7: "7", 9: "9"}      # odd, to have a middle column
# Where a run lies and what it runs on do not change what it is.
NOT_COMPARED = ("name", "out", "device")


def flag(name):
    return "--" + name.replace("_", "-")


class Settings:
    """A dataclass of settings, each checked against its own metadata as soon as it is made."""

    def __post_init__(self):
        for f in fields(self):
            value, m, wrong = getattr(self, f.name), f.metadata, None
            if type(value) is not f.type and (f.type, type(value)) != (float, int):
                wrong = f"it takes a value of type {f.type.__name__}"
            elif m["choices"] and value not in m["choices"]:
                wrong = f"there is {', '.join(m['choices'].values())}"
            elif f.type in (int, float) and not m["low"] <= value <= m["high"]:
                wrong = f"it must be from {m['low']} to {m['high']}"
            if wrong:
                raise UserError(f"{flag(f.name)} {value!r}: {wrong}")


@dataclass
class Config(Settings):
    """Defaults give the main job: a run that ends while one watches."""
    task: str = setting("pt", "what to learn", TASK_NAMES)
    supervision: str = setting("mixed", "what is trained", SUPERVISIONS)
    seed: int = setting(0, "first weights and order of the examples")
    name: str = setting("", "part of the run folder's name; needed if settings below are changed")
    out: str = setting("", "the run folder, instead of runs/TASK-SUPERVISION[-NAME]-sSEED")
    device: str = setting("auto", "what to run on", DEVICES)
    # the world and its tokenizer
    grid: int = setting(5, "cells a side of every scene and view", GRIDS)
    n_train: int = setting(20000, "training examples", low=64, high=10**7)
    n_val: int = setting(2000, "validation examples", low=16, high=10**6)
    n_test: int = setting(2000, "test examples, in the domain and out of it", low=16, high=10**6)
    data_seed: int = setting(0, "of data and tokenizer: equal for runs to be compared")
    tokenizer_steps: int = setting(800, "steps of stage 1", low=200)
    # the model
    n_layer: int = setting(2, "blocks", low=1, high=48)
    n_head: int = setting(4, "attention heads; must divide the width", low=1, high=256)
    n_embd: int = setting(128, "width", low=1, high=1024)
    answer_sees_views: bool = setting(False, "after an imagination too, as in the paper; else that "
                                      "answer knows of them by the imagined cells")
    # its training
    loss: str = setting("", "terms and weights, such as answer=1,imagination=1; if empty, answer="
                        "the task's ANSWER_WEIGHT, and imagination=1 or cot=1 if they are trained")
    corrupt: float = setting(0.0, "share of the imagined inputs replaced in training", high=1)
    corrupt_by: str = setting("random", "what replaces them", CORRUPTIONS)
    rarity: float = setting(0.5, "weight of an imagined code: frequency ** -rarity", high=1)
    steps: int = setting(0, "steps of stage 2; 0: as many as the task needs")
    batch_size: int = setting(64, "examples a step", low=1)
    muon_lr: float = setting(0.02, "learning rate of the matrices in the blocks (Muon)")
    adam_lr: float = setting(0.003, "learning rate of everything else (AdamW)")
    weight_decay: float = setting(0.0, "of both")
    cooldown: float = setting(0.4, "last part of the steps: the rate falls to 0", high=1)
    curriculum: float = setting(0.5, "first part of the steps, with the shares of kinds that the "
                                "task's FIRST gives", high=1)
    eval_every: int = setting(100, "steps between validations", low=1)

    def __post_init__(self):
        super().__post_init__()
        if self.n_embd % self.n_head:
            raise UserError(f"--n-head {self.n_head}: it must divide the width, --n-embd "
                            f"{self.n_embd}")
        if self.corrupt and not any(IMAGINE in b for b in SUPERVISION[self.supervision]):
            raise UserError(f"--corrupt {self.corrupt}: --supervision {self.supervision} trains "
                            "no imagination that could be corrupted")
        if self.n_train < self.batch_size:
            raise UserError(f"--batch-size {self.batch_size}: more than --n-train {self.n_train}")
        if self.name and not self.name.replace("-", "").replace("_", "").isalnum():
            raise UserError(f"--name {self.name!r}: use letters, digits, - and _")


def parse(cls, doc):
    """The Settings of class `cls`, from the command line: a flag for each field."""
    parser = Parser(description=doc.splitlines()[0])
    for f in fields(cls):
        words = ": " + ", ".join(f.metadata["choices"].values()) if f.metadata["choices"] else ""
        if f.type is list:
            parser.add_argument(f.name, nargs="+", metavar="RUN", help=f.metadata["help"])
        elif f.type is bool:
            parser.add_argument(flag(f.name), action="store_true", help=f.metadata["help"])
        else:
            default = "none" if f.default == "" else f.default
            parser.add_argument(flag(f.name), type=f.type, default=f.default,
                                metavar=f.name.upper(),
                                help=f"{f.metadata['help']}{words} (default: {default})")
    return cls(**vars(parser.parse_args()))


def default_loss(config):
    """The terms that a run's supervision can carry."""
    return f"answer={TASKS[config.task].ANSWER_WEIGHT}" + "".join(
        f",{term}=1" for term in ("imagination", "cot")
        if any(SEGMENT_OF[term] in branch for branch in SUPERVISION[config.supervision]))


def terms_of(config, own=None):
    """{name: (loss term, weights)} of a run."""
    loss = config.loss or default_loss(config)
    try:
        return parse_loss(loss, SUPERVISION[config.supervision], own or {})
    except ValueError as error:
        raise UserError(f"--loss {config.loss}: {error}") from None


def check_named(config):
    """Raise UserError if the folder's name would not tell that settings are not the default."""
    changed = [f.name for f in fields(config) if getattr(config, f.name) != f.default
               and f.name not in (*NOT_COMPARED, "task", "supervision", "seed")]
    if changed and not config.name and not config.out:
        raise UserError(f"{', '.join(map(flag, changed))}: not the default, so give the run a name "
                        "with --name WORD")


def compared(config):
    """The settings that make a run what it is, as a dict."""
    return {k: v for k, v in asdict(config).items() if k not in NOT_COMPARED}


def config_from(values):
    """The Config in the dict of a file, to be called while `reading` it. The loss is not looked
    at: a file must not make us execute another."""
    if len(values) < len(fields(Config)):
        raise ValueError("settings are missing")
    return Config(**values)


def pick_device(name):
    """`auto` takes CUDA if there is one, else the CPU."""
    found = {"cpu": True, "cuda": torch.cuda.is_available(),
             "mps": torch.backends.mps.is_available()}
    if name != "auto" and not found.get(name):
        raise UserError(f"--device {name}: torch finds none here; leave the flag out")
    return name if name != "auto" else "cuda" if found["cuda"] else "cpu"


class Parser(argparse.ArgumentParser):
    """argparse, with mistakes told in one line."""

    def error(self, message):
        raise UserError(f"{message} (see {self.prog} --help)")


def run_main(main):
    """Call main() and turn what can go wrong for a user into one line and an exit code."""
    for stream in (sys.stdout, sys.stderr):        # a terminal without Unicode shows ? instead
        stream.reconfigure(errors="replace")
    try:
        main()
        sys.stdout.flush()                         # a full disk shows here, not after the end
        return
    except UserError as error:
        message, code = error, error.code
    except KeyboardInterrupt:
        message, code = "stopped; the same command goes on from what is saved", 130
    except OSError as error:                       # a pipe that nobody reads on needs no words
        message = not isinstance(error, BrokenPipeError) and (
            f"{error.filename or 'the output'}: {error.strerror or error}; choose a place that is "
            "there, with room on the disk, and yours to write")
        code = 1
        sys.stdout = None                          # what is still in its buffer has no place to go
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        message, code = ("too little memory: lower --batch-size, --n-train, --n-test or --n-embd; "
                         "--n in data.py and eval.py"), 1
    if message:
        print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
