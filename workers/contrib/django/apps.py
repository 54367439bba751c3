"""The app: it has its checks looked at by `manage.py check`."""

from django.apps import AppConfig
from django.core import checks


class CopernicaConfig(AppConfig):
    """Copernica's events in a Django project."""

    name = "workers.contrib.django"
    label = "copernica_ingest"
    verbose_name = "Copernica"

    def ready(self) -> None:
        """Once all apps are loaded."""
        from workers.contrib.django.checks import check_settings  # noqa: PLC0415  # needs the settings

        checks.register(check_settings)
