"""What kinds of events there are: all of the vocabulary that a command line needs to know."""

from enum import StrEnum


class EventType(StrEnum):
    """What happened."""

    #: The recipient's mail program fetched the tracking image. One message can give many of these.
    OPEN = "open"
    #: The recipient followed a link; `url` is where it led.
    CLICK = "click"
    #: A bounce message came back; `mime` in the payload is the whole of it, which can be megabytes.
    BOUNCE = "bounce"
    #: The message could not be delivered, at once or (state=bounce) later.
    FAILURE = "failure"
    #: The receiving server accepted the message.
    DELIVERY = "delivery"
    #: The recipient reported it as spam, in SMTPeter; `mime` is the complaint. Has neither time nor recipient.
    ABUSE = "abuse"
    #: The recipient unsubscribed. Names a profile and a mailing; documented in Dutch only.
    UNSUBSCRIBE = "unsubscribe"
    #: A profile was created in a database of the account. `fields` and `interests` are what it is now.
    PROFILE_CREATE = "profile-create"
    #: A profile was changed; `parameters` says what.
    PROFILE_UPDATE = "profile-update"
    #: A profile was deleted; `fields` is what it was.
    PROFILE_DELETE = "profile-delete"
    #: The same for subprofiles, which live in a collection below a profile.
    SUBPROFILE_CREATE = "subprofile-create"
    SUBPROFILE_UPDATE = "subprofile-update"
    SUBPROFILE_DELETE = "subprofile-delete"
    #: In log files only: an attempt to hand the message to the receiving server.
    ATTEMPT = "attempt"
    #: In log files only: a click that Copernica took for a program's, where the account leaves such clicks out.
    BOT_CLICK = "bot-click"
    #: In log files only: the receiving server asked to try again later, and that was done.
    RETRY = "retry"
    #: In log files only: a report on mail that claimed to come from the account's domain. SMTPeter.
    DMARC = "dmarc"
    #: In log files only: a message that came back as an answer. SMTPeter.
    RESPONSE = "response"
    #: Anything else, kept with its whole payload, including what the dashboard's "test webhook" sends.
    UNKNOWN = "unknown"
