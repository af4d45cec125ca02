"""The run folder: files written whole or not at all, and verified whenever they are read.

    runs/pt-mixed-s0/    checkpoint.pt, metrics.json, curve.png, samples.png, tokenizer.png
    runs/tokenizer-*.pt, reader-*.pt     shared by the runs beside it that see the same world

Nothing here is ever deleted. A checkpoint holds tensors and plain values: reading one executes
nothing.
"""
import hashlib
import inspect
import io
import json
import os
import re
import zlib
from dataclasses import asdict
from pathlib import Path

import torch

from ipt_mini.config import NOT_COMPARED
from ipt_mini.dataset import is_shuffled, painter, tokenizer_pictures
from ipt_mini.errors import UserError, blame
from ipt_mini.losses import from_notebook
from ipt_mini.own import is_own, load_own, name_of, source
from ipt_mini.parallel import rank_and_size
from ipt_mini.reader import Reader, train_reader
from ipt_mini.tasks import make
from ipt_mini.tasks.camera import draw
from ipt_mini.tasks.words import vocabulary
from ipt_mini.tokenizer import TOKENIZER_STEPS, Tokenizer, train_tokenizer

PACKAGE = Path(__file__).parent
FORMAT = 8                    # of all that is saved; a reader refuses any other
DIGEST = 32                   # bytes of a SHA-256 behind the content of a file
ANEW = "damaged, or not written by this version; "
REMAKE = "move it away, and it is made anew"


# ------------------------------------------------------------------------------ files
def write_atomically(path, content):
    """Write bytes to a temporary file, force it to disk, and only then give it its name. Of several
    processes that train one model, the first alone writes."""
    if rank_and_size()[0]:
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")   # two commands may write one file
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:                       # a full disk does not say of which file
        error.filename = str(path)
        raise


def write_json(path, value):
    """Write plain values; ValueError for a number that JSON does not have."""
    write_atomically(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def save(path, **content):
    """Write a dict of tensors and plain values, with a digest behind it."""
    file = io.BytesIO()
    torch.save(dict(format=FORMAT, **content), file)
    content = file.getvalue()
    write_atomically(path, content + hashlib.sha256(content).digest())


def load(path, remedy):
    """The dict that `save` wrote. UserError with the remedy if a bit of it has changed."""
    if not path.is_file():
        raise UserError(f"{path}: no file", 1)
    content = path.read_bytes()
    content, digest = content[:-DIGEST], content[-DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise UserError(f"{path}: {ANEW}{remedy}", 1)
    with blame(path, remedy=ANEW + remedy):
        content = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        version = dict(content)["format"]
    if version != FORMAT:
        raise UserError(f"{path}: of format {version!r}, and this version reads {FORMAT}; {remedy}",
                        1)
    return content


def read_metrics(path):
    """What a finished run in folder `path` wrote about itself."""
    file = path / "metrics.json"
    if not file.is_file():
        raise UserError(f"{path}: no finished run; train it with train.py")
    with blame(file, remedy=ANEW + "rerun the run's train.py command under another --name"):
        return json.loads(file.read_text("utf-8"))


# ------------------------------------------------------------------------- the run folder
def folder_of(config):
    """The run folder's path."""
    tasks = "-".join(map(name_of, config.task.split(",")))
    if config.data:
        tasks = Path(config.data).resolve().name
    supervision = "-".join(re.findall(r"\w+", config.supervision))
    name = "-".join(filter(None, [tasks, supervision, config.name, f"s{config.seed}"]))
    return Path(config.out or f"runs/{name}")


def fingerprint(config, tasks, questions=True):
    """A short digest of what code decides about a run's data, beside its settings: pictures, words
    and questions, and a tokenizer of the user's own. Where it differs, codes or words have another
    meaning. Without the questions: what a tokenizer depends on."""
    name = config.tokenizer.rpartition(":")[2]
    own = name + source(config.tokenizer) if is_own(config.tokenizer) else ""
    digest = hashlib.sha256(f"{FORMAT} {own}".encode())
    if config.codes or config.data:
        digest.update(f"{config.codes} {config.patch}".encode())
    for task in tasks:
        digest.update(getattr(task, "DIGEST", b""))
    for pictures in tokenizer_pictures(config, tasks, "train", 16).values():
        digest.update(pictures.pixels.numpy().tobytes())
    if questions:
        digest.update(repr(vocabulary(*tasks)).encode())
        for task in tasks:
            digest.update(b"shuffled" * is_shuffled(config, task))
            for field in make(task, "train", 16, config.data_seed, config.grid):
                digest.update(field.tobytes())
    return digest.hexdigest()[:8]


def identity(config, tasks):
    """What makes a run what it is: its settings, a digest of what code decides about its data, and
    those of the user's own files, and of functions of a notebook that its loss names. What such a
    function takes from outside is not seen."""
    terms = [term.rpartition("=")[0] for term in config.loss.removeprefix("+").split(",")]
    specs = [*config.task.split(","), config.inputs, *terms]
    code = {spec: source(spec) for spec in specs if is_own(spec)}
    for name, function in from_notebook(config.loss).items():
        with blame(f"--loss {name}: write it as a function"):
            code[f"own {name}"] = inspect.getsource(function)
    code = {name: zlib.crc32(text.encode()) for name, text in code.items()}
    settings = {k: v for k, v in asdict(config).items() if k not in NOT_COMPARED}
    return dict(settings, fingerprint=fingerprint(config, tasks), **code)


def code_now():
    """A number that changes with any edit of the code that a run executes."""
    return zlib.crc32(b"".join(path.read_bytes() for path in sorted(PACKAGE.rglob("*.py"))))


# Of what is executed; the files may change meanwhile.
CODE = code_now()
MADE_BY = {part: zlib.crc32((PACKAGE / f"{part}.py").read_bytes())
           for part in ("tokenizer", "reader")}


def open_folder(config, tasks):
    """Make or reopen the run folder: (path, identity, checkpoint or None).
    UserError if something other than this very run is in it."""
    path, here = folder_of(config), identity(config, tasks)
    path.mkdir(parents=True, exist_ok=True)
    file = path / "checkpoint.pt"
    if not file.exists():
        if any(there.suffix != ".part" for there in path.iterdir()):
            raise UserError(f"{path}: not empty, and without a checkpoint.pt; choose another "
                            "folder with --name or --out")
        return path, here, None
    saved = load(file, "give this run another --name")
    with blame(file, remedy=ANEW + "give this run another --name"):
        there = dict(saved["identity"])
    different = [f"{k} {there.get(k)!r} there, {v!r} here" for k, v in here.items()
                 if there.get(k) != v]
    if different:
        raise UserError(f"{path} holds a run with other settings or files "
                        f"({'; '.join(different)}): give this one a --name")
    return path, here, saved


# ------------------------------------------------------------------------------ the tokenizer
def tokenizer_maker(config):
    """What makes an untrained tokenizer of the run's world."""
    if is_own(config.tokenizer):
        made_by = load_own(config.tokenizer)
        return lambda: made_by(config.world)
    return lambda: Tokenizer(config.world, config.codes, config.patch)


def restored(make, saved, path, part="tokenizer"):
    """A module made by make(), with the weights of a part of what is `saved` in the file `path`."""
    with blame(path), torch.random.fork_rng(devices=[]):       # first weights would draw numbers
        module = make()
        module.load_state_dict(saved[part])
    return module.eval()


def shared(part, config, tasks, folder, title, make, train):
    """A module beside the run folder, for all runs of its world: loaded, or trained once and saved.
    Edit the file that defines it, and it is trained anew.
    part: "tokenizer" or "reader"; make(): untrained; train(): trained."""
    made_of = fingerprint(config, tasks, questions=False)
    path = folder.parent / f"{title}-{made_of}-{MADE_BY[part]:08x}.pt"
    if path.exists():
        return restored(make, load(path, REMAKE), path, part)
    module = train()
    save(path, **{part: module.state_dict()})
    return module


def get_tokenizer(config, tasks, folder, make):
    """The tokenizer of this world, see `shared`. make(): an untrained one."""
    steps = config.tokenizer_steps or TOKENIZER_STEPS[config.world]

    def trained():
        pictures = [*tokenizer_pictures(config, tasks, "train", 2000).values()]
        with blame(f"--tokenizer {config.tokenizer}"):
            return train_tokenizer(make, pictures, config.data_seed, steps)
    title = f"tokenizer-g{config.grid}-s{config.data_seed}-t{steps}"
    return shared("tokenizer", config, tasks, folder, title, make, trained)


def get_reader(config, tasks, folder):
    """The Reader of this world's first-person pictures, see `shared`. None if no task imagines
    such."""
    if draw not in [painter(config, task, "imagination") for task in tasks]:
        return None

    def trained():
        pictures = tokenizer_pictures(config, tasks, "train", 4000)[draw]
        return train_reader(pictures, config.data_seed)
    title = f"reader-g{config.grid}-s{config.data_seed}"
    return shared("reader", config, tasks, folder, title, lambda: Reader(config.grid), trained)
