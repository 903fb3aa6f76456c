"""Parse a query and plan it. The plans of short queries are kept, since programs ask the same again and again."""

from typing import NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.json.parse import parse_query
from couchmodel._embedded.mango import planner
from couchmodel._embedded.mango.explain import is_covered
from couchmodel._embedded.mango.options import Options, parse_options
from couchmodel._embedded.mango.planner import Plan, Survey
from couchmodel._embedded.mango.proof import Proof, prove
from couchmodel._embedded.queries.search import IndexView, Search, unpack_bookmark
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.views.mango_indexes import Catalogue
from couchmodel.errors import BadRequestError

__all__ = ["PlannedQuery", "parse_query_options", "plan_query", "survey_indexes"]


class PlannedQuery(NamedTuple):
    """A query with its plan.

    ``covered`` says that the keys of the index have all members that the query needs. ``selector_covered`` says that
    they have those that the selector tests, and that the documents are returned as they are stored.
    """

    options: Options
    plan: Plan
    covered: bool
    selector_covered: bool
    proof: Proof | None
    is_short: bool
    """True if its first documents may be read in the event loop."""

    def search(self, database: Database, source: IndexView | None) -> Search:
        """Return the search for the documents of the query. ``source`` is the index of its plan."""
        options = self.options
        members = options.selector.members
        return Search(
            database.number,
            options.selector,
            self.plan,
            source,
            options.partition,
            options.fields,
            options.limit,
            options.skip,
            unpack_bookmark(options.bookmark),
            options.conflicts,
            options.r > 1,
            self.covered,
            self.selector_covered,
            self.proof,
            options.execution_stats,
            None if members is None else members | options.fields.members(),
            limits.QUERY_SECONDS,
        )


def plan_query(database: Database, catalogue: Catalogue, partition: str, text: bytes) -> PlannedQuery:
    """Return the query of a body. Raises BadRequestError if it is malformed, or if no index can serve it."""
    # A larger query may look for large values, which takes time; and it would be kept.
    is_small = len(text) <= limits.INLINE_QUERY_BYTES
    known: dict[tuple[str, bytes], PlannedQuery] = catalogue.queries
    query = known.get((partition, text)) if is_small else None
    if query is None:
        query = _plan(database, catalogue, parse_query_options(partition, text), is_small=is_small)
        if is_small:
            if len(known) >= limits.KNOWN_QUERIES:
                known.clear()
            known[partition, text] = query
    return query


def parse_query_options(partition: str, text: bytes) -> Options:
    """Return the options of a body. ``partition`` is the one that the path names, or empty."""
    body = parse_query(text)
    if not partition:
        return parse_options(body)
    # The path names the partition. A body may repeat it, as some clients do.
    if body.get("partition", partition) != partition:
        raise BadRequestError("The query is put to another partition.", code="bad_partition")
    return parse_options({**body, "partition": partition})


def survey_indexes(catalogue: Catalogue, options: Options) -> Survey:
    """Find out which indexes can serve a query, and why the others cannot."""
    return planner.survey(catalogue.indexes, options.selector, options.sort, options.use_index, options.partition)


def _plan(database: Database, catalogue: Catalogue, options: Options, *, is_small: bool) -> PlannedQuery:
    plan = _choose_plan(database, catalogue, options)
    selector_covered = (
        not options.fields.fields and not options.conflicts and plan.index.covers(options.selector.fields)
    )
    is_plain = not (options.fields.fields or options.conflicts or options.execution_stats or options.r > 1)
    is_short = is_small and not options.selector.may_take_long and options.limit + options.skip <= limits.INLINE_FOUND
    return PlannedQuery(
        options,
        plan,
        is_covered(plan.index, options),
        selector_covered,
        prove(plan, options.selector) if is_plain else None,
        is_short and (not options.partition or database.partitioned),
    )


def _choose_plan(database: Database, catalogue: Catalogue, options: Options) -> Plan:
    found = survey_indexes(catalogue, options)
    if not found.usable:
        kind = ("partitioned " if options.partition else "global ") if database.partitioned else ""
        reason = f"No {kind}index exists for this sort, try indexing by the sort fields."
        raise BadRequestError(reason, code="no_usable_index")
    found.refuse(fallback=options.allow_fallback)
    return planner.choose(found, options.selector, options.sort)
