"""The queue of the runs that want a device: one run per device at a time, the others wait in an order one can change.

Whoever waits for devices or holds them has a *ticket*, a file that its worker keeps locked, so that it is void the
moment that process ends in whatever way. Tickets come and go, devices are given and the order is changed under one
lock that is held for milliseconds. The order is a file of its own that is replaced atomically: whoever is killed while
changing it leaves the old order or the new one.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

from cxr import paths, permission
from cxr.errors import RunError
from cxr.json_types import JsonObject
from cxr.locks import FileLock, is_held
from cxr.runs import local
from cxr.runs.devices import Options
from cxr.runs.folder import RunFolder
from cxr.runs.storage import locked, write_json

_POLL_S = 0.5
_LISTEN_S = 0.1  # how often a waiting run asks whether it shall give up
_TICKET_BYTES = 4096  # a ticket is written over in place, so taking a device needs no room on a full disk
_NAMED = 3  # so many runs ahead are named to one that waits
NO_RUN = "a-page-or-command"
"""What stands in place of a run's id on the ticket of a computation that is no run."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Ticket:
    """A run's place in the queue.

    Attributes
    ----------
    run
        Its id.
    arrived
        When it came, in ns since 1970; later than every ticket that was there.
    pid
        Its worker.
    options
        What it may take (see :func:`cxr.runs.devices.device_options`).
    holds
        The devices that it has; empty while it waits.
    """

    run: str
    arrived: int
    pid: int
    options: Options
    holds: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name of its file: another one after each start of the same run."""
        return f"{self.arrived:020d}-{self.run}"

    @property
    def devices(self) -> tuple[str, ...]:
        """All devices that it has or might take."""
        return self.holds or tuple(dict.fromkeys(device for devices in self.options.values() for device in devices))


class QueueRow(TypedDict):
    """A run in the queue, for people (see :meth:`DeviceQueue.rows`)."""

    id: str
    name: str
    place: int
    devices: list[str]
    wish: str
    since: float


class DeviceQueue:
    """The queue of the runs below ``root`` (by default ``cxr.paths.runs_root()``) that work on this machine."""

    def __init__(self, root: Path | None = None) -> None:
        self._runs = root or paths.runs_root()
        folder = self._runs / ".locks" / _machine()
        self._tickets, self._order, self._lock = folder / "tickets", folder / "order.json", folder / "lock"

    @contextlib.contextmanager
    def turn(
        self, run_id: str, options: Options, give_up: Callable[[], bool], waiting: Callable[[str], None]
    ) -> Iterator[str | None]:
        """Wait for one of ``options``, hold all its devices during the block, and give them back.

        Parameters
        ----------
        give_up
            Called ten times a second while waiting; True ends the wait.
        waiting
            Called with whom the run waits for, whenever that changes.

        Yields
        ------
        str or None
            The key of the option that this run holds; None if ``give_up`` said so first.
        """
        ticket, file = self._enter(run_id, options)
        try:
            yield self._wait(ticket, file, give_up, waiting)
        finally:
            file.path.unlink(missing_ok=True)
            file.release()

    @contextlib.contextmanager
    def turn_if_free(self, options: Options) -> Iterator[tuple[str | None, list[str]]]:
        """Hold one of ``options`` during the block if it is free and no run waits for it; never waits itself.

        For computations of seconds that are no run, such as a page's: see :mod:`cxr.networks.free_gpu`.

        Yields
        ------
        (str or None, list of str)
            The key of the option that this run holds, None if none is free; and the runs that have or want one.
        """
        ticket, file = self._enter(NO_RUN, options)
        try:
            choice, tickets = self._take(ticket, file)
            if choice is None:  # whoever comes next must not stand behind it
                file.path.unlink(missing_ok=True)
            yield choice, _runs_ahead(ticket, tickets)
        finally:
            file.path.unlink(missing_ok=True)
            file.release()

    def tickets(self) -> list[Ticket]:
        """Return the tickets of living runs, those that hold devices first, then those that wait in their order."""
        living = []
        for path in self._files():
            ticket = _read(path)
            if ticket is not None and is_held(path):
                living.append(ticket)
        return self._sorted(living)

    def rows(self) -> list[QueueRow]:
        """Return the queue for people, in its order: id and name of the run, place, devices, since.

        ``place`` counts those that wait from 1 and is 0 for a run that has its devices; ``devices`` are those that it
        has or may take, ``wish`` says so in words; ``since`` is when it came (Unix time).
        """
        tickets = [ticket for ticket in self.tickets() if ticket.run != NO_RUN]
        holders = sum(1 for ticket in tickets if ticket.holds)
        return [
            {
                "id": ticket.run,
                "name": self._name(ticket.run),
                "place": max(0, number - holders),
                "devices": list(ticket.devices),
                "wish": devices_in_words(ticket),
                "since": ticket.arrived / 1e9,
            }
            for number, ticket in enumerate(tickets, 1)
        ]

    def _name(self, run_id: str) -> str:
        try:
            return str(RunFolder(self._runs / run_id).spec.get("name") or run_id)
        except (RunError, OSError):
            return run_id

    def move(self, run_id: str, *, before: str | None = None, last: bool = False) -> list[str]:
        """Put a waiting run before another one, to the end, or else to the front; return who waits now, in order.

        Raises
        ------
        RunError
            If one of the two does not wait.
        """
        permission.ask("change the order of waiting runs")
        with self._queue_locked():
            tickets = self._living()
            waiting = {ticket.run: ticket for ticket in tickets if not ticket.holds}
            for name in (run_id, before):
                if name is not None and name not in waiting:
                    raise RunError(_why_not_waiting(name, tickets))
            if before == run_id:
                raise RunError(f"run {run_id} cannot be put before itself")
            moved = waiting.pop(run_id)
            order = list(waiting.values())
            place = len(order) if last else 0
            if before is not None:
                place = list(waiting).index(before)
            order.insert(place, moved)
            self._write_order(order)
        return [ticket.run for ticket in order]

    def _enter(self, run_id: str, options: Options) -> tuple[Ticket, FileLock]:
        with self._queue_locked():
            self._tickets.mkdir(exist_ok=True)
            # A clock that was set back must not put the newcomer in front.
            latest = max((ticket.arrived for ticket in self._living()), default=0)
            ticket = Ticket(run_id, max(time.time_ns(), latest + 1), os.getpid(), options)
            file = FileLock(self._tickets / ticket.key)
            file.acquire(timeout=1.0)
            try:
                file.write(_as_bytes(ticket))
            except OSError:
                file.path.unlink(missing_ok=True)
                file.release()
                raise
        return ticket, file

    def _wait(
        self, ticket: Ticket, file: FileLock, give_up: Callable[[], bool], waiting: Callable[[str], None]
    ) -> str | None:
        last_text = ""
        while not give_up():
            choice, tickets = self._take(ticket, file)
            if choice is not None:
                return choice
            text = waiting_for(ticket, tickets)
            if text != last_text:
                waiting(text)
                last_text = text
            _pause(give_up)
        return None

    def _take(self, ticket: Ticket, file: FileLock) -> tuple[str | None, list[Ticket]]:
        """Take an option of a ticket if its turn has come; return which, and all tickets as they were."""
        with self._queue_locked():
            tickets = self._living()
            choice = grants(tickets).get(ticket.key)
            if choice is not None:
                file.write(_as_bytes(ticket, ticket.options[choice]))
            return choice, tickets

    @contextlib.contextmanager
    def _queue_locked(self) -> Iterator[None]:
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._lock):
            yield

    def _living(self) -> list[Ticket]:
        """Return the tickets in order; those of the dead are removed, with what their processes left behind."""
        living = []
        for path in self._files():
            ticket = _read(path)
            if is_held(path):
                living += [ticket] if ticket is not None else []
                continue
            # Helpers of a dead training would go on using the device.
            if ticket is not None and ticket.holds and ticket.run != NO_RUN:
                local.kill_group(RunFolder(self._runs / ticket.run), ticket.pid)
            path.unlink(missing_ok=True)
        return self._sorted(living)

    def _files(self) -> list[Path]:
        try:
            return sorted(self._tickets.iterdir())
        except FileNotFoundError:
            return []

    def _sorted(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        places = {key: place for place, key in enumerate(self._read_order())}
        # Who came after the last change of the order is not in it and stands behind.
        return sorted(tickets, key=lambda t: (not t.holds, places.get(t.key, len(places)), t.arrived))

    def _read_order(self) -> list[str]:
        try:
            order = json.loads(self._order.read_bytes())
        except (OSError, ValueError):
            return []
        return [str(key) for key in order] if isinstance(order, list) else []

    def _write_order(self, tickets: Sequence[Ticket]) -> None:
        for draft in self._order.parent.glob(".order.json.*.tmp"):  # of a process that was killed while it wrote
            draft.unlink(missing_ok=True)
        write_json(self._order, [ticket.key for ticket in tickets])


def grants(tickets: Sequence[Ticket]) -> dict[str, str]:
    """Return the waiting runs that may begin now and the option that each takes, ``{key of the ticket: option}``.

    Each takes its first option whose devices are all free. One that finds none keeps the option that lacks least, so
    a run on two GPUs is not passed for ever by runs on one; it holds nothing meanwhile, so nobody waits in a circle.
    """
    taken = {device for ticket in tickets for device in ticket.holds}
    granted = {}
    for ticket in tickets:
        if ticket.holds:
            continue
        lacking = {name: len(taken.intersection(devices)) for name, devices in ticket.options.items()}
        choice = min(lacking, key=lambda name: lacking[name])
        if not lacking[choice]:
            granted[ticket.key] = choice
        taken.update(ticket.options[choice])
    return granted


def waiting_for(ticket: Ticket, tickets: Sequence[Ticket]) -> str:
    """Return what a waiting run waits for, and behind whom: the runs before it that have or want what it may take."""
    ahead = _runs_ahead(ticket, tickets)
    n_more = len(ahead) - _NAMED
    named = ", ".join(ahead[:_NAMED]) + (f" and {n_more} more" if n_more > 0 else "")
    return f"waiting for {devices_in_words(ticket)}" + (f", behind {named}" if named else "")


def _runs_ahead(ticket: Ticket, tickets: Sequence[Ticket]) -> list[str]:
    """Return the runs before a ticket that have or want what it may take."""
    before = itertools.takewhile(lambda other: other.key != ticket.key, tickets)
    return [other.run for other in before if set(other.devices) & set(ticket.devices)]


def devices_in_words(ticket: Ticket) -> str:
    """Return the devices that a run has or waits for: ``cpu``, ``cuda:0 and cuda:1``, or ``any of cuda:0, cuda:1``."""
    if ticket.holds:
        return " and ".join(ticket.holds)
    options = [" and ".join(devices) for devices in ticket.options.values()]
    return options[0] if len(options) == 1 else f"any of {', '.join(options)}"


def _why_not_waiting(run_id: str, tickets: Sequence[Ticket]) -> str:
    for ticket in tickets:
        if ticket.run == run_id:
            return f"run {run_id} has {devices_in_words(ticket)} already: only a waiting run can be moved"
    waiting = ", ".join(ticket.run for ticket in tickets if not ticket.holds)
    return f"run {run_id} does not wait for a device. Waiting: {waiting or 'none'}"


def _read(path: Path) -> Ticket | None:
    """Return a ticket, None if it is being written or was given back just now."""
    try:
        values: JsonObject = json.loads(path.read_bytes())
        options = {name: tuple(devices) for name, devices in values.pop("options").items()}
        return Ticket(options=options, holds=tuple(values.pop("holds")), **values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _as_bytes(ticket: Ticket, holds: Sequence[str] = ()) -> bytes:
    return json.dumps(asdict(ticket) | {"holds": holds}).encode().ljust(_TICKET_BYTES)


def _pause(give_up: Callable[[], bool]) -> None:
    end = time.monotonic() + _POLL_S
    while not give_up() and time.monotonic() < end:
        time.sleep(_LISTEN_S)


def _machine() -> str:
    """Return a name of this machine since it started: the same in each of its containers, another on another machine.

    Devices are named per machine, and runs may lie on a disk that several of them share.
    """
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return platform.node() or "here"
