"""What a mistake of the user is, and how it ends: in one line and an exit code.

Exit code 2: something named on the command line is wrong; 1: its content or the environment fails;
130: Ctrl-C. Everything else that fails is a bug of ours, and keeps its traceback.
This file lies below all others and imports none of them.
"""
import os
import signal
import sys
from contextlib import contextmanager

STOPPED = "stopped; the same command resumes a training from what is saved"


class UserError(Exception):
    """A mistake that the user can correct; the message says how."""

    def __init__(self, message, code=2):
        super().__init__(message)
        self.code = code


def out_of_memory(error):
    """Has `error` come from too little memory? torch's CPU allocator has no type of its own."""
    by_type = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return by_type or "DefaultCPUAllocator" in str(error)


@contextmanager
def blame(culprit, remedy=""):
    """Whatever fails inside is the fault of `culprit`: a file, or code of the user's own."""
    try:
        yield
    except Exception as error:        # bytes and code that are not ours can raise anything
        if isinstance(error, OSError) and error.errno or out_of_memory(error):
            raise                     # Pillow's OSErrors have no errno: those are the file's fault
        cause = error if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise UserError(f"{culprit}: {remedy or cause}", 1) from None


def one_line(message):
    """The message with line breaks and control characters, which files may hold, escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(message))


def quiet_imports():
    """Ctrl-C ends in one line until run_main, too: it would abort the slow imports of torch."""
    def stop(*_):
        print("error:", STOPPED, file=sys.stderr)
        os._exit(130)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, stop)


def run_main(main):
    """Call main(); turn what a user can correct into one line and an exit code."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stderr = sys.stderr or open(os.devnull, "w")       # closed by whoever called us
    try:
        if sys.stdout is None:                     # closed by whoever called us
            raise UserError("standard output is closed; send it to a file or to /dev/null", 1)
        for stream in (sys.stdout, sys.stderr):    # a terminal without Unicode shows ? instead
            stream.reconfigure(errors="replace")
        main()
        sys.stdout.flush()                         # a full disk shows here, not after the end
        return
    except UserError as error:
        message, code = error, error.code
    except KeyboardInterrupt:
        message, code = STOPPED, 130
    except OSError as error:                       # a pipe that nobody reads on needs no words
        place, code = error.filename or "the output", 1
        message = (f"{place}: {error.strerror or error}; choose a place that exists, with room on "
                   "the disk, and yours to write and read")
        if isinstance(error, BrokenPipeError):
            message = ""
        sys.stdout = None                          # its buffer would fail again at exit
    except Exception as error:
        if not out_of_memory(error):
            raise
        message, code = ("too little memory: lower --batch-size, --n-train, --n-test or --n-embd; "
                         "--n in data.py and eval.py"), 1
    if message:
        # In one piece: of several processes, each may write between two pieces of another.
        sys.stderr.write(f"error: {one_line(message)}\n")
    sys.exit(code)
