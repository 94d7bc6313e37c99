"""In which order tasks are asked: those with the longest answers first."""

from __future__ import annotations

from evalkit.evaluation.plan import PlannedJob
from evalkit.tasks.lm_eval.definitions import LETTER_MAX_TOKENS

#: Where nothing limits an answer, it may be as long as the longest that are usual.
_UNLIMITED = 1 << 20


def longest_first(jobs: list[PlannedJob]) -> list[PlannedJob]:
    """`jobs` of each model by the longest answer that they may bring, otherwise as they were.

    What takes longest must not begin last: a run would end with a handful of long answers on
    their way and everything else idle (Graham's rule, https://doi.org/10.1137/0117039).
    """
    members = list(dict.fromkeys(job.member.label for job in jobs))
    return sorted(jobs, key=lambda job: (members.index(job.member.label), -longest_answer(job)))


def longest_answer(job: PlannedJob) -> int:
    """Tokens that an answer to the job may have, as far as that is known without its rows."""
    mode, wanted = job.prompting.mode, job.prompting.sampling.get("max_tokens")
    if mode in ("loglikelihood", "perplexity"):
        return 0
    if wanted is not None:
        return int(wanted)
    if mode == "letter":
        return LETTER_MAX_TOKENS
    return _UNLIMITED if job.info.max_tokens is None else job.info.max_tokens
