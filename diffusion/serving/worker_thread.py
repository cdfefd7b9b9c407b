"""Daemon threads that run calls one after another, also where a call hangs."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class CallHungError(Exception):
    """A call did not return in time; its thread was left behind."""


class WorkerThread(Executor):
    """An executor with one daemon thread.

    The interpreter waits for the threads of a `ThreadPoolExecutor` before it exits, and a thread that hangs in a driver never
    returns. It does not wait for this one.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue a call."""
        future: Future[Any] = Future()
        self._calls.put((future, partial(fn, *args, **kwargs)))
        return future

    @property
    def is_alive(self) -> bool:
        """Whether the thread has not ended."""
        return self._thread.is_alive()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the thread after the calls that are queued."""
        self._calls.put(None)
        if wait:
            self._thread.join()

    def _run(self) -> None:
        while (queued := self._calls.get()) is not None:
            future, call = queued
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)


class ReplaceableWorker:
    """A worker thread in whose place another one steps when a call hangs.

    Nothing can end a thread that hangs, in a driver for example. ``hung_threads`` counts those that have not returned since.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._worker = WorkerThread(name)
        self._calls: set[Future[Any]] = set()
        self._left_behind: list[WorkerThread] = []

    async def call(self, seconds: float, fn: Callable[..., T], /, *args: Any) -> T:
        """Return ``fn(*args)``, computed in the thread; raises its error.

        Raises `CallHungError` after ``seconds``. The calls queued behind it then run in the next thread.
        """
        while True:
            call: Future[T] = self._worker.submit(fn, *args)
            self._calls.add(call)
            finished = asyncio.wrap_future(call)
            finished.add_done_callback(_retrieve)
            await asyncio.wait([finished], timeout=seconds)
            self._calls.discard(call)
            if call.cancelled():  # it waited behind a call that hung
                continue
            if not call.done():
                self._replace()
                raise CallHungError
            return call.result()

    def _replace(self) -> None:
        self._worker.shutdown(wait=False)
        self._left_behind.append(self._worker)
        self._worker = WorkerThread(self._name)
        for call in self._calls:
            call.cancel()
        self._calls.clear()

    @property
    def hung_threads(self) -> int:
        """The number of threads whose calls have not returned."""
        self._left_behind = [worker for worker in self._left_behind if worker.is_alive]
        return len(self._left_behind)

    def shutdown(self) -> None:
        """End the thread after the calls that are queued, and wait for it."""
        self._worker.shutdown()


def _retrieve(finished: asyncio.Future[Any]) -> None:
    """Take the error of a call, which asyncio would log otherwise: the caller gets it, or has given up a hung call."""
    if not finished.cancelled():
        finished.exception()


async def in_own_thread(name: str, call: Callable[..., T], /, *arguments: Any) -> T:
    """Return ``call(*arguments)`` from a thread that ends then, because its OpenMP team would slow others down."""
    thread = WorkerThread(name)
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, call, *arguments)
    finally:
        thread.shutdown(wait=False)
