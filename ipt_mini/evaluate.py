"""Figures: accuracy with its interval, quality of imagined pictures, the replacement test.

Shape letters: B examples, N cells a side.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F

from ipt_mini import plots
from ipt_mini.dataset import tokenizer_pictures
from ipt_mini.generate import DECODES, decode, decodes_of
from ipt_mini.reader import nearest_glyph
from ipt_mini.run import answer_ids, load_run, pick_device
from ipt_mini.sequence import ANSWER, IMAGINE, layout, pack
from ipt_mini.tasks.examples import splits
from ipt_mini.tasks.grid import NOISE, OBJECT, render
from ipt_mini.tasks.words import UNREADABLE, text, vocabulary


OTHER_ANSWER = "one with another answer"
# Questions in samples.png. After a test the last is the one that most ways miss.
SHOWN = 4


def percent(share):
    """The mean of an array in percent; None if it is empty."""
    return round(100 * float(np.mean(share)), 1) if np.size(share) else None


def proportion(right):
    """Accuracy in percent with its 95% Wilson interval, from a bool array (n,); None if empty."""
    n, z = len(right), 1.96
    if n == 0:
        return dict(accuracy=None, low=None, high=None, n=0)
    p = float(np.mean(right))
    middle = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    return dict(accuracy=percent(p), low=percent(low), high=percent(high), n=n)


def decibels(pixels, true):
    """PSNR of pixels (uint8 arrays), from the mean squared error over all."""
    error = np.mean(np.square(pixels.astype(np.float32) - true))
    return round(float(10 * np.log10(255 ** 2 / max(error, 1e-3))), 2)


# --------------------------------------------------------------------------- accuracy, pictures
def validate(run, val):
    """({name: share}, {name of a picture: Blocks}): the accuracy of each way of answering that is
    trained, and the first questions. val: {name of a task: (Examples, Data)}."""
    shares, pictures = {}, {}
    for one in run.for_each_task():
        (examples, data), outs = val[one.name], {}
        for name in decodes_of(run.config.branches):
            outs[name] = out = one.decode(data, name)
            shares[one.titled(name)] = (out.answer == data.answer).float().mean().item()
            if out.imagination is not None:
                right = out.imagination == data.imagination
                shares[one.titled("codes")] = right.float().mean().item()
                shares[one.titled("nats")] = code_loss(one, data)
        rows = range(min(SHOWN, len(examples.answer)))
        pictures[one.titled("samples")] = [sample(one, examples, outs, e) for e in rows]
    return shares, pictures


@torch.no_grad()
def code_loss(run, data):
    """-log P of the true codes in nats, mean over the codes, each after the true ones before it."""
    branches = ((IMAGINE, ANSWER),)
    where = layout(data, branches, run.config.answer_sees_views)
    tokens, targets = pack(data, branches, run.model.n_words)
    here = where.losses_of[IMAGINE]
    total = 0
    for rows in torch.arange(len(tokens), device=tokens.device).split(500):
        states = run.model.states(tokens[rows], data.pose[rows], where, where.loss_at[here])
        true = targets[rows][:, here].flatten()
        total += F.cross_entropy(run.model.head(states).flatten(0, 1), true, reduction="sum")
    return total.item() / targets[:, here].numel()


def evaluate(run, splits_wanted=None, decodes=None, n_examples=0):
    """All figures of a Run as a dict: split -> name of a decode -> figures.
    decodes: {name: function}; those that the run was trained for, if None."""
    if decodes is None:
        decodes = {name: DECODES[name].function for name in decodes_of(run.config.branches)}
    report = {}
    for split in splits(run.task)[2:] if splits_wanted is None else splits_wanted:
        examples, data = run.prepare(split, n_examples)
        report[split] = {}
        for name, function in decodes.items():
            out = decode(run.model, data, run.answers, function)
            report[split][name] = figures_of(run, examples, data, out)
    return report


def figures_of(run, examples, data, out):
    """Figures of what was Decoded: accuracy, by kind, and what the imagination is worth."""
    answer = out.answer.cpu().numpy()
    right = answer == examples.answer
    by_kind = {kind: proportion(right[examples.kind == k]) for k, kind in enumerate(run.task.KINDS)}
    figures = dict(proportion(right), by_kind=by_kind)
    if out.imagination is not None:
        pixels = run.tokenizer.decode(out.imagination)
        if run.task.rule:
            quality = imagination_quality(run.task, examples, run.read(pixels), answer)
        else:
            codes = (out.imagination == data.imagination).cpu().numpy()
            quality = dict(codes=percent(codes), exact_images=percent(codes.all((1, 2))))
        quality["psnr"] = decibels(pixels, run.paint("imagination", examples.imagination))
        figures["imagination"] = quality
    return figures


def imagination_quality(task, examples, cells, answer):
    """How good imagined pictures (B, N, N) of cells are, and whether the answer follows them."""
    right = cells == examples.imagination
    foreground = (cells >= OBJECT) | (examples.imagination >= OBJECT)
    read = task.rule(examples.views, examples.query, cells)
    return dict(cells=percent(right), foreground_cells=percent(right[foreground]),
                exact_images=percent(right.all((1, 2))),
                rule_reads_right=percent(read == examples.answer),
                answer_agrees_with_picture=percent(read == answer))


# --------------------------------------------------------------- the replacement test (2605.21642)
def other_answers(task, examples, rng, tries=100):
    """(donor (B,) index, found (B,) bool): a picture on which the rule reads a different answer;
    without a rule, that of an example with the same query and another answer."""
    donor = np.arange(len(examples.answer))
    found = np.zeros(len(donor), bool)
    if not task.rule:
        for e, (query, answer) in enumerate(zip(examples.query, examples.answer)):
            fits = (examples.query == query).all(1) & (examples.answer != answer)
            found[e] = fits.any()
            donor[e] = rng.choice(np.flatnonzero(fits)) if found[e] else e
        return donor, found
    words = answer_ids(task).numpy()
    for _ in range(tries):
        other = rng.permutation(len(donor))
        read = task.rule(examples.views, examples.query, examples.imagination[other])
        fits = np.isin(read, words) & (read != examples.answer) & ~found
        donor[fits] = other[fits]
        found |= fits
    return donor, found


def reading(run, examples, data):
    """A function of codes (B, h, w) -> the answers (B,) that they imply: what the rule reads, or,
    without one, the answer of the example with the same query and these very codes."""
    if run.task.rule:
        return lambda codes: run.task.rule(examples.views, examples.query,
                                           run.read(run.tokenizer.decode(codes)))
    def keys(codes):
        return [(query.tobytes(), picture.tobytes())
                for query, picture in zip(examples.query, codes.cpu().numpy())]
    implied = {}
    for key, answer in zip(keys(data.imagination), examples.answer):
        if implied.setdefault(key, answer) != answer:      # two examples contradict each other
            implied[key] = UNREADABLE
    return lambda codes: np.array([implied.get(key, UNREADABLE) for key in keys(codes)])


def replacement_test(run, data, examples):
    """Is the imagination used? It is replaced before the answer is given; if that does not matter,
    the imagination is decoration. What decides is a picture of another example that implies a
    *different* valid answer. In the last row the picture stays and the views change.

    Rows dict(picture, n, accuracy, low, high, follows, n_readable, by_kind), in percent. accuracy:
    the answer is the true one; follows: it is what the picture given implies, see `reading`, over
    all and by kind of question."""
    true, rng, rows = data.imagination, np.random.default_rng(0), []
    donor, found = other_answers(run.task, examples, rng)
    implied = reading(run, examples, data)
    shuffled = torch.from_numpy(rng.permutation(len(true))).to(true.device)
    random_codes = torch.from_numpy(rng.integers(0, run.tokenizer.n_codes, true.shape))
    pictures = {
        "own": run.decode(data, "imagine").imagination,
        "true": true,
        "one code repeated": true.flatten().mode().values.expand_as(true),
        "random codes": random_codes.to(true.device),
        "another example's": true[shuffled],
        OTHER_ANSWER: true[torch.from_numpy(donor).to(true.device)],
    }
    changed = {name: data._replace(imagination=codes) for name, codes in pictures.items()}
    changed["true, other views"] = data._replace(views=data.views[shuffled],
                                                 pose=data.pose[shuffled])
    for name, seen in changed.items():
        given = run.decode(seen, "oracle").answer.cpu().numpy()
        read = implied(seen.imagination)
        counts = found if name == OTHER_ANSWER else np.ones_like(found)
        readable = counts & (read != UNREADABLE)
        follows = proportion((given == read)[readable])
        by_kind = {kind: percent((given == read)[readable & (examples.kind == k)])
                   for k, kind in enumerate(run.task.KINDS)}
        rows.append(dict(picture=name, **proportion((given == examples.answer)[counts]),
                         follows=follows["accuracy"], n_readable=follows["n"], by_kind=by_kind))
    return rows


def flip_test(run, data, examples):
    """Does the answer change as it must when the question is turned into its opposite (left for
    right, the other turn, another shape)? Over questions whose right answer then is another one.

    Rows dict(decode, n, accuracy, low, high, stays), in percent. stays: the old answer is given.
    No rows if the task has no opposite question with another answer."""
    if not run.task.flip:
        return []
    query, imagination = run.task.flip(examples)
    right = run.task.rule(examples.views, query, imagination)
    counts = np.isin(right, run.answers.cpu()) & (right != examples.answer)
    if not counts.any():
        return []
    flipped = data._replace(query=torch.from_numpy(query).to(data.query))
    rows = []
    for name in ("direct", "imagine"):
        if name in decodes_of(run.config.branches):
            given = run.decode(flipped, name).answer.cpu().numpy()
            stays = proportion((given == examples.answer)[counts])
            rows.append(dict(decode=name, **proportion((given == right)[counts]),
                             stays=stays["accuracy"]))
    return rows


# -------------------------------------------------------------------------- a finished run, tested
def test_run(folder, log, config):
    """Read the test split, once; draw the pictures of a run and return its figures."""
    run = load_run(folder, pick_device(config.device), config.task, config.tokenizer, config.data)
    chance = {one.titled("chance"): one.task.CHANCE for one in run.for_each_task()}
    plots.curves(log, chance, folder / "curve.png")
    report = dict(parameters=sum(p.numel() for p in run.model.parameters()),
                  tokenizer=tokenizer_report(run, folder / "tokenizer.png"))
    for one in run.for_each_task():
        examples, data = one.prepare("test")
        outs = {name: one.decode(data, name) for name in decodes_of(run.config.branches)}
        report[one.titled("test")] = {name: figures_of(one, examples, data, out)
                                      for name, out in outs.items()}
        mistakes = torch.zeros_like(data.answer)
        for out in outs.values():
            mistakes += out.answer != data.answer
        rows = [*range(SHOWN - 1), max(SHOWN - 1, int(mistakes.argmax()))][:len(mistakes)]
        plots.blocks([sample(one, examples, outs, e) for e in rows],
                     folder / f"{one.titled('samples')}.png")
    return report


def sample(run, examples, outs, e):
    """The Block of question e: views, true view, imagined view, answers. outs: {name: Decoded}."""
    views = run.paint("views", examples.views[e])
    word = "map" if "views" in run.task.MAPS else "view"
    tiles = []
    for number, view in enumerate(views, 1):
        name = f"{word} {number}" if len(views) > 1 else word
        tiles.append((name, view, "black"))
    tiles.append(("true view", run.paint("imagination", examples.imagination[e]), "black"))
    words, right = vocabulary(run.task), examples.answer[e]
    answers = [("right answer", words[right], False)]
    for name, out in outs.items():
        if out.imagination is not None:
            tiles.append(("imagined", run.tokenizer.decode(out.imagination[e]), "black"))
        answers.append((name, words[out.answer[e]], bool(out.answer[e] != right)))
    return plots.Block(f"question {e}: {text(examples.query[e], words)}", tiles, answers)


def tokenizer_report(run, path):
    """Reconstructions and codes as a picture; figures over held-out pictures. PSNR is
    against the clean drawing: a code tells nothing of light and noise."""
    tokenizer, K = run.tokenizer, run.tokenizer.n_codes
    report, blocks, all_codes = {}, [], []
    pictures = tokenizer_pictures(run.config, run.tasks.values(), "val", 1000)
    for paint, (cells, pixels, _) in pictures.items():
        codes = tokenizer.encode(pixels)
        drawn = tokenizer.decode(codes)
        all_codes.append(codes.flatten())
        if paint is render:
            report["cells_right"] = round(100 * float((nearest_glyph(drawn) == cells).mean()), 3)
        else:                  # a folder's imaginations come first, if its views have another size
            report.setdefault("pictures_psnr", decibels(drawn, paint(cells)))
        pick = range(0, len(cells), -(-len(cells) // 4))
        tiles = [("input", pixels[i].numpy(), "black") for i in pick]
        tiles += [("from its codes", drawn[i], "black") for i in pick]
        blocks.append(plots.Block("Pictures that the tokenizer never saw:", tiles, columns=4))
    all_codes = torch.cat(all_codes)
    used, perplexity = usage(all_codes, K)
    plots.blocks([*blocks, codes_by_use(tokenizer, all_codes)], path)
    return dict(report, codebook_usage=round(used, 3), codebook_perplexity=round(perplexity, 2))


def usage(codes, n_codes):
    """(codebook_usage, codebook_perplexity) over all `codes` given: share of codes used, exp(H)."""
    share = torch.bincount(codes.flatten(), minlength=n_codes) / codes.numel()
    entropy = -torch.xlogy(share, share).sum()
    return (share > 0).float().mean().item(), entropy.exp().item()


def codes_by_use(tokenizer, codes, most=64):
    """The Block of the codes that are used most. A code is a duplicate if it is drawn like one of
    those before it, but for a difference that the noise would hide."""
    share = torch.bincount(codes, minlength=tokenizer.n_codes) / len(codes)
    order = share.argsort(descending=True, stable=True)[:most]
    drawn = tokenizer.decode(order[:, None, None])
    apart = np.abs(drawn[:, None].astype(float) - drawn).mean((2, 3, 4))         # (codes, codes)
    tiles = []
    for i, k in enumerate(order.tolist()):
        twins = order[np.flatnonzero(apart[i, :i] < NOISE)].tolist()
        caption = f"{k} = {twins[0]}" if twins else f"{k}: {100 * share[k]:.2g}%"
        tile = (caption, drawn[i], "red" if twins else "black")
        tiles.append(tile if share[k] else (f"{k} unused", drawn[i], "0.6"))
    title = (f"{len(share)} codes, {(share == 0).sum()} unused. The most used first, with their "
             "share; red: drawn like another code.")
    return plots.Block(title, tiles, columns=8)


def lines(report):
    """The figures of `evaluate` as lines of text."""
    def listed(figures):
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
    for split, decodes in report.items():
        for name, f in decodes.items():
            yield f"{split} {name:8} {f['accuracy']}%  [{f['low']}, {f['high']}]  n {f['n']}"
            yield "    " + listed({kind: g["accuracy"] for kind, g in f["by_kind"].items()})
            if "imagination" in f:
                yield f"    imagination: {listed(f['imagination'])}"
