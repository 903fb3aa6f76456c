"""What a web API does with models, for any framework.

A module of a framework turns its requests into a :class:`~couchmodel.integrations._core.messages.Call`, and an
:class:`~couchmodel.integrations._core.messages.Answer` into its responses.

- ``resource`` has the verbs of a model's documents, ``uploads`` those of its attachments.
- ``faces`` makes the schemas to create, change and show documents; ``shown`` makes what is shown.
- ``filters`` reads queries from parameters, ``conditions`` entity tags, ``ids`` ids from outside.
- ``problems`` describes errors (RFC 9457), ``openapi`` the routes.
"""
