"""IPT on pictures of other libraries: what is learnt from the three folders of examples/.

    python benchmarks/own_pictures.py      an hour on two cores; rerun to resume

Each folder is written by its script, with a library made for that (requirements-dev.txt). Beside
`mixed` learns label-only, for twice the steps, in less time. One seed.
"""
from report import ROOT, arguments, followed, need, run_main, tiny, write

from dataclasses import replace
from pathlib import Path

import numpy as np

from ipt_mini.checkpoint import read_metrics
from ipt_mini.config import Config
from ipt_mini.errors import UserError
from ipt_mini.evaluate import decibels, replacement_test
from ipt_mini.own import load_own
from ipt_mini.run import load_run, pick_device
from ipt_mini.side_by_side import side_by_side
from ipt_mini.tasks.folder import Folder
from ipt_mini.training import make_shared, train

FOLDERS = {                   # the library, and settings that differ from the default
    "minigrid": ("minigrid", {}),
    "photos": ("skimage", dict(codes=2048)),
    "mazes": ("maze_dataset", {}),
}
LABEL = dict(supervision="label", steps=2 * Folder.STEPS["pictures"], name="twice")
FEW = dict(train=64, val=16, test=48)


def folder_of(name, library, quick):
    """The folder of pictures, written if it is not there."""
    need(library)
    folder = Path("runs/folders") / name
    if not folder.exists():
        example = load_own(f"{ROOT}/examples/{name}_folder.py")
        if quick:
            example.COUNTS.update(FEW)
        example.write(folder)
    return str(folder)


def patch_means(pixels, patch):
    """Pictures (B, H, W, 3) with each patch in its mean colour: the least that a code may tell."""
    B, H, W, _ = pixels.shape
    patches = pixels.reshape(B, H // patch, patch, W // patch, patch, 3)
    return np.broadcast_to(patches.mean((2, 4), keepdims=True), patches.shape).reshape(pixels.shape)


def column(mixed, label):
    """{row of the table: figure} of one folder, from its two runs."""
    metrics, run = read_metrics(mixed), load_run(mixed)
    examples, data = run.prepare()
    true = run.paint("imagination", examples.imagination)
    follows = followed(replacement_test(run, data, examples))
    answers = {"label-only": read_metrics(label)["test"]["direct"], **metrics["test"]}
    quality = metrics["test"]["imagine"]["imagination"]
    cells = {f"{name}, %": "{accuracy} [{low}, {high}]".format(**figures)
             for name, figures in answers.items()}
    return cells | {
        "usual answer, %": f"{100 * np.bincount(examples.kind).max() / len(examples.kind):.1f}",
        "follows another picture, %": follows["accuracy"], "of so many": follows["n"],
        "imagined codes right, %": quality["codes"],
        "imagined pictures, PSNR": quality["psnr"],
        "true pictures from their codes, PSNR": metrics["tokenizer"]["pictures_psnr"],
        "with each patch in its mean colour, PSNR": decibels(
            patch_means(true, run.tokenizer.patch), true),
        "minutes": metrics["minutes"]["all"],
    }


def configs_of(name, quick):
    """The two runs of a folder: `mixed` and label-only."""
    library, settings = FOLDERS[name]
    mixed = Config(data=folder_of(name, library, quick), device=pick_device("auto"), **settings)
    pair = [mixed, replace(mixed, **LABEL)]
    return [replace(tiny(one), tokenizer_steps=100) for one in pair] if quick else pair


def main():
    options = arguments(__doc__, folders=",".join(FOLDERS))
    options.views, names = "pictures", options.folders.split(",")
    if not set(names) <= set(FOLDERS):
        raise UserError(f"--folders {options.folders}: there is {', '.join(FOLDERS)}")
    configs = {name: configs_of(name, options.quick) for name in names}
    for mixed, _ in configs.values():
        make_shared(mixed)                             # the tokenizer
    side_by_side(train, [config for pair in configs.values() for config in pair])
    columns = {name: column(*map(train, pair)) for name, pair in configs.items()}
    first = next(iter(columns.values()))
    rows = [[row, *(cells[row] for cells in columns.values())] for row in first]
    write("own_pictures", options, [(["", *columns], rows)], {}, [
        "One seed, 1,000 test questions; 95% Wilson intervals over questions. Minutes: of `mixed`, "
        "without the tokenizer, a thread a run, two runs at a time."])


if __name__ == "__main__":
    run_main(main)
