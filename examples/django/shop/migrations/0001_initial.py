"""Made by `manage.py makemigrations`."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """The table of contacts."""

    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="Contact",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("address", models.EmailField(max_length=254, unique=True)),
                ("last_click", models.DateTimeField(null=True)),
                ("bounced", models.BooleanField(default=False)),
            ],
        ),
    )
