"""What codes of mail servers mean, in a sentence: of SMTP (`550`) and its enhanced status (`5.1.1`, RFC 3463).

The texts are marked for translation here, and translated where they are shown.
"""

import re

from ingest.console.marking import _

#: By subject and detail of the enhanced status; the class says whether it is for good.
DETAILS = {
    "1.0": _("Something is wrong with the address."),
    "1.1": _("There is no mailbox with this address."),
    "1.2": _("The domain of the address does not exist, or takes no mail."),
    "1.3": _("The address is not written correctly."),
    "1.4": _("The address fits more than one mailbox."),
    "1.6": _("The mailbox has moved, and nobody knows where to."),
    "1.7": _("The sender's address is not written correctly."),
    "1.8": _("The domain of the sender's address does not exist."),
    "1.9": _("The address is not one that takes mail."),
    "1.10": _("The domain takes no mail at all."),
    "2.0": _("Something is wrong with the mailbox."),
    "2.1": _("The mailbox takes no messages now: it is closed or suspended."),
    "2.2": _("The mailbox is full."),
    "2.3": _("The message is larger than this mailbox takes."),
    "2.4": _("The mailing list behind the address could not be expanded."),
    "3.0": _("Something is wrong with the receiving server."),
    "3.1": _("The receiving server has no room left."),
    "3.2": _("The receiving server takes no mail now."),
    "3.4": _("The message is too large for the receiving server."),
    "4.0": _("Something is wrong with the network or the way there."),
    "4.1": _("The receiving server does not answer."),
    "4.2": _("The connection broke off."),
    "4.3": _("The domain could not be looked up."),
    "4.4": _("The mail could not be routed."),
    "4.5": _("The receiving server is too busy."),
    "4.6": _("The mail goes round in circles between servers."),
    "4.7": _("It took too long: the message was given up."),
    "5.0": _("The servers did not understand each other."),
    "5.1": _("The receiving server does not know a command."),
    "5.2": _("The receiving server did not understand a command."),
    "5.3": _("There are too many recipients."),
    "6.0": _("Something in the message is not accepted."),
    "6.1": _("The receiving server does not take this kind of content."),
    "7.0": _("It is refused by a rule of the receiver: as spam, or for the sender's reputation."),
    "7.1": _("It is refused by a rule of the receiver: as spam, or since the sender is blocked."),
    "7.8": _("The sender did not prove who they are."),
    "7.20": _("No valid DKIM signature was found."),
    "7.21": _("The DKIM signature is not one of the sender's domain."),
    "7.23": _("The SPF check failed."),
    "7.24": _("The SPF record of the sender's domain could not be read."),
    "7.25": _("The sending server's address has no name that fits it."),
    "7.26": _("Neither SPF nor DKIM speaks for the sender: DMARC says to refuse it."),
    "7.27": _("The sender's domain takes no mail itself."),
    "7.28": _("Too much mail at once: the receiver suspects a flood."),
}
#: By the code of SMTP, where no enhanced status says more.
CODES = {
    421: _("The receiving server takes no mail now."),
    450: _("The mailbox cannot be reached now."),
    451: _("The receiving server has a fault, or asks to try again later (greylisting)."),
    452: _("The receiving server has no room left."),
    500: _("The receiving server did not understand a command."),
    503: _("The servers did not understand each other."),
    521: _("The domain takes no mail at all."),
    530: _("The sender did not prove who they are."),
    550: _("The mailbox does not exist, or the message is refused by a rule."),
    551: _("The mailbox is elsewhere."),
    552: _("The mailbox is full."),
    553: _("The address is not written correctly."),
    554: _("The message was refused."),
}
TEMPORARY = _("For now: it is tried again.")
PERMANENT = _("For good: trying again does not help.")

_STATUS = re.compile(r"\s*([245])\.(\d{1,3})\.(\d{1,3})\s*")


def of_status(extended: str | None) -> list[str]:
    """What an enhanced status means, in sentences that are marked for translation; none if that is not known."""
    found = _STATUS.fullmatch((extended or "")[:20])
    if found is None or found[1] == "2":
        return []
    detail = f"{int(found[2])}.{int(found[3])}"
    general = f"{int(found[2])}.0"
    said = DETAILS.get(detail) or DETAILS.get(general)
    return [*([said] if said else []), PERMANENT if found[1] == "5" else TEMPORARY]


def of_code(code: int | None) -> list[str]:
    """The same of a code of SMTP."""
    if code is None or not 400 <= code <= 599:
        return []
    said = CODES.get(code)
    return [*([said] if said else []), PERMANENT if code >= 500 else TEMPORARY]
