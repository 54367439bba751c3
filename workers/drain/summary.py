"""What one drain did, in numbers and in a sentence."""

from dataclasses import dataclass

from ingest import shown


@dataclass(slots=True)
class DrainSummary:
    """What one drain did with its calls: `stored` includes quarantined and unverified ones, not `doubles`."""

    stored: int = 0
    doubles: int = 0
    #: Not stored, because they are about people who were erased since.
    erased: int = 0
    #: Late: their events had been recovered, and say now what their calls do.
    upgraded: int = 0
    quarantined: int = 0
    unverified: int = 0
    dead: int = 0
    batches: int = 0
    seconds: float = 0.0

    @property
    def events(self) -> int:
        """Everything that was taken out of the stream."""
        return self.stored + self.doubles + self.erased + self.upgraded

    @property
    def events_stored(self) -> int:
        """What is new in the table of events; doubles of the other kinds make it a little less."""
        return max(0, self.stored - self.quarantined - self.unverified)

    def __str__(self) -> str:
        counts = (
            (self.doubles, "there already"),
            (self.erased, "about people who were erased"),
            (self.upgraded, "of events that had been recovered"),
            (self.quarantined, "unreadable and in quarantine"),
            (self.unverified, "to be verified later"),
            (self.dead, "dead batches"),
        )
        notes = "".join(f", {number} {what}" for number, what in counts if number)
        return f"stored {shown.counted(self.events_stored, 'event')} in {self.seconds:.1f} s{notes}"
