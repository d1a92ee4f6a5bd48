"""The policy over the workers, with processes and a clock that are not real."""

import logging

import pytest

from asgiserve.config import Config
from asgiserve.metrics.snapshot import Snapshot
from asgiserve.processes import supervisor as module
from asgiserve.processes.ending import CANCEL_GRACE, MARGIN, drain_bound
from asgiserve.processes.link import BEAT, HURRY, READY, RETIRE, STOP, STOPPING, Message
from asgiserve.processes.process import describe_exit
from asgiserve.processes.supervisor import Supervisor

MIB = 1024 * 1024


class FakeProcess:
    def __init__(self, pid):
        self.pid = pid
        self.orders = []
        self.status = None
        self.is_closed = False

    def tell(self, order):
        self.orders.append(order)

    def kill(self):
        self.orders.append("KILL")

    def exit_status(self):
        return self.status

    def close(self):
        self.is_closed = True


class Fleet:
    """A supervisor, its clock, and the workers that it has started, in order."""

    def __init__(self, **options):
        self.now = 1000.0
        self.started = []
        self.refusal = None
        self.supervisor = Supervisor(Config("main:app", **options), self.start, self.now)
        self.supervisor.tick(self.now)

    def start(self, worker):
        if self.refusal is not None:
            raise self.refusal
        self.started.append(worker)
        return FakeProcess(100 + len(self.started))

    def __getitem__(self, index):
        return self.started[index]

    @property
    def running(self):
        return [worker for worker in self.started if worker.process.status is None]

    def serving(self):
        return [self.started.index(worker) for worker in self.running if worker.phase == "ready"]

    def hear(self, index, kind, snapshot=None):
        self.supervisor.hear(self[index], Message(kind, snapshot), self.now)

    def ready(self, *indices):
        for index in indices:
            self.hear(index, READY)

    def beat(self, index, **figures):
        values = dict(zip(Snapshot._fields, [0.0, 0, 0, 0, 0, 0.0, 0, (0,) * 5, (), 0.0]))
        self.hear(index, BEAT, Snapshot(**{**values, **figures}))

    def exit(self, index, status=0):
        self[index].process.status = status
        self.supervisor.tick(self.now)

    def pass_time(self, seconds, *beating):
        """Lets time pass as the parent sees it, while those workers go on telling that they live."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.25)
            for index in beating:
                self.beat(index)
            self.supervisor.tick(self.now)


@pytest.fixture(autouse=True)
def _log(caplog):
    caplog.set_level(logging.INFO, "asgiserve.error")


def serve(**options):
    """A fleet that is up."""
    fleet = Fleet(**options)
    fleet.ready(0)
    for index in range(1, options.get("workers", 1)):
        fleet.ready(index)
    assert fleet.supervisor.is_complete
    return fleet


# -- start-up


def test_one_starts_first_and_the_others_when_that_serves():
    fleet = Fleet(workers=4)
    assert len(fleet.started) == 1
    assert not fleet.supervisor.is_ready()
    fleet.ready(0)
    assert len(fleet.started) == 4
    assert [worker.slot for worker in fleet.started] == [1, 2, 3, 4]
    assert fleet.supervisor.is_ready()
    fleet.ready(1, 2)
    assert not fleet.supervisor.is_complete
    fleet.ready(3)
    assert fleet.supervisor.is_complete
    assert [worker.phase for worker in fleet.supervisor.workers()] == ["ready"] * 4
    assert [worker.pid for worker in fleet.supervisor.workers()] == [101, 102, 103, 104]


def test_as_many_as_the_platform_wants(monkeypatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    fleet = Fleet()
    fleet.ready(0)
    assert len(fleet.started) == 3


@pytest.mark.parametrize("status", [3, 1, 0, -11])
@pytest.mark.parametrize("workers", [1, 4])
def test_the_application_does_not_start(workers, status, caplog):
    fleet = Fleet(workers=workers)
    fleet.exit(0, status)
    assert fleet.supervisor.exit_status == 3
    assert len(fleet.started) == 1
    assert f"The application does not start (worker 1 [101]: {describe_exit(status)})" in caplog.text


def test_a_worker_that_takes_too_long_to_start():
    fleet = Fleet(workers=2, timeout_worker_boot=60, timeout_worker_healthcheck=5)
    fleet.pass_time(60)
    assert fleet[0].process.orders == []
    fleet.pass_time(0.25)
    assert fleet[0].process.orders == ["KILL"]
    fleet.exit(0, -9)
    assert fleet.supervisor.exit_status == 3
    assert fleet.supervisor.restarts == {"boot": 1}


def test_a_worker_may_take_for_ever_to_start():
    fleet = Fleet(timeout_worker_boot=None)
    fleet.pass_time(3600)
    assert fleet[0].process.orders == []


def test_a_process_that_cannot_be_started(caplog):
    fleet = serve(workers=1)
    fleet.refusal = OSError(12, "Cannot allocate memory")
    fleet.pass_time(20, 0)
    fleet.exit(0, -9)
    assert "Cannot start a worker: Cannot allocate memory" in caplog.text
    fleet.refusal = None
    fleet.pass_time(module.LONGEST_PAUSE)
    assert len(fleet.started) == 2


# -- deaths


@pytest.mark.parametrize(
    ("status", "how"), [(1, "exit status 1"), (-9, "killed by SIGKILL"), (-11, "killed by SIGSEGV")]
)
def test_a_worker_that_dies_is_replaced_at_once(status, how, caplog):
    fleet = serve(workers=2)
    fleet.pass_time(20, 0, 1)
    fleet.exit(0, status)
    assert len(fleet.started) == 3
    assert fleet[2].slot == 1
    assert fleet[0].process.is_closed
    assert f"Worker 1 [101] died: {how}" in caplog.text
    assert fleet.supervisor.restarts == {"crash": 1}


def test_workers_that_die_again_and_again_are_replaced_more_and_more_slowly():
    fleet = serve(workers=1)
    starts = []
    for index in range(9):
        fleet.exit(index, 1)
        died = fleet.now
        while len(fleet.started) == index + 1:
            fleet.pass_time(0.25)
        starts.append(fleet.now - died)
        fleet.ready(index + 1)
    assert starts == [0, 1, 2, 4, 8, 16, *[module.LONGEST_PAUSE] * 3]
    fleet.pass_time(module.STEADY, 9)
    fleet.exit(9, 1)
    assert len(fleet.started) == 11, "it had served for long"


def test_a_replacement_that_does_not_start_is_tried_again():
    fleet = serve(workers=2)
    fleet.exit(0, 1)
    fleet.exit(2, 3)
    assert len(fleet.started) == 3
    fleet.pass_time(5, 1)
    assert len(fleet.started) == 4
    fleet.ready(3)
    assert fleet.serving() == [1, 3]
    assert fleet.supervisor.exit_status is None


def test_a_blocked_worker_is_killed_and_replaced(caplog):
    fleet = serve(workers=2, timeout_worker_healthcheck=5)
    fleet.pass_time(5, 0)
    assert fleet[1].process.orders == []
    fleet.pass_time(0.25, 0)
    assert fleet[1].process.orders == ["KILL"]
    assert "Killing worker 2 [102]: its event loop has been blocked for 5 seconds" in caplog.text
    fleet.pass_time(1, 0)
    assert fleet[1].process.orders == ["KILL"]
    fleet.exit(1, -9)
    assert len(fleet.started) == 3
    assert fleet.supervisor.restarts == {"hang": 1}
    assert "died" not in caplog.text


def test_a_worker_may_be_blocked_for_ever():
    fleet = serve(timeout_worker_healthcheck=None)
    fleet.pass_time(3600)
    assert fleet[0].process.orders == []


def test_a_parent_that_was_held_up_does_not_take_it_for_silence():
    fleet = serve(workers=2, timeout_worker_healthcheck=5)
    fleet.now += 60  # as after SIGSTOP and SIGCONT
    fleet.supervisor.tick(fleet.now)
    assert fleet[0].process.orders == []
    fleet.pass_time(5.25)
    assert fleet[0].process.orders == ["KILL"]


def test_a_worker_that_somebody_else_stops_is_replaced():
    fleet = serve(workers=2)
    fleet.hear(1, STOPPING)
    assert fleet[1].process.orders == []
    assert len(fleet.started) == 3
    fleet.exit(1, 0)
    fleet.ready(2)
    assert fleet.serving() == [0, 2]
    assert len(fleet.started) == 3


# -- rolling restarts


@pytest.mark.parametrize("workers", [1, 3])
def test_a_restart_starts_the_new_before_it_stops_the_old(workers):
    fleet = serve(workers=workers)
    fleet.supervisor.restart(fleet.now)
    for index in range(workers):
        new = workers + index
        assert len(fleet.started) == new + 1
        assert fleet[new].slot == fleet[index].slot
        assert fleet[index].process.orders == []
        fleet.ready(new)
        assert fleet[index].process.orders == [RETIRE]
    assert len(fleet.started) == 2 * workers
    for index in range(workers):
        fleet.exit(index)
    assert fleet.serving() == list(range(workers, 2 * workers))
    assert fleet.supervisor.restarts == {"signal": workers}
    assert len(fleet.started) == 2 * workers


def test_a_restart_with_an_application_that_does_not_start_any_more(caplog):
    fleet = serve(workers=2)
    fleet.supervisor.restart(fleet.now)
    fleet.exit(2, 3)
    assert "The new worker [103] does not serve (exit status 3); the old one goes on" in caplog.text
    fleet.pass_time(60, 0, 1)
    assert len(fleet.started) == 3
    assert fleet.serving() == [0, 1]
    fleet.supervisor.restart(fleet.now)
    fleet.ready(3)
    fleet.ready(4)
    assert fleet.serving() == [3, 4]
    assert [fleet[index].process.orders for index in (0, 1)] == [[RETIRE], [RETIRE]]


def test_a_restart_within_a_restart_replaces_what_was_new():
    fleet = serve(workers=2)
    fleet.supervisor.restart(fleet.now)
    fleet.supervisor.restart(fleet.now)
    index = 2
    while index < len(fleet.started):
        fleet.ready(index)
        index += 1
    for old in range(index):
        if fleet[old].process.orders:
            fleet.exit(old)
    assert len(fleet.serving()) == 2
    assert 2 not in fleet.serving()


def test_an_old_worker_dies_while_its_replacement_starts():
    fleet = serve(workers=2)
    fleet.supervisor.restart(fleet.now)
    fleet.exit(0, -9)
    assert len(fleet.started) == 4, "the second swap begins, as the first has nothing to wait for"
    fleet.ready(2)
    fleet.ready(3)
    fleet.exit(1)
    assert fleet.serving() == [2, 3]


def test_an_old_worker_that_does_not_go_is_killed():
    fleet = serve(timeout_graceful_shutdown=10, timeout_lifespan_shutdown=5)
    fleet.supervisor.restart(fleet.now)
    fleet.ready(1)
    bound = drain_bound(Config("main:app", timeout_graceful_shutdown=10, timeout_lifespan_shutdown=5))
    fleet.pass_time(bound - 0.25, 1)
    assert fleet[0].process.orders == [RETIRE]
    fleet.pass_time(0.5, 1)
    assert fleet[0].process.orders == [RETIRE, "KILL"]


# -- how many


def test_one_more_and_one_fewer(caplog):
    fleet = serve(workers=1)
    fleet.supervisor.add(fleet.now)
    assert len(fleet.started) == 2
    fleet.ready(1)
    fleet.supervisor.remove(fleet.now)
    assert fleet[1].process.orders == [RETIRE]
    fleet.exit(1)
    fleet.supervisor.remove(fleet.now)
    assert "The last worker stays" in caplog.text
    assert fleet[0].process.orders == []
    assert len(fleet.started) == 2


# -- recycling


def test_replaced_after_a_number_of_requests(monkeypatch):
    monkeypatch.setattr(module.random, "randint", lambda low, high: high)
    fleet = serve(workers=2, limit_max_requests=100, limit_max_requests_jitter=20)
    fleet.beat(0, requests=119)
    fleet.supervisor.tick(fleet.now)
    assert len(fleet.started) == 2
    fleet.beat(0, requests=120)
    fleet.beat(1, requests=500)
    fleet.supervisor.tick(fleet.now)
    assert len(fleet.started) == 3, "one at a time"
    assert fleet[0].process.orders == []
    fleet.ready(2)
    assert fleet[0].process.orders == [RETIRE]
    fleet.supervisor.tick(fleet.now)
    assert len(fleet.started) == 4
    fleet.ready(3)
    assert fleet[1].process.orders == [RETIRE]
    assert fleet.supervisor.restarts == {"requests": 2}


def test_replaced_for_its_memory():
    fleet = serve(limit_worker_memory=100)
    fleet.beat(0, memory=100 * MIB)
    fleet.supervisor.tick(fleet.now)
    assert len(fleet.started) == 1
    fleet.beat(0, memory=100 * MIB + 1)
    fleet.supervisor.tick(fleet.now)
    fleet.ready(1)
    assert fleet[0].process.orders == [RETIRE]
    assert fleet.supervisor.restarts == {"memory": 1}


def test_a_limit_that_is_lower_than_what_is_always_taken_leaves_time_to_serve():
    fleet = serve(limit_worker_memory=100)
    for index in range(3):
        fleet.beat(index, memory=200 * MIB)
        fleet.supervisor.tick(fleet.now)
        assert len(fleet.started) == index + 2
        fleet.ready(index + 1)
        fleet.exit(index)
        fleet.beat(index + 1, memory=200 * MIB)
        fleet.pass_time(module.STEADY - 0.25)
        assert len(fleet.started) == index + 2
        fleet.now += 0.25


def test_replaced_for_its_age():
    fleet = serve(limit_worker_age=3600)
    fleet.pass_time(3599, 0)
    assert len(fleet.started) == 1
    fleet.pass_time(1, 0)
    fleet.ready(1)
    assert fleet[0].process.orders == [RETIRE]
    assert fleet.supervisor.restarts == {"age": 1}


def test_a_replacement_for_a_worn_worker_that_does_not_start_is_tried_again():
    fleet = serve(limit_worker_age=100)
    fleet.pass_time(100, 0)
    fleet.exit(1, 3)
    fleet.supervisor.tick(fleet.now)
    assert len(fleet.started) == 2
    fleet.pass_time(5, 0)
    assert len(fleet.started) == 3
    assert fleet.serving() == [0]


# -- the end


def test_stop():
    fleet = serve(workers=2)
    fleet.supervisor.stop(fleet.now)
    assert not fleet.supervisor.is_ready()
    assert [worker.process.orders for worker in fleet.started] == [[STOP], [STOP]]
    fleet.exit(0)
    assert fleet.supervisor.exit_status is None
    fleet.exit(1)
    assert fleet.supervisor.exit_status == 0
    assert len(fleet.started) == 2


def test_stop_more_and_more_hurried():
    fleet = serve(timeout_lifespan_shutdown=3)
    fleet.supervisor.stop(fleet.now)
    fleet.supervisor.stop(fleet.now)
    assert fleet[0].process.orders == [STOP, HURRY]
    fleet.pass_time(3 + CANCEL_GRACE + MARGIN)
    assert fleet[0].process.orders == [STOP, HURRY, "KILL"]
    fleet.supervisor.stop(fleet.now)
    fleet.exit(0, -9)
    assert fleet.supervisor.exit_status == 0


def test_a_worker_that_does_not_stop_is_killed():
    fleet = serve(timeout_graceful_shutdown=1, timeout_lifespan_shutdown=1)
    fleet.supervisor.stop(fleet.now)
    fleet.pass_time(2 + CANCEL_GRACE + MARGIN)
    assert fleet[0].process.orders == [STOP, "KILL"]


@pytest.mark.parametrize(
    ("status", "line"),
    [(0, "Worker 1 [101] has ended"), (-11, "Worker 1 [101] died while it stopped: killed by SIGSEGV")],
)
def test_how_a_worker_ends_that_was_to_end(status, line, caplog):
    fleet = serve()
    fleet.supervisor.stop(fleet.now)
    fleet.exit(0, status)
    assert caplog.messages[-1] == line
    assert fleet.supervisor.exit_status == 0


def test_a_parent_that_cannot_go_on_leaves_no_worker_behind():
    fleet = serve(workers=2)
    fleet.supervisor.abandon()
    assert [worker.process.orders for worker in fleet.started] == [["KILL"], ["KILL"]]


def test_a_worker_may_take_for_ever_to_stop():
    fleet = serve(timeout_graceful_shutdown=None)
    fleet.supervisor.stop(fleet.now)
    fleet.pass_time(3600)
    assert fleet[0].process.orders == [STOP]


def test_stop_while_starting():
    fleet = Fleet(workers=2)
    fleet.supervisor.stop(fleet.now)
    fleet.exit(0, -15)
    assert fleet.supervisor.exit_status == 0


def test_nothing_is_started_any_more_once_stopping():
    fleet = serve(workers=2)
    fleet.supervisor.stop(fleet.now)
    for act in ("restart", "add", "remove", "reload"):
        getattr(fleet.supervisor, act)(fleet.now)
    fleet.exit(0, 1)
    fleet.exit(1)
    assert fleet.supervisor.exit_status == 0
    assert len(fleet.started) == 2


def test_retire():
    fleet = serve(workers=2)
    fleet.supervisor.retire(fleet.now)
    assert [worker.process.orders for worker in fleet.started] == [[RETIRE], [RETIRE]]
    fleet.supervisor.stop(fleet.now)
    assert fleet[0].process.orders == [RETIRE, STOP]
    fleet.exit(0)
    fleet.exit(1)
    assert fleet.supervisor.exit_status == 0


# -- what is counted


def test_what_ended_workers_have_counted_is_kept():
    fleet = serve(workers=1)
    buckets = tuple(range(len(module.Totals().latency)))
    fleet.beat(0, requests=5, responses=(0, 4, 0, 1, 0), latency=buckets, latency_sum=0.5)
    fleet.supervisor.restart(fleet.now)
    fleet.ready(1)
    fleet.exit(0)
    assert fleet.supervisor.past.requests == 5
    assert fleet.supervisor.past.responses == (0, 4, 0, 1, 0)
    assert fleet.supervisor.workers()[0].snapshot is None


# -- reload


def test_reload_ends_the_old_worker_first():
    fleet = serve(reload=True)
    fleet.supervisor.reload(fleet.now)
    assert fleet[0].process.orders == [STOP]
    fleet.pass_time(0.25)
    assert len(fleet.started) == 1
    fleet.exit(0)
    assert len(fleet.started) == 2


def test_reload_does_not_wait_for_open_streams():
    fleet = serve(reload=True)
    fleet.supervisor.reload(fleet.now)
    fleet.pass_time(module.RELOAD_BOUND)
    assert fleet[0].process.orders == [STOP, HURRY, "KILL"]


def test_reload_waits_for_the_next_change_when_the_application_does_not_start(caplog):
    fleet = Fleet(reload=True)
    fleet.exit(0, 3)
    fleet.pass_time(60)
    assert len(fleet.started) == 1
    assert fleet.supervisor.exit_status is None
    assert "Waiting for changes" in caplog.text
    fleet.supervisor.reload(fleet.now)
    assert len(fleet.started) == 2
    fleet.ready(1)
    assert fleet.serving() == [1]


def test_reload_while_booting():
    fleet = Fleet(reload=True)
    fleet.supervisor.reload(fleet.now)
    fleet.exit(0, -15)
    assert len(fleet.started) == 2


def test_reload_bounds_do_not_move_with_further_changes():
    fleet = serve(reload=True)
    for _ in range(4):
        fleet.supervisor.reload(fleet.now)
        fleet.pass_time(module.RELOAD_BOUND / 4)
    assert fleet[0].process.orders == [STOP, HURRY, "KILL"]


def test_a_breakpoint_is_no_hang():
    fleet = Fleet(reload=True, timeout_worker_boot=1, timeout_worker_healthcheck=1)
    fleet.pass_time(60)
    fleet.ready(0)
    fleet.pass_time(60)
    assert fleet[0].process.orders == []


def test_the_end_does_not_wait_for_open_streams_while_developing():
    fleet = serve(reload=True)
    fleet.supervisor.stop(fleet.now)
    assert fleet[0].process.orders == [STOP]
    fleet.pass_time(module.RELOAD_BOUND)
    assert fleet[0].process.orders == [STOP, HURRY]
    fleet.exit(0)
    assert fleet.supervisor.exit_status == 0
