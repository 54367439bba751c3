"""What the shop keeps."""

from django.db import models


class Contact(models.Model):
    """Somebody who gets mail."""

    address = models.EmailField(unique=True)
    last_click = models.DateTimeField(null=True)
    bounced = models.BooleanField(default=False)

    def __str__(self) -> str:
        """For the admin."""
        return self.address
