"""A project that is as small as can be: what it has for Copernica's events is at the end."""

import os
from pathlib import Path

HERE = Path(os.environ.get("SHOP_DATA", "data")).resolve()
HERE.mkdir(exist_ok=True)

SECRET_KEY = os.environ.get("SECRET_KEY", "only for trying it out")
DEBUG = True
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]
ROOT_URLCONF = "urls"
USE_TZ = True
TIME_ZONE = "Europe/Amsterdam"
STATIC_URL = "static/"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "anymail",
    "shop",
    "workers.contrib.django",
    "workers.contrib.django.anymail",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": HERE / "shop.sqlite3"},
    "copernica": {"ENGINE": "django.db.backends.sqlite3", "NAME": HERE / "events.sqlite3"},
}

# The events are in a database of their own, which the program's own commands create and upgrade.
DATABASE_ROUTERS = ["workers.contrib.django.router.CopernicaRouter"]
COPERNICA_INGEST = {
    "ACCOUNTS": ["account-1"],
    "DATABASE": "copernica",
    "DATA_DIR": HERE / "ingest",
    # Passwords and tokens belong into the environment: REDIS_URL, COPERNICA_TOKEN, …
}
