"""What is fuzzed: each target reads bytes in one of our readers, and fails if they break what it promises.

They need nothing but the bytes, so that a find, or the corpus, is repeated by calling the target with it.
"""

import asyncio
import hashlib
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import zstandard
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser

import ingest.batch
from ingest.batch import Batch, Record, pack, unpack
from ingest.copernica import dkim
from ingest.copernica.bodies import MAX_FIELDS, parse
from ingest.copernica.events import decode
from ingest.copernica.header_fields import HeaderFields, pack_headers, unpack_headers
from ingest.copernica.signature import IDENTITY_SIZE, Policy, examine, identity
from ingest.endpoint.fallback import HANDLER_ARGS
from ingest.endpoint.framing import Body
from ingest.endpoint.heads import HEAD_END, refusal
from ingest.endpoint.plain import Plain, may_become_plain
from ingest.errors import BatchError, CallRejected, Undecodable
from ingest.spool import segment
from tests.fuzz.outside import audit_argument, cookie, question, rest_answer, smtpeter_answer, user_agent
from tests.support.signing import BODY, TARGET, digest
from workers.store.row_plans import RowPlans
from workers.store.rows import event_row

MAX_BODY = 10 * 1024 * 1024
PLANS = RowPlans()
WITH_DICTIONARY = zstandard.ZstdCompressor(
    dict_data=zstandard.ZstdCompressionDict(
        Path(ingest.batch.__file__).with_name("dictionaries").joinpath("1.zstd").read_bytes()
    )
)


def head(data: bytes) -> None:
    """The head of a request: what is plain is read as aiohttp reads it, and a beginning of it was waited for."""
    if refusal(data[: data.find(HEAD_END) + len(HEAD_END)] if HEAD_END in data else data) is not None:
        return  # nobody need read it
    read = Plain("/copernica", MAX_BODY).read(data)
    if read is None:
        may_become_plain(data)
        return
    target, headers, begin, size, _ = read
    found, taught = data[:begin], Plain("/copernica", MAX_BODY)
    taught.learn(found)
    at = begin * data[-1] // 256
    for other in (found, found[:at] + data[-2:] + found[at:], found[:at] + data[-3:-1] + found[at + 2 :]):
        by_shape, by_line = taught.read(other), Plain("/copernica", MAX_BODY).read(other)
        assert (by_shape and by_shape[:4]) == (by_line and by_line[:4]), (
            "another outcome once the shape was learned"
        )
    assert may_become_plain(data[:at]), "a beginning of it would have been handed over"
    assert Body(found).take(bytes(size)) == size
    if b"\r\n " in found or b"\r\n\t" in found:
        return  # aiohttp rejects folded headers; the endpoint unfolds the signature for it
    (message, _), *_ = _aiohttp().feed_data(found + bytes(size))[0]
    assert (message.method, message.path.encode()) == ("POST", target)
    assert {name.lower(): value for name, value in message.raw_headers} == headers


def _aiohttp() -> "HttpRequestParser":
    limits = {name: HANDLER_ARGS[name] for name in ("max_line_size", "max_field_size", "max_headers")}
    return HttpRequestParser(BaseProtocol(_loop()), _loop(), 2**16, **limits)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def form(data: bytes) -> None:
    """A body: a form or JSON, as its first byte says; what is read can be stored, and by plan it is the same."""
    kinds = ("application/x-www-form-urlencoded", "application/json", "", "x; charset=windows-1252")
    kind, body = kinds[data[0] % 4] if data else "", data[1:]
    try:
        fields = parse(body, kind)
    except Undecodable:
        return
    assert len(fields.values) <= MAX_FIELDS
    assert parse(body, kind) == fields
    event = decode(body, kind, "/copernica", 1, bytes(12))
    row = event_row(event)
    call = Record(bytes(12), 1, b"/copernica", kind.encode(), body)
    assert {PLANS.planned(call), PLANS.planned(call), PLANS.planned(call)} <= {row, None}
    assert PLANS.read_event(call) == event


def batch(data: bytes) -> None:
    """A batch as it is, or with the right checksum around it, or around what decompresses to it."""
    packed, count = data[1:], data[0] if data else 0
    if count & 1:
        compress = WITH_DICTIONARY.compress if count & 128 else zstandard.compress
        frame = packed if count & 2 else compress(packed)
        checked = struct.pack(">II", (count & 127) >> 2, len(packed)) + frame
        packed = struct.pack(">BI", 2 if count & 128 else 1, zlib.crc32(checked)) + checked
    try:
        records = unpack(packed)
    except BatchError:
        return
    assert unpack(pack(records)) == unpack(pack(records, with_dictionary=True)) == records


def spool_segment(data: bytes) -> None:
    """A segment of undamaged records and anything between them: every one of these is found, and nothing else."""
    sync = b"\xfe-synced"
    content, kept = segment.head(sync), []
    for number, piece in enumerate(data.split(b"\xff")):
        if piece[:1] < b"\x80":
            one = Batch(piece[1:], number)
            kept.append(one)
            content += segment.record(sync, one)
        else:
            content += piece[1:].replace(b"\xfe", sync)
    stretches = list(segment.scan(content, sync))
    assert [one.batch for one in stretches if one.batch] == kept
    assert [one.start for one in stretches] == [segment.HEAD, *(one.end for one in stretches)][: len(stretches)]
    assert b"".join(content[one.start : one.end] for one in stretches) == content[segment.HEAD :]
    damaged = data[: segment.HEAD] + content[len(data[: segment.HEAD]) :]
    assert segment.HEAD <= segment.confirmed(damaged, sync) <= max(segment.HEAD, len(damaged))


NOW = 1_795_165_964
SIGNED = {
    b"Signature": b'keyId="one._domainkey.copernica.com",algorithm="rsa-sha256",headers="(request-target) host '
    b'date content-length content-type x-copernica-id digest x-nonce",signature="' + b"A" * 344 + b'"',
    b"Date": b"Fri, 20 Nov 2026 09:12:44 GMT",
    b"Host": b"hooks.example.nl",
    b"X-Copernica-ID": b"account_1234",
    b"Digest": digest("sha-256", BODY).encode(),
    b"Content-Length": b"%d" % len(BODY),
    b"Content-Type": b"application/x-www-form-urlencoded",
    b"X-Nonce": hashlib.sha256(BODY).hexdigest()[:8].encode(),
}
POLICY = Policy.from_settings(["account-1234"], max_age=10**9)


def signature(data: bytes) -> None:
    """Headers in place of those of a genuine call, or beside them: judged, or rejected with a reason."""
    changed = [part.partition(b":")[::2] for part in data.split(b"\n")]
    names = {name.lower() for name, _ in changed}
    headers = [pair for pair in SIGNED.items() if pair[0].lower() not in names] + changed
    known = identity(TARGET, headers, BODY)
    assert len(known.digest) == IDENTITY_SIZE
    fields = HeaderFields.from_pairs(headers)
    unpack_headers(pack_headers(fields))
    try:
        claim = examine(b"POST", TARGET, headers, BODY, NOW, POLICY)
    except CallRejected:
        return
    assert claim.key_id == known.key_id
    assert claim.key_id.endswith("copernica.com")
    assert b"(request-target): post /copernica" in claim.signed
    assert len(claim.delivery_id) == 12


def dkim_record(data: bytes) -> None:
    """A record at a key's name: a key that may be used, or a reason why not."""
    try:
        found = dkim.parse(data)
    except CallRejected:
        return
    assert 1024 <= found.public.key_size <= 8192


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        head,
        form,
        batch,
        spool_segment,
        signature,
        dkim_record,
        rest_answer,
        smtpeter_answer,
        cookie,
        question,
        user_agent,
        audit_argument,
    )
}
