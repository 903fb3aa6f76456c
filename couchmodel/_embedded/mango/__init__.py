"""The pure part of Mango queries: selectors, plans and projections. Nothing here reads a store.

- ``selector`` compiles a whole selector: ``normal_form`` rewrites it first, ``operators`` compiles each operator such
  as ``$elemMatch``, ``patterns`` a ``$regex``, and ``paths`` finds the value of a field.
- ``planner`` chooses an index and its range, and ``explain`` describes the choice.
- ``options`` parses the body of a query, ``fields`` its projection and sort.
"""
