import asyncio
import sys
import threading

import pytest

from evalkit.engine.workers import Workers


@pytest.fixture
async def workers():
    made = Workers(1, "test")
    yield made
    made.close()


async def test_a_result_comes_back(workers):
    assert await workers.run(pow, 2, 10) == 1024


async def test_an_exception_comes_back(workers):
    with pytest.raises(ZeroDivisionError):
        await workers.run(lambda: 1 / 0)


async def test_the_end_of_an_iterator_is_told_as_an_error(workers):
    with pytest.raises(RuntimeError, match="StopIteration"):
        await workers.run(next, iter(()))


async def test_what_would_exit_is_told_as_an_error(workers):
    with pytest.raises(RuntimeError, match="SystemExit: 3"):
        await workers.run(sys.exit, 3)


async def test_one_thread_works_in_order(workers):
    order: list[int] = []
    await asyncio.gather(*(workers.run(order.append, number) for number in range(100)))
    assert order == list(range(100))


async def test_several_threads_work_at_once():
    workers, meeting = Workers(2, "pair"), threading.Barrier(2, timeout=5)
    await asyncio.gather(workers.run(meeting.wait), workers.run(meeting.wait))
    workers.close()


async def test_what_nobody_waits_for_any_more_is_not_begun(workers):
    gate, ran = threading.Event(), []
    first = workers.run(gate.wait, 5)
    second = workers.run(ran.append, 1)
    second.cancel()
    gate.set()
    await first
    await workers.run(int)
    assert ran == []


def test_a_thread_that_is_busy_does_not_hold_a_closed_loop():
    gate, began = threading.Event(), threading.Event()

    def busy() -> None:
        began.set()
        gate.wait(5)

    async def main() -> None:
        workers = Workers(1, "busy")
        workers.run(busy)
        await asyncio.to_thread(began.wait, 5)
        workers.close()

    asyncio.run(main())
    gate.set()
