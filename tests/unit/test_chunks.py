"""A large body as it arrives."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from ingest.endpoint import chunks
from ingest.endpoint.chunks import Chunks

sizes = st.lists(
    st.sampled_from((0, 1, chunks.LARGE - 1, chunks.LARGE, chunks.GATHERED, chunks.IN_THREAD)), max_size=40
)


@given(sizes)
def test_a_body_comes_out_as_it_came_in(sizes: list[int]) -> None:
    body, sent = Chunks(), [bytes([number]) * size for number, size in enumerate(sizes)]
    for chunk in sent:
        body.add(chunk)
    assert body.size == sum(sizes)
    assert asyncio.run(body.whole()) == b"".join(sent)


def test_tiny_chunks_are_not_kept_one_by_one() -> None:
    body = Chunks()
    for _ in range(100_000):
        body.add(b"x")
    assert len(body._parts) == 100_000 // chunks.GATHERED
