"""Train IPT on one task: stage 1 the image tokenizer, stage 2 the model, then the test.

    python train.py --task pt                     the main job: runs/pt-mixed-s0/
    python train.py --task pt --supervision label

The same command resumes a run that was stopped, and prints one that is finished.
"""
from ipt_mini.errors import UserError, blame, quiet_imports, run_main  # isort: skip
if __name__ == "__main__":
    quiet_imports()                                # those below are slow
import os
import shlex
from dataclasses import asdict, dataclass, fields, replace

from ipt_mini.checkpoint import read_metrics
from ipt_mini.compare import by_tests, compare_settings
from ipt_mini.config import Config, parse, setting
from ipt_mini.evaluate import lines
from ipt_mini.generate import decodes_of
from ipt_mini.own import is_own
from ipt_mini.parallel import rank_and_size
from ipt_mini.side_by_side import side_by_side
from ipt_mini.training import make_shared, train


@dataclass
class Options(Config):
    seeds: int = setting(0, "train seeds 0 .. N-1 side by side; 0: the one of --seed")
    jobs: int = setting(0, "how many seeds at a time; 0: one a core or GPU", only="seeds")
    compare: str = setting("", "is a second setting better? What differs there, such as "
                           "'loss=+FILE.py:TERM=0.5 n_layer=4'; both are trained side by side")
    minutes: float = setting(10.0, "for a comparison, at most", low=0.1, only="compare")
    score: str = setting("", "what decides: codes (by default), nats, oracle ...", only="compare")
    final: bool = setting(False, "then read the test split of both", only="compare")


def tell(config, folder):
    """Print the test figures of a finished run, and the command to go on with."""
    metrics = read_metrics(folder)
    with blame(folder / "metrics.json"):
        for line in lines({name: f for name, f in metrics.items() if name.startswith("test")}):
            print(line)
        print(f"{folder}: {metrics['minutes']['all']} minutes in all; see its pictures: samples, "
              "curve, tokenizer")
    own = "".join(f" --{name} {shlex.quote(spec)}" for name, spec in asdict(config).items()
                  if name in ("task", "tokenizer") and is_own(spec))
    decodes = decodes_of(config.branches)
    purpose = "    and in other worlds?"
    if "imagine" in decodes:
        purpose = " --replace    is the imagination used?"
    elif not decodes:
        purpose = " --decode FILE.py:NAME    your way to answer"
    print(f"next: python eval.py {shlex.quote(str(folder))}{own}{purpose}")


def main():
    options = parse(Options, __doc__)
    config = Config(**{f.name: getattr(options, f.name) for f in fields(Config)})
    seeds, text = options.seeds, options.compare
    one_run = config.out or config.seed or "LOCAL_RANK" in os.environ
    if (seeds and text) or ((seeds or text) and one_run):
        raise UserError("--seeds, --compare: one of them, without --seed, --out and torchrun, "
                        "which are for one run")
    if text:
        comparison = compare_settings(config, text, options.minutes, options.score)
        print(comparison, *(by_tests(comparison) if options.final else ()), sep="\n")
        return
    configs = [replace(config, seed=seed) for seed in range(seeds)] or [config]
    if seeds:
        make_shared(config)
        side_by_side(train, configs, options.jobs)
    for one in configs:
        folder = train(one)
        if rank_and_size()[0] == 0:
            tell(config, folder)


if __name__ == "__main__":
    run_main(main)
