"""What a web API does with models, for any framework.

A module of a framework turns its requests into a :class:`~couchmodel.integrations._core.messages.Call`, and an
:class:`~couchmodel.integrations._core.messages.Answer` into its responses.
"""
