"""The server: HTTP, routes, permissions, request bodies and responses. No other package knows the endpoints.

- ``http`` and ``connections`` speak HTTP, ``origins`` refuses other sites' pages, ``router`` answers a request.
- ``routes`` is the table of endpoints, ``route_tree`` the search in it. ``permissions`` checks the user of a request.
- ``request_body`` and ``bulk_body`` read bodies, ``ranges`` the ``Range`` header. ``request_object`` makes the request
  that functions get. ``responses`` makes answers. ``exchange`` is what a handler gets.
- ``handlers`` has the endpoints: of the server, of a database, and of a document.
"""
