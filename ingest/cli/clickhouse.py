"""The command that shows and makes the table of ClickHouse that events are put into."""

import click

from ingest.cli.audit import noted
from ingest.cli.options import settings_with


@click.command()
@click.option("--create", is_flag=True, help="Make the table in INGEST_CLICKHOUSE_URL, unless it is there.")
def clickhouse(create: bool) -> None:
    """Show the statement that makes the table for events in ClickHouse, or make it."""
    import asyncio

    from ingest.errors import SettingsError
    from workers.handlers.clickhouse import DATABASE, TABLE_NAME, ClickHouse

    settings = settings_with()
    url = settings.clickhouse_url
    if not create:
        table = ClickHouse.of(url or f"http://localhost:8123/{DATABASE}/{TABLE_NAME}")
        click.echo(f"{table.ddl};")
        return
    if url is None:
        raise SettingsError(
            "INGEST_CLICKHOUSE_URL is not set: write https://user:password@host:8443/database/table."
        )
    table = ClickHouse.of(url)
    with noted(settings, "clickhouse create", {"table": table.shown}):
        asyncio.run(table.create())
        asyncio.run(table.try_out())
    click.echo(f"{table.shown} is there, and takes rows.")


COMMANDS = (clickhouse,)
