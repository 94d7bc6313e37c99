"""A lean HTTP connection against servers that say exactly what a test wants."""

import asyncio

import pytest

from evalkit.errors import RequestError, TransientError
from evalkit.models.http_connection import BrokenConnectionError, connect
from evalkit.models.server_client import ServerClient

HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"


class Server:
    """Answers request number n of a connection with `answers[n]`; None closes without a word."""

    def __init__(self, *answers, close_after=False):
        self.answers, self.close_after = answers, close_after
        self.connections = 0
        self.bodies = []
        self.serving = set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for task in self.serving:
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the loop's next turn
        await self.server.wait_closed()

    async def _serve(self, reader, writer):
        self.connections += 1
        self.serving.add(asyncio.current_task())
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client, or the test, has gone
        finally:
            writer.transport.abort()

    async def _answer(self, reader, writer):
        for answer in self.answers:
            await self._request(reader)
            if answer is None:
                return
            writer.write(answer)
            await writer.drain()
        if self.close_after:
            writer.close()
            await writer.wait_closed()
        else:
            await reader.read()

    async def _request(self, reader):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
        self.bodies.append(await reader.readexactly(length))


def plain(body, headers=b"", status=b"200 OK"):
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n%b\r\n%b" % (status, len(body), headers, body)


async def ask(server, body=b"{}"):
    connection = await connect("127.0.0.1", server.port, None)
    try:
        return await connection.ask(HEAD % len(body), body)
    finally:
        connection.close()


@pytest.fixture
async def client():
    client = ServerClient(label="m", key="sk-secret-key", timeout_s=5)
    await client.open()
    yield client
    await client.close()


async def test_an_answer_comes_with_status_headers_and_body():
    async with Server(plain(b"hello", b"X-Some: thing\r\n", b"201 Created")) as server:
        answer = await ask(server)
    assert (answer.status, answer.headers["x-some"], answer.body) == (201, "thing", b"hello")


async def test_a_chunked_body_is_put_together():
    chunked = (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    )
    async with Server(chunked) as server:
        assert (await ask(server)).body == b"hello"


async def test_a_body_without_length_ends_with_the_connection():
    async with Server(b"HTTP/1.0 200 OK\r\n\r\nhello", close_after=True) as server:
        assert (await ask(server)).body == b"hello"


async def test_an_interim_answer_is_passed_over():
    async with Server(b"HTTP/1.1 103 Early Hints\r\n\r\n" + plain(b"real")) as server:
        assert (await ask(server)).body == b"real"


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhal",
        b"HTTP/1.1 200",
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ],
)
async def test_what_is_cut_off_or_not_http_is_a_broken_connection(said):
    async with Server(said, close_after=True) as server:
        with pytest.raises(BrokenConnectionError):
            await ask(server)


async def test_a_long_body_arrives_whole():
    body = bytes(range(256)) * 20_000
    async with Server(plain(b"ok")) as server:
        await ask(server, body)
    assert server.bodies == [body]


async def test_connections_are_used_again(client):
    async with Server(*[plain(b"{}")] * 5) as server:
        for _ in range(5):
            await client.post(server.url, {})
    assert server.connections == 1


async def test_a_connection_that_the_server_closes_is_not_used_again(client):
    async with Server(plain(b"{}", b"connection: close\r\n"), close_after=True) as server:
        await client.post(server.url, {})
        await client.post(server.url, {})
    assert server.connections == 2


async def test_a_cancelled_request_takes_its_connection_with_it(client):
    async with Server(b"", plain(b"{}"), plain(b"{}")) as server:
        call = asyncio.ensure_future(client.post(server.url, {}))
        while not server.bodies:
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait((call,))
        assert not client._idle and not client._busy


async def test_an_answer_that_does_not_come_ends_at_the_timeout():
    client = ServerClient(label="m", key="", timeout_s=0.05)
    await client.open()
    async with Server(b"", b"") as server:
        with pytest.raises(TransientError, match=r"did not answer within 0.05 s"):
            await client.post(server.url, {})
    await client.close()


async def test_a_redirection_is_not_followed_and_says_where_it_points(client):
    moved = plain(b"", b"location: https://other/v1\r\n", b"307 Temporary Redirect")
    async with Server(moved) as server:
        with pytest.raises(RequestError, match="points to https://other/v1"):
            await client.post(server.url, {})


async def test_a_dropped_connection_is_passing_and_holds_no_key(client):
    async with Server(None) as server:
        with pytest.raises(TransientError, match="closed the connection") as caught:
            await client.post(server.url, {})
    assert "secret" not in str(caught.value)


async def test_an_unasked_for_answer_closes_the_connection(client):
    async with Server(plain(b"{}") + plain(b"{}"), plain(b"{}")) as server:
        await client.post(server.url, {})
        await client.post(server.url, {})
    assert server.connections == 2
