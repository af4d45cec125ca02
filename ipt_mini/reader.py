"""An independent reader of first-person pictures: which cells does a picture show?

Trained on true pictures alone; it never sees a code or a question. It misreads a few true pictures
too: things hide each other. Cells need no reader, `grid.nearest_glyph` compares them with glyphs.
Shape letters: B pictures, N cells a side, P = N * N, S pixels a side, W * W pixels of a window.
"""
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import trange

from ipt_mini.tasks.camera import windows
from ipt_mini.tasks.grid import NAMES


class Reader(nn.Module):
    """For each cell, the pixels around the place where it is drawn -> what is in it. All cells
    share the weights; each has a bias of its own."""

    def __init__(self, n, width=192):
        super().__init__()
        where = torch.from_numpy(windows(n))
        self.n = n
        self.register_buffer("where", where)                         # (P, W * W)
        self.window = nn.Linear(3 * where.shape[1], width)
        self.place = nn.Parameter(torch.zeros(n * n, width))
        self.kind = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.GELU(),
                                  nn.Linear(width, len(NAMES)))

    def forward(self, pixels):
        """(B, S, S, 3) uint8 -> logits (B, P, kinds)."""
        seen = pixels.flatten(1, 2)[:, self.where].flatten(2)        # (B, P, 3 * W * W)
        return self.kind(self.window(seen.float() / 127.5 - 1) + self.place)

    @torch.no_grad()
    def read(self, pixels):
        """Pixels (B, S, S, 3), an array, as cells (B, N, N)."""
        parts = torch.from_numpy(pixels).split(1000)
        kinds = torch.cat([self(part).argmax(-1) for part in parts])
        return kinds.view(-1, self.n, self.n).numpy().astype("uint8")


def train_reader(pictures, seed=0, steps=800, batch=128, lr=3e-3):
    """A Reader, trained on Pictures in first person."""
    cells = torch.from_numpy(pictures.cells).flatten(1).long()
    g = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        reader = Reader(pictures.cells.shape[1])
    optimizer = torch.optim.AdamW(reader.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps, pct_start=0.1)
    for step in trange(steps, desc="reader", leave=False, disable=None):
        rows = torch.randint(len(cells), (batch,), generator=g)
        pixels = (pictures.pixels, pictures.again)[step % 2][rows]
        optimizer.zero_grad()
        F.cross_entropy(reader(pixels).flatten(0, 1), cells[rows].flatten()).backward()
        optimizer.step()
        schedule.step()
    return reader.eval()
