"""Questions answered a second: cached and batched against uncached, and against `generate`.

    pip install transformers && python benchmarks/answering.py        about two minutes

A model of the default size with random weights on 500 PT questions; the work does not depend on weights.
GPT-2 of the same size generates the same number of tokens after a prompt of the same length.
"""
from pathlib import Path

from report import interleaved, publish, stamp

import torch
import transformers

from ipt_mini.config import Config
from ipt_mini.generate import answer_words, decode
from ipt_mini.run import get_tokenizer, new_model, prepare
from ipt_mini.sequence import ANSWER, IMAGINE, N_WORDS, layout, pack, token_code


def uncached(model, data, answers):
    """`imagine` with a full pass over the whole sequence for every token."""
    where, codes = layout(data, ((IMAGINE, ANSWER),)), torch.zeros_like(data.imagination)
    for i in range(codes.shape[1]):
        logits = model(pack(data._replace(imagination=codes), ((IMAGINE, ANSWER),))[0], data.pose, where, False)
        codes[:, i] = token_code(N_WORDS + logits[:, where.n_prefix + i, N_WORDS:].argmax(1))
    logits = model(pack(data._replace(imagination=codes), ((IMAGINE, ANSWER),))[0], data.pose, where, False)
    return answers[logits[:, -1, answers].argmax(1)]


@torch.no_grad()
def main():
    torch.manual_seed(0)
    config = Config()
    _, data = prepare(config, "val", get_tokenizer(config, Path("runs/answering")), 500)
    model, answers = new_model(config).eval(), answer_words("pt")
    for block in model.blocks:                      # as if trained: a block starts as the identity
        torch.nn.init.normal_(block.attention.out.weight, std=0.1)
        torch.nn.init.normal_(block.down.weight, std=0.1)
    few = data.take(slice(50))
    assert torch.equal(uncached(model, few, answers), decode(model, few, answers, "imagine").answer)
    prompt = pack(data, ())[0]
    new = data.imagination.shape[1] + 2
    gpt2 = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=model.config.vocab_size, n_positions=prompt.shape[1] + new, n_embd=config.n_embd,
        n_layer=config.n_layer, n_head=config.n_head, bos_token_id=0, eos_token_id=None, pad_token_id=0)).eval()
    seconds = interleaved({
        "direct": lambda: decode(model, data, answers, "direct"),
        "imagine": lambda: decode(model, data, answers, "imagine"),
        "imagine, uncached": lambda: uncached(model, data, answers),
        "imagine, one question at a time": lambda: decode(model, few, answers, "imagine", batch=1),
        "transformers generate": lambda: gpt2.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=new, min_new_tokens=new, do_sample=False),
    }, rounds=5)
    seconds["imagine, one question at a time"] *= len(data.answer) / len(few.answer)
    lines = [stamp("python benchmarks/answering.py", transformers=transformers.__version__), "",
             "| way | questions/s | time, imagine = 1 |", "|---|---|---|"]
    lines += [f"| {name} | {500 / s:,.0f} | {s / seconds['imagine']:.2f} |" for name, s in seconds.items()]
    publish("answering", lines, {name: round(500 / s, 1) for name, s in seconds.items()})


if __name__ == "__main__":
    main()
