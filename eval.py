"""Test runs: accuracy by way of answering, and quality of the imagination.

    python eval.py runs/pt-mixed-s0               the test split and those out of distribution
    python eval.py runs/pt-mixed-s0 --replace     is the imagination used?

Figures go into the run's folder, as eval.json and replace.json. Runs are compared by
examples/compare.py.
"""
from ipt_mini.errors import UserError, blame, quiet_imports, run_main  # isort: skip
if __name__ == "__main__":
    quiet_imports()                                # those below are slow
from dataclasses import asdict, dataclass

from ipt_mini.checkpoint import write_json
from ipt_mini.config import DEVICES, Settings, parse, setting
from ipt_mini.evaluate import evaluate, flip_test, lines, replacement_test
from ipt_mini.generate import DECODES, Decode, Decoded, decodes_of
from ipt_mini.own import is_own, load_own
from ipt_mini.run import load_run, machine, pick_device
from ipt_mini.tasks import splits


def own_decode(name):
    """A Decode of the user's own; whatever it does wrong ends in one line with its name."""
    decode = load_own(name)
    if not isinstance(decode, Decode) or not isinstance(decode.branch, tuple):
        raise UserError(f"--decode {name}: no Decode(function, branch) with a tuple of segments", 1)

    @blame(f"--decode {name}")
    def checked(model, data, answers):
        decoded = decode.function(model, data, answers)
        if not isinstance(decoded, Decoded) or decoded.answer.shape != data.answer.shape:
            raise TypeError("it returns a Decoded with an answer (B,)")
        return decoded
    return decode._replace(function=checked)


def decode_named(run, name):
    """{name: function} of a decode; UserError if a segment of its branch was never trained."""
    decode = own_decode(name) if is_own(name) else DECODES.get(name)
    branches = run.config.branches
    if decode is None or not set(decode.branch) <= set().union(*branches):
        raise UserError(f"--decode {name!r}: {run.path}, trained with {run.config.supervision}, "
                        f"supports {', '.join(decodes_of(branches))}, or FILE.py:NAME")
    if decode.branch not in branches:
        print("note: this branch was not trained as a whole, only its segments")
    return {name.rpartition(":")[2]: decode.function}


def splits_named(run, names):
    """The splits that a text names, with commas; None for an empty one."""
    for name in names.split(",") if names else ():
        if name not in splits(run.task):
            raise UserError(f"--splits {name!r}: there is {', '.join(splits(run.task))}")
    return names.split(",") if names else None


def evaluate_one(run, options):
    """Print the figures of a run and write them into its folder."""
    if not options.decode and not decodes_of(run.config.branches):
        raise UserError(f"{run.path}: trained with {run.config.supervision!r}, which no built-in "
                        "decode fits; give --decode FILE.py:NAME, see examples/interleaved.py")
    decodes = decode_named(run, options.decode) if options.decode else None
    report = evaluate(run, splits_named(run, options.splits), decodes, options.n)
    print("\n".join(lines(report)))
    about = dict(machine=machine(), options=asdict(options))
    # Merged like this, a folder's split may be called "machine", too.
    write_json(run.path / f"{run.titled('eval')}.json", {**about, **report})


def right(figures):
    """An accuracy with its interval, as text."""
    if not figures["n"]:
        return "fits no question"
    return "right {accuracy}% [{low}, {high}] n {n}".format(**figures)


def replace_one(run, options):
    """The replacement test and the flip test of a run."""
    if "imagine" not in decodes_of(run.config.branches):
        raise UserError(f"--replace: {run.path} ({run.config.supervision}) imagines nothing")
    names = splits_named(run, options.splits) or ["test"]
    if len(names) > 1:
        raise UserError(f"--replace --splits {options.splits}: name one split")
    examples, data = run.prepare(names[0], options.n)
    rows = replacement_test(run, data, examples)
    for r in rows:
        follows = (f"follows it in {r['follows']}% of the {r['n_readable']} that imply an answer"
                   if r["n_readable"] else "implies no answer")
        print(f"picture: {r['picture']:24} {right(r)}, {follows}")
    flips = flip_test(run, data, examples)
    for r in flips:
        print(f"opposite question, {r['decode']}: {right(r)}, still the old answer {r['stays']}%")
    write_json(run.path / f"{run.titled('replace')}.json",
               dict(machine=machine(), split=names[0], rows=rows, flips=flips))


@dataclass
class Options(Settings):
    runs: list = setting((), "folders of finished runs")
    splits: str = setting("", "names, with commas; if empty, all tests")
    decode: str = setting("", f"one way to answer: {', '.join(DECODES)}, or FILE.py:NAME; if "
                          "empty, all that the run was trained for")
    n: int = setting(0, "examples of each split; 0: as many as the run was tested on")
    replace: bool = setting(False, "the replacement test")
    task: str = setting("", "FILE.py of a run that was trained on a task of your own")
    tokenizer: str = setting("", "FILE.py:NAME of a run that was trained with one of your own")
    data: str = setting("", "the folder of pictures of a run, if it is elsewhere now")
    device: str = setting("auto", "what to run on", DEVICES)


def main():
    options = parse(Options, __doc__)
    device = pick_device(options.device)
    for path in options.runs:
        trained = load_run(path, device, options.task, options.tokenizer, options.data)
        for run in trained.for_each_task():
            print(f"{run.path}: {run.name}, {run.config.supervision}")
            if options.replace:
                replace_one(run, options)
            else:
                evaluate_one(run, options)


if __name__ == "__main__":
    run_main(main)
