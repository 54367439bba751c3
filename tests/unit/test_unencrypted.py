"""Settings with which others can read along are named, and no others."""

import pytest

from ingest.settings import Settings
from ingest.unencrypted import readable
from tests.support.runbook import is_shown


@pytest.mark.parametrize(
    ("environ", "begins"),
    [
        (
            {"REDIS_URL": "redis://:geheim@redis.example.nl:6379/0"},
            "redis://redis.example.nl:6379/0 is not encrypted",
        ),
        (
            {"REDIS_URL": "redis+sentinel://:geheim@localhost,redis.example.nl:1/m"},
            "redis+sentinel://localhost,redis.example.nl:1/m is not encrypted",
        ),
        ({"REDIS_URL": "rediss://h", "INGEST_REDIS_TLS": "no-verify"}, "rediss://h is encrypted, but need not"),
        ({"REDIS_URL": "rediss://h?ssl_cert_reqs=none"}, "rediss://h is encrypted, but need not prove"),
        ({"DATABASE_URL": "postgresql://localhost,db.example.nl/d"}, "postgresql://localhost,db.example.nl/d may"),
        ({"REDIS_URL": "redis://10.0.0.7"}, "redis://10.0.0.7 is not encrypted"),
        ({"DATABASE_URL": "postgresql://u:geheim@db.example.nl/d"}, "postgresql://db.example.nl/d may be used"),
        ({"DATABASE_URL": "postgresql://db.example.nl/d?sslmode=prefer"}, "postgresql://db.example.nl/d may be"),
        ({"DATABASE_URL": "postgresql:///d?host=db.example.nl"}, "postgresql:///d may be used without"),
        ({"DATABASE_URL": "mysql://u:geheim@db.example.nl/d"}, "mysql://db.example.nl/d may be used without"),
        ({"DATABASE_URL": "mysql://h/d?ssl_mode=disabled&ssl_ca=/ca.pem"}, "mysql://h/d may be used without"),
        ({"COPERNICA_API_URL": "http://api.copernica.com/v4"}, "COPERNICA_API_URL is plain http"),
        ({"COPERNICA_AUTH_URL": "HTTP://authenticate.copernica.com"}, "COPERNICA_AUTH_URL is plain http"),
        ({"INGEST_SMTPETER_URL": "http://www.smtpeter.com/v1"}, "INGEST_SMTPETER_URL is plain http"),
        (
            {"INGEST_FORWARD_URL": "http://u:geheim@e.nl/a.php?token=geheim"},
            "calls are forwarded to http://e.nl/a.php",
        ),
        ({"INGEST_CLICKHOUSE_URL": "http://u:geheim@ch.example.nl:8123/d"}, "INGEST_CLICKHOUSE_URL goes without"),
        (
            {"INGEST_KAFKA_URL": "kafka://u:geheim@localhost:1,k.example.nl:9092/t"},
            "INGEST_KAFKA_URL goes without",
        ),
    ],
)
def test_what_others_can_read_is_named(environ: dict[str, str], begins: str) -> None:
    (risk,) = readable(Settings.read(environ))
    assert risk.text.startswith(begins)
    assert "geheim" not in risk.text


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"REDIS_URL": "rediss://redis.example.nl"},
        {"REDIS_URL": "redis://localhost"},
        {"REDIS_URL": "redis+sentinel://localhost,[::1]:1,127.0.0.1/m"},
        {"REDIS_URL": "redis://h", "REDIS_TLS_URL": "rediss://h"},
        {"REDIS_URL": "rediss://h", "INGEST_REDIS_TLS": "ca:/ca.pem"},
        {"DATABASE_URL": "postgresql://localhost,127.0.0.1:1/d"},
        {"REDIS_URL": "redis://[::1]:6379"},
        {"REDIS_URL": "redis://127.0.0.7"},
        {"REDIS_URL": "unix:///run/redis.sock"},
        {"DATABASE_URL": "postgresql://db.example.nl/d?sslmode=verify-full"},
        {"DATABASE_URL": "postgresql:///d?host=/run/postgresql"},
        {"INGEST_CLICKHOUSE_URL": "https://u:p@ch.example.nl/d", "INGEST_KAFKA_URL": "kafka+ssl://k.nl:9093/t"},
        {"INGEST_CLICKHOUSE_URL": "http://localhost:8123/d", "INGEST_KAFKA_URL": "kafka://127.0.0.1:9092/t"},
        {"DATABASE_URL": "postgresql://localhost/d"},
        {"DATABASE_URL": "mysql://localhost/d"},
        {"DATABASE_URL": "mysql://u@localhost/d?unix_socket=/run/mysqld/mysqld.sock"},
        {"DATABASE_URL": "mysql://h/d?ssl_mode=VERIFY_IDENTITY"},
        {"DATABASE_URL": "mysql://h/d?ssl-ca=/ca.pem"},
        {"COPERNICA_API_URL": "http://127.0.0.1:8001/v4", "COPERNICA_AUTH_URL": "http://localhost:8001"},
        {"INGEST_FORWARD_URL": "http://127.0.0.1/a.php,https://example.nl/b.php"},
    ],
)
def test_what_is_encrypted_or_stays_on_this_machine_is_not(environ: dict[str, str]) -> None:
    assert list(readable(Settings.read(environ))) == []


def test_who_need_not_prove_who_he_is_is_in_the_runbook() -> None:
    (risk,) = readable(Settings.read({"REDIS_URL": "rediss://h", "INGEST_REDIS_TLS": "no-verify"}))
    assert risk.code == "unverified-redis"
    assert is_shown(risk.code, risk.text)
