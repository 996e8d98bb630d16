"""Remote procedure calls: a topic and a payload, answered by the scheduler or, where it is reading, from the store.

Rule: the handle decides where a call is answered; the call, its answers and its errors look the same either way.
"""

import errno
import json
import os
from collections.abc import Mapping
from typing import Protocol, TypeAlias, cast

from jqsched.constants import FLUX_NODEID_ANY, FLUX_RPC_NORESPONSE, FLUX_RPC_STREAMING
from jqsched.core.json import Json, as_object
from jqsched.future import Answer, Channel, Driver, Future, Payload

Given: TypeAlias = Mapping[str, Json] | str | bytes | None


class Asked(Protocol):
    """What a call needs of a handle."""

    @property
    def reactor(self) -> Driver:
        """What turns it."""

    def ask(self, topic: str, payload: Payload | None, *, streaming: bool) -> Channel:
        """Send a request."""


class RPC(Future):
    """A request and its answer, or with FLUX_RPC_STREAMING its answers.

    `payload` is a mapping, or JSON text. `nodeid` is taken as Flux takes it, and there is only one node.
    Raises OSError EINVAL for an invalid handle, topic or payload.
    """

    def __init__(
        self,
        flux_handle: Asked,
        topic: str | bytes,
        payload: Given = None,
        nodeid: int = FLUX_NODEID_ANY,
        flags: int = 0,
    ) -> None:
        if not hasattr(flux_handle, "ask") or not topic:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.topic, self.nodeid = topic.decode() if isinstance(topic, bytes) else topic, nodeid
        streaming = bool(flags & FLUX_RPC_STREAMING)
        channel = flux_handle.ask(self.topic, _object(payload), streaming=streaming)
        if flags & FLUX_RPC_NORESPONSE:
            channel = _Unanswered(channel)
        super().__init__(channel, flux_handle, streaming=streaming)

    def get(self) -> Payload:
        """The payload of the answer. Raises OSError with the errno and text that were answered."""
        answer: Payload = super().get()
        return answer

    def get_str(self) -> str:
        """The payload of the answer as JSON text."""
        return json.dumps(self.get(), ensure_ascii=False, separators=(",", ":"))


class _Unanswered:
    """The channel of a request that needs no answer."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def poll(self) -> Answer:
        """Return an empty answer at once, and discard the real one."""
        self._channel.poll()
        return {}

    def cancel(self) -> None:
        """Do nothing: no answer is pending."""


def _object(payload: Given) -> Payload | None:
    """Read a payload: an object, however it is given."""
    try:
        value = json.loads(payload) if isinstance(payload, str | bytes) else payload
        if isinstance(value, Mapping):
            text = json.dumps(value, allow_nan=False, default=as_object)  # what cannot be sent is said here
            return dict(value) if type(value) is dict else cast(Payload, json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise OSError(errno.EINVAL, f"payload: not JSON: {error}") from None
    if value is not None:
        raise OSError(errno.EINVAL, f"payload: must be an object, not {type(value).__name__}")
    return None
