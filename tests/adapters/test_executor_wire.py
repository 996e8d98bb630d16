"""The connection between scheduler and executor process: lines of JSON, whole or not at all."""

import select
import socket

import pytest

from jqsched.adapters.executors.local.wire import Link


def is_readable(link: Link) -> bool:
    return bool(select.select([link.sock], [], [], 0)[0])


@pytest.mark.parametrize("size", [10, 200_000], ids=["small", "larger than a read"])
def test_what_comes_behind_the_first_line_makes_the_socket_readable(size: int):
    """News may follow the answer to hello at once. Seen to fail: they were read with it, and dropped."""
    near, far = (Link(sock) for sock in socket.socketpair())
    far.send([["state", "x" * size]])
    far.send([["finished", 1]])
    far.send([["finished", 2]])
    answer: list[object] = []
    while not answer:
        far.flush()
        answer += near.receive(to_line_end=True) or ()
    far.flush()
    assert [message[0] for message in answer] == ["state"]
    assert is_readable(near)
    assert near.receive() == [["finished", 1], ["finished", 2]]
    assert not is_readable(near)
    for link in (near, far):
        link.close()
