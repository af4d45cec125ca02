"""Ways to answer: directly, after an imagined view, after the true one, or after a thought.

Each decode runs the prefix once (`feed` of many tokens) and then one token at a time, with keys and
values cached. The answer is the most likely of all answer words of the task.
Shape letters: B examples, T tokens, P cells of the imagination.
"""
from typing import NamedTuple

import torch

from ipt_mini.model import KVCache
from ipt_mini.sequence import (ANSWER, IMAGINE, N_WORDS, OPENER, THINK, code_token, layout,
                               token_code)
from ipt_mini.tasks import TASKS
from ipt_mini.tasks.words import ID, PAD


class Decoded(NamedTuple):
    """What came out: answer (B,) words; imagination (B, P) codes and cot (B, C) words, if any."""
    answer: torch.Tensor
    imagination: torch.Tensor = None
    cot: torch.Tensor = None


class Stream:
    """Sequences of one branch that grow from left to right, with their cache."""

    def __init__(self, model, data, branch):
        self.model, self.layout = model, layout(data, (branch,)).to(data.views.device)
        self.pose, self.end = data.pose, 0
        batch, length = len(data.answer), len(self.layout.segment)
        self.padding = torch.zeros(batch, length, dtype=torch.bool, device=data.views.device)
        self.cache = KVCache(model.config, batch, length, data.views.device)

    def feed(self, tokens):
        """Append tokens (B, t); return the logits (B, V) of what follows the last one."""
        start, self.end = self.end, self.end + tokens.shape[1]
        self.padding[:, start:self.end] = tokens == PAD
        x = self.model.embed(tokens, self.pose, self.layout, start)
        h = self.model.hidden(x, self.layout, self.padding[:, :self.end], self.cache, start)
        return self.model.head(h[:, -1])

    def open(self, segment):
        """Append the token that opens a segment."""
        return self.feed(torch.full((len(self.pose), 1), OPENER[segment], device=self.pose.device))


def start(model, data, branch):
    """A Stream that has read views and query."""
    stream = Stream(model, data, branch)
    stream.feed(torch.cat([code_token(data.views.flatten(1)), data.query], 1))
    return stream


def answer(stream, answers):
    """Open the answer and choose among the words `answers` (A,): (B,) words."""
    return answers[stream.open(ANSWER)[:, answers].argmax(1)]


def direct(model, data, answers):
    """Answer straight after the query."""
    return Decoded(answer(start(model, data, (ANSWER,)), answers))


def oracle(model, data, answers):
    """Answer after the true imagination."""
    return replaced(model, data, answers, data.imagination)


def replaced(model, data, answers, imagination):
    """Answer after a given imagination (B, P) of codes, whatever it shows."""
    stream = start(model, data, (IMAGINE, ANSWER))
    stream.open(IMAGINE)
    stream.feed(code_token(imagination.flip(1)))
    return Decoded(answer(stream, answers), imagination)


def imagine(model, data, answers):
    """Imagine code after code, each the most likely one, then answer."""
    stream = start(model, data, (IMAGINE, ANSWER))
    logits = stream.open(IMAGINE)
    codes = []
    for _ in range(data.imagination.shape[1]):
        token = N_WORDS + logits[:, N_WORDS:].argmax(1, keepdim=True)      # image tokens only
        codes.append(token_code(token))
        logits = stream.feed(token)
    return Decoded(answer(stream, answers), torch.cat(codes[::-1], 1))


def think(model, data, answers):
    """Write a chain of thought, word after word until <answer> or its longest length; answer."""
    stream = start(model, data, (THINK, ANSWER))
    logits = stream.open(THINK)
    words, ended = [], torch.zeros_like(data.answer, dtype=torch.bool)
    for _ in range(data.cot.shape[1]):
        word = logits[:, :N_WORDS].argmax(1)
        ended = ended | (word == OPENER[ANSWER])
        words.append(word.masked_fill(ended, PAD)[:, None])
        logits = stream.feed(words[-1])
    return Decoded(answer(stream, answers), cot=torch.cat(words, 1))


DECODES = {"direct": direct, "imagine": imagine, "oracle": oracle, "think": think}


def answer_words(task, device=None):
    """Ids (A,) of the words that may answer a task."""
    return torch.tensor([ID[word] for word in TASKS[task].ANSWERS], device=device)


@torch.no_grad()
def decode(model, data, answers, name, batch=500, **more):
    """One of DECODES over all of `data`, in batches: Decoded."""
    model.eval()
    parts = [DECODES[name](model, data.take(slice(i, i + batch)), answers, **more)
             for i in range(0, len(data.answer), batch)]
    return Decoded(*(None if f[0] is None else torch.cat(f) for f in zip(*parts)))
