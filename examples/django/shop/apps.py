"""The app."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """Connects the receivers."""

    name = "shop"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Once all apps are loaded."""
        from shop import receivers  # noqa: F401, PLC0415
