"""Links as Copernica writes them."""

#: What a link of a template has where a reader's own link has a value: `https://example.nl/?id={$profile.id}`.
PLACEHOLDER = "{"
