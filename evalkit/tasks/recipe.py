"""How a task is loaded again in another process."""

from __future__ import annotations

from typing import Any

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

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled without defaults, so that a fingerprint over its parts stays what it was.

        JSON leaves out a field that holds its default itself, not one that holds an equal value,
        and an unpickled 1234 is another 1234.
        """
        return _rebuild, tuple((type(part), _set_fields(part)) for part in self._parts())

    def _parts(self) -> tuple[Record, Record, Record]:
        return self.ref, self.prompting, self.data

    def load(self) -> Task:
        """The task, from rows that are on this machine: whoever asks has loaded them before.

        Raises:
            InputError: Its rows are not at hand, or it cannot be had otherwise.
        """
        return load(self.ref, self.prompting, msgspec.structs.replace(self.data, offline=True))


def _set_fields(record: Record) -> dict[str, Any]:
    fields = msgspec.structs.fields(record)
    values = {field.name: getattr(record, field.name) for field in fields}
    return {f.name: values[f.name] for f in fields if values[f.name] is not f.default}


def _rebuild(*parts: tuple[type[Any], dict[str, Any]]) -> TaskRecipe:
    ref, prompting, data = (made(**fields) for made, fields in parts)
    return TaskRecipe(ref=ref, prompting=prompting, data=data)
