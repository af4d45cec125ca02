"""Ways to answer: directly, after an imagined view, the true one, or a thought in words.

A decode reads all that is given at once (prefill), then each token of its own, with keys and values
cached. The answer is the most likely of all answer words of the task.
Shape letters: B examples, T tokens, P = h * w cells of the imagination.
"""
from typing import Callable, NamedTuple

import torch

from ipt_mini.model import KVCache
from ipt_mini.sequence import ANSWER, IMAGINE, OPENER, THINK, as_imagined, as_picture, layout


class Decoded(NamedTuple):
    """What came out, for B examples."""
    answer: torch.Tensor               # (B,) words
    probabilities: torch.Tensor        # (B, A) of each answer that was allowed
    imagination: torch.Tensor = None   # (B, h, w) codes of the model's own, if any
    cot: torch.Tensor = None           # (B, C) words of the model's own, if any


class Stream:
    """Sequences of one branch that grow from left to right, with their cache. They begin with
    views and query. What is pushed is read when something has to be predicted from it."""

    def __init__(self, model, data, branch):
        self.model, self.pose = model, data.pose
        self.layout = layout(data, (branch,), model.config.answer_sees_views)
        batch, length = len(data.answer), len(self.layout.segment)
        self.cache = KVCache(model.config, batch, length, data.views.device)
        self.unread = [data.views.flatten(1) + model.n_words, data.query]

    def push(self, tokens):
        """Append tokens (B, t)."""
        self.unread.append(tokens)

    def open(self, segment):
        """Append the token that opens a segment."""
        self.push(torch.full_like(self.pose[:, 0, :1], OPENER[segment]))         # (B, 1)

    def predict(self):
        """Logits (B, V) of the token that follows all that were pushed."""
        tokens = torch.cat(self.unread, 1)
        self.unread = []
        h = self.model.states(tokens, self.pose, self.layout, [-1], self.cache)
        return self.model.head(h[:, 0])

    def generate(self, length, allowed, pick):
        """Tokens (B, length) of the model's own, each read before the next. allowed: a slice of the
        vocabulary; pick: chooses (B, 1) from its logits."""
        tokens = []
        for _ in range(length):
            logits = self.predict()[:, allowed]
            tokens.append(pick(logits) + allowed.start)
            self.push(tokens[-1])
        return torch.cat(tokens, 1)

    def answer(self, answers, **own):
        """Answer with the most likely of the words `answers` (A,): Decoded. own: codes, words."""
        self.open(ANSWER)
        probabilities = self.predict()[:, answers].softmax(1)
        return Decoded(answers[probabilities.argmax(1)], probabilities, **own)


def direct(model, data, answers):
    """Answer right after the query."""
    return Stream(model, data, (ANSWER,)).answer(answers)


def oracle(model, data, answers):
    """Answer after the true imagination, or whatever else data.imagination holds."""
    stream = Stream(model, data, (IMAGINE, ANSWER))
    stream.open(IMAGINE)
    stream.push(as_imagined(data) + model.n_words)
    return stream.answer(answers)


def likeliest(logits):
    """(B, V) -> (B, 1)."""
    return logits.argmax(1, keepdim=True)


def imagine(model, data, answers, pick=likeliest):
    """Imagine code after code, then answer. `pick` chooses codes (B, 1) from logits (B, K)."""
    stream = Stream(model, data, (IMAGINE, ANSWER))
    stream.open(IMAGINE)
    codes = imagine_codes(stream, data, pick)
    return stream.answer(answers, imagination=codes)


def imagine_codes(stream, data, pick=likeliest):
    """A picture (B, h, w) of the model's own, in a stream whose imagination is open."""
    n_words = stream.model.n_words
    tokens = stream.generate(len(data.order), slice(n_words, None), pick)      # image tokens only
    return as_picture(tokens - n_words, data)


def think(model, data, answers):
    """Write a chain of thought, word after word, then answer."""
    stream = Stream(model, data, (THINK, ANSWER))
    stream.open(THINK)
    return stream.answer(answers, cot=think_words(stream, data))


def think_words(stream, data):
    """A chain of thought (B, C) of the model's own, in a stream whose thought is open."""
    return stream.generate(data.cot.shape[1], slice(0, stream.model.n_words), likeliest)


class Decode(NamedTuple):
    """A way to answer: a function (model, data, answers (A,)) -> Decoded, and the branch that has
    to be trained for it."""
    function: Callable
    branch: tuple


DECODES = {
    "direct": Decode(direct, (ANSWER,)),
    "imagine": Decode(imagine, (IMAGINE, ANSWER)),
    "oracle": Decode(oracle, (IMAGINE, ANSWER)),
    "think": Decode(think, (THINK, ANSWER)),
}


def decodes_of(branches):
    """Names of the DECODES that fit to the branches which a run was trained on."""
    return [name for name, decode in DECODES.items() if decode.branch in branches]


@torch.no_grad()
def decode(model, data, answers, function, batch=500):
    """Answer all of `data` with one of the decodes' functions, in batches: Decoded."""
    model.eval()
    parts = [function(model, data.take(slice(i, i + batch)), answers)
             for i in range(0, len(data.answer), batch)]
    return Decoded(*(None if field[0] is None else torch.cat(field) for field in zip(*parts)))
