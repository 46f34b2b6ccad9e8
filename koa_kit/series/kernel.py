"""A kernel client that does not sleep through a reply."""

from __future__ import annotations

import math
from queue import Empty

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.manager import AsyncKernelManager
from traitlets import Type

LOOK_EVERY = 0.5
"""Seconds between two looks at the socket."""


class WakefulChannel(AsyncZMQSocketChannel):
    """A channel that looks at its socket now and then, also without being woken.

    Answering an Output widget, nbclient sends through a second handle of the same socket. ZeroMQ wakes a waiting reader
    once per change, and such a send can take that one call: the reply then lies in the socket, and nobody comes.
    """

    # jupyter_client annotates both kinds of channel as the one that blocks
    async def get_msg(self, timeout: float | None = None) -> dict:  # type: ignore[override]
        """The next message, after `timeout` seconds at most; `queue.Empty` then, and never without a timeout."""
        left = math.inf if timeout is None else timeout
        while left > 0:
            try:
                return await super().get_msg(timeout=min(LOOK_EVERY, left))
            except Empty:
                left -= LOOK_EVERY
        raise Empty


class WakefulClient(AsyncKernelClient):
    """Client with such channels."""

    shell_channel_class = Type(WakefulChannel)
    iopub_channel_class = Type(WakefulChannel)


class WakefulManager(AsyncKernelManager):
    """Manager of a kernel that is talked to by such a client."""

    client_class = f"{__name__}.WakefulClient"
    client_factory = Type(WakefulClient)
