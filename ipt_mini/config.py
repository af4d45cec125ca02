"""All settings of a run in one dataclass, from which the command line is made and checked."""
import argparse
import re
from dataclasses import dataclass, field, fields

from ipt_mini.errors import UserError
from ipt_mini.own import is_own
from ipt_mini.sequence import SUPERVISION, branches_of
from ipt_mini.tasks import TASKS


def setting(default, help, choices=None, **limits):
    """A field of a dataclass of settings, with what its value may be. choices: {value: words}; own:
    FILE.py, too; many: several, with commas; low, high: of numbers; only, never: beside which
    setting."""
    usual = dict(own=False, many=False, low=0, high=10**9, only="", never="")
    return field(default=default, metadata=usual | limits | dict(help=help, choices=choices))


TASK_NAMES = {name: f"{name} ({task.NAME})" for name, task in TASKS.items()}
TOKENIZERS = {"vq": "vq (VQ-VAE)"}
DEVICES = {"auto": "auto (cuda if there is one)", "cpu": "cpu", "cuda": "cuda", "mps": "mps"}
VIEWS = {"cells": "cells (a grid of glyphs)", "first-person": "first-person (drawn by a camera)"}
PATCHES = {4: "4", 8: "8", 16: "16"}
GRIDS = {5: "5", 7: "7", 9: "9"}      # odd, to have a middle column
# Where a run lies and what it runs on do not change what it is.
NOT_COMPARED = ("name", "out", "device", "data")       # of a folder, the content is compared


def flag(name):
    return "--" + name.replace("_", "-")


class Settings:
    """A dataclass of settings, each checked against its own metadata as soon as it is made."""

    def __post_init__(self):
        for f in fields(self):
            value, limits, wrong = getattr(self, f.name), f.metadata, None
            choices, own, only, never = (limits[k] for k in ("choices", "own", "only", "never"))
            parts = value.split(",") if limits["many"] and type(value) is str else [value]
            if type(value) is not f.type and (f.type, type(value)) != (float, int):
                wrong = f"it takes a value of type {f.type.__name__}"
            elif choices and not all(part in choices or own and is_own(part) for part in parts):
                wrong = f"there is {', '.join(choices.values())}" + ", or FILE.py" * own
            elif (f.type in (int, float) and value != f.default
                  and not limits["low"] <= value <= limits["high"]):
                wrong = f"it must be from {limits['low']} to {limits['high']}"
            elif value != f.default and only and not getattr(self, only):
                wrong = f"only with {flag(only)}"
            elif value != f.default and never and getattr(self, never):
                wrong = f"not with {flag(never)}"
            if wrong:
                shown = "" if f.type is bool else f" {value!r}"
                raise UserError(f"{flag(f.name)}{shown}: {wrong}")


@dataclass
class Config(Settings):
    """Defaults give the main job: a run that ends while one watches."""
    task: str = setting("pt", "what to learn; several, with commas: one model for all",
                        TASK_NAMES, own=True, many=True, never="data")
    supervision: str = setting("mixed", "what is trained: "
                               + ", ".join(f"{k} ({v})" for k, v in SUPERVISION.items())
                               + ", or branches of your own, written like these")
    seed: int = setting(0, "first weights and order of the examples")
    name: str = setting("", "part of the run folder's name; needed if settings below are changed")
    out: str = setting("", "the run folder, instead of runs/TASK-SUPERVISION[-NAME]-sSEED")
    device: str = setting("auto", "what to run on", DEVICES)
    # the world and its tokenizer
    grid: int = setting(5, "cells a side of every scene and view; larger ones take the rates, "
                        "steps and loss of first person", GRIDS, never="data")
    views: str = setting("cells", "how views are drawn; maps stay maps", VIEWS, never="data")
    n_train: int = setting(80000, "training examples, at most: no more are made than are read",
                           low=64, high=10**7)
    n_val: int = setting(500, "validation examples", low=16, high=10**6)
    n_test: int = setting(2000, "test examples of each split", low=16, high=10**6)
    data_seed: int = setting(0, "of data and tokenizer: equal for runs to be compared")
    tokenizer: str = setting("vq", "what makes codes of pictures", TOKENIZERS, own=True)
    tokenizer_steps: int = setting(0, "steps of stage 1; 0: as many as the world needs", low=100)
    # a folder of pictures
    data: str = setting("", "a folder of your own, instead of --task; see docs/extend.md")
    size: int = setting(0, "resize its pictures to so many pixels a side; 0: not", low=4, high=128,
                        only="data")
    patch: int = setting(8, "pixels a side that become one code", PATCHES, only="data")
    codes: int = setting(0, "of the tokenizer; 0: as the world needs", low=8, high=8192)
    # the model
    n_layer: int = setting(2, "blocks", low=1, high=48)
    n_head: int = setting(4, "attention heads; must divide the width", low=1, high=256)
    n_embd: int = setting(128, "width", low=1, high=1024)
    answer_sees_views: bool = setting(False, "after an imagination too, as in the paper; else that "
                                      "answer looks at query and imagined cells alone")
    # its training
    loss: str = setting("", "terms and weights, such as answer=1,imagination=1; +discrepancy=0.5 "
                        "adds to the default, the task's LOSS")
    inputs: str = setting("", "FILE.py:NAME of your own that changes what the model reads in "
                          "training, see examples/scheduled_sampling.py")
    steps: int = setting(0, "steps of stage 2; 0: as many as the task needs")
    batch_size: int = setting(64, "examples a step", low=1)
    muon_lr: float = setting(0.02, "learning rate of the matrices in the blocks (Muon); half of it "
                             "in first person and on larger grids", high=10)
    adam_lr: float = setting(0.003, "learning rate of everything else (AdamW); as above", high=10)
    weight_decay: float = setting(0.0, "of both")
    cooldown: float = setting(0.25, "last part of the steps: the rate falls to 0", high=1)
    curriculum: float = setting(0.6, "first part of the steps, with the shares of kinds that the "
                                "task's CURRICULUM gives; at most its CURRICULUM_STEPS", high=1)
    eval_every: int = setting(100, "steps between validations and checkpoints", low=1)

    def __post_init__(self):
        super().__post_init__()
        if self.n_embd % self.n_head:
            raise UserError(f"--n-head {self.n_head}: it must divide the width, --n-embd "
                            f"{self.n_embd}")
        if self.n_train < self.batch_size:
            raise UserError(f"--batch-size {self.batch_size}: more than --n-train {self.n_train}")
        if is_own(self.tokenizer) and (self.codes or self.patch != Config.patch):
            raise UserError("--codes, --patch: not with a --tokenizer of your own")
        if re.search(r"[^\w-]", self.name):
            raise UserError(f"--name {self.name!r}: use letters, digits, - and _")

    @property
    def world(self):
        """What pictures are like, by which the tokenizer is chosen."""
        return "pictures" if self.data else self.views

    @property
    def recipe(self):
        """Name of the rates, steps and loss. On a larger grid the objects are as hard to find as in
        first person."""
        return "first-person" if self.grid > Config.grid else self.world

    @property
    def branches(self):
        """What is trained, see `sequence`."""
        return branches_of(self.supervision)


def parse(cls, doc):
    """The Settings of class `cls`, from the command line: a flag for each field."""
    parser = Parser(description=doc.splitlines()[0])
    for f in fields(cls):
        limits = f.metadata
        if f.type is list:
            parser.add_argument(f.name, nargs="+", metavar="RUN", help=limits["help"])
        elif f.type is bool:
            parser.add_argument(flag(f.name), action="store_true", help=limits["help"])
        else:
            choices = ": " + ", ".join(limits["choices"].values()) if limits["choices"] else ""
            default = "none" if f.default == "" else f.default
            help = f"{limits['help']}{choices} (default: {default})".replace("%", "%%")
            parser.add_argument(flag(f.name), type=f.type, default=f.default,
                                metavar=f.name.upper(), help=help)
    return cls(**vars(parser.parse_args()))


class Parser(argparse.ArgumentParser):
    """argparse, with mistakes reported in one line."""

    def error(self, message):
        raise UserError(f"{message} (see {self.prog} --help)")


def config_from(values):
    """The Config in the dict of a file. Files that it names are not executed."""
    if set(values) != {f.name for f in fields(Config)}:
        raise UserError("its settings are not those of this version")
    return Config(**values)
