"""The scan is complete while the list moves, and fails when it cannot be."""

from __future__ import annotations

import random
import threading

import pytest

from sources.kantata.api.reader import KantataReader
from sources.kantata.errors import KantataError, KantataIncomplete, KantataMoving
from sources.kantata.extract.scan import Scan
from sources.kantata_sandbox import Account, Fault, Sandbox


def scan(sandbox: Sandbox, in_flight: int = 4) -> Scan:
    """Return a scan that has read all its pages."""
    reader = KantataReader(sandbox.url, sandbox.token, backoff_seconds=0.01)
    found = Scan(reader, in_flight)
    for _ in found.pages():
        pass
    return found


@pytest.mark.parametrize("in_flight", [1, 2, 4, 7])
@pytest.mark.parametrize("milestones", [0, 1, 199, 200, 201, 1_001, 2_345])
def test_reads_everything(milestones: int, in_flight: int) -> None:
    """Every milestone is read, with any number of pages and workers."""
    with Sandbox(milestones=milestones) as sandbox:
        assert scan(sandbox, in_flight).seen.keys() == sandbox.account.milestones.keys()


class Mover:
    """Changes the list before each request, and records what it deleted.

    Args:
        seed: Chooses the changes.
        burst: The most rows deleted at once.
    """

    def __init__(self, seed: int, burst: int) -> None:
        self.random = random.Random(seed)
        self.burst = burst
        self.deleted: set[str] = set()

    def __call__(self, account: Account) -> None:
        """Delete some rows, often next to each other; create some, edit one."""
        with account.lock:
            ids = list(account.milestones)
            start = self.random.randrange(len(ids))
            for id_ in ids[start : start + self.random.randint(0, self.burst)]:
                account.delete_milestone(id_)
                self.deleted.add(id_)
            for _ in range(self.random.randint(0, 3)):
                account.create_milestone()
            account.update_milestone(next(iter(account.milestones)), title=str(start))


@pytest.mark.parametrize(
    "block",
    [pytest.param(n, marks=() if n < 1 else pytest.mark.long) for n in range(10)],
)
def test_moving_list_is_read_completely(block: int) -> None:
    """A scan of a moving list misses no milestone that existed throughout.

    200 scans in all, of which 20 run without the long tests.
    """
    scans = 0
    for seed in range(block * 20, block * 20 + 20):
        with Sandbox(milestones=1_100, seed=seed) as sandbox:
            before = set(sandbox.account.milestones)
            mover = Mover(seed, burst=1 + seed % 12)
            sandbox.misbehave(Fault("change", path="billing_milestones", action=mover))
            seen = scan(sandbox, in_flight=1 + seed % 5).seen.keys()
            missed = before - mover.deleted - seen
            assert not missed, f"seed {seed}"
            scans += 1
    assert scans == 20


def test_rows_lost_once_are_read_again() -> None:
    """A page that lacks rows is read again until it has them."""
    with Sandbox(milestones=900) as sandbox:
        sandbox.misbehave(Fault("lose_rows", path="billing_milestones", rows=3, times=4))
        assert len(scan(sandbox).seen) == 900


def test_rows_always_lost_stop_the_scan() -> None:
    """A page that always lacks rows ends the scan, so that nothing is loaded."""
    with Sandbox(milestones=900) as sandbox:
        sandbox.misbehave(Fault("lose_rows", path="billing_milestones", query={"page": "3"}))
        with pytest.raises(KantataIncomplete, match="page 3 shows 199 milestones instead of 200"):
            scan(sandbox)


def test_list_that_never_stops_moving() -> None:
    """A list that grows in its middle faster than it is read ends the scan with exit code 75."""
    with Sandbox(milestones=1_000) as sandbox:

        def insert_old_ones(account: Account) -> None:
            for _ in range(40):
                account.create_milestone(created_at="2021-01-01T00:00:00Z")

        sandbox.misbehave(Fault("change", path="billing_milestones", action=insert_old_ones))
        with pytest.raises(KantataMoving) as caught:
            scan(sandbox)
    assert caught.value.exit_code == 75


def test_order_that_is_ignored_is_noticed() -> None:
    """An answer in another order than requested stops the scan."""
    with Sandbox(milestones=500) as sandbox:
        reader = KantataReader(sandbox.url, sandbox.token)
        real = reader.page

        class Unordered(KantataReader):
            """Drops the order, so that the server answers as one that ignores it."""

            def page(self, path, parameters):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
                return real(path, {k: v for k, v in parameters.items() if k != "order"})

        with pytest.raises(KantataIncomplete, match="does not keep to order"):
            list(Scan(Unordered(sandbox.url, sandbox.token)).pages())


def test_worker_error_reaches_the_reader() -> None:
    """An error in any worker ends the scan with that error."""
    with Sandbox(milestones=2_000) as sandbox:
        sandbox.misbehave(Fault("error", path="billing_milestones", query={"page": "7"}))
        with pytest.raises(KantataError, match="503"):
            scan(sandbox)


def test_abandoned_scan_leaves_no_worker() -> None:
    """A scan that is closed early ends its workers."""
    with Sandbox(milestones=4_000) as sandbox:
        pages = Scan(KantataReader(sandbox.url, sandbox.token), 4).pages()
        next(pages)
        pages.close()  # type: ignore[attr-defined]
        workers = [t for t in threading.enumerate() if t.name.startswith("kantata-pages")]
        for worker in workers:
            worker.join(60)
        assert not any(worker.is_alive() for worker in workers)


def test_requests_are_really_concurrent() -> None:
    """Four requests in flight take well under the time of one after another."""
    with Sandbox(milestones=4_000, latency_ms=100) as sandbox:
        scan(sandbox, 4)
        served = list(sandbox.requests)
    assert len(served) <= 20 + 1 + 4 + 1  # probe, pages, tops of blocks, tail
