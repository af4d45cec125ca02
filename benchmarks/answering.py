"""Questions answered a second: cached and batched against uncached, and against `generate`.

    pip install transformers && python benchmarks/answering.py        about three minutes

A model of the default size with random weights on PT questions; the work does not depend on
weights. GPT-2 of the same size reads a prompt of the same length and generates as many tokens,
greedily and with its own cache; cached and uncached decoding are checked to give the same pictures
and answers.
"""
from importlib.metadata import version

from report import any_tokenizer, gpt2, interleaved, markdown, needs, options, publish, stamp

import torch

from ipt_mini.config import Config, run_main
from ipt_mini.generate import Decoded, answer_words, decode
from ipt_mini.run import new_model, prepare
from ipt_mini.sequence import ANSWER, IMAGINE, N_WORDS, imagining_order, layout, pack


def uncached(model, data, answers):
    """`imagine` with a full pass over the whole sequence for every token: Decoded."""
    branches, codes = ((IMAGINE, ANSWER),), torch.zeros_like(data.imagination)
    where, cells = layout(data, branches), codes.shape[1]
    order = imagining_order(cells)
    for i in range(cells + 1):
        tokens = pack(data._replace(imagination=codes), branches)[0]
        h = model.states(tokens, data.pose, where, False, where.loss_at[i:i + 1])
        logits = model.head(h)[:, 0]
        if i < cells:
            codes[:, order[i]] = logits[:, N_WORDS:].argmax(1)
    return Decoded(answers[logits[:, answers].argmax(1)], codes)


def one_by_one(answer, data):
    """The same, one question at a time: (B,) words."""
    return torch.cat([answer(data.take(slice(i, i + 1))) for i in range(len(data.answer))])


@torch.no_grad()
def main():
    quick = options(__doc__).parse_args().quick
    needs("transformers")
    torch.manual_seed(0)
    n, n_few = (8, 2) if quick else (500, 20)
    config = Config()
    _, data = prepare(config, "val", any_tokenizer(), n)
    model, answers, few = new_model(config).eval(), answer_words("pt"), data.take(slice(n_few))
    for p in model.blocks.parameters():             # as if trained: blocks start as the identity
        if p.dim() == 2:
            torch.nn.init.normal_(p, std=0.1)
    new = data.imagination.shape[1] + 2             # the codes, the answer's opener, the answer
    prompt_of = lambda d: pack(d, ((ANSWER,),))[0]  # views, query and an opener, no matter which
    library = gpt2(config, prompt_of(few).shape[1] + new).eval()
    generate = lambda d, new: library.generate(
        prompt_of(d), attention_mask=torch.ones_like(prompt_of(d)), max_new_tokens=new,
        min_new_tokens=new, do_sample=False)[:, -1]
    ways = {                                                # (mode, function of the data)
        "cached": ("imagine", lambda d: decode(model, d, "pt", "imagine").answer),
        "uncached": ("imagine", lambda d: uncached(model, d, answers).answer),
        "GPT-2, generate": ("imagine", lambda d: generate(d, new)),
        "one pass": ("direct", lambda d: decode(model, d, "pt", "direct").answer),
        "GPT-2, generate one token": ("direct", lambda d: generate(d, 1)),
    }
    functions = {}
    for name, (mode, f) in ways.items():
        functions[mode, name, "batched"] = lambda f=f: f(data)
        functions[mode, name, "one at a time"] = lambda f=f: one_by_one(f, few)
    mine, full = decode(model, few, "pt", "imagine"), uncached(model, few, answers)
    assert torch.equal(mine.imagination, full.imagination) and torch.equal(mine.answer, full.answer)
    seconds = {key: s / (n if key[2] == "batched" else n_few)          # of one question
               for key, s in interleaved(functions, 1 if quick else 5).items()}
    ours = {"imagine": seconds["imagine", "cached", "batched"],
            "direct": seconds["direct", "one pass", "batched"]}
    lines = [stamp("python benchmarks/answering.py", transformers=version("transformers")) +
             f" {n} PT questions in one batch, or {n_few} one at a time.", ""]
    results = [dict(decode=mode, way=name, batch=batch, questions_per_second=round(1 / s, 1),
                    times_ours=round(s / ours[mode], 3))
               for (mode, name, batch), s in seconds.items()]
    lines += markdown(
        ["decode", "way", "batch", "questions/s", "time a question, first row of the decode = 1"],
        [[r["decode"], r["way"], r["batch"], f"{r['questions_per_second']:,.0f}",
          f"{r['times_ours']:.2f}"] for r in results])
    publish("answering", lines, results, quick)


if __name__ == "__main__":
    run_main(main)
