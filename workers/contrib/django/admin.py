"""The events in Django's admin: to look at, by indexes alone, so that a page is as quick at a hundred million."""

import json
import os
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from ingest.copernica.events import EPOCH, EventType
from ingest.errors import IngestError
from ingest.settings import Settings
from ingest.shown import escaped
from workers.contrib.django import conf
from workers.contrib.django.fields import SIZE
from workers.contrib.django.models import Event
from workers.store.filters import Filter
from workers.store.search import search
from workers.store.store import Store

#: Events of a recipient, a message or a type that are shown, the newest ones.
FOUND = 500
#: Seconds that finding them may take, if they are few among many.
PATIENCE = 2.0
#: Pages of `list_per_page` that can be reached; whoever wants an older event searches for it.
PAGES = 100


class Uncounted(Paginator):
    """Pages without their number: to count all rows takes longer than anybody waits."""

    @cached_property
    def count(self) -> int:
        """As many as can be reached, or fewer if there are not so many."""
        at_most = self.per_page * PAGES
        return int(self.object_list[:at_most].count())


class TypeFilter(admin.SimpleListFilter):
    """The newest events of a type, however rare: no index leads to these, but the numbers of each hour do."""

    title = parameter_name = "type"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        """All types."""
        return [(one.value, one.value) for one in EventType]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        """Those of the type; what somebody searches for besides is found together with it."""
        if self.value() not in list(EventType) or request.GET.get(SEARCH_VAR, "").strip():
            return queryset
        return _found(request, queryset, Filter(types=[self.value()]))


@admin.register(Event)
class EventAdmin(admin.ModelAdmin):
    """Lists, finds and shows events; changes nothing."""

    list_display = ("occurred_at", "type", "recipient", "message_id", "mailing", "source")
    list_filter = (TypeFilter,)
    sortable_by = ()  # there is an index for one order only
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
        kind = request.GET.get(TypeFilter.parameter_name, "")
        if len(term) == 2 * SIZE and not term.strip("0123456789abcdefABCDEF"):
            return queryset.filter(pk=term.lower(), **({"type": kind} if kind else {})), False
        wanted = Filter(recipient=term) if "@" in term else Filter(message_id=term)
        return _found(request, queryset, replace(wanted, types=[kind] if kind else [])), False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only that of our filter: any other in a page's address would read the whole table."""
        return lookup == TypeFilter.parameter_name

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

    def get_actions(self, _request: HttpRequest, action_location: object = None) -> dict[str, Any]:
        """None: the one that Django adds deletes. Where they would be shown, releases from 6.1 on say."""
        return {}


def _found(request: HttpRequest, queryset: QuerySet, wanted: Filter) -> QuerySet:
    """The newest events that are wanted, of those that are shown; a message says why some may be missing."""
    try:
        settings = Settings.read({**os.environ, **conf.environment()})
        with Store.of(settings) as store:
            found = search(store, wanted, None, FOUND, budget=PATIENCE)
    except IngestError as error:
        messages.error(request, str(error))
        return queryset.none()
    if found.reached is not None:
        reached = EPOCH + timedelta(microseconds=found.reached)
        messages.warning(request, f"Events from before {reached:%Y-%m-%d %H:%M} (UTC) were not looked for.")
    elif found.further is not None:
        messages.info(request, f"These are the newest {FOUND}: `manage.py copernica events` finds all.")
    return queryset.filter(pk__in=[line.delivery_id.hex() for line in found.lines])
