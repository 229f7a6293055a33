"""Every name of Granian that is not documented, and why it is used. No other module knows one of them.

They spare a coroutine and a wake-up of the loop for each request. Where a version has one of them no more, the same handlers are served
by RSGI as documented, see :func:`missing`.
"""

from __future__ import annotations

import inspect
import socket
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from granian.server.embed import Server

TRIED: Final = "2.8.7"
"""The version that all of this was tried with; pyproject.toml pins it."""

NAMES: Final = (
    # Binds Granian's own socket, at each start: ours is bound once, and by another process where there are several.
    ("granian.server.embed", "Server._init_shared_socket"),
    # Granian's form of a socket: its descriptor, whether it is a Unix socket, and how many connections may wait in it.
    ("granian._granian", "SocketHolder.get_fd"),
    # What Granian's threads call at the head of a request. Its own makes a task of each.
    ("granian._granian", "CallbackScheduler._schedule_fn"),
    # Serves with as many threads as asked for; the documented way has one, which is told of each answer while it is awake.
    ("granian._granian", "RSGIWorker.serve_mtr"),
    # Tells when Granian has stopped.
    ("granian._granian", "WorkerSignal.add_cb"),
    # Where a request is handed over: behind a colon stands what it must be handed over with.
    ("granian._futures", "_future_watcher_wrapper:scope"),
    ("granian._futures", "_future_watcher_wrapper:proto"),
)
# What an embedded server's spawner is called with.
SPAWNED_WITH: Final = (
    *("worker_id", "shutdown_event", "callback", "sock", "loop", "runtime_threads", "runtime_blocking_threads", "blocking_threads"),
    *("blocking_threads_idle_timeout", "backpressure", "task_impl", "http_mode", "http1_settings", "http2_settings", "websockets"),
    *("static_path", "log_access_fmt", "ssl_ctx", "scope_opts"),
)


def missing() -> str:
    """The first name that the installed version lacks, or has otherwise; empty: it has all."""
    for module, path in NAMES:
        outer, _, mentioned = path.partition(":")
        try:
            found: Any = import_module(module)
            for name in outer.split("."):
                found = getattr(found, name)
        except (AttributeError, ImportError):
            return f"{module}.{outer}"
        if mentioned and not any(mentioned in getattr(inner, "co_names", ()) for inner in found.__code__.co_consts):
            return f"{module}.{outer}'s watcher.{mentioned}"
    spawner = getattr(Server, "_spawn_rsgi_worker", None)
    if spawner is None or tuple(inspect.signature(spawner).parameters) != SPAWNED_WITH:
        return "granian.server.embed.Server._spawn_rsgi_worker as it was"
    return ""


def new_server(listener: socket.socket, target: Any, **options: Any) -> Any:
    """A server on a socket that listens, which is Granian's from now on."""
    from granian._granian import SocketHolder  # noqa: PLC0415 - as in serve()

    class Listening(Server):
        def _init_shared_socket(self) -> None:
            holder: Any = SocketHolder
            self._shd = holder(listener.detach(), False, options["backlog"])  # noqa: FBT003 - it takes no names

    return Listening(target, **options)


def worker_options(worker_id: int, sock: Any, options: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a worker is made of what its spawner is called with, behind the socket: as Granian's own spawner for RSGI does."""
    # Left out are blocking threads and options on the side of Python.
    runtime_threads, runtime_blocking, blocking, blocking_idle, backpressure, _, mode, http1, http2, websockets, static, _, tls, _ = options
    return (
        *(worker_id, sock, None, runtime_threads, runtime_blocking, blocking, blocking_idle, backpressure),
        *(mode, http1, http2, websockets, static, *tls, (None, None)),
    )


def call_when_stopped(signal: Any, on_stopped: Callable[[], None]) -> None:
    """Calls back in a thread of Granian's, which would end its runtime next."""
    signal.add_cb(on_stopped)


def serve(on_request: Callable[[Any, Any], None], loop: Any, notes: Any, signal: Any, options: tuple[Any, ...]) -> None:
    """Serves in Granian's threads: ``on_request(scope, protocol)`` is called in one of them, and must not raise.

    ``notes`` is the loop as those threads see it.
    """
    from granian._granian import CallbackScheduler, RSGIWorker  # noqa: PLC0415 - only where they are asked for

    class Scheduler(CallbackScheduler):
        __slots__ = ()

        def __init__(self, *_: object) -> None:
            super().__init__()
            self._schedule_fn = lambda watcher: on_request(watcher.scope, watcher.proto)

    worker: Any = RSGIWorker(*options)
    ignored = (lambda *_: None,) * 2
    worker.serve_mtr(Scheduler(loop, None, None, *ignored), notes, signal)


def body_of(protocol: Any) -> Any:
    """The future of a request's body: it takes callbacks, and can be cancelled. Documented is only that it can be awaited."""
    return protocol()


def give_up_body(protocol: Any) -> None:
    """Lets go of a body that nobody will read; nothing happens where that can't be done."""
    cancel = getattr(protocol(), "cancel", None)
    if cancel:
        cancel()


def pieces_of(protocol: Any) -> Any:
    """The pieces of a request's body: each is a future as of :func:`body_of`. Documented is only ``async for``."""
    return protocol.__aiter__()
