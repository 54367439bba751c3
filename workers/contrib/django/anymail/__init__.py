"""Anymail's signal `tracking` for Copernica's events: receivers written for another service stay as they are.

INSTALLED_APPS = [..., "workers.contrib.django", "workers.contrib.django.anymail"]
"""
