"""The spool against a plain model, on a disk that tears, forgets, fills up and flips bits (stateful Hypothesis)."""

from __future__ import annotations

import itertools

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.spool import Spool, SpoolRecord
from tests.support.model_disk import Killed, ModelDisk

MAX_BYTES = 4000
RETAIN_NS = 10_000

Name = tuple[str, int]


class SpoolMachine(RuleBasedStateMachine):
    """`promised`: every record that `commit` counted, in order. `appended`: those that it did not, which may be found
    all the same. `given`: what each number was ever read with: once read, Redis may know it. `owed`: promised records
    that were neither confirmed nor reported lost, as the ledger counts them; `settled`: the serial behind the last
    confirmed one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.promised: dict[Name, bytes] = {}
        self.appended: dict[Name, list[bytes]] = {}
        self.given: dict[Name, bytes] = {}
        self.confirmed: set[Name] = set()
        self.lost: list[tuple[str, int, int | None]] = []
        self.lost_counted = 0
        self.flipped = False
        self.now_ns = 0
        self.ids = (f"id{number}" for number in itertools.count())
        self.payloads = (f"event {number} ".encode() for number in itertools.count())
        self.buffered: list[tuple[Name, bytes]] = []
        self.owed = 0
        self.settled = 0
        self.serials: dict[int, Name] = {}
        self.unconfirmed_reads: list[SpoolRecord] = []
        self.disk = ModelDisk()

    @initialize()
    def start(self) -> None:
        self.open(self.disk)

    def open(self, disk: ModelDisk) -> None:
        self.disk = disk
        self.buffered.clear()
        self.unconfirmed_reads.clear()
        self.spool = Spool(
            disk, max_bytes=MAX_BYTES, retain_ns=RETAIN_NS, now_ns=self.now_ns, new_id=lambda: next(self.ids)
        )
        self.owed, self.settled = self.spool.recovery.pending, self.spool.recovery.retained
        self.serials.clear()
        self.lost += [(lost.producer, lost.first, lost.last) for lost in self.spool.recovery.lost]
        for producer, first, last in self.lost:
            names = [(producer, n) for n in range(first, (last or first) + 1)]
            assert self.flipped or all(name not in self.promised or name in self.confirmed for name in names)

    def is_excused(self, name: Name) -> bool:
        """Whether a promised record that doesn't come out any more was confirmed, or its loss was told."""
        told = any(
            p == name[0] and first <= name[1] and (last is None or name[1] <= last) for p, first, last in self.lost
        )
        return name in self.confirmed or (self.flipped and (told or self.lost_counted > 0))

    def take(self, records: list[SpoolRecord]) -> None:
        for record in records:
            name = (record.producer, record.n)
            assert self.given.setdefault(name, record.payload) == record.payload
            assert self.serials.setdefault(record.serial, name) == name
            if name in self.promised:
                assert record.payload == self.promised[name]
            else:
                assert record.payload in self.appended[name]
        self.unconfirmed_reads += records

    # ── what the outlet does ─────────────────────────────────────────────────────────────────────────────────────

    @rule(paddings=st.lists(st.integers(0, 600), min_size=1, max_size=8), commits=st.booleans())
    def append(self, paddings: list[int], commits: bool) -> None:
        for padding in paddings:
            payload = next(self.payloads) + b"." * padding
            name = (self.spool.producer, self.spool.next_n)
            used = self.spool.bytes_used
            if self.spool.append(payload):
                self.buffered.append((name, payload))
                self.appended.setdefault(name, []).append(payload)
            else:
                assert used + sum(len(p) + 24 for _, p in self.buffered) + len(payload) + 24 > MAX_BYTES
        if commits:
            self.commit()

    @precondition(lambda self: self.buffered)
    @rule()
    def commit(self) -> None:
        buffered, self.buffered = self.buffered, []
        try:
            count = self.spool.commit()
        except OSError:
            return
        assert count == len(buffered)
        self.owed += count
        for name, payload in buffered:
            assert name not in self.promised
            assert name not in self.given
            self.promised[name] = payload

    @rule(count=st.integers(1, 50))
    def read(self, count: int) -> None:
        records, lost = self.spool.read(count)
        self.lost_counted += lost
        self.owed -= lost
        assert len(records) <= count
        assert not lost or self.flipped
        self.take(records)

    @precondition(lambda self: self.unconfirmed_reads)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, len(self.unconfirmed_reads)))
        for record in self.unconfirmed_reads[:count]:
            self.spool.confirm(record, self.now_ns)
            self.confirmed.add((record.producer, record.n))
            if record.serial >= self.settled:
                self.owed -= 1
                self.settled = record.serial + 1
        del self.unconfirmed_reads[:count]

    @rule(server=st.sampled_from(["one", "two"]))
    def other_server(self, server: str) -> None:
        self.spool.rewind(server, self.now_ns)
        self.unconfirmed_reads.clear()

    @rule(later_ns=st.integers(1, 2 * RETAIN_NS))
    def pass_time(self, later_ns: int) -> None:
        self.now_ns += later_ns
        self.spool.release(self.now_ns)

    @rule()
    def save_cursor(self) -> None:
        self.spool.save_cursor()

    # ── what the world does ──────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: not self.buffered)
    @rule()
    def restart(self) -> None:
        self.spool.close()
        self.open(self.disk.reopened())

    @rule()
    def kill(self) -> None:
        self.open(self.disk.reopened())

    @precondition(lambda self: self.buffered)
    @rule(after=st.integers(0, 1500))
    def kill_while_writing(self, after: int) -> None:
        self.disk.kill_after = after
        try:
            self.commit()
        except Killed:
            self.open(self.disk.reopened())
        self.disk.kill_after = None

    @rule(data=st.data())
    def cut_power(self, data: st.DataObject) -> None:
        def power_cut(_: str, synced: bytes, written: bytes) -> bytes:
            if written == synced:
                return synced
            if not written.startswith(synced):
                return data.draw(st.sampled_from([synced, written]))
            kept = data.draw(st.integers(len(synced), len(written)))
            zeros = data.draw(st.integers(0, len(written) - kept))
            return written[:kept] + bytes(zeros)

        self.open(self.disk.reopened(power_cut=power_cut))

    @rule(spare=st.integers(0, 300))
    def fill_disk(self, spare: int) -> None:
        self.disk.capacity = sum(len(file.data) for file in self.disk.files.values()) + spare

    @rule()
    def make_room(self) -> None:
        self.disk.capacity = 1 << 30
        self.disk.read_only = False

    @rule(syncs=st.integers(0, 2), truncates=st.integers(0, 2), creates=st.integers(0, 2), read_only=st.booleans())
    def break_disk(self, syncs: int, truncates: int, creates: int, read_only: bool) -> None:
        self.disk.fail_sync, self.disk.fail_truncate = syncs, truncates
        self.disk.fail_create, self.disk.read_only = creates, read_only

    @precondition(lambda self: any(file.data for file in self.disk.files.values()))
    @rule(data=st.data(), bit=st.integers(0, 1 << 20))
    def flip_a_bit(self, data: st.DataObject, bit: int) -> None:
        name = data.draw(st.sampled_from([name for name, file in sorted(self.disk.files.items()) if file.data]))
        self.disk.flip(name, bit)
        self.flipped = True

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def it_stays_within_its_bounds(self) -> None:
        if hasattr(self, "spool"):
            assert self.spool.bytes_used <= MAX_BYTES

    @invariant()
    def a_later_process_finds_all_that_was_promised(self) -> None:
        """On a copy of the disk, so that looking changes nothing."""
        if not hasattr(self, "spool"):
            return
        copy = Spool(
            self.disk.reopened(), max_bytes=MAX_BYTES, retain_ns=RETAIN_NS, now_ns=self.now_ns,
            new_id=lambda: "looking",
        )  # fmt: skip
        copy.rewind("looking", self.now_ns)
        records, lost = copy.read(1 << 30)
        assert not lost
        names = [(record.producer, record.n) for record in records]
        order = {name: index for index, name in enumerate(self.promised)}
        places = [order[name] for name in names if name in order]
        assert places == sorted(places)
        assert len(set(names)) == len(names)
        self.lost += [(lost.producer, lost.first, lost.last) for lost in copy.recovery.lost]
        for record in records:
            name = (record.producer, record.n)
            assert record.payload == self.promised.get(name, record.payload)
        for name in self.promised:
            assert name in names or self.is_excused(name), f"{name} was promised and is not there"

    @invariant()
    def what_is_owed_adds_up(self) -> None:
        assert self.owed >= 0
        if hasattr(self, "spool") and not self.spool.unread and not self.unconfirmed_reads:
            assert self.owed == 0

    @precondition(lambda self: not self.flipped)
    @rule()
    def numbers_have_no_holes(self) -> None:
        by_producer: dict[str, list[int]] = {}
        for producer, n in self.promised:
            by_producer.setdefault(producer, []).append(n)
        for producer, numbers in by_producer.items():
            for before, after in itertools.pairwise(numbers):
                found = all((producer, n) in self.appended for n in range(before + 1, after))
                assert after > before
                assert found


SpoolMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestSpoolAgainstItsModel = SpoolMachine.TestCase
