"""What happens before the first request, and what waits until after it."""

import pytest
from command import sums

from evalkit.config.run_config import ModelEntry, RunConfig
from evalkit.evaluation import plan
from evalkit.evaluation.run import evaluate_async
from evalkit.models.scripted import ScriptedModel


@pytest.fixture
def events(monkeypatch):
    """What is loaded and asked, in order."""
    seen, load = [], plan.load

    def noted(ref, *rest):
        seen.append(f"load {ref.name}")
        return load(ref, *rest)

    monkeypatch.setattr(plan, "load", noted)
    return seen


async def test_of_several_tasks_the_first_alone_is_loaded_before_the_first_request(
    events, tmp_path
):
    for name in ("first", "second", "third"):
        sums(tmp_path / "tasks", 300, name)

    def answer(request):
        events.append("ask")
        return "42"

    model = ScriptedModel(answer, name="mine", concurrency=1)
    config = RunConfig(
        models=(ModelEntry(model="python/mine", alias="mine"),),
        tasks=("first", "second", "third"),
        include_path=(str(tmp_path / "tasks"),),
        output=str(tmp_path / "run"),
    )
    await evaluate_async(config, instances={"mine": model}, on_ready=lambda: events.append("ready"))
    # more samples than may be alive at once: the second task's turn comes after answers
    assert events[:3] == ["load first", "ready", "ask"]
    assert [event for event in events if event.startswith("load")] == [
        "load first",
        "load second",
        "load third",
    ]
