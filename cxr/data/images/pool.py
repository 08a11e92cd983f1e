"""Worker processes for decoding: a decoder that crashes on a file costs that file, not the program.

Plain child processes that run :func:`answer_questions` and speak pickle over their pipes. The processes of
:mod:`multiprocessing` would import the program's main script again, which a script without a main guard and a
dashboard do not survive, and a crash of one of them takes the whole pool along without saying on which file.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import queue
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cxr.machine import cores

Item = TypeVar("Item")
Result = TypeVar("Result")

SECONDS_PER_ITEM = 120.0
_SECONDS_TO_START = 120.0
_LOOK_EVERY_S = 1.0
_AHEAD_PER_WORKER = 64
_GREETING = "ready"


class WorkerDied(Exception):
    """The process that worked on an item ended without an answer, twice."""


def default_workers() -> int:
    """Return how many processes decode by default: one per core that this process may use, at most 8."""
    return min(cores(), 8)


def map_in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Result | WorkerDied]:
    """Yield ``function(item)`` in the order of ``items``, computed in worker processes.

    Parameters
    ----------
    function
        A function of a module: it travels by name.
    workers
        Number of processes; 0 works in this process; None means :func:`default_workers`, or 0 for a few items.
    progress
        Called with ``(done, total)`` in this thread.

    Yields
    ------
    Result or WorkerDied
        :class:`WorkerDied`, as a value, for an item on which the process ended or took more than two minutes.

    Raises
    ------
    RuntimeError
        If the function raised, or workers cannot be started: a fault of the program.
    """
    if workers is None:
        workers = default_workers() if len(items) > 8 else 0
    results = map(function, items) if workers == 0 else _in_processes(function, items, min(workers, len(items)))
    for done, result in enumerate(results, 1):
        if progress is not None:
            progress(done, len(items))
        yield result


def _in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result | WorkerDied]:
    tasks: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    results: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    threads = [
        threading.Thread(target=_serve, args=(function, items, tasks, results), daemon=True) for _ in range(workers)
    ]
    for thread in threads:
        thread.start()
    try:
        yield from _ordered(len(items), workers, tasks, results)
    finally:
        with contextlib.suppress(queue.Empty):
            while True:  # a caller that gave up does not wait for the rest, which the threads take as well
                tasks.get_nowait()
        for _ in threads:
            tasks.put(None)
        for thread in threads:
            thread.join()


def _ordered(
    total: int, workers: int, tasks: queue.SimpleQueue[int | None], results: queue.SimpleQueue[tuple[int, Any]]
) -> Iterator[Any]:
    """Hand out a window of items at a time, so that results waiting for their turn stay few."""
    ahead = workers * _AHEAD_PER_WORKER
    for index in range(min(ahead, total)):
        tasks.put(index)
    waiting: dict[int, Any] = {}
    for index in range(total):
        while index not in waiting:
            arrived, result = results.get()
            waiting[arrived] = result
        result = waiting.pop(index)
        if isinstance(result, _Broken):
            raise result.error
        yield result
        if index + ahead < total:
            tasks.put(index + ahead)


class _Broken:
    """A fault of the program itself (a worker that cannot start), to be raised in the caller's thread."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _serve(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    todo: queue.SimpleQueue[int | None],
    results: queue.SimpleQueue[tuple[int, Any]],
) -> None:
    worker = None
    try:
        while (index := todo.get()) is not None:
            result: Any = None
            for _ in range(2):  # the system may have ended the first process for reasons of its own
                worker = worker or Worker()
                result = worker.ask(function, items[index])
                if not isinstance(result, WorkerDied):
                    break
                worker.close()
                worker = None
            results.put((index, result))
    except Exception as error:
        results.put((index or 0, _Broken(error)))
    finally:
        if worker is not None:
            worker.close()


@dataclass(frozen=True)
class _Raised:
    """What a function raised in a worker, as text: the exception itself may not travel."""

    text: str


class Worker:
    """One child process that answers one question at a time; it ends with :meth:`close`, or with this process."""

    def __init__(self) -> None:
        # The same search path as here, so that what this process can import travels by name.
        path = os.pathsep.join(folder for folder in sys.path if folder)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": path}
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from cxr.data.images.pool import answer_questions; answer_questions()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._answers = io.BufferedReader(_Answers(self._process))
        if self.ask(_greet, None, _SECONDS_TO_START) != _GREETING:
            self.close()
            raise RuntimeError(f"a worker process cannot start: {sys.executable} does not find or load cxr.data")

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def ask(self, function: Callable[[Any], Any], item: Any, seconds: float | None = None) -> Any:
        """Return ``function(item)`` of the process, or :class:`WorkerDied` where it ended or took too long.

        Raises
        ------
        RuntimeError
            If the function raised.
        """
        assert self._process.stdin is not None
        # Twice: a question that the worker cannot unpack must not spoil the stream.
        question = pickle.dumps(pickle.dumps((function, item), pickle.HIGHEST_PROTOCOL))
        watchdog = threading.Timer(seconds or SECONDS_PER_ITEM, self._process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            self._process.stdin.write(question)
            self._process.stdin.flush()
            answer = pickle.load(self._answers)
        except (EOFError, OSError, pickle.UnpicklingError):
            return WorkerDied("the process ended without an answer")
        finally:
            watchdog.cancel()
        if isinstance(answer, _Raised):
            raise RuntimeError(f"a worker failed on {repr(item)[:200]}: {answer.text}")
        return answer

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # the process is gone, and with it what the pipe still held
                    continue
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # one that waits for a dead disk cannot even be killed
                self._process.wait(timeout=5)


class _Answers(io.RawIOBase):
    """What a worker writes, up to its end.

    The end of the process is the end of its answers, also where its pipe stays open: another process may hold it, which
    the worker has forked, or which was forked here while the worker was started.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._process, self._pipe = process, process.stdout.fileno()
        self._poll = select.poll()  # unlike select.select it takes any number of a file
        self._poll.register(self._pipe, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for the next bytes; none at the end."""
        while True:
            has_ended = self._process.poll() is not None
            if self._poll.poll(0 if has_ended else 1000 * _LOOK_EVERY_S):
                return os.readv(self._pipe, [buffer])
            if has_ended:
                return 0


def answer_questions() -> None:
    """Be a worker: read pickled (function, item), write the pickled result, until the pipe is closed."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not land among the answers
    import cv2

    cv2.setNumThreads(1)
    while True:
        try:
            question = pickle.load(questions)
        except EOFError:
            return
        pickle.dump(_answer(question), answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


def _answer(question: bytes) -> Any:
    try:
        function, item = pickle.loads(question)
        return function(item)
    except Exception as error:
        return _Raised(f"{type(error).__name__}: {error}")


def _greet(_: None) -> str:
    return _GREETING
