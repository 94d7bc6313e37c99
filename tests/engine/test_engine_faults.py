"""A real adapter against a server that fails on purpose: every sample is answered all the same."""

from engine_world import Collected, SmallTask

from benchmarks.faults import KINDS, Faults
from benchmarks.local_server import LocalServer, Settings
from evalkit.config.model_spec import parse_model_spec
from evalkit.engine.jobs import Job
from evalkit.engine.journal import Journal
from evalkit.engine.settings import EngineSettings
from evalkit.models.registry import create_model
from evalkit.records import Message, Request, Sampling

NUMBER = 500
FAULTS = Faults(
    rate_limited=0.10,
    server_error=0.05,
    dropped=0.02,
    hanging=0.01,
    malformed=0.01,
    retry_after_s=0.05,
    seed=3,
)


class ChatTask(SmallTask):
    def requests(self, sample, answers):
        if answers:
            return []
        message = Message(role="user", content=f"question {sample.index}")
        sampling = Sampling(max_tokens=32)
        return [Request(kind="generate", prompt=(message,), sampling=sampling)]


async def ask_all(path, faults: Faults, settings: EngineSettings):
    """The texts by sample, the outcome, and what server and journal counted."""
    collected = Collected()
    with LocalServer(Settings(faults=faults)) as server, Journal(path) as journal:
        model = create_model(parse_model_spec(f"vllm/local-model?base_url={server.base_url}"))
        await model.open()
        probes = server.stats.received
        server.stats.faults.clear()  # those that met the questions about the server itself
        job = Job(model=model, load=lambda: ChatTask(NUMBER), name="chat")
        try:
            outcome = await collected.run(journal, job, settings=settings)
        finally:
            await model.close()
        failures = sum(sum(kinds.values()) for kinds in journal.failure_counts().values())
    texts = {one.sample.id: one.responses[0].text for one in collected.finished}
    return texts, outcome, server.stats, failures, probes


async def test_every_sample_is_answered_as_on_a_clean_server(tmp_path):
    settings = EngineSettings(deadline_s=1.0)
    clean, *_ = await ask_all(tmp_path / "clean", Faults(), EngineSettings())
    ran = await ask_all(tmp_path / "faulty", FAULTS, settings)
    texts, outcome, stats, journaled, probes = ran
    [job] = outcome.jobs
    [model] = outcome.models.values()
    assert texts == clean
    assert job.statuses == {"ok": NUMBER}
    assert (job.complete, outcome.stopped) == (True, "")
    assert set(stats.faults) == set(KINDS)
    assert model.sent == NUMBER + sum(model.failures.values()) >= stats.received - probes
    assert journaled == sum(model.failures.values())
    # a busy machine adds time-outs of its own; all else is the server's doing alone
    assert model.failures.pop("timeout") >= stats.faults.pop("hanging")
    assert model.failures == stats.faults
