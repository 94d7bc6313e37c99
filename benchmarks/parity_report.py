"""Writes what was compared into docs/parity.md, between its markers."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.parity_compare import Metric, Outcome

BEGIN, END = "<!-- parity: begin -->", "<!-- parity: end -->"


def write_report(file: Path, outcomes: Sequence[Outcome]) -> None:
    """Replaces what stands between the markers."""
    text = file.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    made = "\n\n".join([_summary(outcomes), _tasks(outcomes), _metrics(outcomes)])
    file.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", encoding="utf-8")


def _summary(outcomes: Sequence[Outcome]) -> str:
    tasks = [o for o in outcomes if o.requests]
    metrics = [m for o in outcomes for m in o.metrics]
    stderrs = [m for m in metrics if m.their_stderr is not None]
    return "\n".join(
        [
            f"- cases: {len({o.case for o in outcomes})}; tasks: {len(tasks)}; "
            f"groups: {len(outcomes) - len(tasks)}; samples: {sum(o.samples for o in tasks):,}",
            f"- prompts identical: {_share((o.same_prompts, o.requests) for o in tasks)}",
            f"- metrics of samples identical: {_share((o.same_values, o.values) for o in tasks)}",
            f"- generated answers identical: {_share((o.same_texts, o.texts) for o in tasks)}",
            "- largest relative difference of a log-likelihood: "
            f"{max((o.largest_difference for o in tasks), default=0):.1e}",
            f"- aggregates identical: {sum(m.same_value for m in metrics)} of {len(metrics)}",
            f"- standard errors alike: {sum(m.same_stderr for m in stderrs)} "
            f"of {len(stderrs)} ({sum(m.pooled for m in stderrs)} are lm-eval's pooled formula)",
        ]
    )


def _share(pairs: object) -> str:
    same, total = (sum(side) for side in zip(*pairs, strict=True))  # type: ignore[call-overload]
    return f"{same:,} of {total:,}"


def _tasks(outcomes: Sequence[Outcome]) -> str:
    lines = [
        "| case | task | samples | prompts | sample metrics | answers | log-likelihoods within |",
        "|---|---|---|---|---|---|---|",
    ]
    for o in outcomes:
        if o.requests:
            texts = f"{o.same_texts} / {o.texts}" if o.texts else "–"
            within = f"{o.largest_difference:.1e}" if o.texts < o.requests else "–"
            lines.append(
                f"| {o.case} | {o.name} | {o.samples} | {o.same_prompts} / {o.requests} "
                f"| {o.same_values} / {o.values} | {texts} | {within} |"
            )
    return "\n".join(lines)


def _metrics(outcomes: Sequence[Outcome]) -> str:
    lines = [
        "| case | task or group | metric, filter | lm-eval | evalkit | its error | ours | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for o in outcomes:
        lines += [f"| {o.case} | {o.name} | {_metric(m)} |" for m in o.metrics]
    return "\n".join(lines)


def _metric(metric: Metric) -> str:
    numbers = (metric.theirs, metric.ours, metric.their_stderr, metric.our_stderr)
    shown = " | ".join("–" if n is None else f"{n:.6g}" for n in numbers)
    return f"{metric.name} | {shown} | {_verdict(metric)}"


def _verdict(metric: Metric) -> str:
    if not metric.same_value:
        return "differs"
    if metric.same_stderr:
        return "same"
    return "error: pooled formula" if metric.pooled else "error differs"
