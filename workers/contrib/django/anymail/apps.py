"""The app, whose handler is found as that of any other app."""

from django.apps import AppConfig


class CopernicaAnymailConfig(AppConfig):
    """Sends Anymail's signal."""

    name = "workers.contrib.django.anymail"
    label = "copernica_anymail"
    verbose_name = "Copernica, for Anymail"
