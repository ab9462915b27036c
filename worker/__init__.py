"""Publish a course lesson as soon as its Mux video can be played.

    cli/           one module for each command
    app            the composition root: the only module that builds the parts
    doctor/        checks whether everything is in place
    web/           HTTP: health, metrics, webhooks/, dashboard/
    backfill/      adopts and publishes lessons that are older than the worker
    mux/           the only package that talks to Mux
    supabase/      the only package that talks to Supabase
    scan/          one scan: claim, observe, decide, settle
    adapter/       the SQL that knows the app's table of lessons, for each shape of it
    daemon/        the scan loop, outages, adoption, retention
    shutdown       signals, and how long the process may take to stop; `retry`: repeated requests
    telemetry/     the log, metrics, scan history and liveness: all subscribe to one `Telemetry`
    decide         what an observation means; `backoff`: when to check again
    settings       every setting; `env_file`, `network`, `project_key` and `project_url` help it
    model          the terms as frozen types, with `lesson`, and `overview` of all lessons
    wording, text  every reason in a sentence; durations, ids and foreign text made safe to print
    errors         the exceptions

A module imports from its own layer or from below, and `mux` and `supabase` never import each
other: tests/unit/test_architecture.py has the table.

    webhook (signed event) ──┐
    sweep   (100 a page) ────┼─> Observation ─> decide ─> Verdict ─> settle (SQL) ─> Outcome
    probe   (one request) ───┘                                          log, metrics, audit <─┘

Read `model`, `decide` and `scan.scanner`, then `settle_row` in `sql/072_settle_row.sql` and
`worker_settle` in `sql/076_settle.sql`. A locked row or lesson is `busy` there and falls due 5 s
later; what only an event reports is sent again by Mux (`web.webhooks.ingest`). The log lines of
lessons are in `telemetry.outcome_log`.

A new asset status is a case of `decide`, with its sentence in `wording`. If it fails,
`decide._recheck` and the error types in `sql/092_publish_lesson.sql` name it too, which a test
compares; if Mux sends an event for it, `web.webhooks.event` does.
"""

__version__ = "0.1.0"
