"""Which cells does a picture show? Readers that know nothing of codes and questions.

In cells `nearest_glyph` compares with the glyphs. In first person a Reader is trained on true
pictures alone; it misreads a few of them, too: things hide each other.
Shape letters: B pictures, N cells a side, P = N * N, S pixels a side, W * W pixels of a window.
"""
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import trange

from ipt_mini.tasks.camera import BACK, EYE, compass_at, screen
from ipt_mini.tasks.grid import GLYPHS, NAMES, from_viewer, viewer_cell


def nearest_glyph(pixels):
    """Read pixels (..., 8H, 8W, 3) as cells (..., H, W): the glyph at least squared distance."""
    *lead, h, w, _ = pixels.shape
    rows, cols = h // 8, w // 8
    tiles = pixels.reshape(*lead, rows, 8, cols, 8, 3)
    tiles = np.moveaxis(tiles, -4, -3)                               # (..., rows, cols, 8, 8, 3)
    tiles = tiles.reshape(*lead, rows, cols, 192)
    tiles = tiles.astype(np.float32) / 255
    glyphs = GLYPHS.reshape(-1, 192)
    glyphs = glyphs.astype(np.float32) / 255
    # |a - b|^2 = |a|^2 - 2ab + |b|^2, and |a|^2 does not depend on the glyph.
    distance = (glyphs ** 2).sum(1) - 2 * tiles @ glyphs.T
    return distance.argmin(-1).astype(np.uint8)


def windows(n, side=12):
    """(P, side * side): for each cell the pixels, row * S + column, around the upright glyph there,
    one and a half times its size. The viewer's own cell has its compass."""
    down, aside = screen(n)                                          # (S,) each
    ahead, right = from_viewer(np.arange(n * n)[:, None], n)         # (P, 1) each
    far = ahead + BACK * n
    part = (np.arange(side) + 0.5) / side * 1.5 - 0.75               # of the glyph, 0 its middle
    row = nearest((EYE * n - 0.5 + part) / far, down)                # (P, side)
    col = nearest((right + part) / far, aside)
    compass_rows, compass_cols = compass_at(n)
    pixels = np.arange(side) * 8 // side
    row[viewer_cell(n)] = compass_rows.start + pixels
    col[viewer_cell(n)] = compass_cols.start + pixels
    pixel = row[:, :, None] * len(down) + col[:, None]
    return pixel.reshape(n * n, -1)


def nearest(values, axis):
    """Index (P, side) of the nearest number on an axis (S,) for each of the values (P, side)."""
    return np.abs(values[:, :, None] - axis).argmin(2)


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
