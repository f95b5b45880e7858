"""Tasks whose indexes have other names by now: a rename exchanges names as a swap does."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from miroir.meili.tasks import Task


def relabel(task: Task, names: Mapping[str, str]) -> Task:
    """The task after indexes changed names: `names` maps both ways, for renames too.

    To be applied to all tasks enqueued before the rename or swap took effect.
    """
    index_uid = names.get(task.index_uid or "", task.index_uid)
    swaps = tuple((names.get(left, left), names.get(right, right)) for left, right in task.swaps)
    if index_uid == task.index_uid and swaps == task.swaps:
        return task
    details = task.details
    if details is not None and swaps:
        shown = zip(details["swaps"], swaps, strict=True)
        details = {**details, "swaps": [{**each, "indexes": list(pair)} for each, pair in shown]}
    ran_on = task.ran_on or (None if task.batch_uid is None else task.index_uid)
    return msgspec.structs.replace(task, index_uid=index_uid, swaps=swaps, details=details, ran_on=ran_on)
