"""Several runs at a time, each in a process of its own with its share of the cores."""
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait

import torch
from tqdm import tqdm

from ipt_mini.errors import UserError, run_main
from ipt_mini.run import pick_device


def work(train, config, line, threads, lock):
    """Train one run in this process. line: of the terminal, for its progress."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    tqdm.set_lock(lock)                            # or the lines of all runs would mix
    if pick_device(config.device) == "cuda":
        torch.cuda.set_device(line % torch.cuda.device_count())
    run_main(lambda: train(config, line=line))


def end_with_parent():
    """Nobody shall train on in a folder that the same command, given again, would resume."""
    multiprocessing.parent_process().join()
    os._exit(1)


def side_by_side(train, configs, jobs=0):
    """Call train(config, line) for all configs, `jobs` at a time, by default one a core or GPU.
    A run that fails does not end the others. UserError at the end if one did."""
    most = {"cuda": torch.cuda.device_count(), "mps": 1, "cpu": torch.get_num_threads()}
    jobs = min(jobs or most[pick_device(configs[0].device)], len(configs))
    threads = max(1, torch.get_num_threads() // jobs)
    context = multiprocessing.get_context("spawn")
    lock, free = context.RLock(), list(range(jobs))
    waiting, running, failed = list(configs), {}, []
    try:
        while waiting or running:
            while waiting and free:
                line, config = free.pop(0), waiting.pop(0)
                arguments = train, config, line, threads, lock
                process = context.Process(target=work, args=arguments, daemon=True)
                running[line] = process, config.seed
                # Ctrl-C does not reach it: it would end in a traceback of its own.
                handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
                process.start()
                signal.signal(signal.SIGINT, handler)
            wait([process.sentinel for process, _ in running.values()])
            for line, (process, seed) in list(running.items()):
                if not process.is_alive():
                    if process.exitcode:
                        failed.append(f"seed {seed} (exit code {process.exitcode})")
                    free.append(line)
                    del running[line]
    finally:                                       # Ctrl-C: what is saved is never half written
        for process, _ in running.values():
            process.kill()
    if failed:
        raise UserError(f"failed, see above: {', '.join(failed)}; once that is mended, the same "
                        "command goes on", 1)
