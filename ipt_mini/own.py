"""Files of the user's own, the only place where one is executed: FILE.py or FILE.py:NAME.

Only a file that the user has just named: a run that was trained with one never executes it by
itself.
"""
import inspect
import runpy
from pathlib import Path
from types import SimpleNamespace

from ipt_mini.errors import UserError, blame


def is_own(spec):
    """Does a setting name a file instead of something built in? Or a list of names, one?"""
    return any(one.partition(":")[0].endswith(".py") for one in spec.split(","))


def name_of(spec):
    """What is named: NAME of FILE.py:NAME, FILE of FILE.py, else the name itself."""
    return Path(spec.rpartition(":")[2]).stem


def source(spec):
    """The text of the file that a setting names."""
    path = Path(spec.partition(":")[0])
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r}")
    with blame(path):
        return path.read_text("utf-8")


def blamed(culprit, function):
    """The function, with all that fails in it reported as a fault of the culprit."""
    def call(*args, **more):
        with blame(culprit):
            return function(*args, **more)
    return call


def load_own(spec):
    """Execute the file and return what it calls NAME; all names in it for a bare FILE.py."""
    path, _, name = spec.partition(":")
    source(spec)
    with blame(path):
        module = SimpleNamespace(**runpy.run_path(path))
        return getattr(module, name) if name else module



def text_of(function):
    """The text of a function that a notebook or script hands over."""
    with blame(f"own term {function.__name__}"):
        return inspect.getsource(function)
