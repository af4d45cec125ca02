"""Your own pictures, 3: renders of MiniGrid. At the goal, turned, is the ball left or right?

    pip install minigrid
    python examples/minigrid_folder.py minigrid
    python data.py --data minigrid
    python train.py --data minigrid

As in perspective taking: what is seen is the agent's view, with the green goal and some objects in
it. Imagination: the view from the goal, after a turn. Objects that the first view does not show are
taken out of the room before.
"""
import json
import sys
from itertools import count
from pathlib import Path

import numpy as np
from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import Ball, Box, Goal, Key
from minigrid.minigrid_env import MiniGridEnv
from PIL import Image

COUNTS = {"train": 8000, "val": 500, "test": 1000}
TILE, VIEW = 8, 7             # pixels of a cell; cells a side of a view
COLOURS = "red", "blue", "purple", "yellow"


class Room(MiniGridEnv):
    """A room with a goal and six objects, all different, and the agent anywhere."""

    def __init__(self):
        super().__init__(MissionSpace(lambda: "look"), grid_size=8, max_steps=1,
                         see_through_walls=True, agent_view_size=VIEW)

    def _gen_grid(self, width, height):
        self.grid = Grid(width, height)
        self.grid.wall_rect(0, 0, width, height)
        self.goal, self.mission = self.place_obj(Goal()), "look"
        kinds = [kind(colour) for kind in (Ball, Box, Key) for colour in COLOURS]
        chosen = self.np_random.choice(len(kinds), 6, replace=False)
        self.things = {self.place_obj(kinds[k]): kinds[k] for k in chosen}
        self.place_agent()


def examples(room, rng):
    """(view, query, imagination, answer) of random rooms, without end."""
    for seed in count(1):
        room.reset(seed=seed)
        seen = [place for place in room.things if room.in_view(*place)]
        for place in set(room.things).difference(seen):
            room.grid.set(*place, None)
        view, goal_seen = room.get_pov_render(TILE), room.in_view(*room.goal)
        way = int(rng.integers(2))
        room.agent_pos, room.agent_dir = room.goal, (room.agent_dir + (-1, 1)[way]) % 4
        aside = {place: room.get_view_coords(*place)[0] - VIEW // 2 for place in seen}
        fair = [place for place in seen if aside[place] and room.in_view(*place)]
        if goal_seen and fair:
            place = fair[rng.integers(len(fair))]
            thing = room.things[place]
            query = (f"at the goal turn {('left', 'right')[way]} : is the {thing.color} "
                     f"{thing.type} left or right ?")
            answer = "left" if aside[place] < 0 else "right"
            yield view, query, room.get_pov_render(TILE), answer


def write(root):
    source, lines = examples(Room(), np.random.default_rng(0)), []
    root.mkdir(parents=True)
    for split, wanted in COUNTS.items():
        for number, (view, query, imagination, answer) in zip(range(wanted), source):
            names = f"{split}{number}.png", f"{split}{number}-goal.png"
            Image.fromarray(view).save(root / names[0])
            Image.fromarray(imagination).save(root / names[1])
            lines.append(dict(split=split, views=names[:1], query=query, imagination=names[1],
                              answer=answer))
    (root / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
