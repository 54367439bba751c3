"""Reads events with DuckDB, opens and clicks per hour, from the folder that `ingest export --to` has written."""

import sys

import duckdb

QUERY = """
SELECT date_trunc('hour', occurred_at) AS hour, count(*) FILTER (type = 'open') AS opens,
       count(*) FILTER (type = 'click') AS clicks
FROM read_parquet($files, hive_partitioning = true) GROUP BY hour ORDER BY hour
"""


def per_hour(folder: str) -> list[tuple[object, int, int]]:
    """Each hour with its opens and clicks; `.df()` in place of `.fetchall()` gives a DataFrame of pandas."""
    return duckdb.sql(QUERY, params={"files": f"{folder}/**/*.parquet"}).fetchall()


if __name__ == "__main__":
    for hour, opens, clicks in per_hour(sys.argv[1]):
        print(hour, opens, clicks)
