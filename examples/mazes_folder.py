"""Your own pictures, 2: mazes of the library maze-dataset. Which way is the first step?

    pip install maze-dataset
    python examples/mazes_folder.py mazes
    python data.py --data mazes
    python train.py --data mazes

As in path tracing, a map is seen, and a question asked about a walk, from the green cell to the red
one or back. Imagination: the map with the route drawn. No maze occurs twice.
"""
import json
import sys
from pathlib import Path

import numpy as np
from maze_dataset import MazeDataset, MazeDatasetConfig
from maze_dataset.generation import LatticeMazeGenerators
from PIL import Image

CELLS, SCALE = 4, 8           # a side of a maze; pixels that one of its drawing becomes
ROUTE, FLOOR = (0, 0, 255), 255      # colours of the drawing
COUNTS = {"train": 8000, "val": 500, "test": 1000}
STEPS = {(-1, 0): "up", (1, 0): "down", (0, -1): "left", (0, 1): "right"}
WALKS = {"from green to red": 1, "from red to green": -1}


def distinct_mazes(count):
    """Mazes with their solutions, all different."""
    config = MazeDatasetConfig(name="own", grid_n=CELLS, n_mazes=count * 3 // 2, seed=42,
                               maze_ctor=LatticeMazeGenerators.gen_wilson)
    mazes = MazeDataset.from_config(config, load_local=False, save_local=False, do_download=False)
    distinct = {maze.connection_list.tobytes(): maze for maze in mazes if len(maze.solution) > 2}
    assert len(distinct) >= count, f"{len(distinct)} mazes of {count}"
    return [*distinct.values()]


def drawn(maze):
    """The maze as two pictures: with its ends alone, and with the route between them."""
    solved = maze.as_pixels()
    ends = solved.copy()
    ends[(solved == ROUTE).all(-1)] = FLOOR
    return [np.kron(pixels, np.ones((SCALE, SCALE, 1), np.uint8)) for pixels in (ends, solved)]


def write(root):
    rng, lines = np.random.default_rng(0), []
    splits = [split for split, count in COUNTS.items() for _ in range(count)]
    root.mkdir(parents=True)
    for number, (split, maze) in enumerate(zip(splits, distinct_mazes(len(splits)))):
        names = f"{number}.png", f"{number}-route.png"
        for name, picture in zip(names, drawn(maze)):
            Image.fromarray(picture).save(root / name)
        walk = rng.choice(list(WALKS))
        first, second = maze.solution[::WALKS[walk]][:2]
        lines.append(dict(split=split, views=names[:1], imagination=names[1],
                          query=f"walk {walk} : which way is the first step ?",
                          answer=STEPS[tuple((second - first).tolist())]))
    (root / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
