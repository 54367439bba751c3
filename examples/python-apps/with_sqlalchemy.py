"""Reads events with SQLAlchemy: who clicked most, in the database that DATABASE_URL names."""

import os

from sqlalchemy import MetaData, Table, create_engine, func, select

engine = create_engine(os.environ["DATABASE_URL"])


def most_active(limit: int = 10) -> list[tuple[str, int]]:
    """Recipients and how often they clicked."""
    events = Table("events", MetaData(), autoload_with=engine)
    clicks = func.count().label("clicks")
    query = select(events.c.recipient, clicks).where(events.c.type == "click").group_by(events.c.recipient)
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(clicks.desc(), events.c.recipient).limit(limit))
        return [(recipient, number) for recipient, number in rows]


if __name__ == "__main__":
    for recipient, number in most_active():
        print(f"{number:6} {recipient}")
