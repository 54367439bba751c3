"""How people are compared: log files have their addresses, and the store may have pseudonyms, or both in turns."""

from collections.abc import Sequence

from ingest.copernica.addresses import all_folded, canonical_ip
from workers.store.mentions import Mentions
from workers.store.pseudonyms import Pseudonyms


class People:
    """Makes the same of an address wherever it comes from: the pseudonym of the first key, if there are any.

    What the store has of older keys cannot be made into that. So while there are several, it is remembered of each
    address in the lines what it was: read them before the rows.
    """

    def __init__(self, pseudonyms: Pseudonyms | None = None) -> None:
        self._pseudonyms = pseudonyms
        #: By the hash of an older pseudonym, the present one.
        self._older: dict[int, str] = {}

    def of_lines(self, recipients: Sequence[str]) -> Sequence[str]:
        """The recipients of lines."""
        known = self._pseudonyms
        if known is None or not known.recipients:
            return all_folded(recipients)
        if not known.are_of_several_keys:
            return [known.address(one) if one else "" for one in recipients]
        found = [known.aliases(one) if one else [""] for one in recipients]
        self._older.update((hash(old), first) for first, *others in found for old in others)
        return [first for first, *_ in found]

    def of_rows(self, recipients: Sequence[str]) -> Sequence[str]:
        """The recipients of stored events."""
        known = self._pseudonyms
        if known is None or not known.recipients:
            return all_folded(recipients)
        present = [known.address(one) if one else "" for one in recipients]
        return [self._older.get(hash(one), one) for one in present] if self._older else present

    def ips(self, ips: Sequence[str]) -> list[str]:
        """IP addresses of either."""
        known = self._pseudonyms
        if known is None or not known.ips:
            return list(map(canonical_ip, ips))
        return [known.ip(one) if one else "" for one in ips]

    def urls(
        self, urls: Sequence[str | None], recipients: Sequence[str], ips: Sequence[str]
    ) -> Sequence[str | None]:
        """Links of either: addresses may be part of them."""
        known = self._pseudonyms
        if known is None:
            return urls
        return [
            Mentions(known, recipient, ip).without(url) if url else url
            for url, recipient, ip in zip(urls, recipients, ips, strict=True)
        ]


#: Compares addresses as such.
PLAIN = People()
