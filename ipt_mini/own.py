"""Files of the user's own, the only place where one is executed: FILE.py or FILE.py:NAME.

Only a file that the user has just named: a run that was trained with one never executes it by
itself.
"""
import inspect
import re
import runpy
from pathlib import Path
from types import CodeType, SimpleNamespace

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


# ------------------------------------------------------------------ functions of a notebook
def code_of(function):
    """A text that changes with what a function of the user's does: its code, its defaults and all
    that it takes from outside, with functions and classes of its module. Of a library, names."""
    known = []

    def tell(value):
        value = getattr(value, "__wrapped__", value)           # behind a decorator
        if isinstance(value, CodeType):
            return [value.co_code.hex(), value.co_names, [*map(tell, value.co_consts)]]
        if isinstance(value, (list, tuple, dict)):
            return [*map(tell, value.items() if isinstance(value, dict) else value)]
        if isinstance(value, (set, frozenset)):
            return sorted(map(repr, value))                    # their order is new in each process
        if getattr(value, "__module__", "") == function.__module__ and hasattr(value, "__name__"):
            if value in known:
                return value.__name__
            known.append(value)
            if inspect.isclass(value):
                return tell(dict(vars(value)))
            return tell([value.__code__, value.__defaults__, value.__kwdefaults__,
                         *outside(value)])
        plain = value.tolist() if hasattr(value, "tolist") else value
        return re.sub(" at 0x[0-9a-f]+", "", repr(plain))      # an address is new in each process
    return repr(tell(function))


def outside(function):
    """What a function takes from outside: values of its closure, and globals that it names."""
    names, codes = set(), [function.__code__]
    for code in codes:                                 # it grows by the functions inside
        names.update(code.co_names)
        codes += [value for value in code.co_consts if isinstance(value, CodeType)]
    values = function.__globals__
    return [*(cell.cell_contents for cell in function.__closure__ or ()),
            *(values[name] for name in sorted(names & set(values)))]
