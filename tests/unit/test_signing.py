"""The signatures of forwarded calls, as receivers check them."""

import base64
import hashlib
import hmac
import time

import pytest
from standardwebhooks import Webhook

from ingest.errors import SettingsError
from workers.handlers.signing import Signer

OLD, NEW = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_bmV3IHNlY3JldCBvZiBvdXJzIQ=="
LATIN = b'{"type": "click", "name": "Andr\xe9"}'


def signatures(headers: dict[str, str]) -> list[str]:
    return headers["webhook-signature"].split(" ")


def php(secret: str, headers: dict[str, str], body: bytes) -> str:
    """What PHP's hash_hmac makes of a body, whose bytes it does not decode."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


@pytest.mark.parametrize("body", [b"", b"type=open&id=1", "é€".encode(), LATIN, b"\xff\x00"])
def test_receivers_that_sign_bytes_and_those_that_sign_text_both_find_their_signature(body: bytes) -> None:
    headers = Signer.of(OLD).headers("abc", int(time.time()), body)
    assert php(OLD, headers, body) == signatures(headers)[0]
    Webhook(OLD).verify(body.decode("utf-8", "replace"), headers, json_parse=False)


def test_a_body_in_utf_8_has_one_signature() -> None:
    assert len(signatures(Signer.of(OLD).headers("abc", 1, "é".encode()))) == 1


@pytest.mark.parametrize("separator", [",", ", "])
def test_while_a_secret_is_changed_receivers_with_either_take_the_call(separator: str) -> None:
    headers = Signer.of(NEW + separator + OLD).headers("abc", int(time.time()), b"type=open")
    for secret in (OLD, NEW):
        Webhook(secret).verify(b"type=open", headers, json_parse=False)
    assert [php(secret, headers, b"type=open") for secret in (NEW, OLD)] == signatures(headers)


@pytest.mark.parametrize("secrets", ["", ",", f"{OLD},", f"{OLD},whsec_", f"{OLD} {NEW}", f"{OLD};{NEW}"])
def test_secrets_of_which_one_is_not_base64_are_refused_and_not_repeated(secrets: str) -> None:
    with pytest.raises(SettingsError, match="INGEST_FORWARD_SECRET") as refused:
        Signer.of(secrets)
    assert OLD not in str(refused.value)


def test_a_signer_does_not_show_its_keys() -> None:
    assert "key" not in repr(Signer.of(OLD))
