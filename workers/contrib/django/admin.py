"""The events in Django's admin: to look at, by indexes alone, so that a page is as quick at a hundred million."""

import json
import os
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from ingest.errors import IngestError
from ingest.settings import Settings
from ingest.shown import escaped
from workers.contrib.django import conf
from workers.contrib.django.fields import SIZE
from workers.contrib.django.models import Event
from workers.store.filters import Filter
from workers.store.search import search
from workers.store.store import Store

#: Events of a recipient or message that are shown, the newest ones.
FOUND = 500
#: Pages of `list_per_page` that can be reached; whoever wants an older event searches for it.
PAGES = 100


class Uncounted(Paginator):
    """Pages without their number: to count all rows takes longer than anybody waits."""

    @cached_property
    def count(self) -> int:
        """As many as can be reached, or fewer if there are not so many."""
        at_most = self.per_page * PAGES
        return int(self.object_list[:at_most].count())


@admin.register(Event)
class EventAdmin(admin.ModelAdmin):
    """Lists, finds and shows events; changes nothing."""

    list_display = ("occurred_at", "type", "recipient", "message_id", "mailing", "source")
    list_filter = ("type",)
    ordering = ("-delivery_id",)
    search_fields = ("recipient",)  # has the field shown; see `get_search_results`
    search_help_text = "An address, a message's id or a delivery id, as a whole"
    show_full_result_count = False
    list_max_show_all = 0
    paginator = Uncounted
    exclude = ("tags", "payload", "raw")
    readonly_fields = ("labels", "all_fields")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet, search_term: str
    ) -> tuple[QuerySet, bool]:
        """What a person typed, found as everywhere in the program: addresses by its rule, by an index."""
        if not (term := search_term.strip()):
            return queryset, False
        if len(term) == 2 * SIZE and not term.strip("0123456789abcdefABCDEF"):
            return queryset.filter(pk=term.lower()), False
        wanted = Filter(recipient=term) if "@" in term else Filter(message_id=term)
        try:
            return queryset.filter(pk__in=_found(wanted)), False
        except IngestError as error:
            self.message_user(request, str(error), "error")
            return queryset.none(), False

    @admin.display(description="tags")
    def labels(self, event: Event) -> str:
        """The tags, in one line."""
        return escaped(", ".join(map(str, event.tags)))

    @admin.display(description="payload")
    def all_fields(self, event: Event) -> str:
        """Every other field, as JSON."""
        return json.dumps(event.payload, ensure_ascii=False, indent=2)

    def has_add_permission(self, _request: HttpRequest, *_: Any) -> bool:
        """Nobody."""
        return False

    has_change_permission = has_delete_permission = has_add_permission

    def get_actions(self, _request: HttpRequest) -> dict[str, Any]:
        """None: the one that Django adds deletes."""
        return {}


def _found(wanted: Filter) -> Sequence[str]:
    settings = Settings.read({**os.environ, **conf.environment()})
    with Store.of(settings) as store:
        return [line.delivery_id.hex() for line in search(store, wanted, None, FOUND).lines]
