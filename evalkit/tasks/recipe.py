"""How a task is loaded again in another process."""

from __future__ import annotations

import msgspec

from evalkit.data.options import DataOptions
from evalkit.records import Record
from evalkit.tasks.catalogue import load
from evalkit.tasks.protocol import Prompting, Task, TaskRef


class TaskRecipe(Record, frozen=True, kw_only=True):
    """What `catalogue.load` takes; can be pickled."""

    ref: TaskRef
    prompting: Prompting
    data: DataOptions

    def load(self) -> Task:
        """The task, from rows that are on this machine: whoever asks has loaded them before.

        Raises:
            InputError: Its rows are not at hand, or it cannot be had otherwise.
        """
        return load(self.ref, self.prompting, msgspec.structs.replace(self.data, offline=True))
