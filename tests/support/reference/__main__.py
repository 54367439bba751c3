"""What `make reference` runs."""

from tests.support.reference import write

write()
