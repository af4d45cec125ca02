"""Several processes that train one model, each on its share of every batch:

    torchrun --nproc-per-node 2 train.py --task pt

All of them take the same steps, each on other rows, and only the first one writes.
"""
import atexit
import os
from contextlib import contextmanager

import torch
import torch.distributed as dist


def join(device):
    """Join the other processes, if torchrun has started this one; `rank_and_size`."""
    if "LOCAL_RANK" in os.environ and not dist.is_initialized():
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return rank_and_size()


def rank_and_size():
    """Which process this is, and of how many."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


@contextmanager
def first_alone():
    """The first process goes through alone; the others follow, and find what it has made."""
    if rank_and_size()[0]:
        dist.barrier()
    yield
    if dist.is_initialized() and dist.get_rank() == 0:
        dist.barrier()


def average_gradients(model):
    """Let each parameter have the mean of its gradients in all processes. None counts as 0, so the
    weight decay moves all of them; one process alone leaves out those without a gradient."""
    if dist.is_initialized():
        for p in model.parameters():               # of all, though one may have none: they wait
            p.grad = mean_over_processes(torch.zeros_like(p) if p.grad is None else p.grad)


def mean_over_processes(values):
    """The mean of a tensor over all processes."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values / rank_and_size()[1]
