"""Models in web applications: one module for each framework.

``couchmodel.integrations.fastapi``, ``.starlette`` and ``.aiohttp`` have the same verbs.
"""
