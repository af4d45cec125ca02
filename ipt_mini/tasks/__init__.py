"""The three tasks by name, and those of the user's own by path."""
from ipt_mini.errors import UserError, blame
from ipt_mini.own import is_own, load_own, name_of
from ipt_mini.tasks import mvc, pet, pt
from ipt_mini.tasks.examples import Examples, make, splits
from ipt_mini.tasks.words import vocabulary

TASKS = {"pet": pet, "pt": pt, "mvc": mvc}
NEEDED = ("NAME", "ANSWERS", "KINDS", "CHANCE", "OWN_WORDS", "MAPS", "STEPS", "CURRICULUM",
          "CURRICULUM_STEPS", "LOSS", "WORLDS", "questions", "rule", "flip", "balance")


def load_task(spec):
    """One of TASKS, or the user's own in FILE.py or FILE.py:NAME, which is executed."""
    if not is_own(spec):
        return TASKS[spec]
    task = load_own(spec)
    with blame(spec):
        missing = [name for name in NEEDED if not hasattr(task, name)]
        if missing or "train" not in task.WORLDS:
            raise UserError(f"no task: it lacks {', '.join(missing) or 'WORLDS of train'}")
        unknown = [word for word in task.ANSWERS if word not in vocabulary(task)]
        if unknown:
            raise UserError(f"ANSWERS that are no words: {unknown}; see OWN_WORDS")
    task.questions = returning_examples(task.questions)
    for name in ("questions", "rule", "flip", "balance"):
        setattr(task, name, blame(spec)(getattr(task, name)))
    return task


def returning_examples(questions):
    """The function, with a TypeError if it returns something else."""
    def checked(*args, **world):
        examples = questions(*args, **world)
        if not isinstance(examples, Examples):
            raise TypeError("questions has to return Examples")
        return examples
    return checked


def load_tasks(spec):
    """{name: task} of one or several, with commas between, that one model is to learn."""
    tasks = {}
    for one in spec.split(","):
        name = name_of(one)
        if name in tasks:
            raise UserError(f"--task {spec}: {name} is named twice")
        tasks[name] = load_task(one)
    if sum(bool(task.OWN_WORDS) for task in tasks.values()) > 1:
        raise UserError(f"--task {spec}: one task at most may have OWN_WORDS")
    return tasks
