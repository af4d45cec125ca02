"""How fast each stage is: data, training, answering; beside another library, if it is here.

    python benchmarks/speed.py        about ten minutes on two cores, with nothing else running

Beside GPT-2 of transformers, of the same depth, heads and width. The work does not depend on
weights, so they are random. Tokenizers are timed by quantizers.py.
"""
from report import arguments, gpt2, installed, run_main, write

import time

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ipt_mini.compare import interleaved, step_of
from ipt_mini.config import Config
from ipt_mini.dataset import prepare
from ipt_mini.generate import DECODES, as_picture, decode
from ipt_mini.run import answer_ids, new_model
from ipt_mini.sequence import ANSWER, IMAGINE, layout, pack
from ipt_mini.side_by_side import side_by_side
from ipt_mini.tasks import TASKS, make, pt
from ipt_mini.tasks.grid import render
from ipt_mini.tasks.words import WORDS
from ipt_mini.tokenizer import SIZES, Tokenizer
from ipt_mini.training import named, train_step, training_of

VOCABULARY = len(WORDS) + SIZES["cells"]["n_codes"]


def any_tokenizer():
    tokenizer = Tokenizer().eval().requires_grad_(False)
    torch.nn.init.normal_(tokenizer.codebook)
    return tokenizer


def data_row(name, n, rounds):
    """Questions a second on one core: made, drawn as pixels, encoded."""
    task, tokenizer, rng = TASKS[name], any_tokenizer(), np.random.default_rng(0)
    examples = make(task, "train", n).take(slice(1000))
    pictures = np.concatenate([examples.views.reshape(-1, *examples.scene.shape[1:]),
                               examples.imagination])
    pixels = torch.from_numpy(render(pictures, rng))
    seconds = interleaved({
        "questions": lambda: make(task, "train", n),
        "drawing": lambda: render(pictures, rng),
        "encoding": lambda: tokenizer.encode(pixels)}, rounds)
    some = len(examples.answer)
    return [name.upper(), f"{n / seconds['questions']:,.0f}", f"{some / seconds['drawing']:,.0f}",
            f"{some / seconds['encoding']:,.0f}"]


# ---------------------------------------------------------------------------------------- training
def our_step(config):
    """(a training step of the default recipe, tokens (B, T))."""
    tokenizer = any_tokenizer()
    training = training_of(config, {"pt": pt}, tokenizer, *named(config, {"pt": pt}))
    tokens = training.sets[0].tokens[:config.batch_size]
    return lambda: train_step(training, 0), tokens


def gpt2_step(config, tokens):
    """A training step of GPT-2 with AdamW and a loss on every token."""
    model = gpt2(config, VOCABULARY, tokens.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step():
        model.zero_grad()
        logits = model(tokens, use_cache=False).logits
        F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()
    return step


def operations(function):
    """Floating-point operations of a call. Plain attention: the fused one counts work twice."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def training_rows(widths, side, rounds):
    """MFU: operations a second as a share of those of a large matrix product in the same rounds."""
    a = torch.randn(side, side)
    steps, work, tokens = {"peak": lambda: a @ a}, {"peak": 2 * side ** 3}, {}
    for width in widths:
        config = Config(n_embd=width, n_train=64, steps=10)
        step, batch = our_step(config)
        new = {f"ours, width {width}": step}
        if installed("transformers"):
            new[f"GPT-2, width {width}"] = gpt2_step(config, batch)
        for name, step in new.items():
            steps[name], work[name], tokens[name] = step, operations(step), batch.numel()
    seconds = interleaved(steps, rounds)
    peak = work["peak"] / seconds["peak"]
    for name, n in tokens.items():
        s = seconds[name]
        yield [name, f"{1000 * s:.0f}", f"{config.batch_size / s:,.0f}", f"{n / s:,.0f}",
               f"{work[name] / 1e9:.1f}", f"{100 * work[name] / s / peak:.0f}%"]


# ------------------------------------------------------------------------------------ several seeds
def many_steps(config, line=None):
    """Make the data of a run and learn from as many batches as it has steps."""
    step = step_of(config)
    for _ in range(config.steps):
        step()


def seeds_rows(steps, rounds):
    """A pair of seeds, one after the other on all cores or side by side with half of them each."""
    configs = [Config(device="cpu", seed=seed, steps=steps) for seed in range(2)]
    step_of(configs[0])                              # the tokenizer, which they share
    seconds = {"one after the other": [], "side by side": []}
    for _ in range(rounds):
        for jobs, times in enumerate(seconds.values(), 1):
            began = time.perf_counter()
            side_by_side(many_steps, configs, jobs)
            times.append(time.perf_counter() - began)
    best = {name: min(times) for name, times in seconds.items()}
    for name, s in best.items():
        yield [name, f"{s:.0f}", f"{3600 / s:.0f}", f"{best['one after the other'] / s:.2f}"]


# --------------------------------------------------------------------------------------- answering
def uncached(model, data, answers):
    """`imagine` with a pass over the whole sequence for every token: answers (B,)."""
    branch = (IMAGINE, ANSWER)
    where = layout(data, (branch,))
    codes = torch.zeros_like(data.imagination).flatten(1)                # (B, P), as imagined
    for i in range(codes.shape[1] + 1):
        tokens, _ = pack(data._replace(imagination=as_picture(codes, data)), (branch,),
                         model.n_words)
        hidden = model.states(tokens, data.pose, where, where.loss_at[i:i + 1])
        logits = model.head(hidden)[:, 0]
        if i < codes.shape[1]:
            codes[:, i] = logits[:, model.n_words:].argmax(1)
    return answers[logits[:, answers].argmax(1)]


@torch.no_grad()
def answering_rows(n, n_few, rounds):
    """Questions a second: many in one batch, and few one at a time."""
    config, tokenizer = Config(), any_tokenizer()
    model, answers = new_model(config, [pt], tokenizer).eval(), answer_ids(pt)
    for p in model.blocks.parameters():              # as if trained: blocks start as the identity
        if p.dim() == 2:
            torch.nn.init.normal_(p, std=0.1)
    data = prepare(config, pt, "val", tokenizer, n)[1]
    singles = [data.take(slice(i, i + 1)) for i in range(n_few)]
    new = data.imagination[0].numel() + 2            # the codes, the answer's opener, the answer

    def ours(name):
        return lambda d: decode(model, d, answers, DECODES[name].function).answer
    ways = {"direct": ours("direct"), "imagine": ours("imagine"),
            "imagine, no cache": lambda d: uncached(model, d, answers)}
    assert torch.equal(ways["imagine"](data), ways["imagine, no cache"](data))
    if installed("transformers"):
        prompt = pack(data, ((ANSWER,),), model.n_words)[0]
        library = gpt2(config, VOCABULARY, prompt.shape[1] + new).eval()

        def generated(length):
            def answer(d):
                tokens = pack(d, ((ANSWER,),), model.n_words)[0]
                return library.generate(tokens, attention_mask=torch.ones_like(tokens),
                                        max_new_tokens=length, min_new_tokens=length,
                                        do_sample=False)[:, -1]
            return answer
        ways |= {"GPT-2, one token": generated(1), f"GPT-2, {new} tokens": generated(new)}
    functions = {}
    for name, way in ways.items():
        functions[name, "batch"] = lambda way=way: way(data)
        functions[name, "single"] = lambda way=way: [way(d) for d in singles]
    seconds = interleaved(functions, rounds)
    for name in ways:
        batch, single = n / seconds[name, "batch"], n_few / seconds[name, "single"]
        yield [name, f"{batch:,.0f}", f"{single:,.0f}"]


def main():
    quick = (options := arguments(__doc__)).quick
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    data = [data_row(name, 50 if quick else 20000, 1 if quick else 3) for name in TASKS]
    torch.set_num_threads(threads)
    widths, side = ((16,), 256) if quick else ((64, 128, 256), 2048)
    training = [*training_rows(widths, side, 1 if quick else 20)]
    seeds = [*seeds_rows(*((2, 1) if quick else (300, 3)))]
    answering = [*answering_rows(*((8, 2, 1) if quick else (500, 20, 5)))]
    write("speed", options, [
        (["data, one thread", "questions made/s", "drawn/s", "encoded/s"], data),
        (["training, PT", "ms a step", "questions/s", "tokens/s", "GFLOP a step", "MFU"], training),
        (["two seeds of PT, 300 steps", "seconds", "pairs an hour", "times as many"], seeds),
        (["answering, PT", "questions/s, in one batch", "questions/s, one at a time"], answering),
    ], {}, ["Compare within a table only: its rows were measured turn by turn. MFU: share of the "
            "rate of a large matrix product."])


if __name__ == "__main__":
    run_main(main)
