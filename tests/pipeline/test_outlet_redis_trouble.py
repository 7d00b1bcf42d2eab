"""The Redis outlet where Redis, its keys, the network or the spool make trouble: named, counted, got over."""

from __future__ import annotations

import datetime
import ipaddress
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stages.options import SpoolOptions, TlsOptions
from tests.support.outlets import Rig, events_in, eventually, frames_in, missing, numbers, redis_options, told
from tests.support.redis_server import RedisServer, StartRedis, bundled_binary
from vedette.errors import SinkError
from vedette.messages import GapEvent

StartRig = Callable[..., Rig]


@pytest.fixture
def start_rig(tmp_path: Path) -> Iterator[StartRig]:
    rigs: list[Rig] = []

    def start(server: RedisServer, *, url: str | None = None, start: bool = True, **changes: object) -> Rig:
        options = redis_options(url or server.url, tmp_path / "spool", **changes)
        rigs.append(Rig(options, start=start))
        return rigs[-1]

    yield start
    for rig in rigs:
        rig.outlet.close(0)
        rig.supervisor.join(timeout_s=20)


def test_redis_away_at_the_start(start_redis: StartRedis, start_rig: StartRig) -> None:
    server = start_redis()
    server.stop()
    rig = start_rig(server)
    rig.frames_until_dropped(3)
    rig.frame("file")
    rig.event()
    rig.wait_for(lambda t: t.spooled == 1)
    server.start()
    rig.wait_for(lambda t: t.gaps and not t.waiting and not t.spooled)
    last = rig.frame()
    rig.close()
    with server.client() as client:
        assert missing(client, "file", 1) == set()
        assert told(client, "cam", "redis_away") == missing(client, "cam", last)
        found = numbers(events_in(client))
        assert found == list(range(1, len(found) + 1))


def test_what_was_not_sent_before_the_end_is_sent_by_the_next_process(
    start_redis: StartRedis, start_rig: StartRig
) -> None:
    server = start_redis()
    server.stop()
    rig = start_rig(server)
    eventually(rig.outlet.problem)
    rig.event(1)
    rig.event(2)
    rig.frame("file")
    totals = rig.close(within_s=0.2)
    assert totals.dropped == {"shutdown": 1}
    assert totals.spooled == 2 + totals.gaps
    server.start()
    again = start_rig(server)
    again.event(3)
    totals = again.close()
    assert totals.recovered == 3
    assert totals.delivered == 4
    with server.client() as client:
        events = events_in(client)
        assert numbers(events) == [1, 2, 3, 4]
        assert told(client, "file", "shutdown") == {1}


@pytest.mark.parametrize("bundled", [False, True], ids=["redis-7.0", "redis-6.2"])
def test_a_redis_without_memory_refuses_and_recovers(
    start_redis: StartRedis, start_rig: StartRig, bundled: bool
) -> None:
    server = start_redis(**({"binary": bundled_binary()} if bundled else {}))
    rig = start_rig(server)
    rig.frame()
    rig.event()
    rig.wait_for(lambda t: t.delivered == 2)
    with server.client() as client:
        client.config_set("maxmemory", 1)
        rig.frames_until_dropped(3)
        rig.frames(5, "file")
        rig.event()
        eventually(lambda: "memory" in (rig.outlet.problem() or ""))
        # The leases live on: an expiry may be moved without memory.
        client.pexpire("test:lease:cam", 900)
        eventually(lambda: client.pttl("test:lease:cam") > 900)
        client.config_set("maxmemory", 0)
        rig.wait_for(lambda t: t.gaps and not t.waiting and not t.spooled)
        last = rig.frame()
        totals = rig.close()
        assert rig.leased == []
        assert set(totals.dropped) == {"redis_refused"}
        assert missing(client, "file", 5) == set()
        assert told(client, "cam", "redis_refused") == missing(client, "cam", last)
        assert numbers(events_in(client)) == list(range(1, len(events_in(client)) + 1))


def test_a_wrong_password_is_named_without_being_shown(
    start_redis: StartRedis, start_rig: StartRig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = start_redis(password="right-one")
    rig = start_rig(server, url=f"redis://user:wr0ng-one@127.0.0.1:{server.port}/0")
    rig.event()
    rig.frames_until_dropped(1)
    problem = rig.outlet.problem() or ""
    assert "refused the password" in problem
    assert "wr0ng-one" not in problem + caplog.text + repr(rig.outlet)
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "user", "on", ">wr0ng-one", "~*", "+@all")
        rig.wait_for(lambda t: t.delivered >= 1)
    rig.close()
    assert "wr0ng-one" not in caplog.text


@pytest.mark.parametrize("bundled", [False, True], ids=["redis-7.0", "redis-6.2"])
def test_rights_that_are_missing_are_named_and_waited_for(
    start_redis: StartRedis, start_rig: StartRig, bundled: bool
) -> None:
    server = start_redis(**({"binary": bundled_binary()} if bundled else {}))
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "user", "on", ">word", "~*", "+@all", "-xadd")
        rig = start_rig(server, url=f"redis://user:word@127.0.0.1:{server.port}/0")
        rig.frame("file")
        rig.event()
        eventually(lambda: "NOPERM" in (rig.outlet.problem() or ""))
        client.execute_command("ACL", "SETUSER", "user", "+xadd")
        rig.wait_for(lambda t: t.delivered >= 2)
        rig.close()
        assert missing(client, "file", 1) == set()


def test_keys_of_the_wrong_type_drop_frames_by_name_and_keep_events(
    start_redis: StartRedis, start_rig: StartRig
) -> None:
    server = start_redis()
    with server.client() as client:
        client.set("test:frames:file", "not a stream")
        client.set("test:events", "not a stream")
        rig = start_rig(server)
        rig.frame("file")
        rig.frame("gate")
        rig.event()
        rig.wait_for(lambda t: t.dropped == {"redis_refused": 1} and t.delivered == 1)
        eventually(lambda: "refuses events: WRONGTYPE" in (rig.outlet.problem() or ""))
        rig.frame("gate")
        rig.wait_for(lambda t: t.delivered == 2)
        problem = rig.outlet.problem()
        assert problem is not None  # what goes well for one stream says nothing of another
        assert "refuses the frames of file: WRONGTYPE" in problem
        assert "refuses events: WRONGTYPE" in problem

        client.delete("test:events", "test:frames:file")
        rig.frame("file")
        eventually(lambda: rig.outlet.problem() is None)
        rig.close()
        assert told(client, "file", "redis_refused") == {1}
        assert numbers(frames_in(client, "gate")) == [1, 2]
        assert numbers(frames_in(client, "file")) == [2]


def test_a_connection_cut_between_two_frames_loses_nothing(start_redis: StartRedis, start_rig: StartRig) -> None:
    server = start_redis()
    rig = start_rig(server)
    with server.client() as client:
        for number in range(1, 11):
            rig.frame("file")
            rig.event(number)
            rig.wait_for(lambda t, number=number: t.delivered == 2 * number)
            own = client.client_id()
            for other in client.client_list():
                if int(other["id"]) != own:
                    client.client_kill_filter(_id=other["id"])
        rig.close()
        assert missing(client, "file", 10) == set()
        assert numbers(events_in(client)) == list(range(1, 11))


def test_a_full_queue_drops_its_oldest_live_frames_and_no_lossless_one(
    start_redis: StartRedis, start_rig: StartRig
) -> None:
    server = start_redis()
    rig = start_rig(server, start=False)
    rig.frames(100, "cam")
    rig.frames(100, "file")
    assert rig.totals.dropped == {"queue_full": 36}
    rig.start()
    rig.wait_for(lambda t: t.delivered == 165)
    rig.close()
    with server.client() as client:
        assert numbers(frames_in(client, "cam")) == list(range(37, 101))
        assert missing(client, "file", 100) == set()
        assert told(client, "cam", "queue_full") == set(range(1, 37))


def test_a_full_spool_keeps_what_is_promised_says_so_and_recovers(
    start_redis: StartRedis, start_rig: StartRig, tmp_path: Path
) -> None:
    server = start_redis()
    server.stop()
    rig = start_rig(server, spool=SpoolOptions(path=str(tmp_path / "spool"), max_mb=0.004, retain_s=0.05))
    for track in range(100):
        rig.event(track)
    rig.wait_for(lambda t: "spool_full" in t.dropped and not t.waiting)
    eventually(lambda: "full: new events are dropped" in (rig.outlet.problem() or ""))  # after the drop is counted
    promised, dropped = rig.totals.spooled, rig.totals.dropped["spool_full"]
    assert promised + dropped == 100
    server.start()
    rig.wait_for(lambda t: t.gaps == 1 and not t.spooled)
    eventually(lambda: rig.outlet.problem() is None)
    rig.event(100)
    totals = rig.close()
    assert totals.dropped == {"spool_full": dropped}
    with server.client() as client:
        events = events_in(client)
    assert numbers(events) == list(range(1, promised + 3))
    (gap,) = [event for event in events if isinstance(event, GapEvent)]
    assert (gap.what, gap.count, gap.reason) == ("events", dropped, "spool_full")


def test_a_stranger_in_the_stream_is_not_passed_over_in_silence(start_redis: StartRedis, start_rig: StartRig) -> None:
    server = start_redis()
    rig = start_rig(server)
    rig.frame()
    rig.wait_for(lambda t: t.delivered == 1)
    with server.client() as client:
        client.xadd("test:frames:cam", {"m": "x"}, id="99999999999999-0")
    rig.frame()
    eventually(lambda: rig.supervisor.failure)
    assert rig.supervisor.failure is not None
    with pytest.raises(SinkError, match=r"stream cam has an id above .*, and nobody else may write there"):
        raise rig.supervisor.failure.error


def test_a_replica_and_a_cluster_are_refused_by_name(
    start_redis: StartRedis, start_rig: StartRig, tmp_path: Path
) -> None:
    cluster = start_redis(extra=("cluster-enabled yes",))
    rig = start_rig(cluster)
    eventually(lambda: "is a Redis Cluster, which isn't supported" in (rig.outlet.problem() or ""))
    rig.close(within_s=0)
    replica = start_redis(extra=(f"replicaof 127.0.0.1 {start_redis().port}",))
    rig = start_rig(replica)
    eventually(lambda: "is a read-only replica" in (rig.outlet.problem() or ""))


def test_a_redis_that_keeps_nothing_is_warned_of_once(
    start_redis: StartRedis, start_rig: StartRig, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_redis(persistence="none")
    rig = start_rig(server)
    rig.frame()
    rig.wait_for(lambda t: t.delivered == 1)
    server.restart()
    rig.frame("file")
    rig.wait_for(lambda t: not t.waiting)
    rig.close()
    warnings = [record for record in caplog.records if "appendonly no" in record.getMessage()]
    assert len(warnings) == 1


def test_a_url_that_is_none_is_an_error_at_once_and_shows_no_password(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"redis redis://\*\*\*@host:port/0: not a URL that can be used") as caught:
        Rig(redis_options("redis://user:hidden@host:port/0", tmp_path / "spool"))
    assert "hidden" not in str(caught.value)


def certificate(directory: Path) -> tuple[Path, Path, Path]:
    """A self-signed certificate for 127.0.0.1: certificate, key, and itself as the authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return directory / "cert.pem", directory / "key.pem", directory / "cert.pem"


def test_a_certificate_is_verified_unless_told_otherwise(
    start_redis: StartRedis, start_rig: StartRig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = certificate(tmp_path)
    server = start_redis(tls=files)
    rig = start_rig(server)
    eventually(lambda: "certificate verify failed" in (rig.outlet.problem() or ""))
    rig.close(within_s=0)
    for number, tls in enumerate((TlsOptions(ca=str(files[2])), TlsOptions(verify=False)), start=1):
        rig = start_rig(server, tls=tls)
        rig.frame("file")
        rig.wait_for(lambda t: t.delivered == 1)
        rig.close()
        with server.client() as client:
            assert len(frames_in(client, "file")) == number
    assert "certificate is not verified" in caplog.text
