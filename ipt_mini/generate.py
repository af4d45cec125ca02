"""Ways to answer: directly, after an imagined view, the true one, or a thought in words.

Each decode runs the prefix once (`feed` of many tokens) and then one token at a time, with keys and
values cached. The answer is the most likely of all answer words of the task.
Shape letters: B examples, T tokens, P cells of the imagination.
"""
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ipt_mini.model import KVCache
from ipt_mini.sequence import (ANSWER, IMAGINE, N_WORDS, OPENER, THINK, layout, near_to_far,
                               reading_order)
from ipt_mini.tasks import TASKS
from ipt_mini.tasks.words import ID, PAD


class Decoded(NamedTuple):
    """What came out: answer (B,) words; own imagination (B, P) codes, cot (B, C) words, if any."""
    answer: torch.Tensor
    imagination: torch.Tensor = None
    cot: torch.Tensor = None


class Stream:
    """Sequences of one branch that grow from left to right, with their cache: views, query and the
    token that opens the branch at once. `logits` (B, V): of what follows the last token."""

    def __init__(self, model, data, branch):
        self.model, self.pose = model, data.pose
        self.layout = layout(data, (branch,), model.config.answer_sees_views)
        self.cache = KVCache(model.config, len(data.answer), len(self.layout.segment),
                             data.views.device)
        self.feed(torch.cat([data.views.flatten(1) + N_WORDS, data.query], 1), branch[0])

    def feed(self, tokens, segment=None):
        """Append tokens (B, t), and the one that opens a segment, if any."""
        if segment is not None:
            tokens = F.pad(tokens, (0, 1), value=OPENER[segment])
        h = self.model.states(tokens, self.pose, self.layout, at=[-1], cache=self.cache)
        self.logits = self.model.head(h[:, 0])

    def answer(self, answers):
        """The most likely of the words `answers` (A,): (B,) words."""
        return answers[self.logits[:, answers].argmax(1)]


def direct(model, data, answers):
    """Answer straight after the query."""
    return Decoded(Stream(model, data, (ANSWER,)).answer(answers))


def oracle(model, data, answers):
    """Answer after the true imagination, or whatever else data.imagination holds."""
    stream = Stream(model, data, (IMAGINE, ANSWER))
    stream.feed(near_to_far(data.imagination) + N_WORDS, ANSWER)
    return Decoded(stream.answer(answers))


def imagine(model, data, answers, pick=lambda logits: logits.argmax(1, keepdim=True)):
    """Imagine code after code, then answer. `pick` chooses codes (B, 1) from logits (B, K)."""
    stream, codes = Stream(model, data, (IMAGINE, ANSWER)), []
    for left in reversed(range(data.imagination.shape[1])):
        codes.append(pick(stream.logits[:, N_WORDS:]))                     # image tokens only
        stream.feed(codes[-1] + N_WORDS, None if left else ANSWER)
    return Decoded(stream.answer(answers), reading_order(torch.cat(codes, 1)))


def sample(model, data, answers, temperature=1.0, top_k=0, samples=1, rng=None):
    """Imagine with codes drawn at a temperature, from the `top_k` likeliest (0: all); answer. Of
    several samples: what most of them answer, and the imagination of the first."""
    def draw(logits):
        if top_k:
            least = logits.topk(min(top_k, logits.shape[1])).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        return (logits / temperature).softmax(1).multinomial(1, generator=rng)
    outs = [imagine(model, data, answers, draw) for _ in range(samples)]
    return Decoded(torch.stack([out.answer for out in outs]).mode(0).values, outs[0].imagination)


def think(model, data, answers):
    """Write a chain of thought, word after word until <answer> or its longest length; answer."""
    stream, words = Stream(model, data, (THINK, ANSWER)), []
    ended = torch.zeros_like(data.answer, dtype=torch.bool)
    for left in reversed(range(data.cot.shape[1])):
        word = stream.logits[:, :N_WORDS].argmax(1)
        ended = ended | (word == OPENER[ANSWER])
        words.append(word.masked_fill(ended, PAD)[:, None])
        stream.feed(words[-1], None if left else ANSWER)
    return Decoded(stream.answer(answers), cot=torch.cat(words, 1))


DECODES = {"direct": direct, "imagine": imagine, "oracle": oracle, "think": think,
           "sample": sample, "vote": partial(sample, samples=8)}


def answer_words(task, device=None):
    """Ids (A,) of the words that may answer a task."""
    return torch.tensor([ID[word] for word in TASKS[task].ANSWERS], device=device)


@torch.no_grad()
def decode(model, data, task, name, batch=500, **more):
    """One of DECODES over all of `data`, in batches: Decoded. `more` are arguments of its own."""
    model.eval()
    answers = answer_words(task, data.answer.device)
    if name in ("sample", "vote"):                 # the same draws for the same call
        more = {"rng": torch.Generator(data.answer.device).manual_seed(0), **more}
    parts = [DECODES[name](model, data.take(slice(i, i + batch)), answers, **more)
             for i in range(0, len(data.answer), batch)]
    return Decoded(*(None if f[0] is None else torch.cat(f) for f in zip(*parts)))
