"""What the parent does about its workers: how many there are, who is replaced, and when enough is enough.

Policy alone: :class:`Supervisor` has no clock, no loop and starts no process. It is told the time and the messages,
and is given the function that starts a worker.

A worker is booting until it says that it accepts, ready until it drains, then stopping. A replacement always comes
first: the old worker is asked to go when the new one is ready. One swap goes on at a time.
"""

from __future__ import annotations

import collections
import itertools
import logging
import random
import time
from typing import Any, Callable, Optional, Protocol

from ..config import Config
from ..metrics.snapshot import Snapshot, Totals
from ..metrics.snapshot import Worker as WorkerView
from ..server import EXIT_STARTUP_FAILED
from .ending import drain_bound
from .link import BEAT, HURRY, READY, RETIRE, STOP, STOPPING, Message
from .process import describe_exit

logger = logging.getLogger("asgiserve.error")

BOOTING, SERVING, LEAVING = "booting", "ready", "stopping"

STEADY = 10.0
"""Seconds for which a worker has to serve before its death counts as a new misfortune, not as one more of a row."""
LONGEST_PAUSE = 30.0
"""Seconds, at most, before a worker that died is replaced."""
LATE = 2.0
"""Seconds between two ticks after which silence of the workers means nothing."""
RELOAD_BOUND = 1.0
"""Seconds that a worker gets to end when a file has changed."""


class Process(Protocol):
    """What a supervisor needs of :class:`.process.WorkerProcess`."""

    pid: int

    def tell(self, order: int) -> None: ...
    def kill(self) -> None: ...
    def exit_status(self) -> Optional[int]: ...
    def close(self) -> None: ...


class Worker:
    """A worker and what is known of it. Times are those of the supervisor's clock, in seconds."""

    def __init__(self, slot: int, now: float) -> None:
        self.slot = slot
        self.process: Any = None
        self.phase = BOOTING
        self.since = now
        self.heard = now
        self.born = time.time()
        self.snapshot: Optional[Snapshot] = None
        self.request_limit: Optional[int] = None
        self.deadline: Optional[float] = None  # when it is killed
        self.hurried_at: Optional[float] = None  # when it is told to hurry
        self.killed_for = ""

    @property
    def pid(self) -> int:
        """Of the process."""
        pid: int = self.process.pid
        return pid


class Swap:
    """A worker that is to be replaced, for `reason`; ``new`` is the one that takes over, once it is started."""

    def __init__(self, old: Worker, reason: str) -> None:
        self.old = old
        self.reason = reason
        self.new: Optional[Worker] = None


class Supervisor:
    """Keeps ``target`` workers serving. `start` starts the process of a worker; it may raise OSError.

    ``exit_status`` is None until everything has ended; then what the parent exits with. ``is_complete`` is True
    once as many workers as wanted have been ready at a time. ``restarts`` counts replaced workers by reason; ``past``
    sums up what workers that ended had counted.
    """

    def __init__(self, config: Config, start: Callable[[Worker], Process], now: float) -> None:
        self.target: int = config.worker_count or 1
        self.exit_status: Optional[int] = None
        self.is_complete = False
        self.restarts: dict[str, int] = collections.Counter()
        self.past = Totals()
        self._config = config
        self._start = start
        self._now = now
        self._workers: list[Worker] = []
        self._swaps: collections.deque[Swap] = collections.deque()
        self._swap: Optional[Swap] = None
        self._has_served = False
        self._misfortunes = 0
        self._start_at = now  # not before
        self._urgency = 0
        self._final_status = 0
        self._is_waiting_for_change = False
        self._memory_due = now  # no replacement for its memory before

    # -- what others ask

    def workers(self) -> list[WorkerView]:
        """The workers there are."""
        return [WorkerView(w.slot, w.pid, w.phase, w.born, w.snapshot) for w in self._workers]

    def serving(self) -> list[Worker]:
        """The workers that accept connections."""
        return self._of(SERVING)

    def is_ready(self) -> bool:
        """Whether a worker serves, and the end has not begun."""
        return not self._urgency and any(worker.phase == SERVING for worker in self._workers)

    @property
    def is_stopping(self) -> bool:
        """Whether the end has begun."""
        return self._urgency > 0

    @property
    def is_swapping(self) -> bool:
        """Whether workers are being replaced."""
        return self._swap is not None or bool(self._swaps)

    # -- what happens

    def hear(self, worker: Worker, message: Message, now: float) -> None:
        """A message of a worker has come."""
        self._now = now
        worker.heard = now
        if message.kind == BEAT:
            worker.snapshot = message.snapshot
        elif message.kind == READY and worker.phase == BOOTING:
            self._on_ready(worker)
        elif message.kind == STOPPING and worker.phase != LEAVING:
            # Somebody else has told it to.
            logger.info("Worker %d [%d] stops; another takes its place", worker.slot, worker.pid)
            self._let_go(worker)
            self._leave(worker)
        self._proceed()

    def tick(self, now: float) -> None:
        """Looks at what is due; to be called a few times a second, and when a process has ended."""
        if now - self._now > LATE:
            # We were held up ourselves, and what the workers said meanwhile has yet to be read.
            for worker in self._workers:
                worker.heard = now
        self._now = now
        for worker in list(self._workers):
            status = worker.process.exit_status()
            if status is not None:
                self._on_exit(worker, status)
        for worker in self._workers:
            self._check_bounds(worker)
        self._recycle()
        self._proceed()

    def restart(self, now: float) -> None:
        """Replaces all workers, one after the other."""
        if self._urgency:
            return
        self._now = now
        logger.info("Restarting the workers, one after the other")
        self._is_waiting_for_change = False
        self._misfortunes = 0
        self._start_at = now
        old = self._swap.old if self._swap is not None else None
        self._swaps = collections.deque(
            Swap(worker, "signal") for worker in self._workers if worker.phase != LEAVING and worker is not old
        )
        self._proceed()

    def add(self, now: float) -> None:
        """One worker more."""
        if not self._urgency:
            self._now = now
            self.target += 1
            logger.info("One worker more: %d", self.target)
            self._proceed()

    def remove(self, now: float) -> None:
        """One worker fewer, but one stays."""
        if self._urgency:
            return
        self._now = now
        if self.target == 1:
            logger.info("The last worker stays")
            return
        self.target -= 1
        logger.info("One worker fewer: %d", self.target)
        self._proceed()

    def reload(self, now: float) -> None:
        """Replaces all workers at once, the old ones first and without waiting for their clients: for development."""
        if self._urgency:
            return
        self._now = now
        self.restarts["reload"] += 1
        self._is_waiting_for_change = False
        self._has_served = False
        self._misfortunes = 0
        self._start_at = now
        self._swaps.clear()
        self._swap = None
        for worker in self._workers:
            if worker.phase != LEAVING:
                worker.process.tell(STOP)
                worker.phase = LEAVING
                worker.hurried_at = now + RELOAD_BOUND / 2
                worker.deadline = now + RELOAD_BOUND
        self._proceed()

    def stop(self, now: float) -> None:
        """Ends all workers; each further call is one more degree of hurry, and the third kills them."""
        self._now = now
        self._urgency = max(STOP, self._urgency + 1)
        self._swaps.clear()
        self._swap = None
        for worker in self._workers:
            if self._urgency > HURRY:
                self._kill(worker, "the third request to stop")
                continue
            worker.process.tell(self._urgency)
            worker.phase = LEAVING
            worker.deadline = self._until(drain_bound(self._config, self._urgency == HURRY))
            if self._config.reload and self._urgency == STOP:
                worker.hurried_at = now + RELOAD_BOUND / 2  # who develops does not wait for his own browser
        self._proceed()

    def retire(self, now: float) -> None:
        """Ends all workers, when another program has taken over the sockets: clients may take their time."""
        if self._urgency:
            return
        self._now = now
        self._urgency = RETIRE
        self._swaps.clear()
        self._swap = None
        for worker in self._workers:
            if worker.phase != LEAVING:
                self._retire(worker)
        self._proceed()

    def abandon(self) -> None:
        """Kills all workers, for a parent that cannot go on."""
        for worker in self._workers:
            worker.process.kill()

    # -- the life of a worker

    def _launch(self, slot: int) -> Optional[Worker]:
        worker = Worker(slot, self._now)
        try:
            worker.process = self._start(worker)
        except OSError as exc:
            logger.error("Cannot start a worker: %s", exc.strerror or exc)
            self._pause()
            return None
        limit = self._config.limit_max_requests
        if limit is not None:
            worker.request_limit = limit + random.randint(0, self._config.limit_max_requests_jitter)
        self._workers.append(worker)
        return worker

    def _on_ready(self, worker: Worker) -> None:
        worker.phase = SERVING
        worker.since = self._now
        self._has_served = True
        swap = self._swap
        if swap is not None and swap.new is worker:
            self._swap = None
            if swap.old in self._workers:
                logger.info("Worker %d [%d] serves, in place of [%d]", worker.slot, worker.pid, swap.old.pid)
                self.restarts[swap.reason] += 1
                self._retire(swap.old)
                return
        logger.info("Worker %d [%d] serves", worker.slot, worker.pid)

    def _retire(self, worker: Worker) -> None:
        worker.process.tell(RETIRE)
        self._leave(worker)

    def _leave(self, worker: Worker) -> None:
        worker.phase = LEAVING
        worker.deadline = self._until(drain_bound(self._config))

    def _kill(self, worker: Worker, reason: str) -> None:
        if not worker.killed_for:
            logger.error("Killing worker %d [%d]: %s", worker.slot, worker.pid, reason)
        worker.killed_for = reason
        worker.process.kill()

    def _check_bounds(self, worker: Worker) -> None:
        now, config = self._now, self._config
        if worker.killed_for:
            return
        if worker.phase == LEAVING:
            if worker.hurried_at is not None and now >= worker.hurried_at:
                worker.hurried_at = None
                worker.process.tell(HURRY)
            if worker.deadline is not None and now >= worker.deadline:
                self._kill(worker, "it does not end in time")
        elif worker.phase == BOOTING:
            bound = None if config.reload else config.timeout_worker_boot
            if bound is not None and now - worker.since > bound:
                self.restarts["boot"] += 1
                self._kill(worker, f"it does not serve after {bound:g} seconds")
        else:
            # Who develops may have stopped it at a breakpoint.
            bound = None if config.reload else config.timeout_worker_healthcheck
            if bound is not None and now - worker.heard > bound:
                self.restarts["hang"] += 1
                self._kill(worker, f"its event loop has been blocked for {bound:g} seconds")

    def _on_exit(self, worker: Worker, status: int) -> None:
        self._workers.remove(worker)
        worker.process.close()
        if worker.snapshot is not None:
            self.past.add(worker.snapshot)
        swap = self._swap
        if worker.phase == LEAVING and (status == 0 or worker.killed_for):
            logger.info("Worker %d [%d] has ended", worker.slot, worker.pid)
        elif worker.phase == LEAVING:
            logger.error("Worker %d [%d] died while it stopped: %s", worker.slot, worker.pid, describe_exit(status))
        elif swap is not None and swap.new is worker:
            self._swap = None
            self._give_up(swap, worker, status)
        elif worker.phase == BOOTING:
            self._on_failed_boot(worker, status)
        else:
            self._on_crash(worker, status)

    def _give_up(self, swap: Swap, worker: Worker, status: int) -> None:
        how = worker.killed_for or describe_exit(status)
        if swap.old in self._workers:
            logger.error("The new worker [%d] does not serve (%s); the old one goes on", worker.pid, how)
        if swap.reason == "signal":
            self._swaps.clear()
        self._pause()

    def _on_failed_boot(self, worker: Worker, status: int) -> None:
        how = worker.killed_for or describe_exit(status)
        if self._config.reload:
            logger.info("Waiting for changes before the next attempt")
            self._is_waiting_for_change = True
        elif self._has_served:
            logger.error("Worker %d [%d] does not serve (%s)", worker.slot, worker.pid, how)
            self._pause()
        else:
            logger.error("The application does not start (worker %d [%d]: %s)", worker.slot, worker.pid, how)
            self._final_status = EXIT_STARTUP_FAILED
            self.stop(self._now)

    def _on_crash(self, worker: Worker, status: int) -> None:
        if not worker.killed_for:
            self.restarts["crash"] += 1
            logger.error("Worker %d [%d] died: %s", worker.slot, worker.pid, describe_exit(status))
        self._let_go(worker)
        if self._now - worker.since >= STEADY:
            self._misfortunes = 0
        if self._misfortunes:
            self._pause()
        else:
            self._misfortunes = 1

    def _let_go(self, worker: Worker) -> None:
        """A worker ends by itself: one that is to replace it goes on as one of them."""
        if self._swap is not None and self._swap.old is worker:
            self._swap = None

    def _pause(self) -> None:
        """Waits before the next start, each time longer."""
        pause = min(LONGEST_PAUSE, 0.5 * 2**self._misfortunes)
        self._misfortunes += 1
        self._start_at = self._now + pause
        if not self._urgency:
            logger.info("The next worker starts in %g seconds", pause)

    # -- keeping the number

    def _recycle(self) -> None:
        if self._urgency:
            return
        planned = {swap.old for swap in self._swaps}
        if self._swap is not None:
            planned.add(self._swap.old)
        for worker in self._workers:
            if worker.phase == SERVING and worker not in planned:
                worn = self._worn(worker)
                if worn is not None:
                    reason, why = worn
                    logger.info("Worker %d [%d] is to be replaced: %s", worker.slot, worker.pid, why)
                    self._swaps.append(Swap(worker, reason))

    def _worn(self, worker: Worker) -> Optional[tuple[str, str]]:
        """Why a worker is to be replaced, if it is: in a word, and for the log."""
        snapshot, config, age = worker.snapshot, self._config, self._now - worker.since
        if snapshot is not None:
            if worker.request_limit is not None and snapshot.requests >= worker.request_limit:
                return "requests", f"it has had {snapshot.requests} requests"
            mib, most = snapshot.memory / (1024 * 1024), config.limit_worker_memory
            if most is not None and mib > most and self._now >= self._memory_due:
                # The next one not too soon: that may be less than the application takes from the start.
                self._memory_due = self._now + STEADY
                return "memory", f"it takes {mib:.0f} MiB of memory"
        if config.limit_worker_age is not None and age >= config.limit_worker_age:
            return "age", f"it has served for {age:.0f} seconds"
        return None

    def _proceed(self) -> None:
        """Starts and ends workers, as many as are to be."""
        if self._urgency:
            if not self._workers:
                self.exit_status = self._final_status
            return
        self._fill()
        self._go_on_swapping()
        if not self.is_complete and len(self._of(SERVING)) >= self.target:
            self.is_complete = True

    def _of(self, *phases: str) -> list[Worker]:
        return [worker for worker in self._workers if worker.phase in phases]

    def _fill(self) -> None:
        spare = self._swap.new if self._swap is not None else None
        there = [worker for worker in self._of(BOOTING, SERVING) if worker is not spare]
        for worker in there[self.target :]:
            self._retire(worker)
        if self._now < self._start_at or self._is_waiting_for_change:
            return
        if self._config.reload and self._of(LEAVING):
            return  # the old code first ends
        wanted = self.target - len(there)
        if not self._has_served:
            # One at first: what keeps it from starting would keep all of them, and is said once.
            wanted = min(wanted, 1 - len(there))
        for _ in range(wanted):
            taken = {worker.slot for worker in self._of(BOOTING, SERVING)}
            if self._launch(next(number for number in itertools.count(1) if number not in taken)) is None:
                return

    def _go_on_swapping(self) -> None:
        while self._swap is None and self._swaps and self._now >= self._start_at:
            swap = self._swaps.popleft()
            if swap.old not in self._workers or swap.old.phase == LEAVING:
                continue
            swap.new = self._launch(swap.old.slot)
            if swap.new is not None:
                self._swap = swap

    def _until(self, seconds: Optional[float]) -> Optional[float]:
        return None if seconds is None else self._now + seconds
