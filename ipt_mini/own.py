"""Files of the user's own, the only place where one is executed: FILE.py or FILE.py:NAME.

Only a file that the user has just named: a run that was trained with one never executes it by
itself.
"""
import runpy
from pathlib import Path
from types import SimpleNamespace

from ipt_mini.errors import UserError, blame


def is_own(spec):
    """Does a setting name a file? Of a list with commas: does any part?"""
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


def load_own(spec):
    """Execute the file and return what it calls NAME; all names in it for a bare FILE.py."""
    path, _, name = spec.partition(":")
    source(spec)
    with blame(path):
        names = runpy.run_path(path)
    if name and name not in names:
        raise UserError(f"{spec}: this file defines no {name!r}", 1)
    return names[name] if name else SimpleNamespace(**names)
