"""What the benchmarks share: timings taken turn by turn, a training step, where the tables go."""
import importlib.util
import json
import random
import re
import statistics
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ipt_mini.config import Parser, UserError, terms_of  # noqa: E402: after the path above
from ipt_mini.run import machine, new_model  # noqa: E402
from ipt_mini.sequence import N_WORDS  # noqa: E402
from ipt_mini.tokenizer import Tokenizer  # noqa: E402
from train import losses_of, optimizers_of  # noqa: E402


def options(doc):
    """A parser with --quick: tiny sizes, to see that all parts run; such figures say nothing."""
    parser = Parser(description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true",
                        help="tiny sizes, in seconds, into runs/quick/")
    return parser


def needs(module):
    """Refuse in one line if a library to compare with, which requirements.txt lacks, is missing."""
    if importlib.util.find_spec(module) is None:
        raise UserError(f"this benchmark compares with {module}, which is not installed: "
                        f"pip install {module.replace('_', '-')}", 1)


def publish(name, lines, results=None, quick=False):
    """Write benchmarks/NAME.md (and .json), and the table where README or docs have its two marks."""
    table = "\n".join(lines) + "\n"
    folder = Path("runs/quick") if quick else ROOT / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(table)
    if results is not None:
        (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    print(table)
    if not quick:
        block = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
        for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
            page.write_text(block.sub(lambda m: m[1] + table + m[2], page.read_text()))


def interleaved(functions, rounds=10):
    """{name: median seconds of a call}: every round calls each once, so all see the same noise,
    and in another order, so that none always follows the same other."""
    for f in functions.values():
        f()
    times, rng = {name: [] for name in functions}, random.Random(0)
    for _ in range(rounds):
        for name in rng.sample(list(functions), len(functions)):
            began = time.perf_counter()
            functions[name]()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(t) for name, t in times.items()}


def stamp(command, **more):
    """One line: the command, the machine and the versions."""
    m = machine()
    versions = "".join(f", {k} {v}" for k, v in more.items())
    return (f"`{command}`: {m['gpu'] or m['cpu']}, {m['threads']} thread{'s' * (m['threads'] > 1)}, Python {m['python']}, "
            f"torch {m['torch']}{versions}, {m['date']}.")


def markdown(head, rows):
    """Lines of a table: a list of cells for its head, and one for every row."""
    line = lambda cells: f"| {' | '.join(map(str, cells))} |"
    return [line(head), "|" + "---|" * len(head), *map(line, rows)]


def any_tokenizer():
    """A tokenizer with a random codebook: it costs what a trained one costs."""
    tokenizer = Tokenizer().eval().requires_grad_(False)
    torch.nn.init.normal_(tokenizer.quantizer.codebook)
    return tokenizer


def gpt2(config, length):
    """Hugging Face GPT-2 for `length` tokens, with our depth, heads, width and vocabulary."""
    import transformers
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=N_WORDS + Tokenizer.n_codes, n_positions=length, n_embd=config.n_embd,
        n_layer=config.n_layer, n_head=config.n_head, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
        bos_token_id=None, eos_token_id=None, pad_token_id=0))


def training_step(config, examples, tokenizer):
    """(gradients, step) of the default recipe, on the first batch of a TrainingSet.

    gradients: forward and backward pass; step: these and the optimizers.
    """
    model, terms = new_model(config), terms_of(config)
    optimizers, rows = optimizers_of(model, config), torch.arange(config.batch_size)

    def gradients():
        model.zero_grad()
        losses_of(model, examples, rows, terms, tokenizer).sum().backward()

    def step():
        gradients()
        for optimizer in optimizers:
            optimizer.step()
    return gradients, step
